"""Parts of an area for training, validation and test, as rectangles of the grid."""

import numpy as np

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
    inner = [round(length * c / step) * step for c in np.cumsum([split.train, split.val])]
    if not split.test:
        inner[1] = length
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
    numbers[0] = max(0, count - numbers[1:].sum())
    names = [name for name, number in zip(SPLITS, numbers, strict=True) for _ in range(number)]
    order = np.random.default_rng(split.seed).permutation(count)
    dealt = [""] * count
    for place, name in zip(order, names, strict=False):
        dealt[place] = name
    return dealt


def part_of(tile: Window, all_regions: list[Region], buffer: int) -> tuple[str, str]:
    """(part, reason to drop) of a tile.

    A tile across two parts belongs to none. A training tile nearer than `buffer` to a
    validation or test region is dropped, and a validation tile so near to a test region.
    """
    names = {name for window, name in all_regions if tile.intersect(window)}
    if len(names) != 1:
        return "", "across two parts"
    (name,) = names
    near = {other for window, other in all_regions if tile.grow(buffer).intersect(window)}
    if any(SPLITS.index(other) > SPLITS.index(name) for other in near):
        return name, f"within {buffer} px of another part"
    return name, ""
