"""Parts of a piece that are read at once, each with its tiles, so that little is read twice.

A cell takes a bounded amount of memory, whatever the area's size, the tiles' and the number of
threads; neighbouring cells share only the pixels of tiles that reach from one into the next.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path

import numpy as np

from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.pieces import Read
from mapmill.raster import Array
from mapmill.tiles import Tile

CELL_BYTES = 400_000_000
PART_ROWS = 1024
"""Rows that a thread reads at once: whole rows of the 512 px tiles within a block's file."""


@dataclass
class Cell:
    """Tiles of one piece that begin near one another, in the order of the table."""

    piece: str
    tiles: list[tuple[int, Tile]] = field(default_factory=list)
    """Number of the tile among those of its size, and the tile."""

    @property
    def window(self) -> Window:
        """The box around the tiles."""
        windows = [tile.window for _, tile in self.tiles]
        row, col = min(w.row for w in windows), min(w.col for w in windows)
        end = max(w.row_end for w in windows), max(w.col_end for w in windows)
        return Window(row, col, end[0] - row, end[1] - col)


def side_of(pixel_bytes: int, largest: int) -> int:
    """Pixels between the beginnings of two cells, such that one takes CELL_BYTES or little more.

    Parameters
    ----------
    pixel_bytes : of one pixel in all bands
    largest : side of the largest tile
    """
    return max(int(sqrt(CELL_BYTES / pixel_bytes)) - largest, largest)


def cells_of(tiles: Sequence[Tile], side: int) -> list[Cell]:
    """All tiles in cells: piece by piece in the order of the table, row by row within each."""
    cells: dict[tuple[int, int, int], Cell] = {}
    pieces: dict[str, int] = {}
    seen: dict[int, int] = {}
    for tile in tiles:
        size = tile.window.height
        seen[size] = seen.get(size, -1) + 1
        piece = pieces.setdefault(tile.piece, len(pieces))
        key = (piece, tile.window.row // side, tile.window.col // side)
        cells.setdefault(key, Cell(tile.piece)).tiles.append((seen[size], tile))
    return [cells[key] for key in sorted(cells)]


def read_cell(
    read: Read,
    window: Window,
    shape: tuple[int, ...],
    dtype: str,
    block: int,
    where: Path,
    threads: ThreadPoolExecutor,
) -> Array:
    """The window of an image whose blocks are read by several threads, each part once.

    Parameters
    ----------
    shape : of the result
    block : side of the blocks that the image is kept in; no part crosses their edges

    Raises
    ------
    ContractError
        if it has another dtype or number of bands; naming `where`.
    """
    result = np.empty(shape, dtype)

    def fill(part: Window) -> None:
        values = read(part)
        if values.dtype != result.dtype or values.shape[:-2] != shape[:-2]:
            found = f"{values.dtype} {values.shape[:-2]}"
            raise ContractError(where, found, f"{dtype} {shape[:-2]}", "delete it and rerun")
        result[..., *part.slices(window)] = values

    for job in [threads.submit(fill, part) for part in parts_of(window, block)]:
        job.result()
    return result


def parts_of(window: Window, block: int) -> Iterator[Window]:
    """The window cut at the edges of blocks, and into PART_ROWS rows within them."""
    tops = range(window.row // block * block, window.row_end, block)
    rows = [start for top in tops for start in range(top, top + block, PART_ROWS)]
    cols = range(window.col // block * block, window.col_end, block)
    for first, end in zip(rows, [*rows[1:], rows[-1] + block], strict=True):
        for col in cols:
            part = Window(first, col, end - first, block).intersect(window)
            if part:
                yield part
