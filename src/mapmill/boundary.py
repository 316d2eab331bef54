"""How well the edges of a map lie on those of the labels. Pure functions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[Any]
Mask = NDArray[np.bool_]
STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def edge_counts(reference_YX: Classes, mapped_YX: Classes, classes: int, tolerance: int) -> Classes:
    """(K, 4) of each class: map edges near the labels', map edges, label edges near, label edges.

    Pixels where either is 0 are left out of both. Near is at most `tolerance` pixels away, from
    centre to centre.
    """
    used_YX = (reference_YX > 0) & (mapped_YX > 0)
    reference, mapped = (np.where(used_YX, each, 0) for each in (reference_YX, mapped_YX))
    edges = [(each, _edges(each)) for each in (mapped, reference)]
    result = np.zeros((classes, 4), np.int64)
    for value in range(1, classes + 1):
        ours, theirs = ((each == value) & edge for each, edge in edges)
        if ours.any() or theirs.any():
            near = ours & _grown(theirs, tolerance), theirs & _grown(ours, tolerance)
            result[value - 1] = [each.sum() for each in (near[0], ours, near[1], theirs)]
    return result


def boundary_f1(counts: Classes) -> NDArray[np.float64]:
    """(K,) harmonic mean of the shares of map edges and of label edges that are near the others.

    Csurka et al. 2013, https://doi.org/10.5244/C.27.32, section 3; here one class at a time, all
    edges pooled. NaN for a class without edges in both, 0 where one has none.
    """
    near_map, ours, near_label, theirs = counts.astype(float).T
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = near_map / ours, near_label / theirs
        result: NDArray[np.float64] = 2 * precision * recall / (precision + recall)
    result[(ours + theirs > 0) & ~(near_map > 0)] = 0.0
    return result


def _edges(class_YX: Classes) -> Mask:
    """Pixels beside a pixel of another class; 0 makes no edge."""
    result = np.zeros(class_YX.shape, bool)
    for step in STEPS:
        other = _moved(class_YX, step)
        result |= (other > 0) & (class_YX > 0) & (other != class_YX)
    return result


def _grown(mask_YX: Mask, radius: int) -> Mask:
    """Pixels at most `radius` from one of the mask."""
    result = np.zeros(mask_YX.shape, bool)
    reach = range(-radius, radius + 1)
    for step in ((y, x) for y in reach for x in reach if y * y + x * x <= radius * radius):
        result |= _moved(mask_YX, step)
    return result


def _moved(array_YX: Any, step: tuple[int, int]) -> Any:
    """Each pixel's neighbour at a step of rows and columns; 0 beyond the edge."""
    result = np.zeros_like(array_YX)
    to_y, from_y = _spans(step[0], array_YX.shape[0])
    to_x, from_x = _spans(step[1], array_YX.shape[1])
    result[to_y, to_x] = array_YX[from_y, from_x]
    return result


def _spans(step: int, size: int) -> tuple[slice, slice]:
    low, high = max(-step, 0), max(min(size - step, size), 0)
    return slice(low, high), slice(low + step, max(high + step, 0))
