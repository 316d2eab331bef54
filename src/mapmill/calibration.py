"""Whether a map is right as often as it says. Pure functions.

They work on counts of pixels by mapped class, confidence in whole per cent and whether the map is
right, (K, 101, 2): so the confidence of a map is stored, and so pixels of any number add up.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
BINS = 10
PERCENT = np.arange(101) / 100


def count(
    reference: NDArray[Any], mapped: NDArray[Any], percent: NDArray[Any], classes: int
) -> Counts:
    """(K, 101, 2) pixels that have a class in both, by mapped class, confidence, wrong or right."""
    used = (reference > 0) & (mapped > 0)
    right = (reference == mapped)[used].astype(np.int64)
    place = (mapped[used].astype(np.int64) - 1) * 101 + np.minimum(percent[used], 100)
    return np.bincount(place * 2 + right, minlength=classes * 202).reshape(classes, 101, 2)


def bins(counts: Counts) -> list[tuple[int, float, float]]:
    """Pixels, mean confidence and share right of ten bins of equal width, all classes together.

    Bin m holds confidences above (m - 1) / 10 and up to m / 10. NaN in an empty bin.
    """
    by_percent = counts.reshape(-1, 101, 2).sum(axis=0)
    number = np.maximum(-(-np.arange(101) // BINS) - 1, 0)
    rows = []
    for place in range(BINS):
        part = by_percent[number == place]
        pixels = int(part.sum())
        sums = (part.sum(axis=1) @ PERCENT[number == place], part[:, 1].sum())
        sure, right = (float(s / pixels) if pixels else float("nan") for s in sums)
        rows.append((pixels, sure, right))
    return rows


def expected_error(counts: Counts) -> float:
    """Expected calibration error: mean of |share right - confidence| over bins, by pixels.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, eq. 5. NaN without pixels.
    """
    rows = [row for row in bins(counts) if row[0]]
    total = sum(pixels for pixels, _, _ in rows)
    gaps = (pixels * abs(right - sure) for pixels, sure, right in rows)
    return sum(gaps) / total if total else float("nan")


def brier(counts: Counts) -> float:
    """Mean of (confidence - right)^2, the Brier score of the mapped class.

    Of two classes it is that of the second class's probability, since both differ from the truth
    by as much. NaN without pixels.
    """
    by_percent = counts.reshape(-1, 101, 2).sum(axis=0)
    total = by_percent.sum()
    squares = by_percent[:, 0] @ PERCENT**2 + by_percent[:, 1] @ (1 - PERCENT) ** 2
    return float(squares / total) if total else float("nan")


def precision_recall(counts: Counts) -> tuple[list[tuple[int, float, float]], float]:
    """Of two classes: per cent, precision and recall of the second at each threshold; and AP.

    A pixel is the second class where its probability is at least the threshold. The average
    precision is the sum of precision times the step in recall (as in scikit-learn). Thresholds
    that no pixel has are left out; NaN where the second class does not occur.
    """
    # mapped as the first class with p: the second one has 1 - p, and is right where the map errs
    pixels_P2 = counts[1] + counts[0][::-1, ::-1]
    wrong, right = pixels_P2[::-1].cumsum(axis=0).T
    total = int(right[-1])
    rows, average, before = [], 0.0, 0.0
    for place, percent in enumerate(range(100, -1, -1)):
        if not pixels_P2[percent].sum():
            continue
        precision = float(right[place] / (right[place] + wrong[place]))
        recall = float(right[place] / total) if total else float("nan")
        average += precision * (recall - before)
        before = recall
        rows.append((percent, precision, recall))
    return rows, average if total else float("nan")


def as_mapped(counts: Counts) -> tuple[float, float]:
    """Of two classes: precision and recall of the second as the map has it; NaN if undefined."""
    right, wrong = int(counts[1][:, 1].sum()), int(counts[1][:, 0].sum())
    missed = int(counts[0][:, 0].sum())
    precision = right / (right + wrong) if right + wrong else float("nan")
    return precision, right / (right + missed) if right + missed else float("nan")
