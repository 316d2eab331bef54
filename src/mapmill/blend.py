"""Weights of overlapping windows. Needs numpy alone.

A pixel's probabilities are the weighted mean of those by all windows of the lattice that hold it.
The lattice is anchored at the grid's origin and the sums run in its order, row by row: so tiles
and blocks leave no trace.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.plan import Lattice

Array = NDArray[Any]
SIGMA = 1 / 8
"""Of the Gaussian, in sides of a window (as nnU-Net, Isensee and others 2021)."""


def weights(kind: str, side: int) -> Array:
    """Weight of each row (or column) of a window, float32, symmetric and larger than 0.

    hann: sin^2(pi (i + 1/2) / side); gaussian: exp(-d^2 / 2 s^2), d from the middle, s = side / 8.
    """
    places = np.arange(side) + 0.5
    if kind == "hann":
        return np.asarray(np.sin(np.pi * places / side) ** 2, np.float32)
    far = (places - side / 2) / (SIGMA * side)
    return np.asarray(np.exp(-0.5 * far**2), np.float32)


def sums(weight: Array, lattice: Lattice, start: int, stop: int) -> Array:
    """Sum of the weights of all windows at each of [start, stop), in the lattice's order."""
    total = np.zeros(stop - start, np.float32)
    for first in lattice.touching(start, stop):
        low, high = max(first, start), min(first + lattice.side, stop)
        total[low - start : high - start] += weight[low - first : high - first]
    return total
