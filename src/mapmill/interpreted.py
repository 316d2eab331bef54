"""Accuracy and area of each class from an interpreted sample. Pure functions: no files."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.estimators import Share, Strata, share

Numbers = NDArray[Any]
FEW = 5
"""Samples in a cell of the confusion matrix below which its share is mostly chance."""


@dataclass(frozen=True)
class Interpreted:
    """Points that people looked at, and what they were drawn from. Classes are 1 to K."""

    stratum: Numbers
    """(point,) class of the map that the sample was drawn from."""
    mapped: Numbers
    """(point,) class of the map that is judged; 0 where it says nothing."""
    reference: Numbers
    """(point,) class that is there; 0 where nobody could tell."""
    units: Numbers
    """(K + 1,) pixels of each stratum."""
    hectares: Numbers
    """(K + 1,) their ground."""
    own: bool
    """Whether the map that is judged is the one that was drawn from."""

    @property
    def classes(self) -> int:
        """K."""
        return len(self.units) - 1

    @property
    def strata(self) -> Numbers:
        """(H,) classes that are a stratum."""
        return np.flatnonzero(self.units[1:]) + 1

    def counts(self, chosen: Numbers) -> Numbers:
        """(H,) points of each stratum, of those chosen that have a reference."""
        used = self.stratum[chosen & (self.reference > 0)]
        return np.bincount(used, minlength=self.classes + 1)[self.strata]

    @property
    def sampled(self) -> Numbers:
        """(H,) points with a reference."""
        return self.counts(np.ones(len(self.stratum), bool))

    def drawn_from(self) -> Strata:
        """Sizes of the strata."""
        there = self.strata
        return Strata(self.units[there], self.hectares[there], self.sampled)


def overall(data: Interpreted) -> Share:
    """Overall accuracy: of the ground that has a class in the map, the share mapped right."""
    right = data.mapped == data.reference
    hits, misses = data.counts(right), data.counts(~right & (data.mapped > 0))
    return share(hits, misses, data.drawn_from())


def users(data: Interpreted, value: int) -> Share:
    """User's accuracy: of what is mapped as the class, the share that is."""
    mapped, right = data.mapped == value, data.reference == value
    there = data.strata == value if data.own else None
    hits, misses = data.counts(mapped & right), data.counts(mapped & ~right)
    return share(hits, misses, data.drawn_from(), there)


def producers(data: Interpreted, value: int) -> Share:
    """Producer's accuracy: of what is the class and in the map, the share mapped as it."""
    mapped, right = data.mapped == value, (data.reference == value) & (data.mapped > 0)
    hits, misses = data.counts(mapped & right), data.counts(~mapped & right)
    return share(hits, misses, data.drawn_from())


def class_share(data: Interpreted, value: int) -> Share:
    """Of all ground, the share that is the class: times the ground, its area."""
    right = data.reference == value
    return share(data.counts(right), data.counts(~right), data.drawn_from())


def matrix(data: Interpreted) -> Numbers:
    """(K + 1, K + 1) points by class in the map and reference; the map in rows, as is custom."""
    pairs = data.mapped * (data.classes + 1) + data.reference
    size = data.classes + 1
    return np.bincount(pairs, minlength=size**2).reshape(size, size)


@dataclass(frozen=True)
class UnitShare:
    """Share of a class in one unit, such as a municipality."""

    share: Share | None
    """None where there is no sample in the unit."""
    points: int
    """With a reference, in the unit."""
    method: str


POSTSTRATIFIED = "post-stratified by class of the map"
RATIO = "too few points to post-stratify: ratio of the unit's own points"


def unit_share(
    data: Interpreted, value: int, inside: Numbers, units: Numbers, hectares: Numbers
) -> UnitShare:
    """Share of a class in a unit that the sample was not drawn for.

    Where each class that the map has in the unit holds at least two points, their shares are
    weighted by the classes' ground in the unit (post-stratification; Cochran 1977, section 5A.9).
    With fewer, the points of the unit are weighted as they were drawn (a ratio estimator for a
    domain; Cochran 1977, section 5A.14); one point has no standard error.

    Parameters
    ----------
    inside : (point,) bool
    units, hectares : (K + 1,) pixels and ground of each class of the map in the unit
    """
    right = data.reference == value
    hits, misses = data.counts(right & inside), data.counts(~right & inside)
    points = int((hits + misses).sum())
    if not points:
        return UnitShare(None, 0, "no point in it: not estimable")
    there = units[data.strata] > 0
    if ((hits + misses)[there] >= 2).all():
        chosen = data.strata[there]
        strata = Strata(units[chosen], hectares[chosen], (hits + misses)[there])
        return UnitShare(share(hits[there], misses[there], strata), points, POSTSTRATIFIED)
    found = share(hits, misses, data.drawn_from(), there)
    if points == 1:
        found = replace(found, standard_error=np.array(np.nan))
    return UnitShare(found, points, RATIO)


def remarks(data: Interpreted, names: list[str]) -> list[str]:
    """What a reader must know of the sample before using the numbers.

    Parameters
    ----------
    names : of class 1 to K
    """
    said, told = [], data.reference > 0
    if not told.all():
        said.append(
            f"{(~told).sum()} of {len(told)} points have no reference; they are left out, as if"
            " they were like the others of their class"
        )
    blank = told & (data.mapped == 0)
    if blank.any():
        said.append(
            f"{blank.sum()} points lie where the map says nothing (nodata, or outside); they count"
            " for areas, not for accuracy"
        )
    for value, count in zip(data.strata, data.sampled, strict=True):
        if count == data.units[value]:
            said.append(
                f"stratum {names[value - 1]}: all its pixels ({count}) were looked at; what is told"
                " of it alone has no uncertainty"
            )
        elif count == 1:
            said.append(
                f"stratum {names[value - 1]} has one point: no standard error can be told, and"
                " intervals that rest on it hold less often than 95 %"
            )
    for value, name in enumerate(names, 1):
        said += _of_class(data, value, name, names)
    return said


def _of_class(data: Interpreted, value: int, name: str, names: list[str]) -> list[str]:
    """Whether the class was found at all, and in how few points."""
    said = []
    if not (data.mapped[data.reference > 0] == value).any():
        said.append(f"no point is mapped as {name}: its user's accuracy is unknown")
    found = data.counts(data.reference == value)
    if not found.any():
        said.append(
            f"{name} was never seen: its producer's accuracy is unknown, its area at most `high`"
        )
        return said
    open_H = data.sampled < data.units[data.strata]  # in the others there is nothing to miss
    cells = [(names[h - 1], n) for h, n in zip(data.strata[open_H], found[open_H], strict=True)]
    few = [f"{stratum} {n}" for stratum, n in cells if 0 < n < FEW]
    none = ", ".join(stratum for stratum, n in cells if not n)
    few += [f"none in {none}"] if none else []
    if few:
        said.append(
            f"{name} was seen in fewer than {FEW} points of strata ({', '.join(few)}): its standard"
            " errors are uncertain, use the intervals"
        )
    return said
