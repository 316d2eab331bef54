"""Several observations of the same pixels made one: the first, the greenest, median or mean.

An observation is one scene's image (band, y, x) with the state of each pixel (see `observe`).
What can be used of it are pixels in the states that are kept; those are never EMPTY.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.observe import CLEAR, CLOUD, EMPTY, SNOW, States

Array = NDArray[Any]
Where = NDArray[np.bool_]
BADNESS = np.zeros(4, np.uint8)
"""Which of several states says most of a pixel: the least bad one."""
BADNESS[[CLEAR, SNOW, CLOUD, EMPTY]] = range(4)


class Combination(ABC):
    """Observations of one part of the grid, added one by one in their order."""

    def __init__(self, nodata: float, kept: Sequence[int]) -> None:
        self.nodata = nodata
        self.kept = list(kept)
        self.count_YX: NDArray[np.uint16] | None = None
        self.state_YX: States | None = None

    def add(self, image_BYX: Array, state_YX: States) -> None:
        """Add one observation. Its image is this object's to change from now on.

        Parameters
        ----------
        state_YX : EMPTY wherever any band has no data
        """
        used_YX = state_YX == self.kept[0]
        for state in self.kept[1:]:
            used_YX |= state_YX == state
        if self.state_YX is None or self.count_YX is None:
            self.count_YX = used_YX.astype(np.uint16)
            self.state_YX = state_YX.copy()
        else:
            self.count_YX += used_YX
            better_YX = BADNESS[state_YX] < BADNESS[self.state_YX]
            np.copyto(self.state_YX, state_YX, where=better_YX & ~self._is_settled())
        self._take(image_BYX, state_YX, used_YX)

    def quality(self) -> NDArray[np.uint8]:
        """(2, y, x): number of observations that can be used, at most 255; and the state.

        The state is that of the observation that gave the pixel, of several the least bad one;
        where none can be used, the least bad of all.
        """
        assert self.count_YX is not None and self.state_YX is not None
        return np.stack([np.minimum(self.count_YX, 255).astype(np.uint8), self.state_YX])

    def _is_settled(self) -> Where:
        """Where the state is that of the observation that gave the pixel."""
        return np.zeros(1, bool)

    @abstractmethod
    def _take(self, image_BYX: Array, state_YX: States, used_YX: Where) -> None: ...

    @abstractmethod
    def image(self) -> Array:
        """(band, y, x), nodata where no observation can be used."""


class First(Combination):
    """Of each pixel the first observation that can be used, all bands together.

    Where there is none, but a scene has data in some bands that no mask removes, they are kept.
    """

    def _take(self, image_BYX: Array, state_YX: States, used_YX: Where) -> None:
        assert self.state_YX is not None
        empty_YX = state_YX == EMPTY
        if not hasattr(self, "image_BYX"):
            self.image_BYX, self.given_YX = image_BYX, used_YX
            _blank(image_BYX, ~(used_YX | empty_YX), self.nodata)
            return
        take_YX = used_YX & ~self.given_YX
        np.copyto(self.state_YX, state_YX, where=take_YX)
        self.given_YX = self.given_YX | take_YX
        if not self.given_YX.all():  # parts of an observation, where there is nothing at all
            take_YX |= empty_YX & ~self.given_YX & ~_any_data(self.image_BYX, self.nodata)
        np.copyto(self.image_BYX, image_BYX, where=take_YX)

    def _is_settled(self) -> Where:
        return self.given_YX

    def image(self) -> Array:
        """(band, y, x), nodata where there is no data."""
        return self.image_BYX


class Greenest(Combination):
    """Of each pixel the observation with the largest NDVI, the first of equals."""

    def __init__(self, nodata: float, kept: Sequence[int], nir: int, red: int) -> None:
        super().__init__(nodata, kept)
        self.nir, self.red = nir, red

    def _take(self, image_BYX: Array, state_YX: States, used_YX: Where) -> None:
        assert self.state_YX is not None
        nir_YX, red_YX = (image_BYX[band].astype(np.float64) for band in (self.nir, self.red))
        total_YX = np.where(nir_YX + red_YX == 0, 1, nir_YX + red_YX)
        green_YX = np.where(used_YX, (nir_YX - red_YX) / total_YX, -np.inf)
        if not hasattr(self, "image_BYX"):
            self.image_BYX, self.green_YX = image_BYX, green_YX
            _blank(image_BYX, ~used_YX, self.nodata)
            return
        take_YX = green_YX > self.green_YX
        np.copyto(self.green_YX, green_YX, where=take_YX)
        np.copyto(self.state_YX, state_YX, where=take_YX)
        np.copyto(self.image_BYX, image_BYX, where=take_YX)

    def _is_settled(self) -> Where:
        return self.green_YX > -np.inf

    def image(self) -> Array:
        """(band, y, x), nodata where no observation can be used."""
        return self.image_BYX


class Mean(Combination):
    """Of each pixel and band the mean; whole numbers are rounded, halves to the even one."""

    def _take(self, image_BYX: Array, state_YX: States, used_YX: Where) -> None:
        if not hasattr(self, "sum_BYX"):
            self.dtype = image_BYX.dtype
            kind = np.uint32 if self.dtype.kind == "u" else np.float64
            self.sum_BYX = np.zeros(image_BYX.shape, kind)
        np.add(self.sum_BYX, image_BYX, out=self.sum_BYX, where=used_YX)

    def image(self) -> Array:
        """(band, y, x), nodata where no observation can be used."""
        assert self.count_YX is not None
        result_BYX = np.full(self.sum_BYX.shape, self.nodata, self.dtype)
        for band_YX, sum_YX in zip(result_BYX, self.sum_BYX, strict=True):
            mean_YX = sum_YX / np.maximum(self.count_YX, 1)
            rounded_YX = np.rint(mean_YX) if self.dtype.kind == "u" else mean_YX
            np.copyto(band_YX, rounded_YX, where=self.count_YX > 0, casting="unsafe")
        return result_BYX


class Median(Combination):
    """Of each pixel and band the median; of an even number the mean of the two in the middle.

    Whole numbers are rounded, halves to the even one. All observations are held in memory.
    """

    def _take(self, image_BYX: Array, state_YX: States, used_YX: Where) -> None:
        if not hasattr(self, "held"):
            self.held: list[Array] = []
        last = np.iinfo(image_BYX.dtype).max if image_BYX.dtype.kind == "u" else np.inf
        _blank(image_BYX, ~used_YX, last)
        self.held.append(image_BYX)

    def image(self) -> Array:
        """(band, y, x), nodata where no observation can be used."""
        assert self.count_YX is not None
        result_BYX = np.full(self.held[0].shape, self.nodata, self.held[0].dtype)
        for index in range(len(result_BYX)):
            self._middle([image_BYX[index] for image_BYX in self.held], result_BYX[index])
        return result_BYX

    def _middle(self, values: list[Array], out_YX: Array) -> None:
        """Sort all values of a pixel by a network of exchanges, which are whole-array steps."""
        assert self.count_YX is not None
        for low, high in exchanges(len(values)):
            smaller = np.minimum(values[low], values[high])
            values[high] = np.maximum(values[low], values[high])
            values[low] = smaller
        wide = np.uint32 if out_YX.dtype.kind == "u" else np.float64
        lower_YX, upper_YX = np.zeros(out_YX.shape, wide), np.zeros(out_YX.shape, wide)
        for place, value_YX in enumerate(values):
            np.copyto(lower_YX, value_YX, where=(self.count_YX + 1) // 2 == place + 1)
            np.copyto(upper_YX, value_YX, where=self.count_YX // 2 == place)
        there = self.count_YX > 0
        middle_YX = (lower_YX + upper_YX) / 2
        if out_YX.dtype.kind == "u":
            middle_YX = np.rint(middle_YX)
        np.copyto(out_YX, middle_YX, where=there, casting="unsafe")


def exchanges(number: int) -> Iterator[tuple[int, int]]:
    """Pairs of places to compare and put in order, one after the other, to sort `number` values.

    Batcher's odd-even merge sort (1968), for any number.
    """
    span = 1
    while span < number:
        step = span
        while step:
            for start in range(step % span, number - step, 2 * step):
                for low in range(start, min(start + step, number - step)):
                    if low // (2 * span) == (low + step) // (2 * span):
                        yield low, low + step
            step //= 2
        span *= 2


def _blank(image_BYX: Array, where_YX: Where, value: float) -> None:
    if where_YX.any():
        np.copyto(image_BYX, value, where=where_YX, casting="unsafe")


def _any_data(image_BYX: Array, nodata: float) -> Where:
    there = ~np.isnan(image_BYX) if np.isnan(nodata) else image_BYX != nodata
    return np.asarray(there.any(axis=0))
