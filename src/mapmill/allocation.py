"""How many samples a map needs, and how many go to each stratum. Pure functions."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]


def sample_size(ground: Numbers, units: Numbers, accuracy: Numbers, standard_error: float) -> int:
    """Samples for which overall accuracy has the standard error, if allocated proportionally.

    Cochran 1977, Sampling Techniques, eq. 5.25; Olofsson et al. 2014
    (https://doi.org/10.1016/j.rse.2014.02.015), eq. 13.

    Parameters
    ----------
    ground, units : (H,) area and number of units of each stratum
    accuracy : (H,) user's accuracy that is expected in it
    """
    weight = ground / ground.sum()
    spread = np.sqrt(accuracy * (1 - accuracy))
    variance = standard_error**2 + (weight * spread**2).sum() / units.sum()
    return max(1, math.ceil(float((weight * spread).sum() ** 2 / variance) - 1e-9))


def allocate(size: int, ground: Numbers, units: Numbers, least: int) -> NDArray[np.int64]:
    """(H,) samples of each stratum: `least` to the small ones, the rest in proportion to area.

    The advice of Olofsson et al. 2014, section 5.1.1.2: equal numbers make areas uncertain,
    proportional ones leave rare classes without samples. No stratum gets more than it has units;
    the sum is larger than `size` where the least numbers already are.
    """
    floor = np.minimum(least, units).astype(np.int64)
    result = floor.copy()
    open_H = units > floor
    while open_H.any():
        left = max(0, size - int(result[~open_H].sum()))
        wanted = left * np.where(open_H, ground, 0) / ground[open_H].sum()
        small, large = open_H & (wanted <= floor), open_H & (wanted >= units)
        if not (small | large).any():
            result[open_H] = _rounded(wanted[open_H], left)
            break
        # the small ones first: what they take is no longer there for the others
        closed = small if small.any() else large
        result[closed] = np.where(small, floor, units)[closed]
        open_H &= ~closed
    return result


def _rounded(wanted: Numbers, total: int) -> NDArray[np.int64]:
    """Whole numbers of that sum, the largest remainders rounded up."""
    result = np.floor(wanted).astype(np.int64)
    order = np.argsort(result - wanted, kind="stable")
    result[order[: total - int(result.sum())]] += 1
    return result
