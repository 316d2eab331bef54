"""Parts of an area for training, validation and test, as shapes on the grid.

A shape is in pixels: x from the west, y from the north.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import shapely

from mapmill.dealing import deal, deal_groups, deal_strata, enough
from mapmill.errors import ConfigError
from mapmill.grid import Window
from mapmill.sections import SPLITS, Split


class Region(NamedTuple):
    """A piece of ground and what it serves."""

    ground: Any
    """A window, or a polygon (shapely) in pixels."""
    part: str
    """train, val or test; '' for ground that serves nothing."""
    fold: int | None = None


class Zone(NamedTuple):
    """A polygon of the layer that the split names."""

    shape: Any
    """A polygon (shapely) in pixels of the grid."""
    value: str
    """Of the column that the split names."""


def regions(
    split: Split, whole: Window, tiles: Sequence[Window], step: int, zones: Sequence[Zone] = ()
) -> list[Region]:
    """Ground with its part; all methods but `random` and `column` leave no ground over.

    Parameters
    ----------
    step : pixels from one tile to the next; strips are cut there, so that few tiles are cut
    zones : polygons, for `column` and `strata`
    """
    if split.method == "strips":
        return _strips(split, whole, step)
    if split.method == "column":
        values = [zone.value for zone in zones]
        dealt = deal_groups(split, values, str(split.column))
        return [Region(zone.shape, *given) for zone, given in zip(zones, dealt, strict=True)]
    if split.method == "strata":
        return _by_strata(split, _cells(whole, split.block), zones)
    if split.method == "subtiles":
        large = _grid_of(
            _cuts(whole.row, whole.row_end, max(1, round(whole.height / split.block)), step),
            _cuts(whole.col, whole.col_end, max(1, round(whole.width / split.block)), step),
        )
        return [r for n, each in enumerate(large) for r in subtiles(split, each, step, n)]
    cells = list(tiles) if split.method == "random" else _cells(whole, split.block)
    dealt = deal(split, len(cells))
    return [Region(window, *given) for window, given in zip(cells, dealt, strict=True)]


def _cells(whole: Window, side: int) -> list[Window]:
    """Squares of a lattice counted from the grid's origin, cut to the area."""
    rows = range(whole.row // side * side, whole.row_end, side)
    cols = range(whole.col // side * side, whole.col_end, side)
    squares = (Window(row, col, side, side).intersect(whole) for row in rows for col in cols)
    return [square for square in squares if square]


def subtiles(split: Split, large: Window, step: int, number: int) -> list[Region]:
    """A large tile cut in `split.subtiles` by as many, each dealt to one part; none is left over.

    Cuts lie where tiles meet, so that few tiles are cut.

    Parameters
    ----------
    number : of the large tile: each has a deal of its own

    Raises
    ------
    ConfigError
        if a sub-tile would be narrower than a tile's step.
    """
    rows = _cuts(large.row, large.row_end, split.subtiles, step)
    cols = _cuts(large.col, large.col_end, split.subtiles, step)
    windows = _grid_of(rows, cols)
    enough(split, len(windows), "sub-tiles", "raise select.split.subtiles")
    dealt = deal(split, len(windows), number)
    return [Region(window, *given) for window, given in zip(windows, dealt, strict=True)]


def _grid_of(rows: Sequence[int], cols: Sequence[int]) -> list[Window]:
    """The rectangles between cuts, row by row."""
    return [
        Window(top, left, bottom - top, right - left)
        for top, bottom in pairwise(rows)
        for left, right in pairwise(cols)
    ]


def _cuts(start: int, end: int, count: int, step: int) -> list[int]:
    """Edges of `count` nearly equal stretches, the inner ones multiples of `step`."""
    inner = [
        round((start + (end - start) * number / count) / step) * step for number in range(1, count)
    ]
    cuts = [start, *inner, end]
    if min(np.diff(cuts)) < min(step, end - start):
        raise ConfigError(
            "select.split.subtiles",
            f"{count} across {end - start} px",
            f"pieces as wide as a tile's step, {step} px",
            "lower it, or raise select.split.block",
        )
    return cuts


def _by_strata(split: Split, squares: list[Window], zones: Sequence[Zone]) -> list[Region]:
    """Squares dealt out stratum by stratum; one that no stratum touches serves nothing.

    A square belongs to the stratum that has most of its ground.
    """
    boxes = as_boxes(squares)
    strata = sorted({zone.value for zone in zones})
    ground_SV = np.zeros((len(squares), len(strata)))
    for number, stratum in enumerate(strata):
        shape = shapely.union_all([zone.shape for zone in zones if zone.value == stratum])
        shapely.prepare(shape)
        touched = np.flatnonzero(shapely.intersects(boxes, shape))
        ground_SV[touched, number] = shapely.area(shapely.intersection(boxes[touched], shape))
    inside = [index for index, ground in enumerate(ground_SV) if ground.any()]
    values = [strata[ground_SV[index].argmax()] for index in inside]
    what, remedy = f"blocks in {split.strata}", "lower select.split.block, or merge strata"
    dealt = dict(zip(inside, deal_strata(split, values, what, remedy), strict=True))
    given = [dealt.get(index, ("", None)) for index in range(len(squares))]
    return [Region(square, *each) for square, each in zip(squares, given, strict=True)]


def as_boxes(windows: Sequence[Window], margin: float = 0.0) -> Any:
    """Windows as boxes (shapely), grown by `margin` pixels on each side."""
    sides = np.array([(w.col, w.row, w.col_end, w.row_end) for w in windows], float).reshape(-1, 4)
    left, top, right, bottom = sides.T
    return shapely.box(left - margin, top - margin, right + margin, bottom + margin)


def _strips(split: Split, whole: Window, step: int) -> list[Region]:
    down = split.direction == "north-south"
    length, start_px = (whole.height, whole.row) if down else (whole.width, whole.col)
    shares = (split.train, split.val, split.test)
    # tiles lie on a lattice from the grid's corner, where the area need not begin
    parts = np.cumsum([split.train, split.val])
    inner = [round((start_px + length * c) / step) * step - start_px for c in parts]
    if not split.test:
        inner[1] = length
    for name, share, size in zip(SPLITS, shares, np.diff([0, *inner, length]), strict=True):
        if share and size < step:
            raise ConfigError(
                f"select.split.{name}",
                f"{share:g} of {length} px, less than a tile's step of {step} px",
                "a strip at least that wide",
                "raise it, or lower select.stride",
            )
    cuts = [0, *(min(cut, length) for cut in inner), length]
    top, left = whole.row, whole.col
    return [
        Region(
            Window(top + start, left, end - start, whole.width)
            if down
            else Window(top, left + start, whole.height, end - start),
            name,
        )
        for name, start, end in zip(SPLITS, cuts, cuts[1:], strict=False)
        if end > start
    ]
