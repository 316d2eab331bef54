"""The grid: blocks, windows and coordinates, against counting by hand and against rasterio."""

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import windows as rio
from rasterio.transform import from_origin
from scipy.ndimage import maximum_filter

from mapmill.errors import ConfigError
from mapmill.grid import Grid, Window

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
quick = settings(deadline=None, derandomize=True, max_examples=80)
sides = st.integers(1, 60)
grids = st.builds(
    Grid,
    crs=st.just("EPSG:32631"),
    left=st.sampled_from([0.0, 399_960.0, -1234.5]),
    top=st.sampled_from([0.0, 4_600_020.0, -77.25]),
    resolution=st.sampled_from([0.5, 10.0, 1 / 3]),
    width=sides,
    height=sides,
    block=st.integers(1, 40),
)
places = st.integers(-30, 70)
windows = st.builds(Window, row=places, col=places, height=sides, width=sides)
PAD = 60


def painted(window):
    """The window as True in a field that is wide enough for any window here."""
    field_YX = np.zeros((4 * PAD, 4 * PAD), bool)
    field_YX[
        PAD + window.row : PAD + window.row + window.height,
        PAD + window.col : PAD + window.col + window.width,
    ] = True
    return field_YX


@quick
@given(grids)
def test_blocks_cover_the_grid_exactly_once(grid):
    """Otherwise a map would have holes, or pixels that are paid for and computed twice."""
    count_YX = np.zeros((grid.height, grid.width), int)
    for block in grid.blocks():
        w = block.window
        assert 0 <= w.row < w.row_end <= grid.height
        assert 0 <= w.col < w.col_end <= grid.width
        count_YX[w.row : w.row_end, w.col : w.col_end] += 1
    assert (count_YX == 1).all()


@quick
@given(grids)
def test_a_block_is_found_again_by_its_name(grid):
    """Otherwise a file named after one block would be filled with the pixels of another."""
    blocks = grid.blocks()
    assert len({block.name for block in blocks}) == len(blocks)
    assert [grid.block_named(block.name) for block in blocks] == blocks
    corners = [(block.window.row, block.window.col) for block in blocks]
    assert corners == sorted(corners)


def test_names_stay_one_to_one_beyond_a_thousand_blocks():
    """Otherwise the blocks of a country would overwrite one another."""
    grid = Grid("EPSG:32631", 0, 0, 10, 1200, 2, 1)
    assert len({block.name for block in grid.blocks()}) == 2400
    assert grid.block_named("r001c1199").window == Window(1, 1199, 1, 1)


UNKNOWN = "r000c003 r003c000 r00c000 r0000c000 r000c0001 r000c000.tif R000C000 ../r000c000 r-1c000"


@pytest.mark.parametrize("name", [*UNKNOWN.split(), "r٠٠٠c000", "r000c000\n", ""])
def test_an_unknown_block_is_one_line_that_names_the_last(name):
    """Otherwise a typing error on the command line would end in a traceback or an odd file."""
    grid = Grid("EPSG:32631", 0, 0, 10, 30, 30, 10)
    with pytest.raises(ConfigError, match="r002c002") as caught:
        grid.block_named(name)
    assert "\n" not in str(caught.value)


@quick
@given(grids, windows)
def test_blocks_touching_are_those_that_share_pixels(grid, window):
    """Otherwise a stage would read a neighbour too few and leave a seam in the map."""
    wanted = painted(window)
    expected = [b for b in grid.blocks() if (painted(b.window) & wanted).any()]
    assert grid.blocks_touching(window) == expected


@quick
@given(windows, windows, st.integers(0, 20))
def test_windows_intersect_and_grow_as_sets_of_pixels(one, other, margin):
    """Otherwise halos and buffers would be cut wrong at their edges."""
    shared = one.intersect(other)
    overlap = painted(one) & painted(other)
    assert (shared is None) == (not overlap.any())
    if shared:
        assert (painted(shared) == overlap).all()
    assert (painted(one.grow(margin)) == maximum_filter(painted(one), 2 * margin + 1)).all()


@quick
@given(windows, windows)
def test_slices_cut_the_window_out_of_a_larger_array(one, other):
    """Otherwise pixels would land at the wrong place when blocks are joined."""
    part = one.intersect(other)
    if part is None:
        return
    rows_YX, cols_YX = np.mgrid[other.row : other.row_end, other.col : other.col_end]
    place = part.slices(other)
    assert (rows_YX[place][:, 0] == np.arange(part.row, part.row_end)).all()
    assert (cols_YX[place][0] == np.arange(part.col, part.col_end)).all()


@quick
@given(grids, windows, st.integers(1, 8))
def test_coordinates_agree_with_rasterio(grid, window, factor):
    """Otherwise every written file would lie beside the place it shows."""
    whole = from_origin(grid.left, grid.top, grid.resolution, grid.resolution)
    assert Affine(*grid.transform()).almost_equals(whole)
    theirs = rio.Window(window.col, window.row, window.width, window.height)
    cut = rio.transform(theirs, whole)
    assert np.allclose(grid.transform(window), tuple(cut)[:6], rtol=1e-12)
    fine = (cut.a / factor, 0, cut.c, 0, cut.e / factor, cut.f)
    assert np.allclose(grid.transform(window, factor), fine, rtol=1e-12)
    assert np.allclose(grid.bounds(window), rio.bounds(theirs, whole), rtol=1e-12)
    everything = rio.Window(0, 0, grid.width, grid.height)
    assert np.allclose(grid.bounds(), rio.bounds(everything, whole), rtol=1e-12)
