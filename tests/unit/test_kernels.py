"""Kernels over class rasters, against loops written out and against GDAL."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from making import CRS, LEFT, STEP, TOP, write_tif
from rasterio import open as open_raster
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject

from mapmill.kernels import centre_weights, mode, nearest, weighted

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
quick = settings(deadline=None, derandomize=True, max_examples=120)


@st.composite
def labels(draw, codes=256):
    """(classes (y, x), factor); of few codes half of the time, so that ties are common."""
    factor = draw(st.integers(1, 6))
    rows, cols = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    top = draw(st.sampled_from([2, 3, codes]))
    shape = (rows * factor, cols * factor)
    return draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, top - 1))), factor


def cells(label_YX, factor):
    """Each cell as rows of codes."""
    for row in range(label_YX.shape[0] // factor):
        for col in range(label_YX.shape[1] // factor):
            yield [
                [int(label_YX[row * factor + y, col * factor + x]) for x in range(factor)]
                for y in range(factor)
            ]


def winner(cell, weight_of_class, weight_of_place):
    """The class with the largest total; of equal ones that which was complete first."""
    total, complete = {}, {}
    for y, line in enumerate(cell):
        for x, code in enumerate(line):
            if code:
                weight = weight_of_class[code] * weight_of_place[y][x]
                if weight or code not in total:
                    complete[code] = (y, x)
                total[code] = total.get(code, 0) + weight
    most = max(total.values(), default=0)
    return (
        min((at, code) for code, at in complete.items() if total[code] == most)[1] if total else 0
    )


@quick
@given(labels())
def test_mode_is_the_most_frequent_class(given_labels):
    """Otherwise the training labels would not be the label map at the grid's resolution."""
    label_YX, factor = given_labels
    flat = [[1] * factor] * factor
    expected = [winner(cell, [1] * 256, flat) for cell in cells(label_YX, factor)]
    assert mode(label_YX, factor).ravel().tolist() == expected


@quick
@given(labels())
def test_no_label_never_wins_beside_a_class(given_labels):
    """Otherwise sparse polygons would vanish from the labels, or an empty cell gain a class."""
    label_YX, factor = given_labels
    for result, cell in zip(mode(label_YX, factor).ravel(), cells(label_YX, factor), strict=True):
        classes = {code for line in cell for code in line} - {0}
        assert result in (classes or {0})


@quick
@given(labels(codes=4), st.lists(st.integers(0, 3), min_size=4, max_size=4), st.data())
def test_weighted_is_the_class_with_the_largest_sum(given_labels, class_weights, data):
    """Otherwise a rare class would not be favoured as the area file says."""
    label_YX, factor = given_labels
    places = data.draw(hnp.arrays(np.int64, (factor, factor), elements=st.integers(0, 3)))
    weight_C = np.ones(256)
    weight_C[:4] = class_weights
    expected = [winner(c, weight_C.tolist(), places.tolist()) for c in cells(label_YX, factor)]
    found = weighted(label_YX, factor, weight_C, places.astype(float)).ravel().tolist()
    assert found == expected


def test_a_class_that_weighs_more_wins_where_it_is_fewer():
    """Otherwise roads and rivers one pixel wide could not be kept."""
    label_YX = np.array([[1, 1], [1, 2]], np.uint8)
    weight_C = np.ones(256)
    assert weighted(label_YX, 2, weight_C, np.ones((2, 2))).item() == 1
    weight_C[2] = 3.5
    assert weighted(label_YX, 2, weight_C, np.ones((2, 2))).item() == 2


def by_overview(path, factor):
    """GDAL's mode while reading at a lower resolution."""
    with open_raster(path) as source:
        shape = (source.height // factor, source.width // factor)
        return source.read(1, out_shape=shape, resampling=Resampling.mode)


def by_warp(path, factor):
    """GDAL's mode while warping."""
    with open_raster(path) as source:
        result = np.zeros((source.height // factor, source.width // factor), np.uint8)
        reproject(
            source.read(1),
            result,
            src_transform=source.transform,
            src_crs=CRS,
            dst_transform=from_origin(LEFT, TOP, STEP * factor, STEP * factor),
            dst_crs=CRS,
            src_nodata=0,
            dst_nodata=0,
            resampling=Resampling.mode,
        )
    return result


@pytest.mark.parametrize("gdal", [by_overview, by_warp])
@pytest.mark.parametrize("classes", [1, 2, 3, 5, 255])
@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_mode_breaks_ties_as_gdal_does(tmp_path, gdal, classes, factor):
    """Otherwise the labels would differ from those that GDAL makes of the same map."""
    random = np.random.default_rng(classes * 10 + factor)
    label_YX = random.integers(0, classes + 1, (factor * 24, factor * 24), dtype=np.uint8)
    label_YX[: factor * 6] = np.repeat(label_YX[:6], factor, axis=0)  # whole rows alike
    label_YX[:, : factor * 6] = np.repeat(label_YX[:, :6], factor, axis=1)
    label_YX[: factor * 3, : factor * 3] = 0
    path = write_tif(tmp_path / "labels.tif", label_YX, nodata=0)
    assert np.array_equal(mode(label_YX, factor), gdal(path, factor))


@pytest.mark.parametrize("gdal", [by_overview, by_warp])
def test_mode_agrees_with_gdal_on_every_cell_of_two_by_two(tmp_path, gdal):
    """Otherwise some arrangement of a tie would be broken in another way than GDAL's."""
    cells_N = np.stack(np.meshgrid(*[np.arange(5)] * 4, indexing="ij"), axis=-1).reshape(-1, 2, 2)
    label_YX = cells_N.reshape(25, 25, 2, 2).transpose(0, 2, 1, 3).reshape(50, 50).astype(np.uint8)
    path = write_tif(tmp_path / "labels.tif", label_YX, nodata=0)
    assert np.array_equal(mode(label_YX, 2), gdal(path, 2))


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 6])
def test_nearest_is_gdals(tmp_path, factor):
    """Otherwise labels would be taken from another corner of the cell, shifted by a pixel."""
    random = np.random.default_rng(factor)
    label_YX = random.integers(0, 256, (factor * 11, factor * 13), dtype=np.uint8)
    with open_raster(write_tif(tmp_path / "labels.tif", label_YX)) as source:
        expected = source.read(1, out_shape=(11, 13), resampling=Resampling.nearest)
    assert np.array_equal(nearest(label_YX, factor), expected)


@pytest.mark.parametrize("factor", [1, 2, 5])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 2.0])
def test_centre_weights_are_the_gaussian_of_the_distance(factor, sigma):
    """Otherwise `sigma` would not be in cells, and labels would lean to one side of the cell."""
    found = centre_weights(factor, sigma)
    for y in range(factor):
        for x in range(factor):
            dy, dx = (y + 0.5 - factor / 2) / factor, (x + 0.5 - factor / 2) / factor
            assert found[y, x] == pytest.approx(math.exp(-(dy * dy + dx * dx) / (2 * sigma**2)))


def test_a_narrow_centre_weight_takes_the_middle_pixel():
    """Otherwise the weight by place would be turned or flipped against the labels."""
    label_YX = np.arange(1, 226, dtype=np.uint8).reshape(15, 15)
    found = weighted(label_YX, 5, np.ones(256), centre_weights(5, 0.02))
    assert np.array_equal(found, label_YX[2::5, 2::5])
