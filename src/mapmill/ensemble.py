"""The models of a map over its periods: mean probabilities of a window, and the classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mapmill.grid import Window
from mapmill.infer import Kept, Predictor
from mapmill.mirror import Reader, Seen, read_reflected
from mapmill.quantities import quantities
from mapmill.temperature import tempered

Array = NDArray[Any]


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
        is_sum = len(self.predictors) * len(self.readers) > 1
        shape = (len(self.predictors[0].card.classes), unit.height, unit.width)
        totals = [np.zeros(shape, np.float64 if is_sum else np.float32) for _ in self.predictors]
        times_YX = np.zeros(shape[1:], np.uint8)
        for period, image in enumerate(seen):
            valid_YX = image.valid(unit)
            if not valid_YX.any():
                continue
            times_YX += valid_YX
            for number, predictor in enumerate(self.predictors):
                kept = self._kept.setdefault((number, period), {})
                p_KYX = predictor.shown(unit, image, kept)
                np.add(totals[number], p_KYX, out=totals[number], where=valid_YX)
        if not is_sum:
            return Means(totals[0], times_YX, [])
        often_YX = np.maximum(times_YX, 1)
        mean_KYX = sum(totals) / (len(totals) * often_YX.astype(np.int64))
        alone = [total / often_YX for total in totals] if len(totals) > 1 else []
        return Means(np.asarray(mean_KYX), times_YX, alone)


def bands_of(
    means: Means,
    threshold: float,
    members: bool,
    temperature: float = 1.0,
    layers: Sequence[str] = (),
) -> NDArray[np.uint8]:
    """(2 + members + layers, y, x): class, confidence, the class by each model; 0 without data.

    The confidence is the probability of the class that is mapped, in percent from 1 to 100. It
    and the layers (see `quantities`) are at the temperature; classes do not depend on it.
    """
    class_YX = classes_of(means.p_KYX, threshold)
    p_KYX = tempered(means.p_KYX, temperature)
    chosen_YX = np.take_along_axis(p_KYX, class_YX[None].astype(np.int64) - 1, axis=0)[0]
    percent_YX = np.clip(np.rint(100 * chosen_YX.astype(np.float64)), 1, 100).astype(np.uint8)
    alone = [classes_of(p_KYX, threshold) for p_KYX in means.members] if members else []
    bands = [class_YX, percent_YX, *alone, *quantities(p_KYX, layers)]
    return np.where(means.times_YX > 0, np.stack(bands), np.uint8(0))


def classes_of(p_KYX: Array, threshold: float = 0.5) -> NDArray[np.uint8]:
    """The most probable class, 1 to K; of two the second where it is above the threshold.

    Of equals the first.
    """
    if len(p_KYX) == 2:
        first, second = p_KYX.astype(np.float64)
        return np.where((1 - threshold) * second > threshold * first, 2, 1).astype(np.uint8)
    most_YX, class_YX = p_KYX[0].copy(), np.ones(p_KYX.shape[1:], np.uint8)
    for number, p_YX in enumerate(p_KYX[1:], 2):
        class_YX[p_YX > most_YX] = number
        np.maximum(most_YX, p_YX, out=most_YX)
    return class_YX
