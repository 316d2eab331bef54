"""downsample: classes of the grid's pixels are those of the labels at the same place."""

import csv
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from making import LEFT, STEP, TOP, write_tif
from rasterio.windows import from_bounds
from stages.stage_steps import area_with, assert_most_frequent, downsample, mapmill, read, refused

from mapmill.areafile import load_area
from mapmill.areas import totals as totals_of
from mapmill.areas import warn_of_losses
from mapmill.layout import Layout

HEIGHT, WIDTH = 160, 192
BOUNDS = (LEFT, TOP - HEIGHT * STEP, LEFT + WIDTH * STEP, TOP)
KINDS = ["field", "wood", "lake"]


def patchy(height, width, seed=1):
    """Simulated classes 0 to 3 that change every few pixels."""
    coarse = np.random.default_rng(seed).integers(0, 4, (-(-height // 3), -(-width // 3)))
    return np.kron(coarse, np.ones((3, 3), int))[:height, :width].astype(np.uint8)


@pytest.mark.parametrize(("cols_left", "rows_up"), [(0, 0), (1, 0), (37, 11)])
def test_label_raster_that_starts_elsewhere(small_area, cols_left, rows_up):
    """Every label would lie a pixel beside the ground it describes."""
    labels = patchy(190, 240)
    left, top = LEFT - cols_left * STEP, TOP + rows_up * STEP
    write_tif(Path("data/labels.tif"), labels, left=left, top=top)
    expected = labels[rows_up : rows_up + HEIGHT, cols_left : cols_left + WIDTH]
    np.testing.assert_array_equal(downsample(small_area), expected)


@pytest.mark.parametrize("cols_left", [0, 1, 5])
def test_most_frequent_of_five_by_five(small_area, cols_left):
    """A class map at 2 m would lose its majority, or be shifted by part of a pixel."""
    labels = patchy(800, 980)
    write_tif(Path("data/labels.tif"), labels, left=LEFT - 2 * cols_left, step=2)
    found = downsample(small_area)
    assert_most_frequent(found, labels[:, cols_left : cols_left + 960], 5)


def test_nearest_takes_the_centre(small_area):
    """The cheap method would take a label from the corner of a pixel, half a pixel off."""
    labels = patchy(800, 960)
    write_tif(Path("data/labels.tif"), labels, step=2)
    found = downsample(area_with("near", downsample={"method": "nearest"}))
    np.testing.assert_array_equal(found, labels[2::5, 2::5])


@pytest.mark.parametrize("nodata", [None, -1, -9])
def test_flood_mask(small_area, nodata):
    """'Not flooded', which has code 0, would be ignored, or 'unknown' be learnt as a class."""
    codes = np.random.default_rng(0).integers(-1, 4, (HEIGHT, 150)).astype(np.int16)
    codes[:7] = -1 if nodata is None else nodata
    write_tif(Path("data/labels.tif"), codes, nodata=nodata)
    area = area_with("flood", labels={"codes": {-1: 0, 0: 1, 1: 2, 2: 3}})  # 3 is not listed
    expected = np.where((codes >= 0) & (codes < 3), codes + 1, 0)
    np.testing.assert_array_equal(downsample(area)[:, :150], expected)


def test_beyond_the_labels_is_no_class(small_area):
    """Ground without labels would be learnt as the class whose code is 0."""
    write_tif(Path("data/labels.tif"), np.ones((100, WIDTH), np.int16))
    found = downsample(area_with("flood", labels={"codes": {0: 1, 1: 2}}))
    assert (found[:100] == 2).all()
    assert not found[100:].any()


def test_table_of_class_areas(small_area):
    """The table would not tell how much of a class is lost on the way to the grid."""
    labels = patchy(800, 960)
    write_tif(Path("data/labels.tif"), labels, step=2)
    found = downsample(small_area)
    totals = np.zeros((2, 4))
    for path in Path("results/small/downsample").glob("*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["class"] for row in rows] == [str(n) for n in range(len(KINDS) + 1)]
        areas = np.array([[float(r["area_before"]), float(r["area_after"])] for r in rows]).T
        with rasterio.open(path.with_suffix(".tif")) as block:
            np.testing.assert_allclose(areas.sum(axis=1), block.width * block.height * STEP**2)
        totals += areas
    np.testing.assert_allclose(totals[0], np.bincount(labels.ravel()) * 4)
    np.testing.assert_allclose(totals[1], np.bincount(found.ravel()) * 100)
    own = labels == np.kron(found, np.ones((5, 5), np.uint8))
    areas = totals_of(load_area(small_area), Layout("small"))
    np.testing.assert_allclose(areas.kept, np.bincount(labels[own]) * 4)
    pure = own.reshape(HEIGHT, 5, WIDTH, 5).all(axis=(1, 3))
    np.testing.assert_allclose(areas.pure, np.bincount(found[pure], minlength=4) * 100)


def test_a_class_that_is_lost_is_told(small_area, caplog):
    """Roads and streams would vanish from the labels, and from the map, without a word."""
    labels = np.ones((800, 960), np.uint8)
    labels[:, ::5] = 3
    labels[::2, 100:500] = 2
    write_tif(Path("data/labels.tif"), labels, step=2)
    downsample(small_area)
    warn_of_losses(load_area(small_area), Layout("small"))
    (line,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith("lake loses 100% of its area to downsampling (mode)")


def test_fraction_is_the_share_of_the_class(small_area):
    """A soft label would say that a mixed cell is sure, or that a pure one is not."""
    labels = patchy(800, 960)
    write_tif(Path("data/labels.tif"), labels, step=2)
    found = downsample(small_area)
    target = Path("results/small/downsample/fraction/r000c001.tif")
    mapmill("downsample", small_area, "r000c001", "out/b.tif", target, "--threads", "3")
    place = (slice(0, 64), slice(64, 128))
    assert np.array_equal(read("out/b.tif")[0], found[place])
    own = labels == np.kron(found, np.ones((5, 5), np.uint8))
    count = own.reshape(HEIGHT, 5, WIDTH, 5).sum(axis=(1, 3))
    expected = np.where(found > 0, np.maximum(count * 100 // 25, 1), 0)[place]
    assert np.array_equal(read(target)[0], expected)


@pytest.mark.parametrize(
    ("values", "codes", "said"),
    [
        (np.uint8([7]), None, "code 7"),
        (np.int16([-1]), None, "code -1"),
        (np.float32([1.5]), None, "code 1.5"),
        (np.uint8([1]), {"wood": 2}, "labels.codes.wood"),
    ],
)
def test_codes_that_are_no_classes(small_area, capsys, values, codes, said):
    """Codes outside the table would become classes that nobody asked for."""
    labels = np.full((HEIGHT, WIDTH), values[0], values.dtype)
    write_tif(Path("data/labels.tif"), labels)
    area = area_with("codes", labels={"codes": codes})
    mapmill("download", area, "labels.tif", "results/codes/download/labels.tif")
    assert said in refused(capsys, "downsample", area, "r000c000", "out.tif")
    assert not list(Path().glob("out.*"))


def test_real_class_map_one_pixel_wider(small_area, real_data):
    """A real class map, one pixel wider than its image, would be shifted by that pixel."""
    folder = real_data / "aberystwyth"
    with rasterio.open(folder / "sen2_20210527_aber_mosaic.tif") as image:
        bounds, crs = list(image.bounds), str(image.crs)
    with rasterio.open(folder / "sen2_20210527_aber_cls.tif") as source:
        window = from_bounds(*bounds, source.transform).round()
        assert (window.col_off, window.width, source.width) == (1, 930, 931)
        expected = source.read(1, window=window)
    names = ["Forest", "Grass", "Urban", "Water"]
    area = area_with(
        "wales",
        grid={"crs": crs, "resolution": 10, "bounds": bounds, "block": 512},
        classes={n: {"name": name, "colour": "#123456"} for n, name in enumerate(names, 1)},
        labels={"file": str(folder / "sen2_20210527_aber_cls.tif")},
    )
    assert yaml.safe_load(area.read_text())["grid"]["bounds"] == bounds
    np.testing.assert_array_equal(downsample(area), expected)


def test_real_flood_mask(small_area, real_data):
    """Sen1Floods11 masks (-1 unknown, 0 dry, 1 flooded, in degrees) could not be learnt from."""
    path = real_data / "sen1floods11_spain/Spain_7370579_LabelHand.tif"
    with rasterio.open(path) as source:
        codes, bounds, step = source.read(1), list(source.bounds), source.transform.a
    area = area_with(
        "spain",
        grid={"crs": "EPSG:4326", "resolution": step, "bounds": bounds, "block": 200},
        labels={"file": str(path), "codes": {-1: 0, 0: 1, 1: 2}},
    )
    np.testing.assert_array_equal(downsample(area), codes + 1)
