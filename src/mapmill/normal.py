"""Normalisation: (x - a) / b, a and b by statistics of training pixels. Needs numpy alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

METHODS = ("standard", "mean", "min-max", "percentile")
LOW, HIGH = "2", "98"
"""Percentiles that become 0 and 1."""


@dataclass(frozen=True)
class Statistics:
    """Of each channel over valid training pixels; None where a store does not tell it."""

    mean: list[float]
    sd: list[float]
    least: list[float] | None = None
    most: list[float] | None = None
    low: list[float] | None = None
    """The 2nd percentile."""
    high: list[float] | None = None
    """The 98th."""

    def lacks(self, method: str) -> str:
        """What a method needs and is not there; empty if nothing is missing."""
        if method in ("mean", "min-max") and (self.least is None or self.most is None):
            return "least and largest values"
        if method == "percentile" and (self.low is None or self.high is None):
            return "percentiles"
        return ""

    def each(self) -> list["Statistics"]:
        """Those of each channel alone."""
        rows = (self.mean, self.sd, self.least, self.most, self.low, self.high)
        return [
            Statistics(*([row[number]] if row is not None else None for row in rows))  # type: ignore[arg-type]
            for number in range(len(self.mean))
        ]

    def parts(self, count: int) -> list["Statistics"]:
        """Those of so many equal sets of channels, one after another."""
        single, size = self.each(), len(self.mean) // count
        return [self.joined(single[start : start + size]) for start in range(0, len(single), size)]

    @classmethod
    def joined(cls, parts: Sequence["Statistics"]) -> "Statistics":
        """Those of several sets of channels, in order; what one lacks, all lack."""

        def all_of(rows: list[list[float] | None]) -> list[float] | None:
            there = [row for row in rows if row is not None]
            return [number for row in there for number in row] if len(there) == len(rows) else None

        return cls(
            [number for part in parts for number in part.mean],
            [number for part in parts for number in part.sd],
            all_of([part.least for part in parts]),
            all_of([part.most for part in parts]),
            all_of([part.low for part in parts]),
            all_of([part.high for part in parts]),
        )

    @classmethod
    def of_store(cls, found: Mapping[str, Any]) -> "Statistics":
        """As a patch store keeps them; it may tell the mean and standard deviation alone."""
        shares = found.get("percentiles") or {}
        more = (found.get("min"), found.get("max"), shares.get(LOW), shares.get(HIGH))
        kept = [None if each is None or None in each else list(each) for each in more]
        return cls(list(found["mean"]), list(found["sd"]), *kept)

    @classmethod
    def of_pixels(cls, pixels_CP: NDArray[Any]) -> "Statistics":
        """Of values (channel, pixel), in float64; those of no pixel are 0."""
        if not pixels_CP.shape[1]:
            pixels_CP = np.zeros((len(pixels_CP), 1))
        values = pixels_CP.astype(np.float64)
        low, high = np.percentile(values, (float(LOW), float(HIGH)), axis=1)
        rows = (values.mean(1), values.std(1), values.min(1), values.max(1), low, high)
        return cls(*(row.tolist() for row in rows))


def shift_and_scale(method: str, found: Statistics) -> tuple[list[float], list[float]]:
    """What is subtracted from each channel, and what it is then divided by."""
    shift, upper = {
        "standard": (found.mean, found.sd),
        "mean": (found.mean, _span(found.least, found.most)),
        "min-max": (found.least, _span(found.least, found.most)),
        "percentile": (found.low, _span(found.low, found.high)),
    }[method]
    assert shift is not None and upper is not None, found.lacks(method)
    return shift, upper


def _span(low: Sequence[float] | None, high: Sequence[float] | None) -> list[float] | None:
    if low is None or high is None:
        return None
    return [b - a for a, b in zip(low, high, strict=True)]
