"""Calibration and boundary scores against plain loops, scikit-learn and scipy."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import average_precision_score, brier_score_loss, precision_recall_curve

from mapmill import boundary, calibration


def simulated(classes, seed=0, size=4000):
    """Reference, map and its confidence in per cent; some pixels without a class."""
    random = np.random.default_rng(seed)
    reference = random.integers(0, classes + 1, size)
    mapped = np.where(random.random(size) < 0.7, reference, random.integers(0, classes + 1, size))
    percent = random.integers(40, 101, size).astype(np.uint8)
    return reference.astype(np.uint8), mapped.astype(np.uint8), percent


def test_the_error_is_that_of_a_plain_loop():
    """A map that is too sure of itself would pass for calibrated."""
    reference, mapped, percent = simulated(3)
    counts = calibration.count(reference, mapped, percent, 3)
    used = (reference > 0) & (mapped > 0)
    assert counts.sum() == used.sum()
    for wanted, part in ((None, counts), (2, counts[1])):
        chosen = used if wanted is None else used & (mapped == wanted)
        sure, right = percent[chosen] / 100, (reference == mapped)[chosen]
        expected = 0.0
        for low in range(0, 100, 10):
            inside = (percent[chosen] > low) & (percent[chosen] <= low + 10)
            if inside.any():
                expected += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
        assert calibration.expected_error(part) == pytest.approx(expected)
        assert calibration.brier(part) == pytest.approx(((sure - right) ** 2).mean())


def test_a_calibrated_map_has_little_error_and_a_boastful_one_has_it():
    """The error would say nothing of calibration."""
    random = np.random.default_rng(1)
    percent = random.integers(50, 101, 200_000)
    right = random.random(percent.size) < percent / 100
    reference = np.where(right, 1, 2)
    honest = calibration.count(reference, np.ones_like(reference), percent, 2)
    assert calibration.expected_error(honest) < 0.01
    boast = calibration.count(reference, np.ones_like(reference), np.full_like(percent, 99), 2)
    assert calibration.expected_error(boast) == pytest.approx(0.99 - right.mean())


def test_of_two_classes_the_curve_and_brier_are_scikit_learns():
    """A threshold would be chosen by a curve of another class, or upside down."""
    random = np.random.default_rng(4)
    second = random.random(5000) < 0.2
    p = np.round(np.clip(0.25 + 0.4 * second + random.normal(0, 0.2, 5000), 0, 1), 2)
    p[p == 0.5] = 0.51
    mapped = np.where(p > 0.5, 2, 1)
    percent = np.round(100 * np.where(p > 0.5, p, 1 - p)).astype(np.uint8)
    counts = calibration.count(np.where(second, 2, 1), mapped, percent, 2)
    curve, average = calibration.precision_recall(counts)
    assert average == pytest.approx(average_precision_score(second, p))
    assert calibration.brier(counts) == pytest.approx(brier_score_loss(second, p))
    precision, recall, threshold = precision_recall_curve(second, p)
    found = {percent: (a, b) for percent, a, b in curve}
    for t, a, b in zip(threshold, precision, recall, strict=False):
        assert found[round(100 * t)] == pytest.approx((a, b))


def test_the_map_lies_on_its_curve():
    """The mark of the chosen threshold would be that of another map."""
    random = np.random.default_rng(5)
    second = random.random(3000) < 0.3
    percent = np.clip(np.rint(30 + 30 * second + random.normal(0, 15, 3000)), 1, 99).astype(int)
    mapped = np.where(percent > 40, 2, 1)  # a threshold of 0.4: some are mapped with less than half
    stored = np.where(mapped == 2, percent, 100 - percent).astype(np.uint8)
    counts = calibration.count(np.where(second, 2, 1), mapped, stored, 2)
    found = calibration.as_mapped(counts)
    positive = mapped == 2
    assert found == pytest.approx((second[positive].mean(), positive[second].mean()))
    curve, _ = calibration.precision_recall(counts)
    assert found == pytest.approx(next((p, r) for n, p, r in curve if n == 41))
    empty = np.zeros((2, 101, 2), np.int64)
    assert np.isnan(calibration.as_mapped(empty)).all()


def test_nothing_scored_is_nan_and_not_perfect():
    """A part without pixels would be told as calibrated."""
    empty = np.zeros((2, 101, 2), np.int64)
    assert np.isnan([calibration.expected_error(empty), calibration.brier(empty)]).all()
    assert np.isnan(calibration.precision_recall(empty)[1])


def edges_of(class_YX, value):
    """Pixels of a class beside a labelled pixel of another, one by one."""
    result = np.zeros(class_YX.shape, bool)
    for y, x in np.argwhere(class_YX == value):
        for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            b, a = y + dy, x + dx
            if 0 <= b < class_YX.shape[0] and 0 <= a < class_YX.shape[1]:
                result[y, x] |= class_YX[b, a] not in (0, value)
    return result


@pytest.mark.parametrize("tolerance", [1, 2, 3])
def test_boundary_f1_is_that_of_exact_distances(tolerance):
    """Edges would count as right that are further off than the tolerance says."""
    random = np.random.default_rng(tolerance)
    label_YX = np.kron(random.integers(0, 4, (5, 6)), np.ones((7, 8), int)).astype(np.uint8)
    map_YX = np.roll(label_YX, (2, 1), axis=(0, 1))
    found = boundary.edge_counts(label_YX, map_YX, 4, tolerance)
    used = (label_YX > 0) & (map_YX > 0)
    label_YX, map_YX = np.where(used, label_YX, 0), np.where(used, map_YX, 0)
    for value in (1, 2, 3):
        ours, theirs = edges_of(map_YX, value), edges_of(label_YX, value)
        from_ours, from_theirs = (ndimage.distance_transform_edt(~e) for e in (ours, theirs))
        near = (ours & (from_theirs <= tolerance)).sum(), (theirs & (from_ours <= tolerance)).sum()
        assert found[value - 1].tolist() == [near[0], ours.sum(), near[1], theirs.sum()]
        p, r = near[0] / ours.sum(), near[1] / theirs.sum()
        assert boundary.boundary_f1(found)[value - 1] == pytest.approx(2 * p * r / (p + r))
    assert np.isnan(boundary.boundary_f1(found)[3])


def test_a_class_with_edges_in_one_only_scores_zero():
    """A class that the map misses wholly would be left out of sight."""
    label_YX = np.ones((6, 6), np.uint8)
    label_YX[:, 3:] = 2
    found = boundary.edge_counts(label_YX, np.ones_like(label_YX), 2, 2)
    assert boundary.boundary_f1(found).tolist() == [0, 0]
    assert boundary.boundary_f1(boundary.edge_counts(label_YX, label_YX, 2, 2)).tolist() == [1, 1]
