"""Borders, centre lines and distances of classes, against loops and scipy."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from mapmill.borders import (
    border_weights,
    borders,
    centre_lines,
    centre_weights,
    square_distance,
)

CROSS = ndimage.generate_binary_structure(2, 1)


def label_of(seed, ignored=0.15):
    """(1, 20, 24): patches of classes 1 to 3, and pixels without."""
    random = np.random.default_rng(seed)
    coarse = random.integers(1, 4, (5, 6))
    label = np.kron(coarse, np.ones((4, 4), int))
    label[random.random(label.shape) < ignored] = 0
    return torch.tensor(label[None], dtype=torch.uint8)


def borders_by_hand(label):
    """Pixels with a labelled neighbour of another class, by loops."""
    found = np.zeros(label.shape, bool)
    for n, y, x in np.ndindex(*label.shape):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            if 0 <= y + dy < label.shape[1] and 0 <= x + dx < label.shape[2]:
                a, b = int(label[n, y, x]), int(label[n, y + dy, x + dx])
                found[n, y, x] |= a != b and a > 0 and b > 0
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_border_lies_between_two_classes(seed):
    """Otherwise pixels beside missing labels would be taken for edges of the map."""
    label = label_of(seed)
    assert np.array_equal(borders(label).numpy(), borders_by_hand(label))


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_euclidean(seed):
    """Otherwise the weight would fall off along the axes in another way than across them."""
    marked = torch.tensor(np.random.default_rng(seed).random((2, 17, 23)) < 0.03)
    marked[:, 3, 4] = True
    found = square_distance(marked, 40)
    for n in range(2):
        exact = ndimage.distance_transform_edt(~marked[n].numpy())
        np.testing.assert_allclose(found[n].sqrt().numpy(), exact, rtol=1e-6)


def test_far_pixels_have_no_distance():
    """Otherwise the search for it would take time for weights that are 1 anyway."""
    marked = torch.zeros((1, 1, 9), dtype=torch.bool)
    marked[0, 0, 0] = True
    assert square_distance(marked, 3)[0, 0].tolist() == [0, 1, 4, 9] + [np.inf] * 5


@pytest.mark.parametrize("seed", range(5))
def test_centre_lines_are_the_morphological_skeleton(seed):
    """Otherwise the center loss would weigh other pixels than the middle of objects.

    Oracle: erosions and openings of scipy, class by class, of an image without missing labels
    that is eroded from its edge by no class.
    """
    label = label_of(seed, ignored=0)
    expected = np.zeros((20, 24), bool)
    for value in (1, 2, 3):
        eroded = label[0].numpy() == value
        while eroded.any():
            inner = ndimage.binary_erosion(eroded, CROSS, border_value=1)
            if (inner == eroded).all():
                break
            expected |= eroded & ~ndimage.binary_dilation(inner, CROSS)
            eroded = inner
    assert np.array_equal(centre_lines(label)[0].numpy(), expected)


def test_a_bar_has_its_middle_row_as_centre_line():
    """Otherwise roads and rivers would be weighed beside their middle."""
    label = torch.ones((1, 15, 30), dtype=torch.uint8)
    label[:, 5:10] = 2
    assert centre_lines(label)[0, 5:10].any(dim=1).tolist() == [False, False, True, False, False]


@pytest.mark.parametrize("weights", [border_weights, centre_weights])
def test_ignored_pixels_and_borderless_images_weigh_one(weights):
    """Otherwise what is not labelled would change the weight of what is."""
    label = torch.zeros((1, 8, 8), dtype=torch.uint8)
    label[:, :4] = 2
    assert (weights(label, 5, 2) == 1).all()


def test_weights_are_their_formula():
    """Otherwise `weight` and `sigma` would mean something other than what is said of them."""
    label = torch.ones((1, 1, 12), dtype=torch.uint8)
    label[..., 6:] = 2
    distance = np.array([5, 4, 3, 2, 1, 0, 0, 1, 2, 3, 4, 5])
    expected = 1 + 4 * np.exp(-(distance**2) / (2 * 1.5**2))
    np.testing.assert_allclose(border_weights(label, 4, 1.5)[0, 0].numpy(), expected, rtol=1e-6)
