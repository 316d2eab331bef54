"""Parts of an area for training, validation and test, as rectangles of the grid."""

import numpy as np
from numpy.typing import NDArray

from mapmill.errors import ConfigError
from mapmill.grid import Window
from mapmill.sections import SPLITS, Split

Region = tuple[Window, str]


def regions(split: Split, whole: Window, tiles: list[Window], step: int) -> list[Region]:
    """Rectangles with their part; together they cover the area (`random`: the tiles).

    Parameters
    ----------
    step : pixels from one tile to the next; strips are cut there, so that few tiles are cut
    """
    if split.method == "strips":
        return _strips(split, whole, step)
    if split.method == "random":
        return list(zip(tiles, _deal(split, len(tiles)), strict=True))
    cells = [
        Window(row, col, min(split.block, whole.height - row), min(split.block, whole.width - col))
        for row in range(0, whole.height, split.block)
        for col in range(0, whole.width, split.block)
    ]
    return list(zip(cells, _deal(split, len(cells)), strict=True))


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
    return [
        (
            Window(start, 0, end - start, whole.width)
            if down
            else Window(0, start, whole.height, end - start),
            name,
        )
        for name, start, end in zip(SPLITS, cuts, cuts[1:], strict=False)
        if end > start
    ]


def _deal(split: Split, count: int) -> list[str]:
    """Parts in the asked proportions, shuffled; each part that is asked for gets one at least."""
    shares = np.array([split.train, split.val, split.test])
    numbers = np.floor(shares * count).astype(int)
    numbers[(numbers == 0) & (shares > 0)] = 1
    numbers[0] += count - numbers.sum()
    while numbers[0] < 1 and numbers.max() > 1:
        numbers[numbers.argmax()] -= 1
        numbers[0] += 1
    numbers[0] = max(0, numbers[0])
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
        windows = [window for window, _ in regions]
        self._first = np.array([(w.row, w.col) for w in windows])
        self._end = np.array([(w.row_end, w.col_end) for w in windows])
        self._part = np.array([SPLITS.index(name) for _, name in regions])
        self._buffer = buffer

    def part_of(self, tile: Window) -> tuple[str, str]:
        """(part, reason to drop) of a tile.

        A tile across two parts belongs to none. A training tile nearer than the buffer to a
        validation or test region is dropped, and a validation tile so near to a test region.
        """
        parts = self._touched(tile)
        if len(parts) != 1:
            return "", "across two parts"
        near = self._touched(tile.grow(self._buffer))
        if near.max() > parts[0]:
            return SPLITS[parts[0]], f"within {self._buffer} px of another part"
        return SPLITS[parts[0]], ""

    def _touched(self, tile: Window) -> NDArray[np.int64]:
        """Numbers of the parts that a window touches, each once."""
        starts_before = (self._first < (tile.row_end, tile.col_end)).all(axis=1)
        ends_after = (self._end > (tile.row, tile.col)).all(axis=1)
        return np.unique(self._part[starts_before & ends_after])
