"""Reading onto the grid: a pixel is the same whatever part of its source or of the grid is read."""

import numpy as np
import pytest
import rasterio
from making import CRS, LEFT, STEP, TOP, write_tif
from pyproj import Transformer

from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.raster import OUTSIDE, on_grid, read_on_grid

GRID = Grid(CRS, LEFT, TOP, STEP, 64, 48, 20)
SOURCES = {
    "finer": (CRS, 3.1),
    "coarser": (CRS, 17.0),
    "another zone, finer": ("EPSG:32630", 4.3),
    "another zone, coarser": ("EPSG:32630", 23.0),
    "degrees, finer": ("EPSG:4326", 3.3e-5),
    "polar": ("EPSG:3413", 6.0),
}
"""CRS and pixel; axes of the last one are turned by some 45 degrees against the grid's."""


def smooth(path, crs, step, *, cut=0, size=None):
    """An image of waves over the whole grid and beyond, without `cut` pixels on each side."""
    to_source = Transformer.from_crs(CRS, crs, always_xy=True)
    xs = np.linspace(LEFT - 400, LEFT + 64 * STEP + 400, 30)
    ys = np.linspace(TOP - 48 * STEP - 400, TOP + 400, 30)
    x, y = to_source.transform(*np.meshgrid(xs, ys))
    left, top = np.floor(x.min() / step) * step, np.ceil(y.max() / step) * step
    width, height = int((x.max() - left) / step), int((top - y.min()) / step)
    rows, cols = np.mgrid[cut : height - cut, cut : width - cut]
    texture = (rows * 7919 + cols * 104_729) % 997
    values = (2000 + 900 * np.sin(cols / 9) * np.cos(rows / 7) + texture).astype(np.uint16)
    return write_tif(path, values, crs=crs, step=step, left=left + cut * step, top=top - cut * step)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize("name", SOURCES)
def test_a_cropped_source_gives_equal_pixels(tmp_path, name, method):
    """Reading windows of a scene, or the scene of another tile, would give other values."""
    crs, step = SOURCES[name]
    whole = smooth(tmp_path / "whole.tif", crs, step)
    with rasterio.open(whole) as source:
        cut = round(150 / (step if step > 0.1 else step * 1e5))
        assert min(source.shape) > 4 * cut
    part = smooth(tmp_path / "part.tif", crs, step, cut=cut)
    found, again = (
        read_on_grid(path, 1, GRID, GRID.window, nodata=0, resampling=method)
        for path in (whole, part)
    )
    assert found.all() and again.all()
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize("name", SOURCES)
def test_blocks_and_windows_give_equal_pixels(tmp_path, name, method):
    """Neighbouring blocks would meet in a seam, or threads' windows in stripes."""
    path = smooth(tmp_path / "whole.tif", *SOURCES[name])
    expected = read_on_grid(path, 1, GRID, GRID.window, nodata=0, resampling=method)
    for block in GRID.blocks():
        parts = np.zeros((block.window.height, block.window.width), np.uint16)
        with on_grid(path, [1], GRID, block.window, nodata=0, resampling=method) as reader:
            assert not reader.is_aligned
            for row in range(0, block.window.height, 7):
                height = min(7, block.window.height - row)
                part = Window(block.window.row + row, block.window.col, height, block.window.width)
                parts[row : row + height] = reader.read(part)[0]
        apart = parts.astype(int) - expected[block.window.slices(GRID.window)]
        assert np.abs(apart).max() <= (method != "nearest")  # halves, by the order of a sum
        assert (apart != 0).mean() < 0.02


def test_a_coarser_grid_averages(tmp_path):
    """Fine pixels would be picked one in ten, so that the image would be noise."""
    random = np.random.default_rng(2).integers(1, 2000, (480, 640)).astype(np.uint16)
    path = write_tif(tmp_path / "fine.tif", random, step=1.0)
    small = Grid(CRS, LEFT, TOP, STEP, 64, 48, 64)
    means = random.reshape(48, 10, 64, 10).mean(axis=(1, 3))
    found = read_on_grid(path, 1, small, small.window, nodata=0, resampling="average")
    assert np.abs(found - means).max() <= 0.51
    blurred = read_on_grid(path, 1, small, small.window, nodata=0, resampling="bilinear")
    assert blurred.std() < 0.2 * random.std()


def test_several_bands_and_codes(tmp_path):
    """Classes would be blended, or a class that a file calls nodata be lost."""
    values = np.stack([np.arange(600).reshape(20, 30) % 12, np.full((20, 30), 5)])
    place = {"step": 20.0, "left": LEFT + 100, "nodata": 0}
    path = write_tif(tmp_path / "codes.tif", values.astype(np.uint8), **place)
    beyond = GRID.window.grow(6)
    with on_grid(path, [2, 1], GRID, beyond, nodata=9, codes=True) as reader:
        found = reader.read(beyond)
    assert (found.dtype, reader.declared) == (np.int32, 0)
    expected = np.full((2, 60, 76), OUTSIDE)
    fine = np.kron(values[::-1], np.ones((1, 2, 2), int))
    expected[:, 6:46, 16:76] = fine
    np.testing.assert_array_equal(found, expected)


def test_a_grid_without_a_place_in_the_source(tmp_path):
    """A scene of the other side of the Earth would be empty without a word."""
    path = write_tif(tmp_path / "far.tif", np.ones((9, 9), np.uint16), crs="+proj=gnom +lat_0=90")
    with pytest.raises(ContractError, match="has a place"):
        read_on_grid(path, 1, Grid("EPSG:3031", 0, 0, 10, 9, 9, 9), Window(0, 0, 9, 9), nodata=0)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "average"])
def test_0_is_missing_beside_a_declared_nodata(tmp_path, method):
    """A hole would be blended to small values that count as observed.

    Oracle: the same image whose only missing value is 0.
    """
    values = np.full((60, 70), 500, np.uint16)
    values[20:40, 20:40], values[:, 60:] = 0, 65_535
    place = {"left": LEFT - 5, "top": TOP + 5}
    two = write_tif(tmp_path / "two & more.tif", values, nodata=65_535, **place)
    one = write_tif(tmp_path / "one.tif", np.where(values == 65_535, 0, values), nodata=0, **place)
    window = Window(0, 0, 48, 64)
    found, expected = (
        read_on_grid(path, 1, GRID, window, nodata=0, resampling=method) for path in (two, one)
    )
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found)) == {0, 500}
