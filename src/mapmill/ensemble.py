"""The models of a map over its periods: mean probabilities of a window, and the classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapmill.grid import Window
from mapmill.infer import Kept, Predictor
from mapmill.mirror import Reader, Seen, read_reflected
from mapmill.pixels import class_and_percent
from mapmill.quantities import quantities
from mapmill.temperature import tempered

Array = NDArray[Any]
STRIP_PX = 2**16
"""Pixels that are looked at at once, so that what is computed from them stays in the cache."""


class Means(NamedTuple):
    """What the models say of a window."""

    p_KYX: Array
    """Probabilities (class, y, x), averaged over the models and, pixel by pixel, over the periods
    with data; 0 where there is none."""
    times_YX: NDArray[np.uint8]
    """Periods with data."""
    members: list[Array]
    """The same by each model alone, where there are several."""


@dataclass
class Ensemble:
    """All that a map is made of."""

    predictors: list[Predictor]
    readers: list[Reader]
    """One a period."""
    extent: Window
    """Where there is imagery; beyond it is mirrored."""
    _kept: dict[tuple[int, int], Kept] = field(default_factory=dict)

    def units(self, window: Window) -> list[Window]:
        """A window in parts, to be worked on in this order."""
        return list(self.predictors[0].units(window))

    def read(self, unit: Window) -> list[Seen]:
        """What has to be seen for a unit, in each period."""
        frames = [predictor.around(unit) for predictor in self.predictors]
        top, left = min(f.row for f in frames), min(f.col for f in frames)
        bottom, right = max(f.row_end for f in frames), max(f.col_end for f in frames)
        around = Window(top, left, bottom - top, right - left)
        return [read_reflected(around, self.extent, read) for read in self.readers]

    def probabilities(self, unit: Window, seen: list[Seen] | None = None) -> Means:
        """What the models say of a window; the one place where everything after them starts.

        Parameters
        ----------
        seen : what `read` gave for the window
        """
        seen = self.read(unit) if seen is None else seen
        if len(self.predictors) * len(self.readers) == 1:
            return self._of_one(unit, seen[0])
        shape = (len(self.predictors[0].card.classes), unit.height, unit.width)
        totals = [np.zeros(shape) for _ in self.predictors]
        times_YX = np.zeros(shape[1:], np.uint8)
        for period, image in enumerate(seen):
            valid_YX = image.valid(unit)
            if not valid_YX.any():
                continue
            times_YX += valid_YX
            for number in range(len(self.predictors)):
                p_KYX = self._shown(number, period, unit, image)
                np.add(totals[number], p_KYX, out=totals[number], where=valid_YX)
        often_YX = np.maximum(times_YX, 1)
        mean_KYX = sum(totals[1:], totals[0])
        mean_KYX /= len(totals) * often_YX.astype(np.int64)
        if len(totals) == 1:  # whose sum is the mean now
            return Means(mean_KYX, times_YX, [])
        for total_KYX in totals:
            total_KYX /= often_YX
        return Means(mean_KYX, times_YX, totals)

    def _of_one(self, unit: Window, image: Seen) -> Means:
        """What one model says of one period; float32."""
        valid_YX = image.valid(unit)
        times_YX = valid_YX.astype(np.uint8)
        if not valid_YX.any():
            classes = len(self.predictors[0].card.classes)
            return Means(np.zeros((classes, *valid_YX.shape), np.float32), times_YX, [])
        p_KYX = self._shown(0, 0, unit, image)
        if not valid_YX.all():
            np.copyto(p_KYX, 0, where=~valid_YX)
        return Means(p_KYX, times_YX, [])

    def _shown(self, number: int, period: int, unit: Window, image: Seen) -> Array:
        """Probabilities by one model of one period."""
        kept = self._kept.setdefault((number, period), {})
        return self.predictors[number].shown(unit, image, kept)


def bands_of(
    means: Means,
    threshold: float,
    members: bool,
    temperature: float = 1.0,
    layers: Sequence[str] = (),
) -> NDArray[np.uint8]:
    """(2 + members + layers, y, x): class, confidence, the class by each model; 0 without data.

    The confidence is the probability of the class that is mapped, in percent from 1 to 100. It
    and the layers (see `quantities`) are at the temperature; classes do not depend on it. It is
    worked out in strips: what is held beside `means` is no larger than the bands.
    """
    rows = max(1, STRIP_PX // means.times_YX.shape[1])
    parts = []
    for top in range(0, len(means.times_YX), rows):
        p_KYX, *members_KYX = (
            each_KYX[:, top : top + rows] for each_KYX in (means.p_KYX, *means.members)
        )
        times_YX = means.times_YX[top : top + rows]
        bands_2YX = _class_and_percent(p_KYX, threshold, temperature, times_YX)
        found = [classes_of(each_KYX, threshold) for each_KYX in members_KYX if members]
        found += [*quantities(tempered(p_KYX, temperature), layers)] if layers else []
        more = [each_YX[None] * (times_YX > 0) for each_YX in found]
        parts.append(np.concatenate([bands_2YX, *more]))
    return np.concatenate(parts, axis=1)


def _class_and_percent(
    p_KYX: Array, threshold: float, temperature: float, times_YX: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """(2, y, x): class, and its probability at a temperature in percent; 0 without data."""
    if p_KYX.dtype == np.float32 and temperature == 1:
        return class_and_percent(p_KYX, threshold, times_YX)
    class_YX = classes_of(p_KYX, threshold)
    p_KYX = tempered(p_KYX, temperature)
    chosen_YX = np.take_along_axis(p_KYX, class_YX[None].astype(np.int64) - 1, axis=0)[0]
    percent_YX = np.clip(np.rint(100 * chosen_YX.astype(np.float64)), 1, 100).astype(np.uint8)
    return np.stack([class_YX, percent_YX]) * (times_YX > 0)


def classes_of(p_KYX: Array, threshold: float = 0.5) -> NDArray[np.uint8]:
    """The most probable class, 1 to K; of two the second where it is above the threshold.

    Of equals the first.
    """
    if len(p_KYX) == 2:
        first, second = p_KYX.astype(np.float64)
        return np.where((1 - threshold) * second > threshold * first, 2, 1).astype(np.uint8)
    most_YX, class_YX = p_KYX[0].copy(), np.ones(p_KYX.shape[1:], np.uint8)
    for number, p_YX in enumerate(p_KYX[1:], 2):
        # numbers rise, so the largest is the last; arithmetic is far quicker than a mask
        np.maximum(class_YX, (p_YX > most_YX) * np.uint8(number), out=class_YX)
        np.maximum(most_YX, p_YX, out=most_YX)
    return class_YX
