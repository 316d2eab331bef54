"""Statistics of bands over the valid pixels of many patches, in one pass and flat memory.

Of uint16 all are exact: every value has its own count. Of float32 the mean, standard deviation,
least and greatest value are of the values themselves, patch by patch and then merged (Chan, Golub
and LeVeque, 1983); percentiles come from counts of all values that agree in sign, exponent and the
first ten bits of the mantissa, so they are wrong by at most 2**-11 (0.05 %) of the value.
"""

from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PERCENTILES = (1, 2, 25, 50, 75, 98, 99)
FLOAT_SHIFT = 13
"""Bits of a float32 that are not counted apart."""
SIGN = np.uint32(1 << 31)


@dataclass(frozen=True)
class Moments:
    """Pixels of one patch or more, as float64 by band."""

    count: int
    mean_B: Array
    squares_B: Array
    """Sum of squared differences from the mean."""

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        step_B = other.mean_B - self.mean_B
        mean_B = self.mean_B + step_B * (other.count / count)
        between_B = step_B**2 * (self.count * other.count / count)
        return Moments(count, mean_B, self.squares_B + other.squares_B + between_B)


class BandStatistics:
    """Counts of the values of each band.

    Counting in several of them and adding them up gives the same, in any order.
    """

    def __init__(self, bands: int, dtype: str) -> None:
        self._is_float = dtype == "float32"
        size = 1 << (32 - FLOAT_SHIFT if self._is_float else 16)
        self._counts_BV = np.zeros((bands, size), np.int64)
        limits = (np.inf, -np.inf)
        self._range_B2 = np.tile(np.array(limits), (bands, 1))

    def add(self, image_BYX: Array, nodata: float) -> Moments:
        """Count the pixels of a contiguous patch (band, y, x) that are valid in every band.

        Returns
        -------
        Their moments, to be added up in one order by the caller; of uint16 `summary` needs none.
        """
        bands = len(image_BYX)
        image_BP = image_BYX.reshape(bands, -1)
        if self._is_float:
            found = _count_floats(
                image_BP, image_BP.view(np.uint32), self._counts_BV, self._range_B2
            )
            return Moments(*found)
        pixels = _count_uint16(image_BP, int(nodata), self._counts_BV)
        return Moments(int(pixels), np.zeros(bands), np.zeros(bands))

    def merge(self, other: "BandStatistics") -> None:
        """Take in what another one has counted."""
        self._counts_BV += other._counts_BV
        mine, theirs = self._range_B2, other._range_B2
        mine[:, 0] = np.minimum(mine[:, 0], theirs[:, 0])
        mine[:, 1] = np.maximum(mine[:, 1], theirs[:, 1])

    def summary(self, moments: Moments) -> dict[str, Any]:
        """The statistics as JSON values, lists by band; null where there is no valid pixel.

        Mean and standard deviation are then 0, as they weigh nothing.
        """
        count, bands = int(self._counts_BV[0].sum()), len(self._counts_BV)
        if not count:
            nothing = [None] * bands
            shares: dict[str, list[Any]] = {str(share): nothing for share in PERCENTILES}
            zeros = [0.0] * bands
            result = {"mean": zeros, "sd": zeros, "min": nothing, "max": nothing}
            return result | {"percentiles": shares, "pixels": [0.0]}
        values = [self._values(counts_V) for counts_V in self._counts_BV]
        if self._is_float:
            mean, sd = moments.mean_B.tolist(), np.sqrt(moments.squares_B / count).tolist()
            least, most = self._range_B2.T.tolist()
        else:
            exact = [_exact(*each) for each in values]
            mean, sd = [each[0] for each in exact], [each[1] for each in exact]
            least = [float(value_V[0]) for value_V, _ in values]
            most = [float(value_V[-1]) for value_V, _ in values]
        percentiles = {}
        for share in PERCENTILES:
            found = [percentile(*each, share) for each in values]
            percentiles[str(share)] = np.clip(found, least, most).tolist()
        result = {"mean": mean, "sd": sd, "min": least, "max": most}
        return result | {"percentiles": percentiles, "pixels": [float(count)]}

    def _values(self, counts_V: Array) -> tuple[Array, Array]:
        """Values that occur, ascending in float64, and how often; of float32 the bins' middles."""
        there = np.flatnonzero(counts_V)
        if not self._is_float:
            return there.astype(np.float64), counts_V[there]
        edges = [_float_of((there + step).astype(np.uint64) << FLOAT_SHIFT) for step in (0, 1)]
        return (edges[0] + edges[1]) / 2, counts_V[there]


class Tally:
    """Statistics of patches that are counted by several threads."""

    def __init__(self, bands: int, dtype: str, nodata: float) -> None:
        self._bands, self._dtype, self._nodata = bands, dtype, nodata
        self._free: SimpleQueue[BandStatistics] = SimpleQueue()
        self._all: list[BandStatistics] = []
        self._moments = Moments(0, np.zeros(bands), np.zeros(bands))

    def count(self, image_BYX: Array) -> Moments:
        """Count a contiguous patch (band, y, x), in a table that no other thread has just now."""
        try:
            table = self._free.get_nowait()
        except Empty:
            table = BandStatistics(self._bands, self._dtype)
            self._all.append(table)
        found = table.add(image_BYX, self._nodata)
        self._free.put(table)
        return found

    def follow(self, moments: Moments) -> None:
        """Add up the moments of a patch; in the same order each time, since sums are rounded."""
        with np.errstate(invalid="ignore"):  # infinite values: the caller looks at the range
            self._moments = self._moments + moments

    def summary(self) -> dict[str, Any]:
        """The statistics of all patches; see `BandStatistics.summary`."""
        total = BandStatistics(self._bands, self._dtype)
        for table in self._all:
            total.merge(table)
        return total.summary(self._moments)


def percentile(value_V: Array, count_V: Array, share: float) -> float:
    """What numpy.percentile gives for ascending values that occur so often."""
    place = share / 100 * (int(count_V.sum()) - 1)
    rank, part = int(place), place - int(place)
    ends = np.cumsum(count_V)
    first, second = (
        value_V[min(int(np.searchsorted(ends, each, side="right")), len(value_V) - 1)]
        for each in (rank, rank + 1)
    )
    return float(first + (second - first) * part)


def _exact(value_V: Array, count_V: Array) -> tuple[float, float]:
    """Mean and standard deviation of whole numbers; in integers, so that nothing is rounded."""
    pairs = [(int(value), int(count)) for value, count in zip(value_V, count_V, strict=True)]
    count = sum(count for _, count in pairs)
    total = sum(value * count for value, count in pairs)
    square = sum(value * value * count for value, count in pairs)
    variance = (count * square - total * total) / count**2
    return total / count, float(np.sqrt(variance))


def _float_of(key: Array) -> Array:
    """The float32 whose place among all of them, by size, is `key` (uint64); as float64."""
    key = np.minimum(key, 2**32 - 1).astype(np.uint32)
    bits = np.where(key & SIGN, key ^ SIGN, ~key).astype(np.uint32)
    with np.errstate(invalid="ignore"):
        value = np.nan_to_num(bits.view(np.float32).astype(np.float64))
    return np.asarray(value)


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _count_uint16(image_BP: Any, nodata: int, counts_BV: Any) -> Any:
    bands, pixels = image_BP.shape
    valid = np.ones(pixels, np.bool_)
    for band in range(bands):
        for pixel in range(pixels):
            valid[pixel] &= image_BP[band, pixel] != nodata
    for band in range(bands):
        for pixel in range(pixels):
            counts_BV[band, image_BP[band, pixel]] += valid[pixel]
    return valid.sum()


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _count_floats(image_BP: Any, bits_BP: Any, counts_BV: Any, range_B2: Any) -> Any:
    bands, pixels = image_BP.shape
    valid = np.ones(pixels, np.bool_)
    for band in range(bands):
        for pixel in range(pixels):
            valid[pixel] &= not np.isnan(image_BP[band, pixel])
    count = valid.sum()
    mean, squares = np.zeros(bands), np.zeros(bands)
    if count == 0:
        return count, mean, squares
    for band in range(bands):
        total = 0.0
        for pixel in range(pixels):
            if valid[pixel]:
                value = np.float64(image_BP[band, pixel])
                total += value
                range_B2[band, 0] = min(range_B2[band, 0], value)
                range_B2[band, 1] = max(range_B2[band, 1], value)
                bits = bits_BP[band, pixel]
                # ascending with the value: the larger of two negative numbers has fewer bits set
                key = ~bits if bits & np.uint32(1 << 31) else bits | np.uint32(1 << 31)
                counts_BV[band, np.uint32(key) >> np.uint32(13)] += 1
        mean[band] = total / count
        for pixel in range(pixels):
            if valid[pixel]:
                squares[band] += (image_BP[band, pixel] - mean[band]) ** 2
    return count, mean, squares
