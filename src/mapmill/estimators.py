"""Accuracy and area from a stratified random sample, with their uncertainty. Pure functions.

Everything here is one kind of number: the share of some ground that has a property, in a
population that was divided into strata H and sampled at random within each. Overall accuracy,
user's and producer's accuracy and the area of a class differ only in which ground and which
property (Stehman 2014, https://doi.org/10.1080/01431161.2014.930207, eq. 1 to 3 and 23 to 28).
Where the strata are the classes of the map, these are the estimators of Olofsson et al. 2014
(https://doi.org/10.1016/j.rse.2014.02.015, eq. 4 to 11).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[Any]
Z = 1.959963984540054
"""Of a 95 % interval."""
BISECTIONS = 50


@dataclass(frozen=True)
class Strata:
    """What was sampled from."""

    units: Numbers
    """(H,) units (pixels) of each stratum."""
    ground: Numbers
    """(H,) its area, in any one unit."""
    sampled: Numbers
    """(..., H) units that were looked at, at least one in each."""

    def __post_init__(self) -> None:
        if np.any(self.sampled < 1) or np.any(self.sampled > self.units):
            raise ValueError("a stratum without a sample, or with more than it has units")

    @property
    def unseen(self) -> Numbers:
        """(..., H) share of each stratum that was not looked at."""
        return 1 - self.sampled / self.units


@dataclass(frozen=True)
class Share:
    """An estimated share, 0 to 1; each field has the shape of the samples, less H."""

    value: Numbers
    """NaN where no ground of the kind was sampled."""
    standard_error: Numbers
    """NaN where a stratum has one sample only: nothing is known of its spread."""
    low: Numbers
    """95 % interval; see `interval`."""
    high: Numbers

    def row(self, scale: float = 1.0, unit: str = "") -> dict[str, float]:
        """Columns of a table: `value`, or the unit's name, then `standard_error`, `low`, `high`.

        Parameters
        ----------
        scale : ground of which this is a share, in the unit
        """
        end = f"_{unit}" if unit else ""
        names = unit or "value", f"standard_error{end}", f"low{end}", f"high{end}"
        values = self.value, self.standard_error, self.low, self.high
        return {name: scale * float(value) for name, value in zip(names, values, strict=True)}

    @property
    def half_width(self) -> Numbers:
        """Of the Wald interval, 1.96 standard errors: what papers print after the ± sign."""
        return Z * self.standard_error


UNKNOWN = Share(*[np.array(np.nan)] * 4)
"""Of ground without a sample."""


def share(hits: Numbers, misses: Numbers, strata: Strata, there: Numbers | None = None) -> Share:
    """Of some ground, the share with a property.

    Parameters
    ----------
    hits : (..., H) samples on the ground that have the property
    misses : (..., H) samples on the ground that have it not; other samples are off the ground
    there : (H,) bool, strata that can hold such ground at all; all by default. A class of the map
        is in its own stratum only, which is known and not estimated.
    """
    n = strata.sampled
    a, b, weight = hits / n, misses / n, strata.ground / strata.ground.sum()
    with np.errstate(invalid="ignore"):
        value = (weight * a).sum(-1) / (weight * (a + b)).sum(-1)
    low, high = interval(hits, misses, strata, there)
    return Share(value, _standard_error(value, a, b, weight, strata), low, high)


def _standard_error(
    value: Numbers, a: Numbers, b: Numbers, weight: Numbers, strata: Strata
) -> Numbers:
    """Of a ratio of two stratified totals, by linearisation (Stehman 2014, eq. 28).

    The residual of a sample is 1 - R where it is a hit, -R where it is a miss, else 0.
    """
    n, ratio = strata.sampled, value[..., None]
    square = a * (1 - ratio) ** 2 + b * ratio**2
    mean = a * (1 - ratio) - b * ratio
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.where(strata.unseen > 0, (square - mean**2) / (n - 1) * strata.unseen, 0.0)
        variance = (weight**2 * spread).sum(-1) / (weight * (a + b)).sum(-1) ** 2
    variance = np.where((n == 1) & (strata.unseen > 0), np.nan, 0).sum(-1) + variance
    result: Numbers = np.sqrt(np.maximum(variance, 0))
    return result


def interval(
    hits: Numbers, misses: Numbers, strata: Strata, there: Numbers | None = None
) -> tuple[Numbers, Numbers]:
    """95 % interval of a share that is honest where a stratum shows few or no errors.

    The usual one, 1.96 standard errors to both sides, takes a stratum in which no error was found
    for one without errors. Here each stratum has its Wilson interval, which is never of zero
    width but where every unit was looked at; these are put together by the method of variance
    estimates recovery (Zou and Donner 2008, https://doi.org/10.1002/sim.3095), with the
    covariance of multinomial counts. A ratio R holds if 0 is in the interval of
    (1 - R) hits - R misses (Fieller). 0 to 1 where no ground of the kind was sampled.
    """
    n = strata.sampled
    a, b, weight = hits / n, misses / n, strata.ground / strata.ground.sum()
    limits = weight if there is None else np.where(there, weight, 0.0)
    below_a, above_a = _wilson(a, strata)
    below_b, above_b = _wilson(b, strata)
    together = _together(a, b)

    def outside(ratio: Numbers) -> Numbers:
        """Whether a ratio is ruled out."""
        r = ratio[..., None]
        found = (weight * ((1 - r) * a - r * b)).sum(-1)
        up = _reach(limits, (1 - r) * (a - below_a), r * (above_b - b), together)
        down = _reach(limits, (1 - r) * (above_a - a), r * (b - below_b), together)
        gone: Numbers = np.where(found > 0, found > up, -found > down)
        return gone

    nothing = (hits + misses).sum(-1) == 0
    with np.errstate(invalid="ignore"):
        middle = (weight * a).sum(-1) / (weight * (a + b)).sum(-1)
    middle = np.where(nothing, 0.5, middle)
    low = _edge(np.zeros(middle.shape), middle, outside)
    high = _edge(np.ones(middle.shape), middle, outside)
    return np.where(nothing, 0.0, low), np.where(nothing, 1.0, high)


def _together(a: Numbers, b: Numbers) -> Numbers:
    """How much two shares of one stratum exclude each other: minus their correlation."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.sqrt(a * b / ((1 - a) * (1 - b)))
    result: Numbers = np.where(a + b >= 1 - 1e-12, 1.0, np.nan_to_num(found, posinf=0.0))
    return result


def _reach(weight: Numbers, one: Numbers, other: Numbers, together: Numbers) -> Numbers:
    """Distance to a limit of a sum over strata, from the distances of its two parts in each."""
    squares = one**2 + other**2 + 2 * together * one * other
    distance: Numbers = np.sqrt((weight**2 * squares).sum(-1))
    return distance


def _edge(far: Numbers, near: Numbers, outside: Any) -> Numbers:
    """Where `outside` changes between a ratio that may be ruled out and one that holds."""
    far, near = far.copy(), np.broadcast_to(near, far.shape).copy()
    held = ~outside(far)
    for _ in range(BISECTIONS):
        half = (far + near) / 2
        out = outside(half)
        far, near = np.where(out, half, far), np.where(out, near, half)
    return np.where(held, far, near)


def _wilson(part: Numbers, strata: Strata) -> tuple[Numbers, Numbers]:
    """Limits of a share in each stratum (Wilson 1927), narrower where much of it was seen."""
    z2 = Z**2 * strata.unseen / strata.sampled
    centre = (part + z2 / 2) / (1 + z2)
    half = np.sqrt(z2 * (part * (1 - part) + z2 / 4)) / (1 + z2)
    # exact ends: rounding must not put a limit on the wrong side of the estimate
    return np.minimum(centre - half, part), np.maximum(centre + half, part)
