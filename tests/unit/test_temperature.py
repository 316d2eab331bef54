"""Temperature, reliability and threshold, beside scipy, scikit-learn and plain loops."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import f1_score, jaccard_score, log_loss

from mapmill.temperature import (
    LEAST,
    MOST,
    best_threshold,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    tempered,
)


def sample(factor=1.0, classes=4, count=4000, seed=0):
    """Probabilities (K, N) whose logits are `factor` times the true ones, and the truth drawn."""
    random = np.random.default_rng(seed)
    logits_KN = random.normal(0, 2, (classes, count))
    true_KN = softmax(logits_KN, axis=0)
    truth_N = np.array([random.choice(classes, p=p) for p in true_KN.T])
    return softmax(factor * logits_KN, axis=0), truth_N


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_again(factor):
    """Otherwise confidence would be moved away from the truth."""
    p_KN, truth_N = sample(factor)
    found = fit_temperature(p_KN, truth_N)
    theirs = minimize_scalar(
        lambda t: log_loss(truth_N, softmax(np.log(p_KN) / t, axis=0).T),
        bounds=(LEAST, MOST),
        method="bounded",
        options={"xatol": 1e-7},
    )
    assert found == pytest.approx(theirs.x, rel=1e-4)
    assert found == pytest.approx(factor, rel=0.1)
    better = tempered(p_KN, found)
    np.testing.assert_allclose(better, softmax(np.log(p_KN) / found, axis=0))
    assert negative_log_likelihood(better, truth_N) == pytest.approx(log_loss(truth_N, better.T))
    assert negative_log_likelihood(better, truth_N) <= negative_log_likelihood(p_KN, truth_N)


def test_no_temperature_changes_a_class():
    """Otherwise a map would change with how sure it says it is."""
    p_KN, _ = sample()
    for temperature in (LEAST, 0.3, 1.0, 2.5, MOST):
        found = tempered(p_KN, temperature)
        np.testing.assert_array_equal(found.argmax(axis=0), p_KN.argmax(axis=0))
        np.testing.assert_allclose(found.sum(axis=0), 1)


def test_a_map_without_a_mistake_or_any_sense_has_a_temperature():
    """Otherwise the search would not end, or end in a number that is none."""
    p_KN = np.array([[0.9, 0.2, 0.7], [0.1, 0.8, 0.3]])
    assert fit_temperature(p_KN, np.array([0, 1, 0])) == LEAST
    assert fit_temperature(p_KN, np.array([1, 0, 1])) == MOST
    certain = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert fit_temperature(certain, np.array([1, 1])) == pytest.approx(MOST)


def test_reliability_is_that_of_scikit_learn():
    """Otherwise a map would be said to be more, or less, reliable than it is."""
    p_KN, truth_N = sample(2.0)
    found = reliability(p_KN, truth_N, 10)
    right_N = p_KN.argmax(axis=0) == truth_N
    accuracy, confidence = calibration_curve(right_N, p_KN.max(axis=0), n_bins=10)
    np.testing.assert_allclose([c for c in found.confidence if c is not None], confidence)
    np.testing.assert_allclose([a for a in found.accuracy if a is not None], accuracy)
    filled = [n for n in found.count if n]
    assert sum(filled) == 4000 and len(filled) == len(accuracy)
    assert found.error == pytest.approx(np.average(np.abs(accuracy - confidence), weights=filled))
    better = reliability(tempered(p_KN, fit_temperature(p_KN, truth_N)), truth_N, 10)
    assert better.error < 0.5 * found.error


def test_the_threshold_is_the_best_of_all():
    """Otherwise a rare class would be missed, or mapped where it is not."""
    random = np.random.default_rng(2)
    truth_N = (random.random(3000) < 0.05).astype(int)
    second_N = np.clip(0.15 + 0.25 * truth_N + random.normal(0, 0.1, 3000), 0, 1)
    threshold, score = best_threshold(second_N, truth_N)
    for measure in (f1_score, jaccard_score):
        scores = {t: measure(truth_N, second_N > t / 100) for t in range(1, 100)}
        assert scores[round(100 * threshold)] == max(scores.values())
    assert score == pytest.approx(f1_score(truth_N, second_N > threshold))
    assert threshold <= 0.4
    assert best_threshold(np.array([0.1, 0.9]), np.array([0, 1])) == (0.5, 1.0)
    assert best_threshold(np.array([0.1, 0.2]), np.array([0, 0])) == (0.5, 0.0)
