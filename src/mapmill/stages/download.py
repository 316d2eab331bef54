"""download: one file, verified, linked into the area's folder.

What comes over the network lives under `resources/`, keyed by the digest of the request, and
is never fetched twice; files on the user's disk stay where they are.
"""

import logging
import os
import time
from pathlib import Path

from mapmill.areafile import load_area
from mapmill.atomic import replace_link
from mapmill.catalogue import assets, keep, sample, sentinelhub
from mapmill.catalogue.items import read_scenes
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.extent import extent_of, grid_block
from mapmill.fetched import standing
from mapmill.layout import Layout
from mapmill.progress import say
from mapmill.raster import area_bounds_wgs84, inspect
from mapmill.regular import regular
from mapmill.sections import Labels, Remote
from mapmill.vector import attribute_values, bounds_wgs84, is_vector

log = logging.getLogger(__name__)


def run(area_path: Path, file: str, output: Path) -> None:
    """Put one file of the area in place.

    `sample.whl`, `labels.*`, `weights-{run}.*`, `{period}/{item}/{asset}.*` of a scene, or
    `{period}/{block}.tif` of a service that serves block by block.
    """
    area = load_area(area_path)
    layout, started = Layout(area_path.stem), time.time()
    kind = file.split("/")[0]
    if kind == "sample.whl" and area.download.sample:
        path = sample.fetch(area.download.sample)
    elif "/" in file:
        path = _imagery(area, layout, file)
    elif kind.startswith("weights-"):
        path = _weights(area, layout, kind)
    else:
        path = _labels(area, layout)
    replace_link(path, output)
    log.info("%s -> %s, %d bytes", output, path, path.stat().st_size)
    say(standing(area, layout, float(os.environ.get("MAPMILL_STARTED", started))))


def _labels(area: Area, layout: Layout) -> Path:
    labels = area.the_labels()
    path = _remote(area, layout, labels, "labels")
    if is_vector(path):
        _check_overlap(area, path, bounds_wgs84(path, labels.layer))
        _check_codes(area, labels, path)
    else:
        info = inspect(path)
        if info.count != 1:
            raise ContractError(
                path, f"{info.count} bands", "one band of class codes", "write the codes alone"
            )
        _check_overlap(area, path, info.bounds_wgs84)
    return path


def _weights(area: Area, layout: Layout, kind: str) -> Path:
    weights = area.train_of(kind.removeprefix("weights-").rpartition(".")[0]).weights
    if weights is None:
        raise ContractError(kind, "no train.weights of that run", "weights", "check the name")
    return _remote(area, layout, weights, "train.weights")


def _remote(area: Area, layout: Layout, wanted: Remote, key: str) -> Path:
    """A file on disk, in the sample's archive, or fetched by its address."""
    if wanted.url:
        kept = keep.kept_file(wanted.url, wanted.size, wanted.sha256)
        if area.source == "sentinelhub" and not kept.exists():
            sentinelhub.credentials()  # before anything large is fetched for nothing
        return keep.fetch_address(wanted.url, wanted.size, wanted.sha256, key)
    return _local(area, layout, wanted.source)


def _check_overlap(area: Area, path: Path, box: tuple[float, float, float, float]) -> None:
    """A label file that shares no ground with the area is a mistake in its name or its CRS."""
    west, south, east, north = area_bounds_wgs84(area.the_grid(), extent_of(area))
    left, bottom, right, top = box
    if left >= east or right <= west or bottom >= north or top <= south:
        raise ContractError(
            path,
            f"labels from {left:.4f}, {bottom:.4f} to {right:.4f}, {top:.4f} degrees",
            f"an overlap with the area ({west:.4f}, {south:.4f} to {east:.4f}, {north:.4f})",
            "check the file, its CRS and grid.bounds",
        )


def _check_codes(area: Area, labels: Labels, path: Path) -> None:
    """Polygons hold codes of the table; a code that they do not hold is a warning."""
    codes, attribute = set(labels.codes or {}), labels.attribute or ""
    values = attribute_values(path, labels.layer, attribute)
    if not codes & values:
        some = ", ".join(sorted(values)[:12])
        raise ContractError(
            path,
            f"{attribute} {some}",
            f"one of {', '.join(sorted(codes))}",
            "correct labels.codes",
        )
    for code in sorted(codes - values):
        log.warning("%s: no %s is %r: labels.codes has it in vain", path, attribute, code)


def _imagery(area: Area, layout: Layout, file: str) -> Path:
    if area.source == "sentinelhub":
        period, _, block = file.partition("/")
        return sentinelhub.fetch(area, period, grid_block(area, block.removesuffix(".tif")))
    return _asset(area, layout, file)


def _asset(area: Area, layout: Layout, file: str) -> Path:
    period, _, rest = file.partition("/")
    listing = layout.search(period)
    for scene in read_scenes(listing):
        for asset in scene.assets:
            if f"{scene.id}/{asset.file_name}" == rest:
                if asset.is_remote:
                    return assets.fetch(area, listing, scene, asset)
                inside, _, member = asset.href.partition("#")
                path = (
                    _local(area, layout, member)
                    if member
                    else Path(os.path.normpath(listing.parent / inside))
                )
                info = inspect(path)
                if info.count < len(asset.bands):
                    raise ContractError(
                        path,
                        f"{info.count} bands",
                        f"{len(asset.bands)}",
                        f"delete {listing}, rerun",
                    )
                return path
    raise ContractError(listing, f"no {rest}", "an asset of the search", f"delete {listing}, rerun")


def _local(area: Area, layout: Layout, name: str) -> Path:
    """A file on disk, or the member `name` of the sample's archive, taken out of it."""
    if area.source != "sample" or area.download.sample is None:
        try:
            return regular(Path(name))
        except (OSError, ValueError) as error:
            found = "no such file" if isinstance(error, FileNotFoundError) else str(error)
            expected = "the file the area names"
            raise ContractError(name, found, expected, "check the path") from None
    archive = layout.download("sample.whl")
    return sample.extract(archive, name, archive.resolve().parent / "files" / name)
