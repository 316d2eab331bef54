"""Scores, against scikit-learn; intervals, against what they claim on simulated blocks."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import norm
from sklearn import metrics as theirs

from mapmill import metrics as ours

quick = settings(deadline=None, derandomize=True, max_examples=60)


@st.composite
def pairs(draw):
    """(reference, mapped, K): classes 0 to K, often with some classes in neither or only one."""
    classes = draw(st.integers(2, 6))
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    used = [random.choice(classes + 1, draw(st.integers(1, classes + 1)), False) for _ in "rm"]
    return (*(random.choice(values, (8, 9)).astype(np.uint8) for values in used), classes)


def labelled(reference, mapped):
    """Flat lists of the pixels where both have a class."""
    both = [(int(r), int(m)) for r, m in zip(reference.flat, mapped.flat, strict=True) if r and m]
    return [r for r, _ in both], [m for _, m in both]


@quick
@given(pairs())
def test_the_confusion_matrix_is_scikit_learns(given_pairs):
    """Otherwise rows and columns could be swapped, or unlabelled pixels count as errors."""
    reference, mapped, classes = given_pairs
    r, m = labelled(reference, mapped)
    found = ours.confusion_matrix(reference, mapped, classes)
    assert found.shape == (classes, classes)
    assert found.sum() == len(r)
    if r:
        expected = theirs.confusion_matrix(r, m, labels=range(1, classes + 1))
        assert np.array_equal(found, expected)


@quick
@given(pairs())
def test_scores_by_class_are_scikit_learns_and_nan_where_undefined(given_pairs):
    """Otherwise a class could be told a score that its pixels do not give, or a 0 for nothing."""
    reference, mapped, classes = given_pairs
    r, m = labelled(reference, mapped)
    if not r:
        return
    matrix = ours.confusion_matrix(reference, mapped, classes)
    names = list(range(1, classes + 1))
    options = {"labels": names, "average": None, "zero_division": np.nan}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a division by zero of ours would warn
        found = [f(matrix) for f in (ours.precision, ours.recall, ours.f1, ours.iou)]
    expected = [
        theirs.precision_score(r, m, **options),
        theirs.recall_score(r, m, **options),
        theirs.f1_score(r, m, **options),
        # scikit-learn has no NaN for the Jaccard index: classes in neither are set by hand
        np.where(
            [name in r or name in m for name in names],
            theirs.jaccard_score(r, m, labels=names, average=None, zero_division=0),
            np.nan,
        ),
    ]
    for score, reference_score in zip(found, expected, strict=True):
        np.testing.assert_allclose(score, reference_score, rtol=1e-12)
    assert ours.overall_accuracy(matrix) == pytest.approx(theirs.accuracy_score(r, m))
    means = {"labels": sorted(set(r)), "average": "macro", "zero_division": 0}
    assert ours.mean_iou(matrix) == pytest.approx(theirs.jaccard_score(r, m, **means))
    assert ours.mean_f1(matrix) == pytest.approx(theirs.f1_score(r, m, **means))


def test_scores_worked_by_hand():
    """Otherwise a change of definition would go unnoticed in the report."""
    matrix = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]])
    np.testing.assert_allclose(ours.precision(matrix), [6 / 7, 3 / 5, np.nan])
    np.testing.assert_allclose(ours.recall(matrix), [6 / 8, 3 / 4, np.nan])
    np.testing.assert_allclose(ours.iou(matrix), [6 / 9, 3 / 6, np.nan])
    assert ours.overall_accuracy(matrix) == 9 / 12
    assert ours.mean_iou(matrix) == pytest.approx((6 / 9 + 3 / 6) / 2)


def test_no_pixel_gives_nan():
    """Otherwise an area without labels would be told a perfect or a zero score."""
    empty = np.zeros((3, 3), np.int64)
    for score in (ours.overall_accuracy, ours.mean_iou, ours.mean_f1):
        assert np.isnan(score(empty))


def blocks(random, count, spread, pixels=60, mean=0.7):
    """Confusion matrices (block, 2, 2) whose accuracy varies from block to block."""
    accuracy = np.clip(random.normal(mean, spread, count), 0, 1)
    right = random.binomial(pixels, accuracy)
    matrices = np.zeros((count, 2, 2), np.int64)
    matrices[:, 0, 0], matrices[:, 0, 1] = right, pixels - right
    return matrices


def test_blocks_alike_give_an_interval_of_no_width():
    """Otherwise the interval would hold a spread that the blocks do not have."""
    matrices = np.repeat(np.array([[[8, 2], [1, 9]]]), 20, axis=0)
    low, high = ours.bootstrap_interval(matrices, ours.mean_iou, 200, 0)
    assert low == high == pytest.approx((8 / 11 + 9 / 12) / 2)


def test_the_interval_is_repeatable_and_follows_its_seed():
    """Otherwise a rerun would change the published numbers."""
    matrices = blocks(np.random.default_rng(0), 12, 0.2)
    draws = [ours.bootstrap_interval(matrices, ours.overall_accuracy, 200, s) for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    assert draws[0][0] < ours.overall_accuracy(matrices.sum(axis=0)) < draws[0][1]


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Otherwise `95 %` would be a word: pixels would count as independent, or blocks twice."""
    random, held, widths = np.random.default_rng(7), 0, []
    for trial in range(150):
        matrices = blocks(random, 40, 0.12)
        low, high = ours.bootstrap_interval(matrices, ours.overall_accuracy, 200, trial)
        held += low <= 0.7 <= high
        widths.append(high - low)
    assert 0.88 <= held / 150 <= 0.99
    spread = np.sqrt((0.12**2 + 0.7 * 0.3 / 60) / 40)  # of a mean over 40 blocks
    assert np.mean(widths) == pytest.approx(2 * 1.96 * spread, rel=0.15)


def test_blocks_where_a_score_is_undefined_are_left_out():
    """Otherwise one empty block would turn a whole interval into NaN."""
    matrices = np.zeros((3, 2, 2), np.int64)
    matrices[0] = [[5, 1], [1, 5]]
    low, high = ours.bootstrap_interval(matrices, ours.overall_accuracy, 300, 0)
    assert low == high == pytest.approx(10 / 12)


def test_the_difference_is_over_the_same_blocks():
    """Otherwise a real difference between two maps would drown in what their blocks share."""
    random = np.random.default_rng(3)
    worse = blocks(random, 25, 0.2)
    better = worse.copy()
    better[:, 0, 0] += np.minimum(worse[:, 0, 1], 2)
    better[:, 0, 1] -= np.minimum(worse[:, 0, 1], 2)
    score = ours.overall_accuracy
    assert ours.bootstrap_difference(worse, worse, score, 200, 5) == (0, 0)
    low, high = ours.bootstrap_difference(better, worse, score, 400, 5)
    gain = score(better.sum(axis=0)) - score(worse.sum(axis=0))
    assert 0 < low <= gain <= high
    alone = ours.bootstrap_interval(worse, score, 400, 5)
    assert (high - low) < 0.25 * (alone[1] - alone[0])
    assert ours.bootstrap_difference(worse, better, score, 400, 5) == pytest.approx((-high, -low))


@quick
@given(pairs())
def test_macro_and_micro_means_are_scikit_learns(given_pairs):
    """A mean would be told under the name of another one."""
    reference, mapped, classes = given_pairs
    r, m = labelled(reference, mapped)
    if not r:
        return
    found = ours.means(ours.confusion_matrix(reference, mapped, classes))
    for kind, options in (
        ("macro", {"labels": sorted(set(r)), "average": "macro", "zero_division": 0}),
        ("micro", {"labels": sorted({*r, *m}), "average": "micro", "zero_division": 0}),
    ):
        scores = theirs.precision_score, theirs.recall_score, theirs.f1_score, theirs.jaccard_score
        expected = [score(r, m, **options) for score in scores]
        assert list(found[kind].values()) == pytest.approx(expected)


def correlated_errors(random, side=256, width=4):
    """(side, side) bool, simulated: errors in patches; each pixel errs with probability 0.3."""
    noise = ndimage.gaussian_filter(random.normal(size=(side, side)), width, mode="wrap")
    spread = 1 / (2 * np.sqrt(np.pi) * width)  # of white noise after the filter
    return noise / spread < norm.ppf(0.3)


def test_blocks_hold_where_errors_come_in_patches_and_pixels_do_not():
    """Intervals that take pixels for independent would be far too sure of a score.

    Blocks are several patches of errors wide, and many; with 16 blocks as wide as a patch the
    interval over blocks is too narrow as well.
    """
    random, held = np.random.default_rng(11), {"pixels": 0, "blocks": 0}
    for trial in range(200):
        wrong = correlated_errors(random)
        by_block = wrong.reshape(8, 32, 8, 32).sum(axis=(1, 3)).ravel()
        matrices = np.zeros((64, 2, 2), np.int64)
        matrices[:, 0, 0], matrices[:, 0, 1] = 1024 - by_block, by_block
        low, high = ours.bootstrap_interval(matrices, ours.overall_accuracy, 200, trial)
        held["blocks"] += low <= 0.7 <= high
        # what a bootstrap of single pixels draws: a binomial count of errors
        drawn = 1 - random.binomial(wrong.size, wrong.mean(), 200) / wrong.size
        low, high = np.percentile(drawn, [2.5, 97.5])
        held["pixels"] += low <= 0.7 <= high
    print("held of 200:", held)
    assert held["blocks"] / 200 > 0.88
    assert held["pixels"] / 200 < 0.4


def test_models_and_blocks_vary_together():
    """The interval over seeds would hold the spread of the place, or of the models, alone."""
    random = np.random.default_rng(2)
    alike = np.repeat(blocks(random, 25, 0.1)[None], 4, axis=0)
    one = ours.bootstrap_interval(alike[0], ours.overall_accuracy, 400, 3)
    low, high = ours.bootstrap_seeds(alike, ours.overall_accuracy, 400, 3)
    assert high - low == pytest.approx(one[1] - one[0], rel=0.15)
    models = np.stack([blocks(random, 25, 0.1, mean=m) for m in (0.55, 0.65, 0.75, 0.85)])
    wide = ours.bootstrap_seeds(models, ours.overall_accuracy, 400, 3)
    assert wide[1] - wide[0] > 2 * (high - low)
    assert np.isnan(ours.bootstrap_seeds(models[:1], ours.overall_accuracy, 100, 3)).all()
