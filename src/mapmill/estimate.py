"""What a map of an area will ask for and write, told before anything is downloaded.

Sizes on disk are estimates: what compresses depends on what is there.
"""

from dataclasses import dataclass
from pathlib import Path

from mapmill.config import Area
from mapmill.extent import blocks_of, extent_of, skipped_blocks
from mapmill.fetched import there, wanted
from mapmill.grid import Block
from mapmill.layout import Layout
from mapmill.progress import size_text, time_text
from mapmill.sections import CATALOGUES

UNIT_PIXELS = 512 * 512
"""Pixels of three bands that make a processing unit of Sentinel Hub."""
LEAST_UNITS = 0.005
KEPT = {"download": 0.7, "compose": 0.7, "downsample": 0.15, "pack": 0.7, "predict": 0.4}
"""Bytes on disk for each byte of pixels, by stage, as for a simulated area of 384 px, rounded up
(a download is taken to be like a composed block, which one writer writes); a real scene of 930 px
needed two thirds of it for its image."""
MAPPED = 0.3
"""Likewise for the map and its confidence, overviews included."""
FREE_A_MINUTE, FREE_A_MONTH = 300, 10_000
"""Processing units, and requests, that a free account of Copernicus has (its documentation of
March 2025)."""
SHOWN = 6
"""Names of files that are told."""


@dataclass(frozen=True)
class Download:
    """What comes over the network."""

    files: int
    size: int
    """Bytes of those whose size is known, or can be told from their pixels."""
    present: int
    """Files that are there already."""
    present_size: int
    """Their bytes."""
    unknown: list[str]
    """Files whose size is not known."""
    unsearched: list[Path]
    """Searches that would tell of more files."""


@dataclass(frozen=True)
class Estimate:
    """Numbers for one area."""

    blocks: int
    skipped: list[str]
    """Blocks outside the area of interest."""
    requests: int
    """To Sentinel Hub; 0 for other sources."""
    units: float
    """Processing units of Sentinel Hub, for one acquisition a period."""
    disk_bytes: dict[str, int]
    """By stage."""
    download: Download


def estimate(area: Area, layout: Layout) -> Estimate:
    """Requests, processing units and disk that all maps of an area need.

    Raises
    ------
    ConfigError
        if the area has chips: nothing is asked for, and little written.
    """
    used, extent = blocks_of(area), extent_of(area)
    periods = len(area.periods)
    remote, download = area.source == "sentinelhub", to_download(area, layout)
    pixels = sum(block.window.width * block.window.height for block in used) * periods
    item = 2 if area.compose.dtype == "uint16" else 4
    size = {
        "compose": pixels * item * len(area.bands),
        "downsample": pixels // max(periods, 1) if area.labels else 0,
        "pack": _packed(area, pixels) if area.labels else 0,
        "predict": len(area.maps) * 2 * pixels // max(periods, 1),
    }
    disk = {"download": download.size}
    disk |= {stage: round(count * KEPT[stage]) for stage, count in size.items()}
    disk["mosaic"] = round(len(area.maps) * 2 * MAPPED * extent.width * extent.height)
    units = sum(units_of(area, block) for block in used) * periods if remote else 0.0
    names = [block.name for block in skipped_blocks(area)]
    return Estimate(len(used), names, len(used) * periods * remote, units, disk, download)


def to_download(area: Area, layout: Layout) -> Download:
    """Files that come over the network: imagery, labels and weights.

    What Sentinel Hub serves are deflated images in a plain tar: about what is then kept. Of
    other catalogues the pinned searches say which files there are, and their bytes.
    """
    asked = wanted(area, layout)
    sizes = dict(asked.others)
    if area.source == "sentinelhub":
        sizes |= _served(area)
    elif area.source in CATALOGUES:
        sizes |= asked.images
    have = there(layout, sizes)
    pinned = [layout.search(p) for p in asked.unsearched if area.source in CATALOGUES]
    return Download(
        files=len(sizes),
        size=sum(size or 0 for size in sizes.values()),
        present=len(have),
        present_size=sum(file.size for file in have),
        unknown=[name for name, size in sizes.items() if size is None],
        unsearched=pinned,
    )


def _served(area: Area) -> dict[str, int]:
    """Bytes of each block that Sentinel Hub serves: bands of 16 bits, classes and mask of 8."""
    each = KEPT["download"] * (2 * len(area.compose.bands) + 4)
    return {
        f"{period}/{block.name}.tif": round(each * block.window.width * block.window.height)
        for period in area.periods
        for block in blocks_of(area)
    }


def _packed(area: Area, pixels: int) -> int:
    """Bytes of all candidate tiles: overlap counts as often as it is packed."""
    chosen = area.the_select()
    item = 2 if area.compose.dtype == "uint16" else 4
    often = (chosen.size / chosen.step) ** 2
    return round(often * pixels * (item * len(area.bands) + 1))


def units_of(area: Area, block: Block) -> float:
    """Processing units of one request: pixels / 512^2, times a third of the bands read.

    As Sentinel Hub's documentation has it: dataMask is free, 16-bit output counts once, and each
    further acquisition that is read counts as much again.
    """
    bands = len(area.compose.bands) + 1  # and the scene classification
    share = block.window.width * block.window.height / UNIT_PIXELS
    return max(LEAST_UNITS, share * bands / 3)


def told(area: Area, found: Estimate) -> str:
    """The estimate as text for people."""
    extent = extent_of(area)
    lines = [
        f"{area.title}: {extent.width} x {extent.height} px, {found.blocks} blocks, "
        f"{len(area.periods)} periods"
    ]
    if found.skipped:
        lines.append(f"skipped, outside {area.aoi}: {len(found.skipped)} blocks")
        lines.append("  " + " ".join(found.skipped))
    lines += _service(area, found) + _download(area, found.download)
    lines.append("on disk, about:")
    sizes = {stage: count for stage, count in found.disk_bytes.items() if count}
    lines += [f"  {stage:10s} {size_text(count)}" for stage, count in sizes.items()]
    lines.append(f"  {'all':10s} {size_text(sum(sizes.values()))}")
    return "\n".join(lines)


def _service(area: Area, found: Estimate) -> list[str]:
    """What is asked of Sentinel Hub, and how long its free rate takes."""
    if not found.requests:
        return []
    several = area.download.sentinelhub.mosaic == "clear-median"
    times = ", times the acquisitions in a period" if several else ""
    units = f"about {found.units:,.0f} processing units{times}"
    span = time_text(60 * max(found.units, found.requests) / FREE_A_MINUTE)
    month = f"; it has {FREE_A_MONTH:,} units a month" if found.units > FREE_A_MONTH else ""
    return [
        f"Sentinel Hub: {found.requests} requests, {units}",
        f"  about {span} at a free account's {FREE_A_MINUTE} units and requests a minute{month}",
    ]


def _download(area: Area, found: Download) -> list[str]:
    """What comes over the network."""
    lines, known = [], found.files - len(found.unknown)
    if known:
        part = area.download.read == "window" and area.source in CATALOGUES
        most = "at most" if part else "about"
        lines.append(f"to download: {known} files, {most} {size_text(found.size)}")
        if part:
            lines.append("  these are whole files, of which parts are read (download.read: window)")
    if found.unknown:
        some = ", ".join(found.unknown[:SHOWN])
        more = f" and {len(found.unknown) - SHOWN} more" if len(found.unknown) > SHOWN else ""
        lines.append(f"to download, of unknown size: {some}{more}")
    if found.present:
        lines.append(f"  there already: {found.present} files, {size_text(found.present_size)}")
    if found.unsearched:
        lines.append("to download: what the catalogue has; to know it, search first:")
        lines.append(f"  snakemake --cores 1 {' '.join(map(str, found.unsearched))}")
    return lines
