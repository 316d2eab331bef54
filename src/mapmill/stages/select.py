"""select: every candidate tile, with its class counts, its part and why it was dropped."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mapmill import figures
from mapmill.areafile import load_area
from mapmill.areas import warn_of_losses
from mapmill.atomic import write_json
from mapmill.chips import column_of
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.pieces import Piece, Pieces, mosaic_of
from mapmill.progress import track
from mapmill.raster import Array, valid_pixels
from mapmill.sections import Select
from mapmill.shift import Shift, ShiftFinder
from mapmill.splits import PartFinder, Region, chip_parts, deal, regions
from mapmill.tiles import Tile, write_tiles

log = logging.getLogger(__name__)
EVERYWHERE = Window(0, 0, 2**31, 2**31)
SHIFT_TILES = 200
"""Tiles on which labels and image are compared, at most."""


def run(area_path: Path, output: Path, figure: Path, shift: Path) -> None:
    """Write the table of tiles, a picture of it, and a picture of how labels fit the image.

    Raises
    ------
    ContractError
        if a period has no imagery at all, or no training tile is left.
    """
    area = load_area(area_path)
    pieces = Pieces(area, Layout(area_path.stem))
    tiles: list[Tile] = []
    parts = _parts_of_chips(area, pieces) if area.chips else {}
    finder = ShiftFinder()
    for number, name in enumerate(track(pieces.names, "select", len(pieces.names), "pieces")):
        piece = pieces.open(name)
        found = list(_tiles(area, piece, parts.get(name, [])))
        tiles += found
        if piece.is_chip:
            _compare(area, piece, found, SHIFT_TILES // len(pieces.names) + 1, finder)
        elif number == 0:  # another period shows the same edges again
            _compare(area, piece, found, SHIFT_TILES, finder)
        if not piece.is_chip and not any(tile.valid for tile in found):
            folder = Layout(area_path.stem).compose(name, "").parent
            raise ContractError(
                folder, "no pixel with data", "imagery of the area", "check the period's scenes"
            )
    _refuse_without_training(area_path, area, tiles)
    write_tiles(output, tiles, len(area.classes))
    shifted = finder.result()
    figures.shift_figure(shift, area, finder.surface(), shifted)
    write_json(shift.with_suffix(".json"), _as_json(shifted))
    if not area.chips:
        warn_of_losses(area, Layout(area_path.stem))
    log.log(logging.WARNING if shifted.is_wrong else logging.INFO, shifted.sentence())
    if area.chips:
        figures.chip_sheet(figure, area, tiles, pieces)
    else:
        labels = mosaic_of(area, Layout(area_path.stem).downsample, 0)
        figures.tile_map(figure, area, tiles, labels.thin(figures.thinning(area), [1])[0])
    _report(output, tiles)


def _parts_of_chips(area: Area, pieces: Pieces) -> dict[str, list[Region]]:
    """Parts within each chip that has a mask: one of a whole chip, or one of each tile."""
    split, names = area.split(), pieces.masked
    assert area.chips is not None
    if split.method == "random":
        windows = {n: candidates(area.the_select(), pieces.open(n).extent, True) for n in names}
        dealt = iter(deal(split, sum(len(own) for own in windows.values())))
        return {name: [Region(w, *next(dealt)) for w in own] for name, own in windows.items()}
    columns = {c: column_of(area.chips, c, names) for c in (split.column, split.strata) if c}
    given = chip_parts(split, names, columns)
    return {name: [Region(EVERYWHERE, *given[name])] for name in names}


def _tiles(area: Area, piece: Piece, parts: list[Region]) -> Iterator[Tile]:
    """Tiles of a piece; one row of them is in memory at a time.

    Parameters
    ----------
    parts : of a chip; none where it has no mask
    """
    chosen, split = area.the_select(), area.split()
    windows = candidates(chosen, piece.extent, piece.is_chip)
    finder: PartFinder | None = None
    if piece.is_chip:
        finder = PartFinder(parts, 0) if parts else None
    else:
        cells = regions(split, piece.extent, windows, chosen.step)
        finder = PartFinder(cells, split.buffer)
    for row in sorted({window.row for window in windows}):
        inside = [window for window in windows if window.row == row]
        first, last = inside[0], inside[-1]
        strip = Window(row, first.col, chosen.size, last.col_end - first.col)
        label_YX = piece.label(strip)
        valid_YX = valid_pixels(piece.image(strip), area.compose.nodata)
        for window in inside:
            yield _tile(area, piece, window, strip, label_YX, valid_YX, finder)


def candidates(chosen: Select, extent: Window, beyond: bool) -> list[Window]:
    """Square windows on a lattice from the grid's (or chip's) north-western corner.

    Parameters
    ----------
    beyond : take in the last tiles that reach beyond the edge, instead of leaving pixels out
    """
    over = 0 if beyond else chosen.size - 1
    rows = range(_next(extent.row, chosen.step), extent.row_end - over, chosen.step)
    cols = range(_next(extent.col, chosen.step), extent.col_end - over, chosen.step)
    return [Window(row, col, chosen.size, chosen.size) for row in rows for col in cols]


def _next(start: int, step: int) -> int:
    return -(-start // step) * step


def _tile(
    area: Area,
    piece: Piece,
    window: Window,
    strip: Window,
    label_YX: Array,
    valid_YX: Array,
    finder: PartFinder | None,
) -> Tile:
    place = window.slices(strip)
    counts = np.bincount(label_YX[place].ravel(), minlength=len(area.classes) + 1)
    valid = float(valid_YX[place].mean())
    labelled = float(counts[1:].sum() / counts.sum())
    split, fold, dropped = finder.part_of(window) if finder else ("", None, "no mask")
    dropped = dropped or reason(area.the_select(), valid, labelled, counts[1:])
    names = ("", piece.name) if piece.is_chip else (piece.name, "")
    pixels = tuple(int(count) for count in counts[1:])
    return Tile(*names, window, valid, labelled, split, fold, dropped, pixels)


def _compare(area: Area, piece: Piece, tiles: list[Tile], wanted: int, finder: ShiftFinder) -> None:
    """Add the edges of some tiles, spread over the piece, to those looked at for a shift."""
    step = area.the_select().step
    every = -(-area.the_select().size // step) * step  # tiles that overlap would count twice
    full = [
        tile
        for tile in tiles
        if tile.labelled and tile.valid
        if tile.window.row % every < step and tile.window.col % every < step
    ]
    for tile in full[:: -(-len(full) // wanted) or 1]:
        image_BYX = piece.image(tile.window)
        finder.add(
            image_BYX, valid_pixels(image_BYX, area.compose.nodata), piece.label(tile.window)
        )


def _as_json(shift: Shift) -> dict[str, Any]:
    """The shift as JSON values."""
    numbers = {key: round(value, 4) for key, value in asdict(shift).items() if value == value}
    return numbers | {"is_wrong": shift.is_wrong, "sentence": shift.sentence()}


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


def _refuse_without_training(area_path: Path, area: Area, tiles: list[Tile]) -> None:
    """Nothing can be learnt where every tile is dropped or serves another part."""
    if not area.runs or any(tile.split == "train" and not tile.dropped for tile in tiles):
        return
    reasons = Counter(tile.dropped or tile.split for tile in tiles).most_common()
    counted = ", ".join(f"{number} {why}" for why, number in reasons) or "none at all"
    raise ContractError(
        f"{area_path}: select",
        f"no training tile among {len(tiles)} ({counted})",
        "at least one",
        "lower select.min_valid, min_labelled, size or split.buffer, or check labels and imagery",
    )


def _report(output: Path, tiles: list[Tile]) -> None:
    kept = Counter(tile.split for tile in tiles if not tile.dropped)
    log.info("%s: kept %s", output, ", ".join(f"{n} {s}" for s, n in sorted(kept.items())))
    for why, number in Counter(t.dropped for t in tiles if t.dropped).most_common():
        log.info("dropped %d tiles: %s", number, why)
