"""Patches of one or more areas, brought to the bands, classes and units of the one that learns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.folds import Chosen, Flags, Fold, chosen_of
from mapmill.layout import Layout
from mapmill.normal import Statistics
from mapmill.relatives import Held, matched
from mapmill.sections import Pool
from mapmill.store import PatchStore, store_of

Array = NDArray[Any]
Near = Callable[[str, PatchStore], Flags]


@dataclass(frozen=True)
class Member:
    """One area's patches, seen in the learning area's terms."""

    name: str
    store: PatchStore
    bands: list[int]
    """For each band here, its number there."""
    classes: NDArray[np.uint8]
    """Class here for each class there, 0 to K."""
    scale: float
    offset: float
    chosen: Chosen
    """The patches that serve each part."""

    @property
    def is_same(self) -> bool:
        """Whether nothing needs to be changed."""
        ordered = self.bands == list(range(len(self.store.attributes["bands"])))
        same = np.array_equal(self.classes, np.arange(len(self.classes)))
        return ordered and same and (self.scale, self.offset) == (1.0, 0.0)

    def statistics(self) -> Statistics:
        """Of the training pixels there, in bands and units here."""
        found = Statistics.of_store(self.chosen.statistics)

        def moved(row: list[float] | None, offset: float) -> Any:
            return row and [row[band] * self.scale + offset for band in self.bands]

        rows = (found.mean, found.sd, found.least, found.most, found.low, found.high)
        offsets = (self.offset, 0.0, *[self.offset] * 4)
        return Statistics(*(moved(row, offset) for row, offset in zip(rows, offsets)))


class PatchPool:
    """Patches of all members as if they were in one store.

    Of one member that needs no change the arrays are the store's own; else images become
    float32, with NaN where there is no data.

    Parameters
    ----------
    own : name of the area that learns
    size : side of the patches in pixels; by default the one that each store is mainly of
    threads : that decode
    fold : which of the folds is the test part; by default the parts are those of the stores
    near : of a fold: which patches of a member's store are too near to what is scored
    """

    periods: Sequence[str] = ()
    """Names of the periods that are joined along the bands; none here."""

    def __init__(
        self,
        area: Area,
        own: str,
        pools: Mapping[str, Pool],
        size: int | None = None,
        threads: int = 1,
        fold: Fold | None = None,
        near: Near | None = None,
    ) -> None:
        self._classes = len(area.classes)
        self.members = [
            _member(area, own, name, pool, size, threads, fold, near)
            for name, pool in pools.items()
        ]
        sizes = {m.name: m.store.labels.shape[1] for m in self.members}
        if len(set(sizes.values())) > 1:
            found = ", ".join(f"{size} px in {name}" for name, size in sizes.items())
            raise ContractError("train.train_on", found, "patches of one size", "set train.size")
        counts = [len(member.store.labels) for member in self.members]
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._native = len(self.members) == 1 and self.members[0].is_same
        self._nodata = [member.store.attributes["nodata"] for member in self.members]

    @property
    def side(self) -> int:
        """Side of the patches, in pixels."""
        return int(self.members[0].store.labels.shape[1])

    @property
    def nodata(self) -> float | None:
        """Value of missing pixels in the images; None is NaN."""
        nodata: float | None = self._nodata[0] if self._native else None
        return nodata

    def indices(self, split: str) -> NDArray[np.int64]:
        """Numbers of the patches of a split."""
        parts = [m.chosen.parts[split] + start for m, start in zip(self.members, self._starts)]
        return np.concatenate(parts)

    def images(self) -> Any:
        """(patch, band, y, x), to be had by its `take`."""
        if self._native:
            return self.members[0].store.images
        bands, sides = len(self.members[0].bands), self.members[0].store.labels.shape[1:]
        return Taken(self._images, (int(self._starts[-1]), bands, *sides))

    def labels(self) -> Any:
        """(patch, y, x) uint8, likewise."""
        if self._native:
            return self.members[0].store.labels
        sides = self.members[0].store.labels.shape[1:]
        return Taken(self._labels, (int(self._starts[-1]), *sides))

    def fractions(self) -> Any:
        """Share of each pixel that its class takes (patch, y, x) uint8, per cent, likewise.

        Raises
        ------
        ContractError
            if a store does not hold it.
        """
        for member in self.members:
            if len(set(member.classes[1:].tolist()) - {0}) < np.count_nonzero(member.classes[1:]):
                found = f"classes of {member.name} that become one"
                remedy = "set train.fraction: none, or merge them in its own area file"
                raise ContractError("train.fraction", found, "one share a class", remedy)
            if member.store.fractions is None:
                raise ContractError(
                    member.store.folder,
                    "no array `fraction`",
                    "the share of each pixel's class, for train.fraction",
                    f"set downsample.fraction: true in {member.name} and rerun pack",
                )
        if self._native:
            return self.members[0].store.fractions
        sides = self.members[0].store.labels.shape[1:]
        return Taken(self._fractions, (int(self._starts[-1]), *sides))

    def close(self) -> None:
        """Let go of the stores' files and threads."""
        for member in self.members:
            member.store.close()

    def _places(self, numbers: NDArray[np.int64]) -> Iterator[tuple[int, Array, Array]]:
        """Number of each member that holds some of the patches, which ones, and theirs there."""
        owners = np.searchsorted(self._starts, numbers, side="right") - 1
        for owner in np.unique(owners).tolist():
            places = np.flatnonzero(owners == owner)
            yield owner, places, numbers[places] - self._starts[owner]

    def _images(self, numbers: NDArray[np.int64]) -> Array:
        shape = self.members[0].store.labels.shape[1:]
        bands = len(self.members[0].bands)
        result = np.empty((len(numbers), bands, *shape), np.float32)
        for owner, places, local in self._places(numbers):
            member, nodata = self.members[owner], self._nodata[owner]
            there_NBYX = member.store.images.take(local)[:, member.bands]
            image_NBYX = there_NBYX.astype(np.float32) * member.scale + member.offset
            missing = np.isnan(there_NBYX) if nodata is None else there_NBYX == nodata
            result[places] = np.where(missing, np.float32(np.nan), image_NBYX.astype(np.float32))
        return result

    def _labels(self, numbers: NDArray[np.int64]) -> Array:
        shape = self.members[0].store.labels.shape[1:]
        result = np.empty((len(numbers), *shape), np.uint8)
        for owner, places, local in self._places(numbers):
            member = self.members[owner]
            result[places] = member.classes[member.store.labels.take(local)]
        return result

    def _fractions(self, numbers: NDArray[np.int64]) -> Array:
        result = np.empty((len(numbers), *self.members[0].store.labels.shape[1:]), np.uint8)
        for owner, places, local in self._places(numbers):
            share = self.members[owner].store.fractions
            assert share is not None  # since `fractions` looked
            result[places] = share.take(local)
        return result

    def class_pixels(self) -> list[int]:
        """Training pixels of class 1 to K here."""
        total = np.zeros(256, np.int64)
        for member in self.members:
            np.add.at(total, member.classes[1:], member.chosen.class_pixels)
        return [int(value) for value in total[1 : self._classes + 1]]

    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each band here over the training pixels of all."""
        pixels, means, squares = [], [], []
        for member in self.members:
            found = member.chosen.statistics
            mean = np.array(found["mean"])[member.bands] * member.scale + member.offset
            sd = np.array(found["sd"])[member.bands] * member.scale
            pixels.append(found["pixels"][0])
            means.append(mean)
            squares.append(sd**2 + mean**2)
        share = np.array(pixels) / max(sum(pixels), 1)
        mean = np.tensordot(share, np.stack(means), axes=1)
        variance = np.maximum(np.tensordot(share, np.stack(squares), axes=1) - mean**2, 0)
        if self._native:  # the store's own numbers, not rounded once more
            found = self.members[0].chosen.statistics
            return found["mean"], found["sd"]
        return mean.tolist(), np.sqrt(variance).tolist()

    def all_statistics(self) -> Statistics:
        """The same with ranges and percentiles, as far as the stores tell them.

        Of several areas the range is known and no percentile.
        """
        mean, sd = self.statistics()
        members = [m.statistics() for m in self.members]
        if len(members) == 1:
            return replace(members[0], mean=mean, sd=sd)
        lows = [found.least for found in members if found.least is not None]
        highs = [found.most for found in members if found.most is not None]
        if len(lows) < len(members) or len(highs) < len(members):
            return Statistics(mean, sd)
        least, most = np.min(lows, axis=0), np.max(highs, axis=0)
        return Statistics(mean, sd, least.tolist(), most.tolist())

    def strata(self, indices: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Number of the fold of each patch, those of other areas apart; None without folds."""
        folds = [m.store.column("fold").astype(np.int64) for m in self.members]
        if len(folds) == 1 and (folds[0] < 0).all():
            return None
        apart = [fold + 1000 * number for number, fold in enumerate(folds)]
        return np.concatenate(apart)[indices]

    def folders(self) -> str:
        """Where the patches are, for messages."""
        return " and ".join(str(member.store.folder) for member in self.members)

    def digest(self) -> str:
        """What the patches were made by, for provenance."""
        return "+".join(member.store.attributes["MAPMILL_SETTINGS"] for member in self.members)


class Taken:
    """A function of patches' numbers, as something with numpy's `take` and `shape`."""

    def __init__(self, read: Callable[[NDArray[np.int64]], Array], shape: tuple[int, ...]) -> None:
        self._read, self.shape = read, shape

    def take(self, numbers: ArrayLike, axis: int = 0) -> Array:
        """Patches by their numbers, along axis 0."""
        if axis != 0:
            raise ValueError("patches are taken along axis 0")
        return self._read(np.asarray(numbers, np.int64))


def _member(
    area: Area,
    own: str,
    name: str,
    pool: Pool,
    size: int | None,
    threads: int,
    fold: Fold | None,
    near: Near | None,
) -> Member:
    """One area's patches, after checking that bands, classes and units agree or are mapped."""
    store = store_of(Layout(name).patches, size, threads)
    kept = store.attributes
    names = [kept["classes"][value] for value in sorted(kept["classes"], key=int)]
    held = Held(kept["bands"], names, kept.get("units", area.compose.units))
    if name == own and (held.bands != area.bands or names != area.class_names):
        raise ContractError(
            store.folder,
            f"bands {', '.join(held.bands)} and classes {', '.join(names)}",
            "those of the area file",
            "rerun pack",
        )
    numbers, classes = matched(area, pool, held, store.folder, f"train.train_on.{name}")
    there = np.array([0, *classes], np.uint8)
    chosen = chosen_of(store, fold, near(name, store) if near else None)
    return Member(name, store, numbers, there, pool.scale, pool.offset, chosen)
