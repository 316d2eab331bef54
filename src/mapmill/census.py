"""How many pixels of each code lie in each of many tiles, which may overlap and differ in size.

The edges of all tiles cut the ground into cells that no edge crosses. Pixels are counted into
cells, each pixel once, and every tile is a rectangle of whole cells: its count is four corners
of the cells' running sums (Crow 1984, Summed-area tables for texture mapping, SIGGRAPH 18).
"""

import threading
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from mapmill.grid import Window

CodeArray = NDArray[np.uint8]
Integers = NDArray[np.int64]


class Census:
    """Counts of codes 0 to `codes` - 1 in tiles; safe to fill from several threads.

    Parameters
    ----------
    tiles : squares or other rectangles of the grid
    codes : number of codes, at most 256
    """

    def __init__(self, tiles: Sequence[Window], codes: int) -> None:
        first_TX = np.array([(t.row, t.col) for t in tiles], np.int64).reshape(-1, 2)
        end_TX = np.array([(t.row_end, t.col_end) for t in tiles], np.int64).reshape(-1, 2)
        edges = [np.unique((first_TX[:, axis], end_TX[:, axis])) for axis in (0, 1)]
        self._row_edges, self._col_edges = edges
        self._corners = [
            (np.searchsorted(edges[axis], first_TX[:, axis]), np.searchsorted(edges[axis], end))
            for axis, end in enumerate(end_TX.T)
        ]
        cells = max(len(edges[0]) - 1, 0), max(len(edges[1]) - 1, 0)
        self._count_RCK = np.zeros((*cells, codes), np.int64)
        self._lock = threading.Lock()

    def add(self, window: Window, code_YX: CodeArray) -> int:
        """Count the pixels of a window; each pixel is to come once.

        Returns
        -------
        Number of pixels within any cell whose code is `codes` or above: they are not counted.
        """
        first_row, row_edges = _within(self._row_edges, window.row, window.row_end)
        first_col, col_edges = _within(self._col_edges, window.col, window.col_end)
        if len(row_edges) < 2 or len(col_edges) < 2:
            return 0
        shape = len(row_edges) - 1, len(col_edges) - 1, self._count_RCK.shape[2]
        count_RCK = np.zeros(shape, np.int64)
        code_YX = np.ascontiguousarray(code_YX)
        strange: int = _count(code_YX, row_edges - window.row, col_edges - window.col, count_RCK)
        place = slice(first_row, first_row + shape[0]), slice(first_col, first_col + shape[1])
        with self._lock:
            self._count_RCK[place] += count_RCK
        return strange

    def counts(self) -> Integers:
        """(tile, code) int64: pixels of each tile so far."""
        sums_RCK = np.pad(self._count_RCK, [(1, 0), (1, 0), (0, 0)])
        np.cumsum(sums_RCK, axis=0, out=sums_RCK)
        np.cumsum(sums_RCK, axis=1, out=sums_RCK)
        (top, bottom), (left, right) = self._corners
        lower: Integers = sums_RCK[bottom, right] - sums_RCK[bottom, left]
        upper: Integers = sums_RCK[top, right] - sums_RCK[top, left]
        return lower - upper


def _within(edges: Integers, start: int, end: int) -> tuple[int, Integers]:
    """Number of the first cell that a stretch touches, and the edges of its cells cut to it."""
    if not len(edges):
        return 0, edges
    start, end = max(start, int(edges[0])), min(end, int(edges[-1]))
    if start >= end:
        return 0, edges[:0]
    first = int(np.searchsorted(edges, start, side="right")) - 1
    last = int(np.searchsorted(edges, end, side="left"))
    cut = edges[first : last + 1].copy()
    cut[0], cut[-1] = start, end
    return first, cut


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _count_row(code_X: Any, four: Any) -> None:
    """Add some neighbouring pixels to four counters of each code.

    Most pixels are like their neighbours and are counted by eights. Where they differ, four
    counters spare waiting for the last addition.
    """
    whole = len(code_X) // 8 * 8
    for x in range(0, whole, 8):
        v = code_X[x]
        other = (code_X[x + 1] ^ v) | (code_X[x + 2] ^ v) | (code_X[x + 3] ^ v)
        other |= (code_X[x + 4] ^ v) | (code_X[x + 5] ^ v) | (code_X[x + 6] ^ v)
        if other | (code_X[x + 7] ^ v):
            for k in range(8):
                four[k & 3, code_X[x + k]] += 1
        else:
            four[0, v] += 8
    for x in range(whole, len(code_X)):
        four[0, code_X[x]] += 1


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _empty_into(four: Any, count_K: Any) -> int:
    """Move the counters to a cell's counts; how many pixels have a code beyond them."""
    strange = 0
    for k in range(four.shape[1]):
        total = four[0, k] + four[1, k] + four[2, k] + four[3, k]
        if total:
            four[0, k] = four[1, k] = four[2, k] = four[3, k] = 0
            if k < len(count_K):
                count_K[k] += total
            else:
                strange += total
    return strange


# with a signature it is compiled, or fetched, when the module is imported
@numba.njit(  # type: ignore[untyped-decorator, unused-ignore]
    "int64(uint8[:,::1], int64[::1], int64[::1], int64[:,:,::1])", nogil=True, cache=True
)
def _count(code_YX: Any, row_edges: Any, col_edges: Any, count_RCK: Any) -> int:
    """Add the pixels of each cell to its counts; how many have a code beyond them."""
    four = np.zeros((4, 256), np.int64)
    strange = 0
    for r in range(len(row_edges) - 1):
        for c in range(len(col_edges) - 1):
            for y in range(row_edges[r], row_edges[r + 1]):
                _count_row(code_YX[y, col_edges[c] : col_edges[c + 1]], four)
            strange += _empty_into(four, count_RCK[r, c])
    return strange


@numba.njit(  # type: ignore[untyped-decorator, unused-ignore]
    "uint8(uint8[:,::1], uint8[:,::1])", nogil=True, cache=True
)
def mark_seen(state: Any, observations: Any) -> Any:
    """Turn each state into twice the state, and 1 more where there are observations, in place.

    Returns
    -------
    The largest state, uint8.
    """
    largest = np.uint8(0)
    for y in range(state.shape[0]):
        for x in range(state.shape[1]):
            was = state[y, x]
            largest = max(largest, was)
            state[y, x] = np.uint8(was << 1) | np.uint8(observations[y, x] > 0)
    return largest
