"""Parts of the imagery that are read at once: every tile in one cell, every pixel in one part."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapmill.cells import CELL_BYTES, cells_of, parts_of, read_cell, side_of
from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.tiles import Tile


def tile(row, col, size, period="a"):
    return Tile(period, "", Window(row, col, size, size), 1, 0, 0, 1, "train", None, "", ())


TABLE = [
    tile(row, col, size, period)
    for period in ("b", "a")
    for size in (30, 50)
    for row in range(0, 300 - size, 25)
    for col in range(0, 400 - size, 25)
]
"""Two periods and two sizes, as select writes them: period by period, size by size, row by row."""


@pytest.mark.parametrize("side", [50, 64, 130, 1000])
def test_every_tile_is_in_one_cell(side):
    """A patch would be missing or written twice, or numbered as another tile."""
    cells = cells_of(TABLE, side)
    for size in (30, 50):
        expected = [tile for tile in TABLE if tile.window.height == size]
        dealt = [each for cell in cells for each in cell.tiles if each[1].window.height == size]
        assert sorted(number for number, _ in dealt) == list(range(len(expected)))
        assert all(tile is expected[number] for number, tile in dealt)
    for cell in cells:
        window = cell.window
        assert all(tile.window.intersect(window) == tile.window for _, tile in cell.tiles)
        assert all(tile.piece == cell.piece for _, tile in cell.tiles)
        assert max(window.height, window.width) <= side + 50
    pieces = [cell.piece for cell in cells]
    assert pieces == sorted(pieces, reverse=True)  # the order of the table


def test_memory_of_a_cell_has_a_bound():
    """Memory of pack would grow with the bands, or with the area."""
    for pixel_bytes, largest in ((22, 300), (58, 512), (4, 128), (1, 2000)):
        side = side_of(pixel_bytes, largest)
        assert 0.9 * CELL_BYTES < (side + largest) ** 2 * pixel_bytes <= CELL_BYTES
    assert side_of(200, 8192) == 8192  # one tile is the least


@given(
    st.integers(0, 4000),
    st.integers(0, 4000),
    st.integers(1, 4000),
    st.integers(1, 4000),
    st.sampled_from([64, 1000, 1024, 2500]),
)
def test_parts_cover_the_window_once(row, col, height, width, block):
    """A part of the imagery would be read twice, or left as whatever the memory held."""
    window = Window(row, col, height, width)
    parts = list(parts_of(window, block))
    assert sum(part.height * part.width for part in parts) == height * width
    for part in parts:
        assert part.intersect(window) == part
        assert part.row // block == (part.row_end - 1) // block
        assert part.col // block == (part.col_end - 1) // block
        assert part.height <= 1024
    assert len({(part.row, part.col) for part in parts}) == len(parts)


def test_reading_by_parts_gives_the_window():
    """Pixels of one block would lie where those of another belong."""
    whole = np.arange(3 * 200 * 300, dtype=np.uint16).reshape(3, 200, 300)
    window = Window(37, 41, 120, 200)

    def read(part):
        return whole[(slice(None), *part.slices(Window(0, 0, 200, 300)))]

    with ThreadPoolExecutor(3) as threads:
        found = read_cell(read, window, (3, 120, 200), "uint16", 64, Path("x"), threads)
        np.testing.assert_array_equal(found, read(window))
        for dtype, bands in (("float32", 3), ("uint16", 2)):
            with pytest.raises(ContractError, match=r"x: found uint16 \(3,\)"):
                read_cell(read, window, (bands, 120, 200), dtype, 64, Path("x"), threads)
