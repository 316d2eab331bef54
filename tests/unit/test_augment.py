"""Augmentation: what is changed at random, and that labels stay with their pixels."""

import itertools

import numpy as np
import pytest
import torch

from mapmill.augment import changed, draw, normal_numbers
from mapmill.sections import Train

CPU = torch.device("cpu")


def augment(image_NCHW, label_NHW, seed, **chosen):
    """Changed arrays, by a generator of this seed."""
    settings = Train(**chosen)
    shape = (*image_NCHW.shape[:2], label_NHW.shape[1])
    changes = draw(settings, shape, np.random.default_rng(seed))
    side = settings.crop or label_NHW.shape[1]
    pair = changed(torch.from_numpy(image_NCHW), torch.from_numpy(label_NHW), changes, side)
    return tuple(each.numpy() for each in pair)


def coordinates(count, size):
    """An image whose bands are patch, row and column, and a label that follows from them."""
    grid = np.mgrid[1 : count + 1, 1 : size + 1, 1 : size + 1].astype(np.float32)
    image_NCHW = grid.transpose(1, 0, 2, 3).copy()
    return image_NCHW, labels_of(image_NCHW)


def labels_of(image_NCHW):
    patch, row, col = image_NCHW.transpose(1, 0, 2, 3).astype(int)
    return ((patch * 97 + row * 31 + col) % 251 + 1).astype(np.uint8)


@pytest.mark.parametrize("crop", [None, 16, 24])
def test_image_and_label_are_turned_and_cut_alike(crop):
    """Otherwise the net would learn from labels that lie beside their pixels."""
    moved, label = augment(*coordinates(64, 24), 0, crop=crop)
    side = crop or 24
    assert moved.shape == (64, 3, side, side)
    assert label.shape == (64, side, side)
    assert np.array_equal(label, labels_of(moved))
    seen = set()
    for index, (patch, row, col) in enumerate(moved.astype(int)):
        assert (patch == index + 1).all()
        assert {abs(int(d)) for d in np.diff(row[:, 0])} in ({0}, {1})  # neighbours stay so
        assert len(set(zip(row.flat, col.flat, strict=True))) == side**2
        corner = (row[0, 0] - row[-1, -1], col[0, 0] - col[-1, -1], row[0, 0] == row[0, -1])
        seen.add(tuple(int(c) for c in corner))
    assert len(seen) == 8  # all turns and flips of a square


def test_crops_reach_every_part_of_a_patch():
    """Otherwise the edges of the patches would never be learnt from."""
    moved, _ = augment(*coordinates(200, 20), 0, crop=16)
    firsts = {(int(p[1].min()), int(p[2].min())) for p in moved}
    assert firsts == set(itertools.product(range(1, 6), repeat=2))


def test_jitter_moves_each_band_as_a_whole_and_leaves_what_is_invalid():
    """Otherwise missing imagery would get a value, or noise be added pixel by pixel."""
    random = np.random.default_rng(2)
    image_NCHW = random.normal(0, 1, (40, 2, 16, 16)).astype(np.float32)
    image_NCHW[:, :, :2] = 0
    moved, _ = augment(image_NCHW, np.ones((40, 16, 16), np.uint8), 2, crop=16, jitter=0.2)
    lines = []
    for old, new in zip(image_NCHW, moved, strict=True):
        assert (new == 0).all(axis=0).sum() == 32
        for band in (0, 1):
            was, now = np.sort(old[band][old[band] != 0]), np.sort(new[band][new[band] != 0])
            gain, offset = np.polyfit(was, now, 1)
            np.testing.assert_allclose(now, gain * was + offset, atol=1e-5)
            lines.append((gain, offset))
    assert len({round(gain, 5) for gain, _ in lines}) == 80
    np.testing.assert_allclose(np.mean(lines, axis=0), [1, 0], atol=0.07)
    np.testing.assert_allclose(np.std(lines, axis=0), [0.2, 0.2], atol=0.06)


@pytest.mark.parametrize("crop", [None, 20])
def test_zoomed_labels_stay_with_their_pixels(crop):
    """Otherwise training at several scales would learn labels half a pixel or more beside."""
    image_NCHW, _ = coordinates(60, 32)
    image_NCHW[:, 0] = 5  # bands: a constant, row and column; the label is the row
    label_NHW = image_NCHW[:, 1].astype(np.uint8)
    moved, label = augment(image_NCHW, label_NHW, 1, crop=crop, zoom=2.0)
    side, scales, filled = crop or 32, [], 0
    for image_CHW, label_HW in zip(moved, label, strict=True):
        there = image_CHW[0] > 0
        assert (image_CHW[:, ~there] == 0).all() and (label_HW[~there] == 0).all()
        np.testing.assert_allclose(image_CHW[0][there], 5, rtol=1e-6)
        # the nearest row is at most half a row from where the image was taken
        assert np.abs(image_CHW[1] - label_HW)[there].max() <= 0.5 + 1e-4
        step = max(
            np.abs(np.diff(image_CHW[1][side // 4 : side // 2, side // 3])).max(),
            np.abs(np.diff(image_CHW[1][side // 3, side // 4 : side // 2])).max(),
        )
        scales.append(float(step))
        filled += int((~there).any())
    assert min(scales) < 0.6 and max(scales) > 1.6  # from twice as large to half as large
    assert filled > (10 if crop is None else 0)
    assert (np.array(scales) > 1).sum() in range(15, 46)


def test_zooming_takes_no_value_from_invalid_pixels():
    """Otherwise the edge of missing imagery would be a false dark seam."""
    random = np.random.default_rng(3)
    image_NCHW = np.full((30, 2, 24, 24), 3.0, np.float32)
    image_NCHW[:, :, random.random((24, 24)) < 0.3] = 0
    moved, _ = augment(image_NCHW, np.ones((30, 24, 24), np.uint8), 0, zoom=3.0)
    assert set(np.unique(np.round(moved, 4))) == {0.0, 3.0}


def test_noise_is_normal_and_spares_what_is_invalid():
    """Otherwise nodata would look like a noisy surface."""
    image_NCHW = np.full((4, 3, 32, 32), 2.0, np.float32)
    image_NCHW[:, :, :5] = 0
    moved, _ = augment(image_NCHW, np.ones((4, 32, 32), np.uint8), 0, noise=0.1)
    invalid = (moved == 0).all(axis=1)
    assert invalid.sum() == 4 * 5 * 32
    values = moved.transpose(0, 2, 3, 1)[~invalid]
    assert values.mean() == pytest.approx(2, abs=0.005)
    assert values.std() == pytest.approx(0.1, rel=0.05)
    again, _ = augment(image_NCHW, np.ones((4, 32, 32), np.uint8), 1, noise=0.1)
    assert not np.allclose(moved, again)


def test_hashed_numbers_are_those_of_a_normal_distribution():
    """Otherwise noise would have a pattern that a net can learn."""
    values = normal_numbers((200_000,), 12345, CPU).numpy()
    shares = [(values < limit).mean() for limit in (-2, -1, 0, 1, 2)]
    np.testing.assert_allclose(shares, [0.02275, 0.15866, 0.5, 0.84134, 0.97725], atol=0.004)
    other = normal_numbers((200_000,), 12346, CPU).numpy()
    for lag in (0, 1, 2, 256):
        pairs = values[: len(values) - lag], (other if lag == 0 else values)[lag:]
        assert abs(np.corrcoef(*pairs)[0, 1]) < 0.01


def test_bands_are_dropped_as_often_as_was_asked():
    """Otherwise a net would never learn to do without a band, or be robbed of all."""
    image_NCHW = np.ones((100, 10, 16, 16), np.float32)
    moved, _ = augment(image_NCHW, np.ones((100, 16, 16), np.uint8), 0, drop_band=0.25)
    dropped = (moved == 0).all(axis=(2, 3))
    assert ((moved == 0).any(axis=(2, 3)) == dropped).all()
    assert dropped.mean() == pytest.approx(0.25, abs=0.04)


def test_cutmix_takes_rectangles_with_their_labels():
    """Otherwise a pasted piece would keep the labels of what it covers."""
    image_NCHW, label_NHW = coordinates(40, 32)
    moved, label = augment(image_NCHW, label_NHW, 4, cutmix=0.5)
    assert np.array_equal(label, labels_of(moved))
    mixed, shares = 0, []
    for index, patch in enumerate(moved[:, 0].astype(int)):
        foreign = patch != index + 1
        if not foreign.any():
            continue
        mixed += 1
        rows, cols = np.flatnonzero(foreign.any(axis=1)), np.flatnonzero(foreign.any(axis=0))
        assert foreign.sum() == (np.ptp(rows) + 1) * (np.ptp(cols) + 1)
        assert len(np.unique(patch)) == 2
        shares.append(foreign.mean())
    assert 10 <= mixed <= 30
    assert max(shares) > 0.4 and min(shares) < 0.1


def test_a_setting_that_is_off_draws_nothing():
    """Otherwise runs of before would be trained on other patches than they were."""
    image_NCHW, label_NHW = coordinates(8, 24)
    plain, later = np.random.default_rng(3), np.random.default_rng(3)
    draw(Train(jitter=0.1), (8, 3, 24), plain)
    for _ in range(8):
        later.integers(0, 1, 2), later.integers(4), later.integers(2)
        later.normal((1, 0), 0.1, (3, 2))
    assert plain.random() == later.random()
    same = [augment(image_NCHW, label_NHW, 3, zoom=2, noise=0.1, cutmix=0.5) for _ in "ab"]
    assert all(np.array_equal(a, b) for a, b in zip(*same, strict=True))
