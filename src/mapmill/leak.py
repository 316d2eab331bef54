"""Is any tile that is scored too near to one that is learnt from? Looked up in the table alone.

Nothing here knows how parts were dealt out: places and sizes of tiles are all that counts.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapmill.tiles import Tile

Squares = NDArray[np.int64]
"""(tile, 3): row, col, size."""
LEARNT_AND_SCORED = (("train", "val"), ("train", "test"), ("val", "test"))
"""What chooses the model, and what scores it: validation tiles choose which step is kept."""


class Leak(NamedTuple):
    """Pixels between the tiles of the parts."""

    buffer: int
    """Pixels that are to lie between them."""
    gaps: dict[tuple[str, str], int | None]
    """Least number of pixels between tiles of two parts, 0 where they touch, below 0 where they
    overlap; None where one of the parts has no tile beside the other."""
    pairs: int
    """Pairs of tiles that were compared."""
    is_chips: bool
    """Then only tiles of one chip are compared: where chips lie to each other is not known."""

    @property
    def nearest(self) -> int | None:
        """Least number of pixels between a training tile and one that is scored."""
        gaps = [gap for (part, _), gap in self.gaps.items() if part == "train" and gap is not None]
        return min(gaps, default=None)

    @property
    def is_proven(self) -> bool:
        """Whether no pixel that is scored lies in a tile that is learnt from, nor in its buffer."""
        return all(gap is None or gap >= self.buffer for gap in self.gaps.values())

    def sentence(self) -> str:
        """What was found, for people."""
        if self.nearest is None:
            where = "in one chip" if self.is_chips else "together"
            return f"no training tile and tile that is scored lie {where}"
        if self.nearest > 0:
            return f"training tiles lie at least {self.nearest} px from those that are scored"
        how = "touch" if self.nearest == 0 else "overlap"
        return (
            f"training tiles {how} those that are scored (0 px between them): "
            "the scores are optimistic"
        )

    def as_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "buffer_px": self.buffer,
            "nearest_px": self.nearest,
            "gaps_px": {f"{a} to {b}": gap for (a, b), gap in self.gaps.items()},
            "pairs_compared": self.pairs,
            "between_chips": "not compared" if self.is_chips else None,
            "is_proven": self.is_proven,
            "is_optimistic": self.nearest is not None and self.nearest <= 0,
            "sentence": self.sentence(),
        }


def find_leak(tiles: Sequence[Tile], buffer: int) -> Leak:
    """The least distances between tiles that are learnt from and tiles that are scored.

    All tiles of a scored part count, since the pixels of dropped ones are scored too; of those
    that teach or choose the model, the kept ones.
    """
    gaps: dict[tuple[str, str], int | None] = {}
    pairs = 0
    chips = sorted({tile.chip for tile in tiles})
    for learnt, scored in LEARNT_AND_SCORED:
        own = _squares(tile for tile in tiles if tile.split == learnt and not tile.dropped)
        other = _squares(tile for tile in tiles if tile.split == scored)
        both = [(own[c], other[c]) for c in chips if c in own and c in other]
        found = [nearest_gap(a, b) for a, b in both]
        gaps[learnt, scored] = min(found, default=None)
        pairs += sum(len(a) * len(b) for a, b in both)
    return Leak(buffer, gaps, pairs, chips not in ([], [""]))


def _squares(tiles: Iterable[Tile]) -> dict[str, Squares]:
    """Distinct squares of each chip ('': the grid); a place counts once for all periods."""
    found: dict[str, set[tuple[int, int, int]]] = {}
    for tile in tiles:
        w = tile.window
        found.setdefault(tile.chip, set()).add((w.row, w.col, w.height))
    return {chip: np.array(sorted(squares), np.int64) for chip, squares in found.items()}


def nearest_gap(first: Squares, second: Squares) -> int:
    """Least number of pixels between squares of two sets, along rows or columns.

    Where n pixels lie between, the nearest pixels of both are n + 1 apart as a king moves;
    negative where squares overlap. Squares of one row and size are looked at together, and only
    rows that are nearer than the best distance so far.
    """
    rows_of_first, rows_of_second = _by_row(first), _by_row(second)
    keys = np.array(list(rows_of_second), np.int64)
    best = np.iinfo(np.int64).max
    for (row, size), cols in rows_of_first.items():
        between = np.maximum(keys[:, 0] - (row + size), row - (keys[:, 0] + keys[:, 1]))
        for index in np.argsort(between, kind="stable"):
            if between[index] >= best:
                break
            other_row, other_size = keys[index].tolist()
            beside = _beside(cols, size, rows_of_second[other_row, other_size], other_size)
            best = min(best, max(int(between[index]), beside))
    return int(best)


def _by_row(squares: Squares) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Sorted columns of the squares of each row and size."""
    ordered = squares[np.lexsort((squares[:, 1], squares[:, 2], squares[:, 0]))]
    keys, starts = np.unique(ordered[:, [0, 2]], axis=0, return_index=True)
    cols = np.split(ordered[:, 1], starts[1:])
    return {(row, size): each for (row, size), each in zip(keys.tolist(), cols, strict=True)}


def _beside(cols: NDArray[np.int64], size: int, others: NDArray[np.int64], other_size: int) -> int:
    """Least number of pixels between stretches that begin at sorted columns.

    The nearest of others to a stretch is one of the two whose centres lie around its own.
    """
    place = np.searchsorted(others, cols + (size - other_size) / 2)
    around = [others[np.clip(place + shift, 0, len(others) - 1)] for shift in (-1, 0)]
    gaps = [np.maximum(other - (cols + size), cols - (other + other_size)) for other in around]
    return int(np.min(gaps))
