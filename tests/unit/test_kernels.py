"""Kernels over class rasters, against loops written out and against GDAL."""

import math
from collections import Counter

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

from mapmill.majority import Choice, Reducer, reduce, settle, square_distances

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
quick = settings(deadline=None, derandomize=True, max_examples=120)


def mode(label_YX, factor, **chosen):
    """The most frequent classes."""
    return reduce(Choice(255, **chosen), label_YX, factor)[0]


def nearest(label_YX, factor):
    """The middle pixels."""
    return mode(label_YX, factor, method="nearest")


def weighted(label_YX, factor, weights, sigma=None, **chosen):
    """The heaviest classes; `weights` by class."""
    chosen |= {"class_weights": dict(enumerate(weights)), "sigma": sigma}
    return mode(label_YX, factor, method="weighted", **chosen)


@st.composite
def labels(draw, codes=256):
    """(classes (y, x), factor); of few codes half of the time, so that ties are common."""
    factor = draw(st.integers(1, 16))
    rows, cols = draw(st.integers(1, 3)), draw(st.integers(1, 3))
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


def places(factor, sigma):
    """Weights of places as the area file describes them, in whole numbers from 0 to 255."""
    middle = (factor - 1) / 2
    gauss = [
        [
            -((y - middle) ** 2 + (x - middle) ** 2) / (2 * (sigma * factor) ** 2)
            for x in range(factor)
        ]
        for y in range(factor)
    ]
    most = max(map(max, gauss))
    return [[round(255 * math.exp(value - most)) for value in row] for row in gauss]


@quick
@given(labels(codes=4), st.lists(st.integers(0, 3), min_size=4, max_size=4), st.floats(0.02, 3.0))
def test_weighted_is_the_class_with_the_largest_sum(given_labels, class_weights, sigma):
    """Otherwise a rare class would not be favoured as the area file says."""
    label_YX, factor = given_labels
    weights = places(factor, sigma)
    expected = [winner(c, class_weights, weights) for c in cells(label_YX, factor)]
    assert weighted(label_YX, factor, class_weights, sigma).ravel().tolist() == expected


def test_a_class_that_weighs_more_wins_where_it_is_fewer():
    """Otherwise roads and rivers one pixel wide could not be kept."""
    label_YX = np.array([[1, 1], [1, 2]], np.uint8)
    assert weighted(label_YX, 2, [1, 1, 1]).item() == 1
    assert weighted(label_YX, 2, [1, 1, 3.5]).item() == 2


@quick
@given(labels(codes=4))
def test_ties_by_the_lowest_class(given_labels):
    """Otherwise labels would differ from those that numpy or scipy make of the same map."""
    label_YX, factor = given_labels
    for found, cell in zip(
        mode(label_YX, factor, ties="lowest").ravel(), cells(label_YX, factor), strict=True
    ):
        counts = np.bincount(np.ravel(cell), minlength=2)[1:]
        assert found == (counts.argmax() + 1 if counts.any() else 0)


@quick
@given(labels(codes=4))
def test_ties_by_the_pixel_nearest_to_the_centre(given_labels):
    """Otherwise, of two classes that share a cell, one at its edge would get it."""
    label_YX, factor = given_labels
    middle = (factor - 1) / 2
    for found, cell in zip(
        mode(label_YX, factor, ties="nearest-to-centre").ravel(),
        cells(label_YX, factor),
        strict=True,
    ):
        counts = Counter(code for line in cell for code in line if code)
        tied = [code for code, count in counts.items() if count == max(counts.values())]
        places = [
            ((y - middle) ** 2 + (x - middle) ** 2, y, x, cell[y][x])
            for y in range(factor)
            for x in range(factor)
            if cell[y][x] in tied
        ]
        assert found == (min(places)[3] if places else 0)


@pytest.mark.parametrize("method", ["mode", "weighted"])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.29, 0.5, 0.99])
@pytest.mark.parametrize("factor", [2, 10])
def test_cells_with_few_labels_get_none(method, share, factor):
    """Otherwise one mapped pixel would label a whole cell against the area file's word."""
    size = factor**2
    label_YX = np.zeros((factor, factor * (size + 1)), np.uint8)
    for number in range(size + 1):
        cell = np.zeros(size, np.uint8)
        cell[:number] = 7
        np.random.default_rng(number).shuffle(cell)
        label_YX[:, number * factor : (number + 1) * factor] = cell.reshape(factor, factor)
    choice = Choice(7, method, min_fraction=share, sigma=1.0)
    found, count = reduce(choice, label_YX, factor)
    expected = [7 if 100 * number > round(100 * share) * size else 0 for number in range(size + 1)]
    assert found.ravel().tolist() == expected
    numbers = [n if winner else size - n for n, winner in enumerate(expected)]
    assert count.ravel().tolist() == numbers


@quick
@given(labels(codes=40), st.sampled_from(["nearest", "mode", "weighted"]), st.booleans())
def test_tally_counts_what_became_of_the_pixels(given_labels, method, recoded):
    """Otherwise the table of areas would tell of other losses than there are."""
    label_YX, factor = given_labels
    table = np.arange(256, dtype=np.uint8)
    if recoded:
        table = (table % 12).astype(np.uint8)
    cols = label_YX.shape[1] // factor
    reducer = Reducer(Choice(39, method, sigma=0.4), factor, cols, table if recoded else None)
    cell_YX, count_YX, beyond = reducer(label_YX)
    class_YX = table[label_YX]
    big_YX = np.kron(cell_YX, np.ones((factor, factor), np.uint8))
    before, after, kept, pure = reducer.tally.counts[:, :256]
    assert beyond == 0
    assert np.array_equal(before, np.bincount(class_YX.ravel(), minlength=256))
    assert np.array_equal(after, np.bincount(cell_YX.ravel(), minlength=256))
    assert np.array_equal(kept, np.bincount(class_YX[class_YX == big_YX], minlength=256))
    own = (class_YX == big_YX).reshape(-1, factor, cols, factor).sum(axis=(1, 3))
    assert np.array_equal(count_YX, own)
    assert np.array_equal(pure, np.bincount(cell_YX[own == factor**2], minlength=256))


@pytest.mark.parametrize("classes", [3, 30, 254])
def test_codes_beyond_the_classes_are_counted(classes):
    """Otherwise a code that is no class would pass for one, or vanish."""
    label_YX = np.full((12, 20), classes, np.uint8)
    label_YX[7, 11] = 255
    assert Reducer(Choice(classes), 4, 5)(label_YX)[2] == 1
    with pytest.raises(ValueError, match="1 pixels"):
        reduce(Choice(classes), label_YX, 4)


@quick
@given(labels(codes=5), st.sampled_from(["first", "lowest", "nearest-to-centre"]), st.data())
def test_cells_of_any_number_of_pixels_follow_the_same_rules(given_labels, ties, data):
    """Otherwise labels in another CRS would be judged otherwise than those on the lattice."""
    label_YX, factor = given_labels
    sigma = data.draw(st.sampled_from([None, 0.3]))
    choice = Choice(4, "weighted", ties, data.draw(st.sampled_from([0, 0.4])), {2: 1.5}, sigma)
    by_cell = np.array(list(cells(label_YX, factor)), np.uint8).reshape(-1, factor**2)
    starts = np.arange(len(by_cell) + 1) * factor**2
    square_N = np.tile(square_distances(factor).ravel(), len(by_cell))
    found = settle(choice, by_cell.ravel(), starts, square_N)
    for mine, theirs in zip(found, reduce(choice, label_YX, factor), strict=True):
        assert np.array_equal(mine, theirs.ravel())


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


@quick
@given(labels(codes=3), st.booleans())
def test_mode_is_gdals_on_any_map(given_labels, sparse):
    """Otherwise the fast count by the middle pixel would differ from GDAL's where it is close."""
    label_YX, factor = given_labels
    if sparse:
        label_YX = label_YX * (np.random.default_rng(factor).random(label_YX.shape) < 0.1)
    result = np.zeros((label_YX.shape[0] // factor, label_YX.shape[1] // factor), np.uint8)
    place = {"src_crs": CRS, "dst_crs": CRS, "src_nodata": 0, "dst_nodata": 0}
    place |= {"src_transform": from_origin(LEFT, TOP, 1, 1)}
    place |= {"dst_transform": from_origin(LEFT, TOP, factor, factor)}
    reproject(label_YX, result, resampling=Resampling.mode, **place)
    assert np.array_equal(mode(label_YX, factor), result)
