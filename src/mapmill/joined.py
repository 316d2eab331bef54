"""Patches of several periods, joined: one for each place, with the bands of all periods.

Images are float32 with NaN where a period has no data. Axes: N places, P periods.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.moments import Tally
from mapmill.normal import Statistics
from mapmill.pool import PatchPool, Taken
from mapmill.progress import track
from mapmill.sections import Pool

Array = NDArray[Any]
READ = 4
"""Patches that are decoded at once for statistics."""


class JoinedPool(PatchPool):
    """The patches of one area as places, which have the bands of all periods.

    A place of which no patch was kept in a period is missing there. Numbers of patches, wherever
    they are given, are those of places: from north to south, in a row from west to east.

    Raises
    ------
    ContractError
        if a place serves different parts in different periods, the store has other periods than
        the area, or a period has no training pixel.
    """

    def __init__(
        self,
        area: Area,
        own: str,
        pools: Mapping[str, Pool],
        size: int | None = None,
        threads: int = 1,
    ) -> None:
        super().__init__(area, own, pools, size, threads)
        (self._own,) = self.members
        store = self._own.store
        self.periods = store.attributes["pieces"]
        if set(self.periods) != set(area.periods):
            found, expected = ", ".join(self.periods), ", ".join(area.periods)
            raise ContractError(store.folder, f"periods {found}", expected, "rerun pack")
        corner_N2 = np.stack([store.column("row"), store.column("col")], axis=1)
        corners, place = np.unique(corner_N2, axis=0, return_inverse=True)
        count = len(corner_N2)
        self._patch_NP = np.full((len(corners), len(self.periods)), -1, np.int64)
        """Number of each place's patch in each period; -1: none."""
        self._patch_NP[place, store.column("piece")] = np.arange(count)
        self._first_N = np.where(self._patch_NP < 0, count, self._patch_NP).min(axis=1)
        """Number of one patch of each place: labels do not differ between periods."""
        split = store.column("split")
        wrong = np.flatnonzero(split != split[self._first_N][place])
        if len(wrong):
            row, col = corner_N2[wrong[0]].tolist()
            found = f"the place y{row}x{col} in different parts in different periods"
            raise ContractError(store.folder, found, "one part", "rerun select and pack")

    @property
    def nodata(self) -> None:
        """NaN."""
        return None

    def indices(self, split: str) -> NDArray[np.int64]:
        """Numbers of the places of a split."""
        return np.flatnonzero(np.isin(self._first_N, self._own.store.indices(split)))

    def images(self) -> Any:
        """(place, period and band, y, x) float32, to be had by its `take`."""
        channels = len(self.periods) * len(self._own.bands)
        return Taken(self._joined, (len(self._patch_NP), channels, *self._sides))

    def labels(self) -> Any:
        """(place, y, x) uint8, likewise."""
        return self._of_first(super().labels())

    def fractions(self) -> Any:
        """Share of each pixel that its class takes (place, y, x) uint8, per cent, likewise."""
        return self._of_first(super().fractions())

    @property
    def _sides(self) -> tuple[int, ...]:
        return self._own.store.labels.shape[1:]

    def _of_first(self, layer: Any) -> Taken:
        """A layer that is the same in all periods, place by place."""
        shape = (len(self._first_N), *self._sides)
        return Taken(lambda places: layer.take(self._first_N[places]), shape)

    def _joined(self, places: NDArray[np.int64]) -> Array:
        shape = (len(places), len(self.periods), len(self._own.bands), *self._sides)
        image_NPCYX = np.full(shape, np.nan, np.float32)
        for number in range(len(self.periods)):
            patch_N = self._patch_NP[places, number]
            there = patch_N >= 0
            image_NPCYX[there, number] = self._images(patch_N[there])
        return image_NPCYX.reshape(len(places), -1, *self._sides)

    def class_pixels(self) -> list[int]:
        """Pixels of class 1 to K in the training places, each counted once."""
        counts_NK = self._own.store.column("counts")[self._first_N[self.indices("train")]]
        return [int(value) for value in counts_NK.sum(axis=0)]

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each band in each period, one period after another."""
        found = self.all_statistics()
        return found.mean, found.sd

    def all_statistics(self) -> Statistics:
        """Of the training pixels of each period, one period after another."""
        return Statistics.joined(self._by_period)

    def strata(self, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Number of the fold of each place; None without folds."""
        return super().strata(self._first_N[indices])

    @cached_property
    def _by_period(self) -> list[Statistics]:
        return [self._statistics_in(number) for number in range(len(self.periods))]

    def _statistics_in(self, number: int) -> Statistics:
        """One pass over a period's training patches; the store tells those of all periods alone."""
        store, bands = self._own.store, len(self._own.bands)
        patches = self._patch_NP[self.indices("train"), number]
        nodata = store.attributes["nodata"]
        tally = Tally(bands, str(store.images.dtype), np.nan if nodata is None else nodata)
        period = self.periods[number]
        parts = list(_parts(patches[patches >= 0]))
        for part in track(parts, f"statistics {period}", len(parts), "batches"):
            for image_BYX in store.images.take(part):
                tally.follow(tally.count(image_BYX))
        summary = tally.summary()
        if not summary["pixels"][0]:
            found = f"no training pixel of period {period}"
            remedy = "check its imagery, or take it out"
            raise ContractError(store.folder, found, "some of every period", remedy)
        return Statistics.of_store(summary)


def _parts(numbers: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(numbers), READ):
        yield numbers[start : start + READ]
