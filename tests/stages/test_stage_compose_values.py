"""compose: what is missing stays missing, and no number is changed without a word."""

from pathlib import Path

import numpy as np
import pytest
from making import LEFT, write_tif
from stages.stage_steps import PERIOD, area_with, compose, files, refused, search

HEIGHT, WIDTH = 160, 192


def two_bands(pattern="data/place.tif", **chosen):
    """An area of two bands in one file."""
    section = {"bands": ["row", "col"], **chosen}
    return area_with("values", search={"periods": files(pattern)}, compose=section)


@pytest.mark.parametrize("nodata", [0, 65535])
@pytest.mark.parametrize("shift", [0, 4])
def test_declared_nodata_stays_missing(small_area, shift, nodata):
    """Missing pixels would be learnt from, or would darken and brighten their neighbours."""
    values = np.full((2, HEIGHT, 240), 500, np.uint16)
    values[:, 40:60, 30:90] = nodata
    values[0, 100, 100] = nodata
    values[1, 110:112, 100:104] = nodata
    path = Path("data/place.tif")
    write_tif(path, values, left=LEFT - shift, nodata=nodata, bands=["row", "col"])
    found = compose(two_bands())
    assert set(np.unique(found)) == {0, 500}
    here, beside = (values[:, :, first : first + WIDTH] == nodata for first in (0, bool(shift)))
    assert not found[here & beside].any()
    assert found[~(here | beside)].all()


def test_first_valid_scene_all_bands_together(small_area):
    """A pixel would get one band from one day and another band from another day."""
    first = np.full((2, HEIGHT, WIDTH), 11, np.uint16)
    first[:, :50] = 0
    first[0, 60, 60] = 0
    second = np.full((2, HEIGHT, WIDTH), 22, np.uint16)
    second[:, :, :30] = 0
    for name, values in (("a", first), ("b", second)):
        write_tif(Path(f"data/place-{name}.tif"), values, bands=["row", "col"])
    found = compose(two_bands(pattern="data/place-{scene}.tif"))
    expected = first.copy()
    expected[:, :50] = second[:, :50]
    expected[:, 60, 60] = 22
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("nodata", [np.nan, -9999, None])
def test_float_area_marks_missing_with_nan(small_area, shift, nodata):
    """Decibels and heights of 0 would be taken for missing, and -9999 for a depth."""
    values = np.zeros((2, 120, WIDTH), np.float32) - 7.5
    values[:, 20:40, 20:40] = 0
    if nodata is not None:
        values[:, 70:90, 70:90] = nodata
    write_tif(
        Path("data/place.tif"), values, left=LEFT - shift, nodata=nodata, bands=["row", "col"]
    )
    found = compose(two_bands(dtype="float32", resampling="nearest"))
    expected = np.full((2, HEIGHT, WIDTH), np.nan, np.float32)
    expected[:, :120] = values
    expected[expected == -9999] = np.nan
    found = found if not shift else found[:, :, 1:-1]
    expected = expected if not shift else expected[:, :, 1:-1]
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shift", [0, 3])
def test_whole_numbers_in_a_float_area(small_area, shift):
    """A digital elevation model in whole metres could not be composed."""
    values = np.full((2, 120, WIDTH), -3, np.int16)
    write_tif(Path("data/place.tif"), values, left=LEFT - shift, bands=["row", "col"])
    found = compose(two_bands(dtype="float32"))
    assert (found[:, :118, 1:-1] == -3).all()
    assert np.isnan(found[:, 122:]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_infinite_is_missing(small_area, dtype):
    """Decibels of 0 would be mapped as a class, and spoil all that a net sees around them."""
    values = np.full((2, HEIGHT, WIDTH), -7.5, dtype)
    values[0, 10:20, 30:40] = -np.inf
    values[1, 50, 60] = np.inf if dtype == np.float32 else 1e300
    write_tif(Path("data/place.tif"), values, bands=["row", "col"])
    found = compose(two_bands(dtype="float32"))
    missing = ~(np.abs(values) < 1e38)
    np.testing.assert_array_equal(np.isnan(found), missing)
    assert (found[~missing] == -7.5).all()


@pytest.mark.parametrize("shift", [0, 3])
@pytest.mark.parametrize("values", [np.float32([0.25]), np.int16([-5]), np.int32([70_000])])
def test_values_that_would_change_are_refused(small_area, capsys, values, shift):
    """Reflectances of 0.25 would silently become 0, and -5 become 65531."""
    image = np.full((2, HEIGHT, WIDTH + 1), values[0], values.dtype)
    write_tif(Path("data/place.tif"), image, left=LEFT - shift, bands=["row", "col"])
    area = two_bands()
    search(area)
    link = Path(f"results/{area.stem}/download/{PERIOD}/{PERIOD}/image.tif")
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("data/place.tif").resolve())
    line = refused(capsys, "compose", area, PERIOD, "r000c000", "out.tif")
    assert "compose.dtype: float32" in line
    assert not Path("out.tif").exists()
