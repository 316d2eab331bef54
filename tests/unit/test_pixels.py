"""The kernels of single pixels beside PyTorch and numpy."""

import numpy as np
import pytest
import torch

from mapmill import pixels
from mapmill.ensemble import Means, bands_of, classes_of


def logits_of(classes, rows, cols, spread=4):
    random = np.random.default_rng(classes)
    return random.normal(0, spread, (classes, rows, cols)).astype(np.float32)


@pytest.mark.parametrize("classes", [1, 2, 3, 8, 21])
@pytest.mark.parametrize("spread", [1, 30, 1e4])
def test_softmax_is_that_of_doubles(classes, spread):
    """Otherwise confidence, and thresholds chosen by it, would be wrong."""
    logits = logits_of(classes, 37, 61, spread)
    expected = torch.from_numpy(logits).double().softmax(0).numpy()
    found, wrong = pixels.probabilities(logits)
    assert not wrong
    assert found.dtype == np.float32
    large = expected > 1e-30
    np.testing.assert_allclose(found[large], expected[large], rtol=1e-5)
    assert (found[~large] <= 1e-29).all()


def test_a_pixel_is_the_same_wherever_it_stands():
    """Otherwise maps would depend on tiles: the end of an array, and channels last."""
    logits = logits_of(5, 40, 203)
    whole, _ = pixels.probabilities(logits)
    for rows, cols in ((slice(3, 4), slice(7, 8)), (slice(0, 40), slice(100, 203, 1))):
        part, _ = pixels.probabilities(logits[:, rows, cols])
        np.testing.assert_array_equal(part, whole[:, rows, cols])
    last = np.ascontiguousarray(logits.transpose(1, 2, 0)).transpose(2, 0, 1)
    np.testing.assert_array_equal(pixels.probabilities(last)[0], whole)
    np.testing.assert_array_equal(pixels.probabilities(logits[:, :, ::2])[0], whole[:, :, ::2])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("number", [0, 2])
def test_logits_that_are_no_numbers_are_counted(bad, number):
    """A net that overflows would write a map that looks like any other."""
    logits = logits_of(3, 6, 9)
    logits[number, 2, 3] = bad
    logits[number, 5, 8] = bad
    assert pixels.probabilities(logits)[1] == 2
    logits = logits_of(3, 6, 9)
    logits[number, 2, 3] = -np.inf  # a class that cannot be
    found, wrong = pixels.probabilities(logits)
    assert not wrong
    assert found[number, 2, 3] == 0


@pytest.mark.parametrize("classes", [1, 2, 3, 9])
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_class_and_percent_are_those_of_numpy(classes, threshold):
    """Ties, halves of a percent and missing pixels among them."""
    random = np.random.default_rng(1)
    share = random.integers(0, 9, (classes, 50, 70)).astype(np.float32) + 1e-3
    share = (share / share.sum(axis=0)).astype(np.float32)
    share[:, :5] = np.float32(1 / classes)
    times = random.integers(0, 3, (50, 70)).astype(np.uint8)
    number = classes_of(share, threshold)
    chosen = np.take_along_axis(share, number[None].astype(int) - 1, 0)[0].astype(np.float64)
    percent = np.clip(np.rint(100 * chosen), 1, 100)
    expected = np.stack([number, percent]) * (times > 0)
    np.testing.assert_array_equal(pixels.class_and_percent(share, threshold, times), expected)
    wide = bands_of(Means(share.astype(np.float64), times, []), threshold, members=False)
    np.testing.assert_array_equal(wide, expected)


@pytest.mark.parametrize("kind", pixels.VALUES)
@pytest.mark.parametrize("bands", [1, 4, 11])
def test_bands_are_normalised_as_by_torch(kind, bands):
    """Bit by bit: training normalises by PyTorch."""
    random = np.random.default_rng(2)
    image = random.integers(0, 200, (bands, 60, 90)).astype(kind)[:, 7:40, 11:80]
    valid = random.random((60, 90))[7:40, 11:80] > 0.2
    if kind == "float32":
        image[:, ~valid] = np.nan
    shift = random.normal(100, 10, bands).astype(np.float32)
    scale = random.uniform(1, 50, bands).astype(np.float32)
    shown = np.empty((*valid.shape, bands), np.float32)
    pixels.normalised(image, valid, shift, scale, shown)
    there = torch.from_numpy(image.astype(np.float32))
    scaled = (there - torch.from_numpy(shift)[:, None, None]) / torch.from_numpy(scale)[
        :, None, None
    ]
    expected = scaled.masked_fill(~torch.from_numpy(valid), 0).numpy()
    np.testing.assert_array_equal(shown, expected.transpose(1, 2, 0))


def test_arrays_that_do_not_fit_are_refused():
    """The kernel would write beyond its array, or leave parts of it as they were."""
    valid, shift = np.ones((5, 6), bool), np.ones(3, np.float32)
    shown = np.empty((5, 6, 3), np.float32)
    for bands, height in ((2, 5), (4, 5), (3, 4)):
        image = np.ones((bands, height, 6), np.uint16)
        with pytest.raises(ValueError, match="arrays of"):
            pixels.normalised(image, valid, shift, shift, shown)


@pytest.mark.parametrize("kind", [">u2", ">i2", ">f4"])
def test_bytes_in_another_order(kind):
    """They would be taken for other numbers."""
    image = np.arange(60).reshape(2, 5, 6)
    shift, one = np.zeros(2, np.float32), np.ones(2, np.float32)
    shown = np.empty((5, 6, 2), np.float32)
    pixels.normalised(image.astype(kind), np.ones((5, 6), bool), shift, one, shown)
    np.testing.assert_array_equal(shown, image.transpose(1, 2, 0))
