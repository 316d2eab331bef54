"""How far a map's confidence can be believed, and what brings it nearer. Pure functions.

The calibration error here is of probabilities as they are, to compare temperatures on a sample;
`calibration` has that of a map's stored per cents, over all pixels that are scored.

N pixels, K classes. Probabilities are means over models and periods; truth is a class, 0 to K - 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Numbers = NDArray[np.int64]
LEAST, MOST = 0.05, 20.0
"""Temperatures that are looked at."""
TINY = 1e-30
"""The smallest probability that is told from 0."""


def tempered(p: Floats, temperature: float) -> Floats:
    """Probabilities (K, ...) at a temperature: proportional to p ** (1 / temperature).

    Guo, Pleiss, Sun and Weinberger 2017, arXiv:1706.04599, with log p as the logits. The order
    of the classes stays.
    """
    if temperature == 1:
        return p
    logits = np.log(np.maximum(p, TINY, dtype=np.float64)) / temperature
    raised = np.exp(logits - logits.max(axis=0))
    result: Floats = raised / raised.sum(axis=0)
    return result


def negative_log_likelihood(p_KN: Floats, truth_N: Numbers) -> float:
    """Mean of -log p of the true class."""
    own_N = np.take_along_axis(p_KN, truth_N[None], axis=0)[0]
    return float(-np.log(np.maximum(own_N, TINY)).mean())


def fit_temperature(p_KN: Floats, truth_N: Numbers) -> float:
    """The temperature of the least negative log-likelihood, within LEAST and MOST.

    The likelihood is convex in 1 / temperature: its slope is followed to 0 by bisection.
    """
    logits_KN = np.log(np.maximum(p_KN, TINY, dtype=np.float64))
    own = float(np.take_along_axis(logits_KN, truth_N[None], axis=0).mean())

    def slope(inverse: float) -> float:
        return float((tempered(p_KN, 1 / inverse) * logits_KN).sum(axis=0).mean()) - own

    low, high = 1 / MOST, 1 / LEAST
    if slope(high) <= 0:
        return LEAST
    if slope(low) >= 0:
        return MOST
    for _ in range(40):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
    return float(1 / np.sqrt(low * high))


@dataclass(frozen=True)
class Reliability:
    """Pixels by their confidence, in bins of equal width from 0 to 1."""

    count: list[int]
    confidence: list[float | None]
    """Mean of each bin; None where it is empty."""
    accuracy: list[float | None]
    """Share of each bin that is right."""
    error: float
    """Expected calibration error: the mean over pixels of |accuracy - confidence| of their bin."""


def reliability(p_KN: Floats, truth_N: Numbers, bins: int) -> Reliability:
    """How often the most probable class is right, by its probability."""
    confidence_N, right_N = p_KN.max(axis=0), p_KN.argmax(axis=0) == truth_N
    bin_N = np.minimum((confidence_N * bins).astype(np.int64), bins - 1)
    count = np.bincount(bin_N, minlength=bins)
    sums = [np.bincount(bin_N, values, bins) for values in (confidence_N, right_N)]
    error = float(np.abs(sums[0] - sums[1]).sum() / max(len(truth_N), 1))
    means = [
        [float(total / n) if n else None for total, n in zip(sums_B, count, strict=True)]
        for sums_B in sums
    ]
    return Reliability(count.tolist(), means[0], means[1], error)


def classwise_errors(p_KN: Floats, truth_N: Numbers, bins: int) -> list[float]:
    """Of each class: how far its probability is from the share of pixels that it truly is.

    As the expected calibration error, but of all pixels by the probability of one class, mapped
    or not. Their mean is the class-wise ECE: Kull and others 2019, arXiv:1910.12656.
    """
    errors = []
    for number, p_N in enumerate(p_KN):
        bin_N = np.minimum((p_N * bins).astype(np.int64), bins - 1)
        gaps = np.bincount(bin_N, p_N - (truth_N == number), bins)
        errors.append(float(np.abs(gaps).sum() / max(len(truth_N), 1)))
    return errors


def brier(p_KN: Floats, truth_N: Numbers) -> float:
    """Mean over pixels of the sum over classes of (p - y)^2, from 0 to 2 (Brier 1950)."""
    squares_N = (p_KN.astype(np.float64) ** 2).sum(axis=0)
    own_N = np.take_along_axis(p_KN, truth_N[None], axis=0)[0]
    return float((squares_N - 2 * own_N + 1).mean())


def best_threshold(second_N: Floats, truth_N: Numbers) -> tuple[float, float]:
    """Of two classes: the threshold of the second's probability with the largest F1, and that F1.

    Of equals the nearest to 0.5. IoU = F1 / (2 - F1) grows with F1, so it has the same one. Looked
    at in steps of 0.01, from 0.01 to 0.99.
    """
    order = np.sort(second_N[truth_N == 1]), np.sort(second_N)
    best = (0.5, -1.0)
    for step in sorted(range(1, 100), key=lambda step: abs(step - 50)):
        threshold = step / 100
        hits, mapped = (len(v) - np.searchsorted(v, threshold, side="right") for v in order)
        total = mapped + len(order[0])
        score = float(2 * hits / total) if total else 0.0
        if score > best[1]:
            best = (threshold, score)
    return best
