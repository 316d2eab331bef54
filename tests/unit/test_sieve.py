"""The sieve, beside a plain loop over the components that scipy finds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mapmill.sieve import halo, patches, sieve_pass


def noise(seed=0, shape=(60, 70), classes=4, share=0.3):
    random = np.random.default_rng(seed)
    coarse = np.kron(random.integers(0, classes + 1, (6, 7)), np.ones((10, 10), int))
    return np.where(random.random(shape) < share, random.integers(0, classes + 1, shape),
                    coarse[: shape[0], : shape[1]]).astype(np.uint8)  # fmt: skip


def components(class_YX):
    """(mask, class) of each patch, by scipy."""
    for value in np.unique(class_YX[class_YX > 0]):
        labels_YX, count = ndimage.label(class_YX == value)
        for number in range(1, count + 1):
            yield labels_YX == number, value


def by_hand(class_YX, minimum):
    """One pass, patch by patch."""
    found = list(components(class_YX))
    large_YX = np.zeros(class_YX.shape, bool)
    for mask_YX, _ in found:
        large_YX |= mask_YX & (mask_YX.sum() >= minimum)
    result = class_YX.copy()
    height, width = class_YX.shape
    for mask_YX, _ in found:
        votes = np.zeros(256, int)
        if mask_YX.sum() < minimum:
            for row, col in np.argwhere(mask_YX):
                for y, x in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                    if 0 <= y < height and 0 <= x < width and large_YX[y, x] and not mask_YX[y, x]:
                        votes[class_YX[y, x]] += 1
        if votes.any():
            result[mask_YX] = votes.argmax()
    return result


def to_the_end(class_YX, minimum):
    """Passes until nothing changes, and how many there were."""
    for count in range(100):
        result = sieve_pass(class_YX, minimum)
        if (result == class_YX).all():
            return result, count
        class_YX = result
    raise AssertionError("no end")


def test_patches_are_those_of_scipy():
    """Otherwise stretches that touch at a corner, or not at all, would count as one."""
    class_YX = noise()
    labels_YX, sizes = patches(class_YX)
    found = list(components(class_YX))
    assert (sizes > 0).sum() == len(found) > 100
    for mask_YX, _ in found:
        (number,) = np.unique(labels_YX[mask_YX])
        assert sizes[number] == mask_YX.sum()


@pytest.mark.parametrize("minimum", [1, 2, 5, 40])
@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_pass_is_that_of_a_loop_over_patches(minimum, share):
    """Otherwise patches would go to the wrong neighbour, or large ones be lost."""
    class_YX = noise(1, share=share)
    np.testing.assert_array_equal(sieve_pass(class_YX, minimum), by_hand(class_YX, minimum))


def test_in_the_end_only_patches_without_a_neighbour_are_small():
    """Otherwise the map would keep units below the minimum that was asked for."""
    for seed in range(4):
        class_YX = noise(seed, share=0.5)
        result, count = to_the_end(class_YX, 12)
        np.testing.assert_array_equal(result == 0, class_YX == 0)
        assert count > 1
        for mask_YX, _ in components(result):
            if mask_YX.sum() < 12:  # an island in nodata, or a cluster of such patches
                beside = ndimage.binary_dilation(mask_YX) & ~mask_YX
                sizes = [m.sum() for m, _ in components(result) if (m & beside).any()]
                assert all(size < 12 for size in sizes)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.data())
def test_any_window_with_its_halo_is_as_in_the_whole(data):
    """Otherwise the map would depend on the parts that it is worked on in."""
    class_YX = noise(data.draw(st.integers(0, 50)), share=data.draw(st.sampled_from([0.1, 0.4])))
    minimum = data.draw(st.integers(1, 12))
    row, col = data.draw(st.integers(0, 59)), data.draw(st.integers(0, 69))
    height, width = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 20))
    margin = halo(minimum)
    top, left = max(row - margin, 0), max(col - margin, 0)
    part = class_YX[top : row + height + margin, left : col + width + margin]
    found = sieve_pass(part, minimum)[row - top :, col - left :][:height, :width]
    whole = sieve_pass(class_YX, minimum)
    np.testing.assert_array_equal(found, whole[row : row + height, col : col + width])
