"""How far the downloads of an area are: which files it wants, and which of them are there."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mapmill.areafile import labels_file, weights_file
from mapmill.catalogue.items import Asset, Scene, read_scenes, wanted_files
from mapmill.config import Area
from mapmill.extent import blocks_of, skipped_blocks
from mapmill.layout import Layout
from mapmill.progress import size_text, time_text

LAST = 20
"""Files that the rate is taken from: the last ones."""
PAUSE_S = 600.0
"""Longer without a file, and nobody was fetching."""
SLACK_S = 2.0
"""Clocks of disks and of processes may differ by so much."""


@dataclass(frozen=True)
class Wanted:
    """The files that an area downloads, by their names below `results/{area}/download`."""

    images: Mapping[str, int | None]
    """Bytes of each file of imagery, where they are known."""
    others: Mapping[str, int | None]
    """Likewise of labels, weights and the sample."""
    unsearched: list[str] = field(default_factory=list)
    """Periods whose scenes are not pinned yet: how many files they have is not known."""

    @property
    def sizes(self) -> dict[str, int | None]:
        """Bytes of all files."""
        return {**self.others, **self.images}


@dataclass(frozen=True)
class There:
    """A file that is there."""

    name: str
    size: int
    linked: float
    """When it came to its place (seconds since 1970)."""
    fetched: float
    """When its bytes were written."""


def wanted(area: Area, layout: Layout) -> Wanted:
    """The files that an area downloads, as far as is known now.

    Raises
    ------
    ContractError
        if the pinned scenes of a period cannot be read.
    """
    others: dict[str, int | None] = {}
    if area.source == "sample":
        others["sample.whl"] = None
    if area.labels and area.labels.url:
        others[labels_file(area)] = area.labels.size
    for run in {made.run: None for made in area.maps.values() if made.run}:  # others: on demand
        weights, name = area.train_of(run).weights, weights_file(area, run)
        if weights and weights.url and name:
            others[name] = weights.size
    if area.source == "sentinelhub":
        names = [block.name for block in blocks_of(area)]
        return Wanted({f"{p}/{n}.tif": None for p in area.periods for n in names}, others)
    pinned = {period: layout.search(period) for period in area.periods}
    images: dict[str, int | None] = {}
    for period, listing in pinned.items():
        if listing.exists():
            images |= _sizes(period, read_scenes(listing), area.compose.wanted)
    return Wanted(images, others, [p for p, listing in pinned.items() if not listing.exists()])


def _sizes(period: str, scenes: Sequence[Scene], bands: list[str]) -> dict[str, int | None]:
    """Bytes of the wanted files of a period."""
    told = {
        f"{period}/{scene.id}/{asset.file_name}": _size(asset)
        for scene in scenes
        for asset in scene.assets
    }
    return {name: told[name] for name in wanted_files(period, list(scenes), bands)}


def _size(asset: Asset) -> int | None:
    """Bytes, where the catalogue says."""
    value = asset.fields.get("file:size") or asset.fields.get("bdc:size")
    return value if isinstance(value, int) and value > 0 else None


def there(layout: Layout, names: Iterable[str]) -> list[There]:
    """Those of the files that are there."""
    root, found = str(layout.download("")), []
    for name in names:
        path = os.path.join(root, name)  # noqa: PTH118 (ten thousand of them)
        try:
            link, file = os.lstat(path), os.stat(path)  # noqa: PTH116
        except OSError:
            continue
        found.append(There(name, file.st_size, link.st_mtime, file.st_mtime))
    return found


def standing(area: Area, layout: Layout, started: float) -> str:
    """How far the downloads are, in one line; it never fails.

    Parameters
    ----------
    started : when the run began, seconds since 1970: older files say nothing of its speed
    """
    try:
        return _told(area, layout, started)
    except Exception as error:  # a line of a log is no reason to stop
        return f"how far the downloads are is not known ({type(error).__name__})"


def _told(area: Area, layout: Layout, started: float) -> str:
    asked = wanted(area, layout)
    # parts of files, or what a service makes, are seen when they are there
    whole = area.download.read == "whole" and area.source != "sentinelhub"
    sizes = {**asked.others, **{n: s if whole else None for n, s in asked.images.items()}}
    have = there(layout, sizes)
    far, left = _bytes(sizes, have, asked.images)
    said = [f"{len(have)} of {len(sizes)} files{far}"]
    pace = _pace(have, started)
    if pace:
        bytes_a_second, files_a_second = pace
        said[0] += f", {size_text(bytes_a_second)}/s"
    if asked.unsearched:
        said.append(f"those of {', '.join(asked.unsearched)} not searched yet")
    skipped = len(skipped_blocks(area)) if area.grid else 0
    if skipped:
        said.append(f"{skipped} blocks outside the area of interest skipped")
    missing = len(sizes) - len(have)
    if pace and missing:
        wait_s = missing / files_a_second if left is None else left / bytes_a_second
        said.append(f"about {time_text(wait_s)} left")
    return "; ".join(said)


def _bytes(
    sizes: Mapping[str, int | None], have: Sequence[There], images: Mapping[str, int | None]
) -> tuple[str, int | None]:
    """Bytes that are there of how many, as text; and bytes that are missing, if that is known.

    Images whose size is not known are taken to be like those that are there.
    """
    done, names = sum(f.size for f in have), {f.name for f in have}
    seen = [f.size for f in have if f.name in images]
    usual = sum(seen) / len(seen) if seen else None
    left, unknown = 0.0, False
    for name, size in sizes.items():
        if name not in names:
            about = size or (usual if name in images else None)
            left, unknown = left + (about or 0), unknown or about is None
    if len(have) == len(sizes):
        return f", {size_text(done)}" if have else "", 0
    if unknown:
        return f", {size_text(done)} of an unknown size", None
    return f", {size_text(done)} of about {size_text(done + left)}", round(left)


def _pace(have: Iterable[There], started: float) -> tuple[float, float] | None:
    """Bytes and files a second, from the last files of this run; None where there are none."""
    fresh = sorted(
        (f for f in have if min(f.linked, f.fetched) >= started - SLACK_S), key=lambda f: f.linked
    )
    before = [started, *(f.linked for f in fresh)]
    gaps = [(max(f.linked - at, 0.0), f.size) for f, at in zip(fresh, before, strict=False)]
    short = [gap for gap in gaps if gap[0] <= PAUSE_S] or gaps  # large files, all of them slow
    last = short[-LAST:]
    seconds, count = sum(gap for gap, _ in last), sum(size for _, size in last)
    if seconds <= 0 or count <= 0:
        return None
    return count / seconds, len(last) / seconds
