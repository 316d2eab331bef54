"""Images of windows that may reach beyond the grid, where the image is its own mirror."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapmill.errors import ContractError
from mapmill.grid import Window

Array = NDArray[Any]
Reader = Callable[[Window], tuple[Array, NDArray[np.bool_]]]
"""Image (band, y, x) and validity (y, x) of a window within the grid."""


class Seen(NamedTuple):
    """An image of a window that may reach beyond the grid."""

    window: Window
    image_BYX: Array
    valid_YX: NDArray[np.bool_]

    def valid(self, window: Window) -> NDArray[np.bool_]:
        """Validity of a part."""
        return self.valid_YX[window.slices(self.window)]


def read_reflected(around: Window, grid: Window, read: Reader) -> Seen:
    """Read a window that may reach beyond the grid; outside, the grid's image is its own mirror.

    Raises
    ------
    ContractError
        if the window does not touch the grid.
    """
    inside = around.intersect(grid)
    if inside is None:
        raise ContractError(f"window {around}", "no overlap with the grid", "some", "report this")
    if inside == around:
        return Seen(around, *read(around))
    rows = _mirrored(around.row, around.row_end, grid.row, grid.row_end)
    cols = _mirrored(around.col, around.col_end, grid.col, grid.col_end)
    top, left = int(rows.min()), int(cols.min())
    image_BYX, valid_YX = read(Window(top, left, int(np.ptp(rows)) + 1, int(np.ptp(cols)) + 1))
    rows, cols = rows[:, None] - top, cols - left
    return Seen(around, image_BYX[:, rows, cols], valid_YX[rows, cols])


def _mirrored(start: int, stop: int, first: int, last: int) -> NDArray[np.int64]:
    """Where each of [start, stop) lies in [first, last), mirrored at its first and last pixel."""
    period = max(1, 2 * (last - first - 1))
    places = (np.arange(start, stop) - first) % period
    return np.minimum(places, period - places) + first
