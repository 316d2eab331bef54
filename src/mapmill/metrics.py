"""Confusion matrices and the scores drawn from them. Pure functions over numpy arrays.

Matrices have the reference in rows and the map in columns, classes 1 to K as 0 to K - 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.int64]


def confusion_matrix(reference: NDArray[Any], mapped: NDArray[Any], classes: int) -> Matrix:
    """Count pixels by reference and mapped class, leaving out those where either is 0."""
    used = (reference > 0) & (mapped > 0)
    pairs = (reference[used].astype(np.int64) - 1) * classes + mapped[used].astype(np.int64) - 1
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def precision(matrix: Matrix) -> NDArray[np.float64]:
    """Of the pixels mapped as a class, the share that is; NaN for a class never mapped."""
    return _ratio(np.diag(matrix), matrix.sum(axis=0))


def recall(matrix: Matrix) -> NDArray[np.float64]:
    """Of the pixels that are a class, the share mapped so; NaN for a class without reference."""
    return _ratio(np.diag(matrix), matrix.sum(axis=1))


def f1(matrix: Matrix) -> NDArray[np.float64]:
    """2 TP / (2 TP + FP + FN), which is Dice; NaN for a class in neither."""
    return _ratio(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def iou(matrix: Matrix) -> NDArray[np.float64]:
    """TP / (TP + FP + FN); NaN for a class in neither."""
    return _ratio(np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1) - np.diag(matrix))


def overall_accuracy(matrix: Matrix) -> float:
    """Share of pixels mapped as their reference class; NaN without pixels."""
    return float(np.trace(matrix) / matrix.sum()) if matrix.sum() else float("nan")


def mean_iou(matrix: Matrix) -> float:
    """Mean IoU over the classes that occur in the reference; NaN without any."""
    return _mean_present(iou(matrix), matrix)


def mean_f1(matrix: Matrix) -> float:
    """Mean F1 over the classes that occur in the reference; NaN without any."""
    return _mean_present(f1(matrix), matrix)


def _mean_present(values_K: NDArray[np.float64], matrix: Matrix) -> float:
    present = matrix.sum(axis=1) > 0
    return float(values_K[present].mean()) if present.any() else float("nan")


def _ratio(part: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.float64]:
    result = np.full(part.shape, np.nan)
    np.divide(part, whole, out=result, where=whole > 0)
    return result


def bootstrap_interval(
    matrices_NKK: Matrix, score: Callable[[Matrix], float], draws: int, seed: int
) -> tuple[float, float]:
    """95 % percentile interval of a pooled score, resampling the N spatial blocks.

    Neighbouring pixels err together; blocks are what can be called independent.
    Draws whose score is undefined are left out. NaN where there is only one block.
    """
    return _percentiles(_scores(matrices_NKK, score, draws, seed))


def bootstrap_difference(
    ours_NKK: Matrix, theirs_NKK: Matrix, score: Callable[[Matrix], float], draws: int, seed: int
) -> tuple[float, float]:
    """95 % interval of score(ours) - score(theirs) over the same drawn blocks."""
    ours = _scores(ours_NKK, score, draws, seed)
    return _percentiles(ours - _scores(theirs_NKK, score, draws, seed))


def bootstrap_seeds(
    matrices_SNKK: Matrix, score: Callable[[Matrix], float], draws: int, seed: int
) -> tuple[float, float]:
    """95 % interval of the mean score of S models, resampling models and the N spatial blocks.

    What another training and another place would have given. NaN where there is one of either.
    """
    generator = np.random.default_rng(seed)
    models, count = matrices_SNKK.shape[:2]
    if models < 2 or count < 2:
        return float("nan"), float("nan")
    means = []
    for _ in range(draws):
        chosen = [int(model) for model in generator.integers(models, size=(models,))]
        pooled_SKK = matrices_SNKK[:, generator.integers(count, size=count)].sum(axis=1)
        by_model = {model: score(pooled_SKK[model]) for model in set(chosen)}
        means.append(np.mean([by_model[model] for model in chosen]))
    return _percentiles(np.array(means))


def means(matrix: Matrix) -> dict[str, dict[str, float]]:
    """Macro and micro means of precision, recall, F1 and IoU.

    Macro: the mean over classes that occur in the reference; precision of a class that is never
    mapped counts 0. Micro: pixels of all classes counted together, of which precision, recall and
    F1 are the overall accuracy.
    """
    macro = {
        name: _mean_present(np.nan_to_num(score(matrix)), matrix)
        for name, score in (("precision", precision), ("recall", recall), ("F1", f1), ("IoU", iou))
    }
    right, total = int(np.trace(matrix)), int(matrix.sum())
    accuracy = overall_accuracy(matrix)
    joint = right / (2 * total - right) if total else float("nan")
    micro = {"precision": accuracy, "recall": accuracy, "F1": accuracy, "IoU": joint}
    return {"macro": macro, "micro": micro}


def _scores(
    matrices_NKK: Matrix, score: Callable[[Matrix], float], draws: int, seed: int
) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    count = len(matrices_NKK)
    if count < 2:
        return np.full(draws, np.nan)
    picks = generator.integers(count, size=(draws, count))
    return np.array([score(matrices_NKK[pick].sum(axis=0)) for pick in picks])


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    if np.isnan(values).all():
        return float("nan"), float("nan")
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)
