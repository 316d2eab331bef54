"""select: every candidate tile, with its class counts, its part and why it was dropped."""

import logging
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np

from mapmill import figures
from mapmill.areafile import load_area
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.progress import track
from mapmill.raster import Array, BlockMosaic, valid_pixels
from mapmill.sections import Select
from mapmill.splits import PartFinder, regions
from mapmill.tiles import Tile, write_tiles

log = logging.getLogger(__name__)


def run(area_path: Path, output: Path, figure: Path) -> None:
    """Write the table of tiles and a picture of it.

    Raises
    ------
    ContractError
        if no training tile is left.
    """
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    grid = area.grid.grid()
    windows = candidates(area.select, grid.window)
    split = area.select.split
    finder = PartFinder(regions(split, grid.window, windows, area.select.step), split.buffer)
    labels = BlockMosaic(grid, layout.downsample, 0)
    tiles: list[Tile] = []
    for period in area.search.periods:
        images = BlockMosaic(grid, partial(layout.compose, period), area.compose.nodata)
        rows = sorted({window.row for window in windows})
        for row in track(rows, f"select {period}", len(rows), "rows"):
            strip = Window(row, 0, area.select.size, grid.width)
            label_YX = labels.read(strip)[0]
            valid_YX = valid_pixels(images.read(strip), area.compose.nodata)
            inside = [window for window in windows if window.row == row]
            tiles += [_tile(area, period, w, strip, label_YX, valid_YX, finder) for w in inside]
    write_tiles(output, tiles, len(area.classes))
    figures.tile_map(figure, area, tiles, labels)
    _report(output, tiles)


def candidates(chosen: Select, whole: Window) -> list[Window]:
    """Square windows that lie wholly in the area, from its north-western corner."""
    return [
        Window(row, col, chosen.size, chosen.size)
        for row in range(0, whole.height - chosen.size + 1, chosen.step)
        for col in range(0, whole.width - chosen.size + 1, chosen.step)
    ]


def _tile(
    area: Area,
    period: str,
    window: Window,
    strip: Window,
    label_YX: Array,
    valid_YX: Array,
    finder: PartFinder,
) -> Tile:
    place = window.slices(strip)
    counts = np.bincount(label_YX[place].ravel(), minlength=len(area.classes) + 1)
    valid = float(valid_YX[place].mean())
    labelled = float(counts[1:].sum() / counts.sum())
    split, dropped = finder.part_of(window)
    dropped = dropped or reason(area.select, valid, labelled, counts[1:])
    return Tile(period, window, valid, labelled, split, dropped, tuple(int(c) for c in counts[1:]))


def reason(chosen: Select, valid: float, labelled: float, counts_C: Array) -> str:
    """Why a tile's content makes it useless, or ''.

    Parameters
    ----------
    counts_C : pixels of class 1 to K
    """
    if valid == 0:
        return "no imagery"
    if valid < chosen.min_valid:
        return "too little imagery"
    if labelled == 0:
        return "no labels"
    present = {int(index) + 1 for index in np.flatnonzero(counts_C)}
    if present <= set(chosen.drop_only):
        return "only dropped classes"
    if labelled < chosen.min_labelled:
        return "too few labels"
    return ""


def _report(output: Path, tiles: list[Tile]) -> None:
    kept = Counter(tile.split for tile in tiles if not tile.dropped)
    log.info("%s: kept %s", output, ", ".join(f"{n} {s}" for s, n in sorted(kept.items())))
    for why, number in Counter(t.dropped for t in tiles if t.dropped).most_common():
        log.info("dropped %d tiles: %s", number, why)
    if not kept["train"]:
        reasons = Counter(f"{t.dropped or t.split}" for t in tiles).most_common()
        counted = ", ".join(f"{number} {why}" for why, number in reasons) or "none at all"
        raise ContractError(
            output,
            f"no training tile among {len(tiles)} ({counted})",
            "at least one",
            "lower select.min_labelled, size or split.buffer, or check labels and imagery",
        )
