"""Patches of a map that are smaller than a minimum are given to their neighbours.

A patch is a stretch of one class whose pixels share sides; a small one has fewer than `minimum`
pixels. Classes are uint8 (y, x), 0 for nodata, which is no patch and takes none.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.uint8]
_compiled = numba.njit(nogil=True, cache=True)


def halo(minimum: int) -> int:
    """Pixels around a window within which one pass is exact.

    A small patch reaches less than `minimum` beyond the window; a neighbour of it that goes on
    beyond the halo has at least `minimum` pixels within.
    """
    return 2 * minimum


def sieve_pass(class_YX: Classes, minimum: int) -> Classes:
    """Give each small patch to the class that most of its outer sides touch, of equals the lowest.

    Only neighbours count that are not small themselves; a patch without any stays as it is, and
    may have one in the next pass. A patch that was given is part of a larger one from then on:
    passes come to an end.
    """
    labels_YX, sizes = patches(class_YX)
    small = (sizes < minimum) & (sizes > 0)
    numbers = np.where(small, np.cumsum(small), 0).astype(np.int32)
    votes = np.zeros((int(numbers.max(initial=0)) + 1, int(class_YX.max(initial=0)) + 1), np.int32)
    _vote(class_YX, labels_YX, numbers, votes)
    chosen = np.where(votes.any(axis=1), votes.argmax(axis=1), 0).astype(np.uint8)
    given_YX = chosen[numbers][labels_YX]
    return np.where(given_YX > 0, given_YX, class_YX)


def patches(class_YX: Classes) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number of each pixel's patch, (y, x) from 0, and the size of each; nodata has size 0."""
    labels_YX = np.empty(class_YX.shape, np.int32)
    parents = np.empty(class_YX.size, np.int32)
    count = _label(np.ascontiguousarray(class_YX), labels_YX, parents)
    sizes = np.zeros(count, np.int64)
    _measure(class_YX, labels_YX, sizes)
    return labels_YX, sizes


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _root(parents: Any, number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _label(class_YX: Any, labels_YX: Any, parents: Any) -> int:
    """Union-find over rows (Hoshen and Kopelman 1976); returns the number of patches."""
    height, width = class_YX.shape
    count = 0
    for row in range(height):
        for col in range(width):
            value = class_YX[row, col]
            label = -1
            if col > 0 and class_YX[row, col - 1] == value:
                label = labels_YX[row, col - 1]
            if row > 0 and class_YX[row - 1, col] == value:
                above = labels_YX[row - 1, col]
                if label < 0:
                    label = above
                elif label != above:
                    one, other = _root(parents, label), _root(parents, above)
                    parents[max(one, other)] = min(one, other)
            if label < 0:
                label = count
                parents[count] = count
                count += 1
            labels_YX[row, col] = label
    return _renumber(labels_YX, parents, count)


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _renumber(labels_YX: Any, parents: Any, count: int) -> int:
    """Number the roots from 0, and each pixel by its root."""
    found = 0
    for number in range(count):  # a root comes before all that belong to it
        if parents[number] == number:
            parents[number] = found
            found += 1
        else:
            parents[number] = parents[parents[number]]
    flat = labels_YX.ravel()
    for pixel in range(flat.size):
        flat[pixel] = parents[flat[pixel]]
    return found


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _measure(class_YX: Any, labels_YX: Any, sizes: Any) -> None:
    height, width = class_YX.shape
    for row in range(height):
        for col in range(width):
            if class_YX[row, col] > 0:
                sizes[labels_YX[row, col]] += 1


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _vote(class_YX: Any, labels_YX: Any, numbers: Any, votes: Any) -> None:
    """Count the sides that each small patch shares with patches that are not small."""
    height, width = class_YX.shape
    for row in range(height):
        for col in range(width):
            number = numbers[labels_YX[row, col]]
            if number == 0:
                continue
            for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                y, x = row + down, col + right
                if 0 <= y < height and 0 <= x < width:
                    value = class_YX[y, x]
                    if value > 0 and numbers[labels_YX[y, x]] == 0:
                        votes[number, value] += 1
