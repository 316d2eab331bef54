"""downsample: on the lattice as GDAL does it, elsewhere by the centres of label pixels."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from making import CRS, LEFT, TOP, write_tif
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from stages.stage_steps import area_with, downsample, mapmill

from mapmill.grid import Grid
from mapmill.majority import Choice
from mapmill.raster.lattice import describe, lattice_of
from mapmill.routes import Codes, by_centres, by_lattice

quick = settings(deadline=None, derandomize=True, max_examples=40)
HEIGHT, WIDTH = 160, 192


def gdal_mode(path, grid, **options):
    """GDAL's mode on the grid, of pixels in the grid's own CRS."""
    place = from_origin(grid.left, grid.top, grid.resolution, grid.resolution)
    options |= {"transform": place, "width": grid.width, "height": grid.height, "nodata": 0}
    with (
        rasterio.open(path) as source,
        WarpedVRT(source, crs=source.crs, resampling=Resampling.mode, **options) as warped,
    ):
        return warped.read(1)


def joined(made, grid, classes):
    """What a route makes of each block of a grid, as one array."""
    result = np.zeros((grid.height, grid.width), np.uint8)
    areas = np.zeros((4, classes + 1))
    for block in grid.blocks():
        cells = made(block.window)
        result[block.window.slices(grid.window)] = cells.class_YX
        areas += cells.areas.columns
    return result, areas


@quick
@given(
    factor=st.integers(2, 16), high=st.integers(1, 40), wide=st.integers(1, 40),
    down=st.integers(-30, 30), right=st.integers(-30, 30), block=st.integers(16, 24),
    codes=st.sampled_from([2, 3, 12, 255]), nodata=st.sampled_from([None, 0, 1, 255]),
    patch=st.integers(1, 9), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_mask_becomes_what_gdal_makes_of_it(
    tmp_path_factory, factor, high, wide, down, right, block, codes, nodata, patch, seed
):
    """Labels would differ from those that GDAL makes of the same map.

    Any ratio, size, offset, blocks that do not divide the grid, and masks smaller than a block.
    """
    random = np.random.default_rng(seed)
    coarse_YX = random.integers(0, codes + 1, (high, wide), dtype=np.uint8)
    code_YX = np.kron(coarse_YX, np.ones((patch, patch), np.uint8))
    code_YX[np.ix_([0, -1], [0, -1])] = nodata or 0
    path = tmp_path_factory.mktemp("any") / "labels.tif"
    write_tif(path, code_YX, left=LEFT + right, top=TOP - down, step=1, nodata=nodata)
    grid = Grid("EPSG:25831", LEFT, TOP, factor, 37, 23, block)
    file = describe(path)
    lattice = lattice_of(file, grid)
    table = {str(code): code for code in range(256)}
    found, areas = joined(
        lambda w: by_lattice(file, lattice, w, Codes(table, 255), Choice(255), 2, False), grid, 255
    )
    # on ground of the grid's own size: GDAL's warper, which guesses its scale from what overlaps,
    # would give classes to cells beside the mask
    around_YX = np.pad(np.where(code_YX == nodata, 0, code_YX), 1000)
    around_YX = around_YX[1000 - down :, 1000 - right :][: 23 * factor, : 37 * factor]
    write_tif(path, around_YX, step=1, nodata=0)
    with rasterio.open(path) as source:
        expected = source.read(1, out_shape=(23, 37), resampling=Resampling.mode)
    assert np.array_equal(found, expected)
    assert np.allclose(areas[:2].sum(axis=1), grid.width * grid.height)


@settings(quick, max_examples=20)
@given(
    ratio=st.sampled_from([0.3, 1.0, 1.5, 2.0, 2.37, 7.3]), down=st.integers(-9, 9),
    right=st.integers(-9, 9), seed=st.integers(0, 99),
    crs=st.sampled_from([CRS, "EPSG:25830", "EPSG:4326", "EPSG:3035"]),
    method=st.sampled_from(["mode", "nearest", "weighted"]),
)  # fmt: skip
def test_other_lattices_go_by_the_centres_of_pixels(
    tmp_path_factory, ratio, down, right, crs, seed, method
):
    """Labels in another CRS or of another resolution would be shifted, or differ at blocks' seams.

    The reference projects every pixel by itself and counts it where it falls.
    """
    x, y = Transformer.from_crs(CRS, crs, always_xy=True).transform(LEFT, TOP)
    step = 10 / ratio * (1e-5 if crs == "EPSG:4326" else 1)
    code_YX = np.random.default_rng(seed).integers(0, 4, (40, 50), dtype=np.uint8)
    path = tmp_path_factory.mktemp("other") / "labels.tif"
    place = {"left": x + (right + 0.137) * step, "top": y - (down + 0.219) * step, "step": step}
    write_tif(path, code_YX, crs=crs, **place)
    file, choice = describe(path), Choice(3, method, class_weights={2: 1.5})
    small, large = (Grid(CRS, LEFT - 50, TOP + 40, 10, 20, 18, block) for block in (11, 64))
    found, areas = joined(
        lambda w: by_centres(file, small, w, Codes(None, 3), choice, 1, False), small, 3
    )
    other, _ = joined(
        lambda w: by_centres(file, large, w, Codes(None, 3), choice, 2, True), large, 3
    )
    assert np.allclose(areas[:2].sum(axis=1), found.size)
    assert np.array_equal(found, other)
    assert np.array_equal(found, by_hand(code_YX, place, crs, large, choice))


def by_hand(code_YX, place, crs, grid, choice):
    """Classes of cells, pixel by pixel."""
    ring = 140  # of pixels of no class, beyond the raster
    padded = np.pad(code_YX, ring)
    rows, cols = np.indices(padded.shape) - ring + 0.5
    to_grid = Transformer.from_crs(crs, grid.crs, always_xy=True).transform
    x, y = to_grid(place["left"] + cols * place["step"], place["top"] - rows * place["step"])
    col, row = (x - grid.left) / grid.resolution, (grid.top - y) / grid.resolution
    high, wide = np.indices((grid.height, grid.width)) + 0.5
    to_file = Transformer.from_crs(grid.crs, crs, always_xy=True).transform
    x, y = to_file(grid.left + wide * grid.resolution, grid.top - high * grid.resolution)
    i = np.floor((place["top"] - y) / place["step"]).astype(int) + ring
    j = np.floor((x - place["left"]) / place["step"]).astype(int) + ring
    result = padded[i, j].astype(int)  # the pixel that holds the centre
    pixels = {}
    for r, c, code in zip(row.ravel(), col.ravel(), padded.ravel().tolist(), strict=True):
        pixels.setdefault((math.floor(r), math.floor(c)), []).append(code)
    weight = [1, 1, 1.5 if choice.method == "weighted" else 1, 1]
    for r, c in np.ndindex(result.shape):
        if choice.method == "nearest" or (r, c) not in pixels:
            continue
        total, best = [0, 0, 0, 0], 0
        for code in pixels[r, c]:
            total[code] += weight[code]
            if code and (best == 0 or total[code] > total[best]):
                best = code
        result[r, c] = best
    return result


def said_of(caplog, name="small"):
    return [r.message for r in caplog.records if f"results/{name}/downsample" in r.message][-1]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"crs": "EPSG:25831", "step": 2}, "as they are (EPSG:25831 taken for EPSG:32631"),
        ({"step": 2}, "5 x 5 label pixels a cell, as they are, "),
        ({"step": 3}, "labels in another lattice: exact, slower"),
        ({"step": 2, "left": LEFT + 1}, "labels in another lattice: exact, slower"),
        (
            {"crs": "EPSG:3857", "left": 199000, "top": 5092000, "step": 20},
            "labels in another CRS, EPSG:3857: exact, slower",
        ),
    ],
)
def test_the_log_tells_the_route(small_area, caplog, place, said):
    """Nobody would know why labels take long, or that two systems were taken for one."""
    caplog.set_level(logging.INFO)
    write_tif(Path("data/labels.tif"), np.ones((800, 960), np.uint8), **place)
    downsample(small_area)
    assert said in said_of(caplog)


def test_a_factor_that_is_told_reads_the_nearest_pixels(small_area, caplog):
    """`labels.factor` would be passed over, and labels that fit only nearly be read slowly."""
    caplog.set_level(logging.INFO)
    code_YX = np.random.default_rng(0).integers(0, 4, (400, 480), dtype=np.uint8)
    write_tif(Path("data/labels.tif"), code_YX, step=4)
    found = downsample(area_with("told", labels={"factor": 1}))
    assert "1 x 1 label pixels a cell, each the nearest" in said_of(caplog, "told")
    rows, cols = ((np.arange(n) * 10 + 5) // 4 for n in (HEIGHT, WIDTH))
    np.testing.assert_array_equal(found, code_YX[rows[:, None], cols])


def test_overviews_change_nothing(small_area):
    """A mask with overviews would give other labels than the same mask without."""
    code_YX = np.random.default_rng(0).integers(0, 4, (1600, 1920), dtype=np.uint8)
    write_tif(Path("data/labels.tif"), code_YX, step=1, nodata=0)
    with rasterio.open("data/labels.tif", "r+") as target:
        target.build_overviews([2, 4, 8, 16], Resampling.nearest)
    grid = Grid(CRS, LEFT, TOP, 10, WIDTH, HEIGHT, 64)
    bare = write_tif(Path("data/bare.tif"), code_YX, step=1, nodata=0)
    np.testing.assert_array_equal(downsample(small_area), gdal_mode(bare, grid))


def test_real_mask_is_what_gdal_makes_of_it(small_area, real_data):
    """The 30 m version of a real 1 m map would differ from GDAL's."""
    path = real_data / "landcover_1m/landcover_polygon_1m.tif"
    with rasterio.open(path) as source:
        left, bottom, right, top = source.bounds
        codes = sorted(set(np.unique(source.read(1)).tolist()) - {0})
        crs = str(source.crs)
    width, height = int((right - left) // 30), int((top - bottom) // 30)
    bounds = [left, top - 30 * height, left + 30 * width, top]
    area = area_with(
        "real",
        grid={"crs": crs, "resolution": 30, "bounds": bounds, "block": 128},
        classes={n: {"name": f"class {n}", "colour": "#123456"} for n in range(1, max(codes) + 1)},
        labels={"file": str(path)},
    )
    content = yaml.safe_load(area.read_text())
    assert content["grid"]["resolution"] == 30 and len(codes) > 2
    grid = Grid(crs, left, top, 30, width, height, 128)
    expected = gdal_mode(path, grid, src_nodata=0)
    found = downsample(area)
    assert (found > 0).sum() > 1000
    np.testing.assert_array_equal(found, expected)


def test_threads_change_nothing(small_area):
    """The labels would depend on the machine that made them."""
    code_YX = np.random.default_rng(0).integers(0, 4, (1600, 1920), dtype=np.uint8)
    write_tif(Path("data/labels.tif"), code_YX, step=1)
    downsample(small_area)
    for threads in (1, 5):
        mapmill("downsample", small_area, "r001c001", f"out/{threads}.tif", "--threads", threads)
    assert Path("out/1.tif").read_bytes() == Path("out/5.tif").read_bytes()
    assert Path("out/1.csv").read_bytes() == Path("out/5.csv").read_bytes()
