"""The simulated world: one truth for every place, whoever asks for it and in whatever part."""

import numpy as np
import pytest

from mapmill.majority import Choice, reduce
from mapmill.spectra import BANDS, OPEN_S, REFLECTANCE_PSB, ROUGH_S, cloud, simulate
from mapmill.world import cell, memory, world

NONE, BUILDING, ROAD, WATER = 0, 7, 8, 9


def centres(row, col, height, width, shift=0.0):
    """Centres of cells, in metres from the north-western corner."""
    east = (np.arange(col, col + width) + 0.5) * 10 + shift
    return np.meshgrid(east, (np.arange(row, row + height) + 0.5) * 10 + shift)


@pytest.fixture(scope="module")
def whole():
    """An area of 200 x 200 cells: world, labels, truth, images."""
    place = world(200, 4)
    return place, *simulate(*centres(0, 0, 200, 200), (0, 0), place, "both")


def test_truth_is_the_mode_of_the_labels(whole):
    """Scores against the truth would blame the model for another rule of ties."""
    _, label_YX, truth_YX, _ = whole
    np.testing.assert_array_equal(truth_YX, reduce(Choice(12), label_YX, 10)[0])


def test_a_part_is_that_part_of_the_whole(whole):
    """The area would change with the size of the parts that it is made in."""
    place, *arrays = whole
    part = simulate(*centres(37, 90, 51, 23), (37, 90), place, "both")
    rows, cols = slice(37, 88), slice(90, 113)
    fine = (slice(370, 880), slice(900, 1130))
    for found, all_of_it, where in zip(
        part, arrays, (fine, (rows, cols), (..., rows, cols)), strict=True
    ):
        np.testing.assert_array_equal(found, all_of_it[where])


@pytest.mark.parametrize("shift", [3, -4])
def test_a_label_pixel_does_not_depend_on_its_cell(whole, shift):
    """What is skipped for whole cells would leave holes, and shifted imagery not fit the labels."""
    place, label_YX, *_ = whole
    shifted = simulate(*centres(1, 1, 198, 198, shift), (0, 0), place, "labels")[0]
    np.testing.assert_array_equal(
        shifted, label_YX[10 + shift : -10 + shift, 10 + shift : -10 + shift]
    )


def test_one_pixel_at_a_time(whole):
    """A thread that works alone would differ from one that remembers what it met before."""
    place, label_YX, *_ = whole
    for row, col in np.random.default_rng(0).integers(0, 200, (300, 2)):
        room = memory()
        code = cell(col * 10 + 5.0, row * 10 + 5.0, place, room)
        expected = label_YX[row * 10 : row * 10 + 10, col * 10 : col * 10 + 10]
        np.testing.assert_array_equal(room.fine if code < 0 else np.full((10, 10), code), expected)


def test_images_are_valid_exactly_where_the_truth_is(whole):
    """Nodata would stand for dark ground, or ground be invented outside the outline."""
    _, _, truth_YX, image_PBYX = whole
    assert 0 < (truth_YX == NONE).mean() < 0.2
    np.testing.assert_array_equal((image_PBYX > 0).all(axis=(0, 1)), truth_YX > 0)
    np.testing.assert_array_equal((image_PBYX == 0).all(axis=(0, 1)), truth_YX == 0)


@pytest.mark.parametrize("seed", range(8))
def test_every_area_has_every_class(seed):
    """A model of one area could not be used on another one."""
    place = world(300, seed)
    label_YX, truth_YX, _ = simulate(*centres(0, 0, 300, 300), (0, 0), place, "labels")
    share = np.bincount(label_YX.ravel(), minlength=10) / label_YX.size
    assert (share[[NONE, ROAD, WATER]] > 0.005).all() and (share[1:7] > 0).sum() >= 5
    assert (truth_YX == WATER).mean() > 0.05, "the sea"
    assert share.max() < 0.6


def test_small_things_are_lost_on_the_grid():
    """The labels would hold nothing finer than the map, and the majority lose nothing."""
    place = world(600, 2)
    label_YX, truth_YX, _ = simulate(*centres(0, 0, 600, 600), (0, 0), place, "labels")
    before = np.bincount(label_YX.ravel(), minlength=10) / label_YX.size
    after = np.bincount(truth_YX.ravel(), minlength=10) / truth_YX.size
    assert before[BUILDING] > 0.005
    assert 0.3 < after[BUILDING] / before[BUILDING] < 0.95


def test_clouds():
    """No place must be hidden in both periods, and most of the ground be seen."""
    for seed in range(6):
        place = world(1000, seed)
        x_YX, y_YX = centres(0, 0, 250, 250)
        opacity = [
            np.vectorize(lambda x, y, p=p, w=place: cloud(x, y, p, w))(4 * x_YX, 4 * y_YX)
            for p in (0, 1)
        ]
        assert not ((opacity[0] > 0) & (opacity[1] > 0)).any()
        for each in opacity:
            assert 0.02 < (each > 0.5).mean() < 0.1


def test_seeds_share_spectra_and_not_places():
    """A model of one area could not be used on another one, or both would be the same place."""
    means, truths = [], []
    for seed in (1, 2):
        x_YX, y_YX = centres(0, 0, 300, 300)
        _, truth_YX, image_PBYX = simulate(x_YX, y_YX, (0, 0), world(300, seed), "both")
        truths.append(truth_YX)
        means.append([np.median(image_PBYX[1][:, truth_YX == k], axis=1) for k in (4, WATER)])
    assert (truths[0] == truths[1]).mean() < 0.5
    np.testing.assert_allclose(means[0], means[1], rtol=0.25, atol=100)


def test_tables_fit_one_another():
    """A surface would take the spectrum of another one."""
    assert REFLECTANCE_PSB.shape == (2, 12, len(BANDS))
    assert OPEN_S.shape == ROUGH_S.shape == (12,)
    assert (REFLECTANCE_PSB[:, 1:] > 0).all()
