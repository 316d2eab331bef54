"""vrt: all blocks of a period as one picture, for QGIS."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from making import LEFT, STEP, TOP
from rasterio.transform import from_origin
from stages.stage_steps import PERIOD, area_with, compose, mapmill, refused_cleanly

VRT = Path(f"results/small/compose/{PERIOD}.vrt")


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_it_shows_what_the_blocks_hold(small_area, dtype):
    """QGIS would show blocks beside their place, bands without names, or black borders."""
    area = area_with("small", compose={"dtype": dtype})
    expected = compose(area)
    mapmill("vrt", area, PERIOD, VRT)
    Path("results").rename("elsewhere")  # paths are relative, so a copy works as well
    with rasterio.open("elsewhere" / VRT.relative_to("results")) as source:
        assert source.descriptions == ("B02", "B03", "B04")
        assert source.transform == from_origin(LEFT, TOP, STEP, STEP)
        assert source.crs == "EPSG:32631" and set(source.dtypes) == {dtype}
        np.testing.assert_equal(source.nodata, 0.0 if dtype == "uint16" else np.nan)
        np.testing.assert_array_equal(source.read(), expected)
        np.testing.assert_array_equal(source.read(2, out_shape=(16, 19)).shape, (16, 19))


def test_blocks_that_are_not_worked_on_are_left_out(small_area):
    """A pilot's picture would name files that never come, and QGIS would refuse it."""
    left, top = LEFT + 70 * STEP, TOP - 70 * STEP
    area = area_with("small", window=[left, top - 10 * STEP, left + 80 * STEP, top])
    mapmill("vrt", area, PERIOD, VRT)
    text = VRT.read_text()
    assert [text.count(f"{name}.tif") for name in ("r001c001", "r001c002", "r000c000")] == [3, 3, 0]
    with rasterio.open(VRT) as source:
        assert source.shape == (64, 128)
        assert source.transform == from_origin(LEFT + 64 * STEP, TOP - 64 * STEP, STEP, STEP)


def test_equal_areas_give_equal_bytes(small_area):
    """Every run would make the workflow believe that the picture has changed."""
    mapmill("vrt", small_area, PERIOD, VRT)
    first = VRT.read_bytes()
    mapmill("vrt", small_area, PERIOD, VRT)
    assert VRT.read_bytes() == first
    assert b"/tmp" not in first and str(Path.cwd()).encode() not in first


def test_a_period_that_is_not_there(small_area, capsys):
    """An empty picture would pass for that of a period with a typing mistake."""
    line = refused_cleanly(capsys, "vrt", small_area, "2019-01", "out/x.vrt")
    assert "2019-01" in line and PERIOD in line
