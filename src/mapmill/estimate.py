"""What a map of an area will ask for and write, told before anything is downloaded.

Sizes on disk are estimates: what compresses depends on what is there.
"""

from dataclasses import dataclass

from mapmill.config import Area
from mapmill.extent import blocks_of, extent_of, skipped_blocks
from mapmill.grid import Block

UNIT_PIXELS = 512 * 512
"""Pixels of three bands that make a processing unit of Sentinel Hub."""
LEAST_UNITS = 0.005
KEPT = {"download": 0.7, "compose": 0.7, "downsample": 0.15, "pack": 0.7, "predict": 0.4}
"""Bytes on disk for each byte of pixels, by stage, as for a simulated area of 384 px, rounded up
(a download is taken to be like a composed block, which one writer writes); a real scene of 930 px
needed two thirds of it for its image."""
MAPPED = 0.3
"""Likewise for the map and its confidence, overviews included."""


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


def estimate(area: Area) -> Estimate:
    """Requests, processing units and disk that all maps of an area need.

    Raises
    ------
    ConfigError
        if the area has chips: nothing is asked for, and little written.
    """
    used, extent = blocks_of(area), extent_of(area)
    periods = len(area.periods)
    remote = area.source == "sentinelhub"
    pixels = sum(block.window.width * block.window.height for block in used) * periods
    item = 2 if area.compose.dtype == "uint16" else 4
    size = {
        "download": pixels * (2 * len(area.compose.bands) + 4) if remote else 0,
        "compose": pixels * item * len(area.bands),
        "downsample": pixels // max(periods, 1) if area.labels else 0,
        "pack": _packed(area, pixels) if area.labels else 0,
        "predict": len(area.maps) * 2 * pixels // max(periods, 1),
    }
    disk = {stage: round(count * KEPT[stage]) for stage, count in size.items()}
    disk["mosaic"] = round(len(area.maps) * 2 * MAPPED * extent.width * extent.height)
    units = sum(units_of(area, block) for block in used) * periods if remote else 0.0
    names = [block.name for block in skipped_blocks(area)]
    return Estimate(len(used), names, len(used) * periods * remote, units, disk)


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
    if found.requests:
        several = area.download.sentinelhub.mosaic == "clear-median"
        times = ", times the acquisitions in a period" if several else ""
        units = f"about {found.units:,.0f} processing units{times}"
        lines.append(f"Sentinel Hub: {found.requests} requests, {units}")
    lines.append("on disk, about:")
    lines += [f"  {stage:10s} {_size(count)}" for stage, count in found.disk_bytes.items() if count]
    lines.append(f"  {'all':10s} {_size(sum(found.disk_bytes.values()))}")
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
