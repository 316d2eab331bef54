"""Whether an image looks like what a model learnt from. Needs numpy alone."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.nets.model import Card

DEVIATIONS = 5
"""Standard deviations from the mean within which nearly all training pixels lie."""
MOST = 0.01
"""Share of pixels outside above which a band is told."""


class Outliers:
    """Counts of valid pixels outside the training statistics, band by band."""

    def __init__(self, card: Card) -> None:
        mean, sd = np.array(card.mean), np.array(card.sd)
        low, high = mean - DEVIATIONS * sd, mean + DEVIATIONS * sd
        self._bands, self._units = card.bands, card.units
        self.low = np.maximum(low, card.least) if card.least else low
        self.high = np.minimum(high, card.most) if card.most else high
        self.pixels = 0
        self.outside = np.zeros(len(mean), np.int64)

    def add(self, image_BYX: NDArray[Any], valid_YX: NDArray[np.bool_]) -> None:
        """Count an image's pixels."""
        self.pixels += int(np.count_nonzero(valid_YX))
        for number, (low, high) in enumerate(zip(self.low, self.high, strict=True)):
            band_YX = image_BYX[number]
            if band_YX.dtype.kind in "iu":  # the same, without a copy of the band in float64
                low, high = math.ceil(low), math.floor(high)
            outside_YX = (band_YX < low) | (band_YX > high)
            self.outside[number] += np.count_nonzero(outside_YX & valid_YX)

    def told(self) -> list[str]:
        """A line for each band with more than `MOST` of its pixels outside."""
        share = self.outside / max(self.pixels, 1)
        return [
            f"{band}: {100 * part:.1f} % of the pixels lie outside {low:g} to {high:g}, where the"
            f" model learnt; is it of the same kind and units ({self._units or 'not known'})?"
            for band, part, low, high in zip(self._bands, share, self.low, self.high, strict=True)
            if part > MOST
        ]
