"""Temperature, reliability and threshold, beside scipy, scikit-learn and plain loops."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, f1_score, jaccard_score, log_loss

from mapmill.temperature import (
    LEAST,
    MOST,
    best_threshold,
    brier,
    classwise_errors,
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


def test_errors_of_all_classes_are_those_of_loops():
    """Otherwise a class whose probability is far off would hide behind the likeliest ones."""
    p_KN, truth_N = sample(2.0, count=500)
    expected = []
    for number, p_N in enumerate(p_KN):
        total = 0.0
        for low in np.arange(10) / 10:
            inside = (p_N >= low) & (p_N < low + 0.1)
            if inside.any():
                share = (truth_N[inside] == number).mean()
                total += inside.mean() * abs(share - p_N[inside].mean())
        expected.append(total)
    assert classwise_errors(p_KN, truth_N, 10) == pytest.approx(expected)
    squares = [brier_score_loss(truth_N == number, p_N) for number, p_N in enumerate(p_KN)]
    assert brier(p_KN, truth_N) == pytest.approx(sum(squares))
    wrong = np.eye(4)[:, (truth_N + 1) % 4]
    assert brier(wrong, truth_N) == 2 and brier(np.eye(4)[:, truth_N], truth_N) == 0


def several(seed, count=6000):
    """Means of three models over two periods, each too sure and of its own mind; and the truth."""
    random = np.random.default_rng(seed)
    logits_KN = random.normal(0, 1.5, (4, count)) + random.normal(0, 0.7, (4, 1))
    truth_N = np.array([random.choice(4, p=p) for p in softmax(logits_KN, axis=0).T])
    said = [softmax(4 * (logits_KN + random.normal(0, 0.5, (4, count))), axis=0) for _ in range(6)]
    return np.mean(said, axis=0), truth_N


def test_a_temperature_of_the_mean_holds_in_another_place():
    """Otherwise maps of several seeds, folds or periods would tell a confidence that is false.

    Simulated: the temperature comes from one place, and is judged in another with other shares.
    """
    temperature = fit_temperature(*several(1))
    p_KN, truth_N = several(2)
    better = tempered(p_KN, temperature)
    assert temperature > 1.5
    before, after = (reliability(each, truth_N, 10).error for each in (p_KN, better))
    assert after < 0.3 * before
    before, after = (np.mean(classwise_errors(each, truth_N, 10)) for each in (p_KN, better))
    assert after < 0.5 * before
    assert brier(better, truth_N) < brier(p_KN, truth_N)
    np.testing.assert_array_equal(better.argmax(axis=0), p_KN.argmax(axis=0))


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
