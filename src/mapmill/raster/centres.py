"""Label pixels that are not on the grid's lattice: the cell that each one's centre lies in.

Nothing is interpolated: the centre of every pixel is projected, and the pixel belongs to the cell
that holds it (to the one east or south of an edge). A cell in which no centre lies, as where
pixels are larger than cells, has one pixel: that which holds the cell's own centre. Beyond the
raster its lattice goes on, with pixels of no class. Cells are those of the whole grid, so what
one gets does not depend on how the grid is cut into blocks.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.raster.label_pixels import Convert, read_part
from mapmill.raster.lattice import LabelFile, same_system
from mapmill.raster.opening import Array

PIECE_PIXELS = 2**19
"""Label pixels whose centres are projected at a time."""
LARGEST_PIECE = 250
"""Cells along one side of a piece: their numbers fit 16 bits, which sort quickly."""
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Grouped:
    """The label pixels of a window of cells, cell after cell, each one's from the north-west."""

    class_N: NDArray[np.uint8]
    starts: NDArray[np.int64]
    """Where the pixels of each cell begin, row by row, and where the last one's end."""
    square_N: NDArray[np.float64]
    """Squared distance of each pixel's centre to that of its cell, in cell widths."""
    centre_YX: NDArray[np.uint8]
    """Class of the pixel that holds the centre of each cell."""


class Centres:
    """Between the pixels of a raster and the cells of a grid, both in fractions; for one thread."""

    def __init__(self, file: LabelFile, grid: Grid) -> None:
        self._file, self._grid = file, grid
        self._there = self._back = None
        if not same_system(file.crs, grid.crs):
            from pyproj import Transformer  # not for the route by lattice, which is in a hurry

            self._there = Transformer.from_crs(file.crs, grid.crs, always_xy=True)
            self._back = Transformer.from_crs(grid.crs, file.crs, always_xy=True)

    def to_cells(self, row: Points, col: Points) -> tuple[Points, Points]:
        """Rows and columns of the grid of rows and columns of the raster."""
        step, _, left, _, down, top = self._file.transform
        x, y = left + col * step, top + row * down
        if self._there:
            x, y = self._there.transform(x, y)
        grid = self._grid
        return (grid.top - y) / grid.resolution, (x - grid.left) / grid.resolution

    def to_pixels(self, row: Points, col: Points) -> tuple[Points, Points]:
        """Rows and columns of the raster of rows and columns of the grid."""
        grid = self._grid
        x, y = grid.left + col * grid.resolution, grid.top - row * grid.resolution
        if self._back:
            x, y = self._back.transform(x, y)
        step, _, left, _, down, top = self._file.transform
        return (y - top) / down, (x - left) / step

    def around(self, window: Window) -> Window:
        """The pixels among which all are whose centres lie in a window of the grid.

        Raises
        ------
        ContractError
            if the raster's CRS does not reach there.
        """
        rows = np.arange(window.row, window.row_end + 1.0)
        cols = np.arange(window.col, window.col_end + 1.0)
        side_rows = [rows, rows, np.full(cols.size, rows[0]), np.full(cols.size, rows[-1])]
        side_cols = [np.full(rows.size, cols[0]), np.full(rows.size, cols[-1]), cols, cols]
        row, col = self.to_pixels(np.concatenate(side_rows), np.concatenate(side_cols))
        if not (np.isfinite(row).all() and np.isfinite(col).all()):
            raise ContractError(
                self._file.path,
                f"labels in {self._file.crs[:40]}",
                "a CRS that reaches the whole grid",
                "warp them first",
            )
        # an edge bends between the corners of its cells: at 100 km a cell by half a per cent
        cell = max(np.ptp(row) / window.height, np.ptp(col) / window.width)
        spare = 2 + math.ceil(0.02 * cell)
        top, left = math.floor(row.min()) - spare, math.floor(col.min()) - spare
        height = math.ceil(row.max()) + spare - top
        return Window(top, left, height, math.ceil(col.max()) + spare - left)


def ratio_of(file: LabelFile, grid: Grid) -> float:
    """Label pixels along one side of a cell, in the middle of the grid."""
    row, col = np.array([0, 1, 0]) + grid.height / 2, np.array([0, 0, 1]) + grid.width / 2
    there_row, there_col = Centres(file, grid).to_pixels(row, col)
    edges = np.hypot(there_row[1:] - there_row[0], there_col[1:] - there_col[0])
    return float(edges.mean())


def pieces(window: Window, ratio: float) -> Iterator[Window]:
    """A window of cells, cut into pieces of about PIECE_PIXELS label pixels."""
    ratio = ratio if math.isfinite(ratio) else 1.0
    side = min(LARGEST_PIECE, max(1, int(math.sqrt(PIECE_PIXELS) / max(ratio, 1e-3))))
    for row in range(window.row, window.row_end, side):
        for col in range(window.col, window.col_end, side):
            high, wide = min(side, window.row_end - row), min(side, window.col_end - col)
            yield Window(row, col, high, wide)


def grouped(
    file: LabelFile, grid: Grid, window: Window, centres: Centres, convert: Convert
) -> Grouped:
    """The label pixels of a piece of the grid, by cell."""
    part = centres.around(window)
    class_YX = read_part(file, part, 0, convert)
    row_Y = np.arange(part.row, part.row_end) + 0.5
    col_X = np.arange(part.col, part.col_end) + 0.5
    row_N, col_N = (a.ravel() for a in np.meshgrid(row_Y, col_X, indexing="ij"))
    row_N, col_N = centres.to_cells(row_N, col_N)
    y, x = np.floor(row_N), np.floor(col_N)
    inside = (y >= window.row) & (y < window.row_end) & (x >= window.col) & (x < window.col_end)
    y, x, row_N, col_N = y[inside], x[inside], row_N[inside], col_N[inside]
    cell_N = ((y - window.row) * window.width + x - window.col).astype(np.uint16)
    square_N = (row_N - y - 0.5) ** 2 + (col_N - x - 0.5) ** 2
    class_N = class_YX.ravel()[inside]
    centre_YX = _at_centres(window, part, class_YX, centres)
    empty = np.flatnonzero(np.bincount(cell_N, minlength=centre_YX.size) == 0)
    if empty.size:  # one pixel for each, as near as can be
        cell_N = np.concatenate([cell_N, empty.astype(np.uint16)])
        class_N = np.concatenate([class_N, centre_YX.ravel()[empty]])
        square_N = np.concatenate([square_N, np.zeros(empty.size)])
    order = np.argsort(cell_N, kind="stable")
    sizes = np.bincount(cell_N, minlength=centre_YX.size)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return Grouped(class_N[order], starts, square_N[order], centre_YX)


def _at_centres(window: Window, part: Window, class_YX: Array, centres: Centres) -> Array:
    """Classes of the pixels that hold the centres of a window's cells."""
    row_Y = np.arange(window.row, window.row_end) + 0.5
    col_X = np.arange(window.col, window.col_end) + 0.5
    row_N, col_N = (a.ravel() for a in np.meshgrid(row_Y, col_X, indexing="ij"))
    row_N, col_N = centres.to_pixels(row_N, col_N)
    rows, cols = np.floor(row_N).astype(int) - part.row, np.floor(col_N).astype(int) - part.col
    found: Array = class_YX[rows, cols]
    return found.reshape(window.height, window.width)
