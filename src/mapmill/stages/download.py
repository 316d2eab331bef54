"""download: one file, verified, linked into the area's folder.

What comes over the network lives under `resources/`, keyed by the digest of the request, and
is never fetched twice; files on the user's disk stay where they are.
"""

import logging
import os
from pathlib import Path

from mapmill.areafile import load_area
from mapmill.atomic import replace_link
from mapmill.catalogue import sample
from mapmill.catalogue.items import read_scenes
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.layout import Layout
from mapmill.raster import inspect
from mapmill.vector import attribute_values, is_vector

log = logging.getLogger(__name__)


def run(area_path: Path, file: str, output: Path) -> None:
    """Put one file of the area in place: `sample.whl`, `labels.*`, `{period}/{item}/{asset}.*`."""
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    kind = file.split("/")[0]
    if kind == "sample.whl" and area.download.sample:
        path = sample.fetch(area.download.sample)
    elif kind.startswith("labels."):
        path = _labels(area, layout)
    else:
        path = _asset(area, layout, file)
    replace_link(path, output)
    log.info("%s -> %s, %d bytes", output, path, path.stat().st_size)


def _labels(area: Area, layout: Layout) -> Path:
    path = _local(area, layout, area.labels.file)
    if is_vector(path):
        _check_codes(area, path)
    else:
        inspect(path)
    return path


def _check_codes(area: Area, path: Path) -> None:
    """Polygons hold codes of the table; a code that they do not hold is a warning."""
    codes, attribute = set(area.labels.codes or {}), area.labels.attribute or ""
    values = attribute_values(path, area.labels.layer, attribute)
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


def _asset(area: Area, layout: Layout, file: str) -> Path:
    period, _, rest = file.partition("/")
    listing = layout.search(period)
    for scene in read_scenes(listing):
        for asset in scene.assets:
            if f"{scene.id}/{asset.file_name}" == rest:
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
    if area.search.source != "sample" or area.download.sample is None:
        path = Path(name)
        if not path.exists():
            raise ContractError(path, "no such file", "the file the area names", "check the path")
        return path
    archive = layout.download("sample.whl")
    return sample.extract(archive, name, archive.resolve().parent / "files" / name)
