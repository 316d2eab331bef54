"""The patches of a store that serve each part, in the store's own split or for one of its folds."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from mapmill.buffers import buffer_of
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.moments import Tally
from mapmill.parts import EDGE
from mapmill.sections import SPLITS
from mapmill.store import PatchStore

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
AT_ONCE = 64
"""Patches decoded at a time."""


class Fold(NamedTuple):
    """Which fold is the test part."""

    number: int
    folds: int
    buffer: int
    """Pixels between patches that are learnt from and those that are scored."""
    is_chips: bool
    """Patches of two chips lie apart; those of two periods of a grid show the same ground."""

    @classmethod
    def of(cls, area: Area, model: str) -> "Fold | None":
        """That of a model `{run}-fold{k}-{seed}`; None of one that is not for a fold."""
        number = area.fold_of(model)
        if number is None:
            return None
        return cls(number, area.split().folds or 0, buffer_of(area), area.chips is not None)


@dataclass(frozen=True)
class Chosen:
    """The patches of one store that serve each part, and what is told of those of training."""

    parts: dict[str, Integers]
    """Numbers of the patches by part."""
    statistics: dict[str, Any]
    """Of the valid training pixels by band, as `pack` writes them."""
    class_pixels: list[int]
    """Training pixels of class 1 to K."""


def chosen_of(store: PatchStore, fold: Fold | None, near_N: Flags | None = None) -> Chosen:
    """The patches of each part; of a fold with statistics of its own training patches alone.

    Parameters
    ----------
    near_N : of a fold: patches that are too near to ground that is scored in another store

    Raises
    ------
    ContractError
        if the patches are not dealt out in as many folds.
    """
    kept = store.attributes
    parts = parts_of(store, fold)
    if fold is None:
        return Chosen(parts, kept["statistics"], kept["class_pixels"])
    if near_N is not None:
        parts |= {part: parts[part][~near_N[parts[part]]] for part in ("train", "val")}
    counts = store.column("counts")[parts["train"]].sum(axis=0)
    return Chosen(parts, statistics_of(store, parts["train"]), [int(count) for count in counts])


def parts_of(store: PatchStore, fold: Fold | None) -> dict[str, Integers]:
    """Numbers of the patches of each part.

    Raises
    ------
    ContractError
        if the patches are not dealt out in as many folds.
    """
    if fold is None:
        return {part: store.indices(part) for part in SPLITS}
    fold_N = store.column("fold").astype(np.int64)
    found = int(fold_N.max(initial=-1)) + 1
    if found != fold.folds:
        raise ContractError(
            store.folder, f"patches in {found} folds", f"{fold.folds} folds", "see select.split"
        )
    piece_N = store.column("piece") if fold.is_chips else np.zeros(len(fold_N))
    place_NX = np.stack([piece_N, store.column("row"), store.column("col")], 1).astype(np.int64)
    return parts_of_fold(fold_N, place_NX, store.labels.shape[1], fold)


def parts_of_fold(
    fold_N: Integers, place_NX: Integers, size: int, fold: Fold
) -> dict[str, Integers]:
    """Numbers of the patches of each part.

    Parameters
    ----------
    fold_N : number of each patch's fold; below 0 of none
    place_NX : ground (its chip), row and column of each patch
    size : side of a patch
    """
    test_N = fold_N == fold.number
    val_N = fold_N == (fold.number + 1) % fold.folds
    train_N = (fold_N >= 0) & ~test_N & ~val_N
    val_N &= ~_near(place_NX, size, val_N, test_N, fold.buffer)
    scored_N = test_N | (fold_N == (fold.number + 1) % fold.folds)
    train_N &= ~_near(place_NX, size, train_N, scored_N, fold.buffer)
    found = zip(SPLITS, (train_N, val_N, test_N), strict=True)
    return {part: np.flatnonzero(chosen_N) for part, chosen_N in found}


def _near(place_NX: Integers, size: int, own_N: Flags, other_N: Flags, buffer: int) -> Flags:
    """Which of the own patches have fewer than `buffer` pixels to one of the others.

    Pixels between two squares are counted along rows or columns, as in `mapmill.leak`.
    """
    result_N = np.zeros(len(place_NX), bool)
    for ground in np.unique(place_NX[own_N, 0]):
        here_N = place_NX[:, 0] == ground
        own, other = np.flatnonzero(own_N & here_N), np.flatnonzero(other_N & here_N)
        tree = shapely.STRtree(_boxes(place_NX[other], size, 0))
        boxes = _boxes(place_NX[own], size, buffer - EDGE)
        result_N[own[tree.query(boxes, predicate="intersects")[0]]] = True
    return result_N


def _boxes(place_NX: Integers, size: int, margin: float) -> Any:
    top, left = place_NX[:, 1], place_NX[:, 2]
    low, high = -margin, size + margin
    return shapely.box(left + low, top + low, left + high, top + high)


def statistics_of(store: PatchStore, numbers: Integers) -> dict[str, Any]:
    """Statistics of the valid pixels of some patches by band, as `pack` makes them."""
    nodata = store.attributes["nodata"]
    missing = float("nan") if nodata is None else nodata
    tally = Tally(len(store.attributes["bands"]), store.images.dtype.name, missing)
    for start in range(0, len(numbers), AT_ONCE):
        for image_BYX in store.images.take(numbers[start : start + AT_ONCE]):
            tally.follow(tally.count(np.ascontiguousarray(image_BYX)))
    return tally.summary()
