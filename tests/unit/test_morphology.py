"""Opening and closing of classes, beside scipy's, and the same whatever the window."""

import numpy as np
import pytest
from scipy import ndimage

from mapmill import morphology
from mapmill.morphology import closing, disc, opening


def noise(seed=0, shape=(50, 64), classes=3, nodata=True):
    """Patches of classes with single pixels of noise, and some nodata."""
    random = np.random.default_rng(seed)
    coarse = random.integers(1, classes + 1, (shape[0] // 8 + 1, shape[1] // 8 + 1))
    class_YX = np.kron(coarse, np.ones((8, 8), int))[: shape[0], : shape[1]]
    single = random.random(shape) < 0.2
    class_YX = np.where(single, random.integers(1, classes + 1, shape), class_YX)
    return np.where(nodata & (random.random(shape) < 0.02), 0, class_YX).astype(np.uint8)


def structure(radius):
    """The disc as scipy wants it."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return y**2 + x**2 <= radius**2


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_of_two_classes_it_is_the_opening_and_closing_of_scipy(radius):
    """Otherwise a binary map would be worn otherwise than by the operation of that name."""
    class_YX, around = noise(classes=2, nodata=False), 3 * radius
    for function, theirs in ((opening, ndimage.binary_opening), (closing, ndimage.binary_closing)):
        # beyond the edge pixels are as their nearest inside: no corner is worn off
        found = function(np.pad(class_YX, around, "edge"), {2: radius})
        expected = theirs(np.pad(class_YX, around, "edge") == 2, structure(radius))
        inner = (slice(around, -around),) * 2
        np.testing.assert_array_equal(found[inner] == 2, expected[inner])
        assert (found != np.pad(class_YX, around, "edge")).any()
    assert {tuple(step) for step in np.argwhere(structure(radius)) - radius} == set(disc(radius))


@pytest.mark.parametrize("radius", [1, 2])
def test_what_opening_takes_goes_to_the_most_frequent_class_around(radius):
    """Otherwise pixels would get a class that is nowhere near, or none."""
    class_YX = noise(3)
    found = opening(class_YX, {1: radius})
    changed = np.argwhere(found != class_YX)
    assert len(changed) > 20 and (class_YX[tuple(changed.T)] == 1).all()
    for row, col in changed:
        near = [class_YX[row + y, col + x] for y, x in disc(radius)
                if 0 <= row + y < 50 and 0 <= col + x < 64]  # fmt: skip
        counts = np.bincount(near, minlength=4)
        counts[[0, 1]] = 0
        assert found[row, col] == counts.argmax() and counts.any()


def test_nodata_and_edges_are_neither_filled_nor_a_cause_of_loss():
    """Otherwise coasts and the map's edge would be worn off, or the sea mapped."""
    class_YX = np.zeros((12, 12), np.uint8)
    class_YX[:3] = 2
    class_YX[6, 6] = 2
    for function in (opening, closing):
        np.testing.assert_array_equal(function(class_YX, {2: 2, 1: 1}), class_YX)
    gap = np.full((9, 9), 2, np.uint8)
    gap[4, 4], gap[0, 0] = 1, 0
    closed = closing(gap, {2: 1})
    assert closed[4, 4] == 2 and closed[0, 0] == 0


@pytest.mark.parametrize("function", [opening, closing])
def test_windows_with_their_halo_make_the_whole(function):
    """Otherwise the map would show the borders of the parts that it is written in."""
    class_YX, radii = noise(7), {1: 2, 3: 1}
    margin = sum(morphology.halo(radius) for radius in radii.values())
    whole = function(class_YX, radii)
    for row in range(0, 50, 17):
        for col in range(0, 64, 19):
            top, left = max(row - margin, 0), max(col - margin, 0)
            part = class_YX[top : row + 17 + margin, left : col + 19 + margin]
            found = function(part, radii)[row - top :, col - left :][:17, :19]
            np.testing.assert_array_equal(found, whole[row : row + 17, col : col + 19])
