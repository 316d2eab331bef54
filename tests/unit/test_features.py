"""Channels by neighbourhood: each against SciPy, or against its definition in loops."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from mapmill.channels import Channel
from mapmill.features.canny import canny
from mapmill.features.settle import PATCHES, sampled, settle
from mapmill.features.windows import gaussian, gradient, local_min_max, median, slope
from mapmill.normal import Statistics


def surface(height=40, width=36, seed=0, dtype=np.float32):
    """A smooth surface with noise."""
    random = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    smooth = 50 * np.sin(rows / 5) * np.cos(cols / 7) + rows
    return (smooth + random.normal(0, 4, smooth.shape)).astype(dtype)


def holes(shape, share=0.2, seed=1):
    """Valid pixels: some missing one by one, some in a block."""
    valid = np.random.default_rng(seed).random(shape) >= share
    valid[5:14, 8:19] = False
    return valid


def run(function, values, valid=None, *arguments):
    """A filter of one image (y, x)."""
    there = np.ones(values.shape, bool) if valid is None else valid
    found = function(torch.from_numpy(values)[None], torch.from_numpy(there)[None], *arguments)
    return found[0].numpy()


@pytest.mark.parametrize(("size", "sigma"), [(5, 1.0), (11, 2.0), (3, 9.0)])
def test_gaussian_is_that_of_scipy(size, sigma):
    """Otherwise the blur would be shifted, cut off elsewhere, or of another width."""
    values, half = surface(), size // 2
    found = run(gaussian, values, None, size, sigma)
    expected = ndimage.gaussian_filter(values.astype(float), sigma, radius=half)
    inner = (slice(half, -half),) * 2
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-4, atol=1e-4)


def test_gaussian_leaves_out_what_is_missing():
    """Otherwise nodata would darken its surroundings: SciPy's sums over sums of weights."""
    values, valid = surface(), holes((40, 36))
    found = run(gaussian, values, valid, 7, 2.0)
    sums, weights = (
        ndimage.gaussian_filter(each.astype(float), 2.0, radius=3, mode="constant")
        for each in (np.where(valid, values, 0), valid)
    )
    there = weights > 1e-12
    np.testing.assert_allclose(found[there], sums[there] / weights[there], rtol=1e-4, atol=1e-4)
    assert (found[~there] == 0).all() and (~there).any()


@pytest.mark.parametrize("size", [3, 5, 11])
def test_median_is_that_of_scipy(size):
    """Otherwise windows would be shifted or of another size."""
    values, half = surface(), size // 2
    found = run(median, values, None, size)
    inner = (slice(half, -half),) * 2
    np.testing.assert_array_equal(found[inner], ndimage.median_filter(values, size)[inner])


def test_median_is_of_the_valid_pixels(monkeypatch):
    """Otherwise a hole would pull it; of an even number it is the lower one; also in strips."""
    values, valid = surface(), holes((40, 36))
    expected = np.zeros(values.shape, np.float32)
    for row, col in np.ndindex(values.shape):
        part = (slice(max(0, row - 2), row + 3), slice(max(0, col - 2), col + 3))
        there = np.sort(values[part][valid[part]])
        expected[row, col] = there[(len(there) - 1) // 2] if len(there) else 0
    np.testing.assert_array_equal(run(median, values, valid, 5), expected)
    monkeypatch.setattr("mapmill.features.windows.WORK", 36 * 25 * 3)
    np.testing.assert_array_equal(run(median, values, valid, 5), expected)


@pytest.mark.parametrize("size", [3, 7, 9, 31])
def test_local_range_is_that_of_the_window(size):
    """Otherwise values would not lie between the least and largest of the pixels around."""
    values, valid = surface(), holes((40, 36))
    least = ndimage.minimum_filter(
        np.where(valid, values, np.inf), size, mode="constant", cval=np.inf
    )
    most = ndimage.maximum_filter(
        np.where(valid, values, -np.inf), size, mode="constant", cval=-np.inf
    )
    found = run(local_min_max, values, valid, size)
    usable = valid & (most > least)
    expected = (values - least)[usable] / (most - least)[usable]
    np.testing.assert_allclose(found[usable], expected, rtol=1e-5, atol=1e-6)
    assert (found[~usable] == 0).all()
    assert (run(local_min_max, np.full((9, 9), 5, np.float32), None, 3) == 0).all()


def test_gradients_are_those_of_scipys_sobel():
    """Otherwise x and y would be swapped, turned, or of another scale."""
    values = surface()
    right, down = (
        each[0].numpy()
        for each in gradient(torch.from_numpy(values)[None], torch.ones((1, 40, 36), dtype=bool))
    )
    inner = (slice(1, -1),) * 2
    for found, axis in ((right, 1), (down, 0)):
        expected = ndimage.sobel(values.astype(float), axis) / 8
        np.testing.assert_allclose(found[inner], expected[inner], atol=1e-4)
    rows, cols = np.mgrid[:6, :6].astype(np.float32)
    ramp = torch.from_numpy(3 * cols - 2 * rows)[None]
    for found, expected in zip(gradient(ramp, torch.ones_like(ramp) > 0), (3, -2), strict=True):
        np.testing.assert_allclose(found[0, 1:-1, 1:-1], expected)


def test_a_missing_neighbour_makes_no_edge():
    """Otherwise each hole and each tile would be framed by a false gradient."""
    values, valid = np.full((12, 12), 7, np.float32), np.ones((12, 12), bool)
    values[4:6, 4:6], valid[4:6, 4:6] = 0, False
    for function, arguments in ((slope, (10.0,)), (canny, (5, 1.0, 0.01, 0.02, 5))):
        found = run(function, values, valid, *arguments)
        np.testing.assert_allclose(found[valid], 0, atol=1e-4)


@pytest.mark.parametrize("pixel", [0.5, 10.0, 30.0])
def test_slope_is_horns(pixel):
    """Otherwise slopes would be of another unit, or of another resolution."""
    values = surface(seed=3, dtype=np.float64)
    found = run(slope, values, None, pixel)
    for row, col in np.ndindex(values.shape):
        if not (0 < row < 39 and 0 < col < 35):
            continue
        (a, b, c), (d, _, f), (g, h, i) = values[row - 1 : row + 2, col - 1 : col + 2]
        right = ((c + 2 * f + i) - (a + 2 * d + g)) / (8 * pixel)
        down = ((g + 2 * h + i) - (a + 2 * b + c)) / (8 * pixel)
        expected = math.degrees(math.atan(math.hypot(right, down)))
        assert found[row, col] == pytest.approx(expected, abs=1e-9)
    plane = np.mgrid[:5, :5][1] * pixel
    np.testing.assert_allclose(run(slope, plane, None, pixel)[1:-1, 1:-1], 45)


def canny_in_loops(values, size, sigma, low, high):
    """Canny's steps one pixel at a time, with SciPy's blur and its labels of connected pixels."""
    smooth = ndimage.gaussian_filter(values, sigma, radius=size // 2)
    right, down = ndimage.sobel(smooth, 1) / 8, ndimage.sobel(smooth, 0) / 8
    length = np.hypot(right, down)
    ridge = np.zeros(values.shape, bool)
    for row, col in np.ndindex(values.shape):
        if not (0 < row < values.shape[0] - 1 and 0 < col < values.shape[1] - 1):
            continue
        sector = round(math.atan2(down[row, col], right[row, col]) / (math.pi / 4)) % 4
        step = [(0, 1), (1, 1), (1, 0), (1, -1)][sector]
        behind = length[row - step[0], col - step[1]]
        ahead = length[row + step[0], col + step[1]]
        ridge[row, col] = length[row, col] > behind and length[row, col] >= ahead
    weak, strong = ridge & (length >= low), ridge & (length >= high)
    label, _ = ndimage.label(weak, np.ones((3, 3)))
    return np.isin(label, np.unique(label[strong])) & weak


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_canny_is_its_definition(seed):
    """Otherwise edges would be thick, broken, or lie beside the edge."""
    random = np.random.default_rng(seed)
    blocks = np.kron(random.normal(0, 10, (6, 6)), np.ones((10, 10)))
    values = blocks + random.normal(0, 0.8, blocks.shape)
    found = run(canny, values, None, 7, 1.0, 0.6, 1.6, -1) > 0
    expected = canny_in_loops(values, 7, 1.0, 0.6, 1.6)
    inner = (slice(7, -7),) * 2
    assert 100 < expected[inner].sum() < 900
    # the two blurs differ at the edge of the image, from where edges are followed into it
    assert (found != expected)[inner].sum() <= 3
    once = run(canny, values, None, 7, 1.0, 0.6, 1.6, 0) > 0
    some = run(canny, values, None, 7, 1.0, 0.6, 1.6, 3) > 0
    assert (once <= some).all() and (some <= found).all()
    assert once.sum() < some.sum() < found.sum()


def test_an_edge_is_followed_no_farther_than_it_grows():
    """Otherwise an edge far away would decide here, and maps have seams."""
    values = np.zeros((15, 60))
    values[8:] = np.linspace(30, 3, 60)  # an edge that fades to the right
    reach = []
    for grow in (0, 5, 20, -1):
        found = run(canny, values, None, 5, 1.0, 0.8, 5.0, grow)
        reach.append(int(np.flatnonzero(found.any(axis=0)).max()))
    assert reach[1] == reach[0] + 5 and reach[2] == reach[0] + 20
    assert reach[3] > reach[2]


def channel(kind, source, name=None, **numbers):
    return Channel(name or f"{kind} {source}", kind, {"x": source}, "", numbers)


def test_thresholds_and_ranges_come_from_the_training_pixels():
    """Otherwise Canny would find no edge, or nothing but edges, in other units."""
    values = np.stack([surface(seed=seed) for seed in (0, 1)])
    valid = np.stack([holes((40, 36), seed=seed) for seed in (2, 3)])
    pixels = values[valid].astype(float)
    of_bands = Statistics([pixels.mean()], [pixels.std()], [pixels.min()], [pixels.max()])
    wanted = [
        channel("gaussian", "b", "soft", size=5.0, sigma=1.0),
        channel("canny", "b", size=5.0, sigma=1.0, low=0.1, high=0.5, grow=2.0),
        channel("canny", "soft", size=5.0, sigma=1.0, low=0.1, high=0.5, grow=2.0),
        channel("global_min_max", "b"),
    ]
    calls = []

    def sample():
        calls.append(1)
        for value, there in zip(values, valid, strict=True):
            yield torch.from_numpy(value)[None, None], torch.from_numpy(there)[None]

    settled, found = settle(wanted, ["b"], of_bands, sample)
    soft = np.concatenate(
        [run(gaussian, v, t, 5, 1.0)[t] for v, t in zip(values, valid, strict=True)]
    )
    assert found.sd[0] == pytest.approx(soft.std(), rel=1e-5)
    assert found.mean[0] == pytest.approx(soft.mean(), rel=1e-5)
    assert settled[1].numbers["high"] == pytest.approx(0.5 * pixels.std())
    assert settled[2].numbers["high"] == pytest.approx(0.5 * soft.std(), rel=1e-5)
    assert settled[3].numbers == {"least": pixels.min(), "most": pixels.max()}
    assert len(calls) == 2  # `soft` is measured before what needs its spread


def test_the_sample_is_bounded_and_the_same_each_time():
    """Otherwise starting would take as long as training, or seeds differ in what they are shown."""
    many = np.arange(1000, dtype=np.int64)
    once, again = ([int(i[0]) for i in sampled(many)] for _ in "ab")
    assert once == again == sorted(set(once))
    assert len(once) == PATCHES
    assert [i.tolist() for i in sampled(many[5:7])] == [[5], [6]]
