"""compose: pixels of the sources end up where their coordinates say, whatever their grid."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.windows
from making import CRS, LEFT, STEP, TOP, write_tif
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject
from stages.stage_steps import PERIOD, area_with, compose, files, read

HEIGHT, WIDTH = 160, 192
BOUNDS = (LEFT, TOP - HEIGHT * STEP, LEFT + WIDTH * STEP, TOP)


def coordinates(height, width, scale=1):
    """Bands `row` and `col`: each pixel holds its own place, from 1."""
    rows, cols = np.mgrid[1 : height + 1, 1 : width + 1] * scale
    return np.stack([rows, cols]).astype(np.uint16)


def coordinate_area(name="coordinates", pattern="data/place.tif", **sections):
    compose_section = {"bands": ["row", "col"], **sections.pop("compose", {})}
    return area_with(name, search={"periods": files(pattern)}, compose=compose_section, **sections)


def warped(path, *, crs=CRS, bounds=BOUNDS, method="bilinear", scale=1.0):
    """GDAL's warp over the whole grid, in one piece; `scale` is target over source pixels."""
    left, bottom, right, top = bounds
    shape = (round((top - bottom) / STEP), round((right - left) / STEP))
    with rasterio.open(path) as source:
        result, _ = reproject(
            rasterio.band(source, 1),
            np.zeros(shape, np.uint16),
            dst_crs=crs,
            dst_transform=from_origin(left, top, STEP, STEP),
            src_nodata=0,
            dst_nodata=0,
            resampling=Resampling[method],
            tolerance=0,
            XSCALE=str(scale),
            YSCALE=str(scale),
        )
    return result


def assert_within_one(found, expected):
    np.testing.assert_array_equal(found == 0, expected == 0)
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


@pytest.mark.parametrize(("rows_up", "cols_left"), [(0, 0), (7, 5), (-9, -70), (-65, 20)])
def test_whole_pixel_offset_is_exact(small_area, rows_up, cols_left):
    """The image would lie a pixel beside the labels."""
    path = write_tif(
        Path("data/place.tif"),
        coordinates(220, 240),
        left=LEFT - cols_left * STEP,
        top=TOP + rows_up * STEP,
        bands=["row", "col"],
    )
    with rasterio.open(path) as source:
        window = rasterio.windows.from_bounds(*BOUNDS, source.transform).round()
        expected = source.read(window=window, boundless=True, fill_value=0)
    found = compose(coordinate_area())
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "average"])
@pytest.mark.parametrize("step", [4, 20, 60])
def test_other_resolutions_have_no_seams(small_area, step, method):
    """Bands of 20 m and 60 m would be shifted, or show the edges of the blocks."""
    size = round(2400 / step)
    values = coordinates(size, size, scale=60_000 // size)
    values[1] = np.random.default_rng(step).integers(1, 4000, (size, size))
    place = {"left": LEFT - step - 10, "top": TOP + step + 10, "step": step}
    paths = [Path(f"data/place_{band}.tif") for band in ("row", "col")]
    for path, band in zip(paths, values, strict=True):
        write_tif(path, band, **place)
    grid = {"block": 53}  # leaves blocks that are one pixel high at the southern edge
    area = coordinate_area(
        "res", "data/place_{band}.tif", compose={"resampling": method}, grid=grid
    )
    for found, path in zip(compose(area), paths, strict=True):
        assert_within_one(found, warped(path, method=method, scale=min(1, step / STEP)))
        assert found.all()


@pytest.mark.parametrize(
    ("crs", "left", "top", "step"),
    [("EPSG:4326", 1.81, 41.56, 3e-4), ("EPSG:32630", 901_000.0, 4_613_500.0, 14.0)],
)
def test_source_in_another_crs(small_area, crs, left, top, step):
    """A scene of the neighbouring zone would be shifted, or show the edges of the blocks."""
    paths = [Path(f"data/place_{band}.tif") for band in ("row", "col")]
    for path, band in zip(paths, coordinates(300, 300, scale=200), strict=True):
        write_tif(path, band, left=left, top=top, step=step, crs=crs)
    area = coordinate_area("other", "data/place_{band}.tif", grid={"block": 53})
    for found, path in zip(compose(area), paths, strict=True):
        expected = warped(path)
        assert 0.5 < (expected > 0).mean() < 1
        assert_within_one(found, expected)


def test_names_nodata_and_place_are_in_the_file(small_area):
    """QGIS would show the image without band names, with black borders, or elsewhere."""
    compose(small_area)
    with rasterio.open(f"results/small/compose/{PERIOD}/r001c002.tif") as block:
        assert block.descriptions == ("B02", "B03", "B04")
        assert (block.nodata, set(block.dtypes)) == (0, {"uint16"})
        assert block.crs == CRS
        assert block.transform == from_origin(LEFT + 128 * STEP, TOP - 64 * STEP, STEP, STEP)
        expected = read("data/S1_B02.tif")[0, 64:128, 128:192]
        np.testing.assert_array_equal(block.read(1), expected)
    assert not list(Path("results").rglob("*.aux.xml"))


def test_three_resolutions_of_a_real_scene(small_area, real_data):
    """Sentinel-2 bands at 10, 20 and 60 m could not be stacked."""
    folder = real_data / "sentinel2_bands"
    with rasterio.open(folder / "B02.tif") as source:
        left, top, crs = source.bounds.left + 2000, source.bounds.top - 3000, source.crs
        expected = source.read(1, window=rasterio.windows.Window(200, 300, 150, 130))
    bounds = [left, top - 1300, left + 1500, top]
    area = area_with(
        "three",
        grid={"crs": str(crs), "resolution": 10, "bounds": bounds, "block": 64},
        search={"periods": files(folder / "{band}.tif")},
        compose={"bands": ["B02", "B05", "B01"], "resampling": "bilinear"},
    )
    found = compose(area)
    np.testing.assert_array_equal(found[0], expected)
    for index, band in ((1, "B05"), (2, "B01")):
        one_piece = warped(folder / f"{band}.tif", crs=crs, bounds=bounds)
        assert_within_one(found[index], one_piece)


def test_signed_bands_of_cbers(small_area, real_data):
    """CBERS-4A scenes, which INPE serves as signed numbers, could not be used."""
    folder = real_data / "cbers4a_wpm"
    with rasterio.open(folder / "BAND2.tif") as source:
        left, top, crs = source.bounds.left + 80, source.bounds.top - 160, source.crs
        expected = source.read(1, window=rasterio.windows.Window(10, 20, 100, 90))
    bounds = [left, top - 720, left + 800, top]
    area = area_with(
        "cbers",
        grid={"crs": str(crs), "resolution": 8, "bounds": bounds, "block": 64},
        search={"periods": files(folder / "{band}.tif")},
        compose={"bands": ["BAND2", "BAND1", "BAND0"]},
    )
    found = compose(area)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found[0], expected)
    assert not found[2].any()  # the panchromatic band covers another part of the scene
