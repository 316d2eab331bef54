"""Parts of an area for training, validation and test, as rectangles of the grid; of chips too."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapmill.errors import ConfigError
from mapmill.grid import Window
from mapmill.sections import SPLITS, Split


class Region(NamedTuple):
    """A rectangle and what it serves."""

    window: Window
    part: str
    """train, val or test."""
    fold: int | None = None


def regions(split: Split, whole: Window, tiles: list[Window], step: int) -> list[Region]:
    """Rectangles with their part; together they cover the area (`random`: the tiles).

    Parameters
    ----------
    step : pixels from one tile to the next; strips are cut there, so that few tiles are cut
    """
    if split.method == "strips":
        return _strips(split, whole, step)
    cells = tiles if split.method == "random" else _cells(whole, split.block)
    dealt = deal(split, len(cells))
    return [Region(window, *given) for window, given in zip(cells, dealt, strict=True)]


def _cells(whole: Window, side: int) -> list[Window]:
    """Squares of a lattice counted from the grid's origin, cut to the area."""
    rows = range(whole.row // side * side, whole.row_end, side)
    cols = range(whole.col // side * side, whole.col_end, side)
    squares = (Window(row, col, side, side).intersect(whole) for row in rows for col in cols)
    return [square for square in squares if square]


def chip_parts(
    split: Split, chips: list[str], columns: dict[str, dict[str, str]]
) -> dict[str, tuple[str, int | None]]:
    """Part and fold of each chip.

    Parameters
    ----------
    columns : values by chip of the columns that the split names
    """
    if split.column:
        values = columns[split.column]
        if set(values.values()) <= set(SPLITS):
            return {chip: (values[chip], None) for chip in chips}
        groups = sorted(set(values.values()))
        _enough(split, len(groups), f"values of {split.column}")
        given = dict(zip(groups, deal(split, len(groups)), strict=True))
        return {chip: given[values[chip]] for chip in chips}
    if split.strata:
        values = columns[split.strata]
        dealt: dict[str, tuple[str, int | None]] = {}
        for stratum in sorted(set(values.values())):
            members = [chip for chip in chips if values[chip] == stratum]
            _enough(split, len(members), f"chips with {split.strata} {stratum}")
            dealt.update(zip(members, deal(split, len(members)), strict=True))
        return dealt
    _enough(split, len(chips), "chips")
    return dict(zip(chips, deal(split, len(chips)), strict=True))


def _enough(split: Split, count: int, what: str) -> None:
    parts = sum(share > 0 for share in (split.train, split.val, split.test))
    needed = split.folds or parts
    if count < needed:
        raise ConfigError(
            "select.split",
            f"{count} {what}",
            f"at least {needed}, one for each {'fold' if split.folds else 'part'}",
            "use method: random, which deals out tiles, or fewer parts",
        )


def _strips(split: Split, whole: Window, step: int) -> list[Region]:
    down = split.direction == "north-south"
    length = whole.height if down else whole.width
    shares = (split.train, split.val, split.test)
    inner = [round(length * c / step) * step for c in np.cumsum([split.train, split.val])]
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


def deal(split: Split, count: int) -> list[tuple[str, int | None]]:
    """Part and fold of each of `count` things, shuffled by the split's seed.

    Parts in the asked proportions, each that is asked for gets one at least; or equal folds.
    """
    if split.folds:
        folds = np.arange(count) % split.folds
        order = np.random.default_rng(split.seed).permutation(count)
        return [(_part_of_fold(split, int(fold)), int(fold)) for fold in folds[np.argsort(order)]]
    return [(part, None) for part in _shares(split, count)]


def _part_of_fold(split: Split, fold: int) -> str:
    after = (fold - split.fold) % (split.folds or 1)
    return {0: "test", 1: "val"}.get(after, "train")


def _shares(split: Split, count: int) -> list[str]:
    shares = np.array([split.train, split.val, split.test])
    numbers = np.floor(shares * count + 1e-9).astype(int)
    for index in np.argsort(numbers - shares * count, kind="stable")[: count - numbers.sum()]:
        numbers[index] += 1  # the largest remainders get what is left
    for index in np.flatnonzero((numbers == 0) & (shares > 0)):
        if numbers.max() > 1:
            numbers[numbers.argmax()] -= 1
            numbers[index] = 1
    names = [name for name, number in zip(SPLITS, numbers, strict=True) for _ in range(number)]
    order = np.random.default_rng(split.seed).permutation(count)
    dealt = [""] * count
    for place, name in zip(order, names, strict=False):
        dealt[place] = name
    return dealt


class PartFinder:
    """Tells the part of a tile; quick for thousands of regions.

    Parameters
    ----------
    regions : rectangles with their part
    buffer : pixels between a tile and a part that is scored
    """

    def __init__(self, regions: list[Region], buffer: int) -> None:
        self._first = np.array([(r.window.row, r.window.col) for r in regions])
        self._end = np.array([(r.window.row_end, r.window.col_end) for r in regions])
        self._part = np.array([SPLITS.index(r.part) for r in regions])
        self._fold = np.array([-1 if r.fold is None else r.fold for r in regions])
        self._buffer = buffer

    def part_of(self, tile: Window) -> tuple[str, int | None, str]:
        """(part, fold, reason to drop) of a tile.

        A tile across two parts or folds belongs to none. A training tile nearer than the
        buffer to a validation or test region is dropped, and a validation tile so near to a
        test region.
        """
        inside = self._touched(tile)
        parts, folds = np.unique(self._part[inside]), np.unique(self._fold[inside])
        if len(parts) != 1 or len(folds) != 1:
            return "", None, "across two folds" if len(parts) == 1 else "across two parts"
        part, fold = SPLITS[parts[0]], int(folds[0])
        near = self._part[self._touched(tile.grow(self._buffer))]
        why = f"within {self._buffer} px of another part" if near.max() > parts[0] else ""
        return part, None if fold < 0 else fold, why

    def _touched(self, tile: Window) -> NDArray[np.bool_]:
        """Which regions a window touches."""
        starts_before = (self._first < (tile.row_end, tile.col_end)).all(axis=1)
        ends_after = (self._end > (tile.row, tile.col)).all(axis=1)
        return np.asarray(starts_before & ends_after)
