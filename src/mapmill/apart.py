"""Whether a run learns, in another area or size, from ground that it is scored on here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import Transformer

from mapmill.areafile import learnt_from
from mapmill.chips import find_chips
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.folds import Flags, Fold, parts_of
from mapmill.layout import Layout
from mapmill.parts import EDGE
from mapmill.relatives import area_beside
from mapmill.store import PatchStore, store_of

Ground = dict[str, Any]
"""Boxes (shapely) of patches: on grids in units of the CRS, under ''; in chips in pixels, under the
path of the chip's first image."""


def refuse_overlaps(path: Path, area: Area, runs: list[str], fold: Fold | None) -> None:
    """Refuse runs that have learnt from patches, of other areas, over this area's test patches.

    What lies on a grid and what lies in chips cannot be compared, nor chips of different files.

    Raises
    ------
    ContractError
        naming the run, the other area and the number of test patches.
    """
    seen = {run: learnt_from(path, area, run) for run in runs}
    others = {place for found in seen.values() for place in found if place[0] != path.stem}
    if not others:
        return
    with store_of(Layout(path.stem).patches) as store:
        tested = _ground(area, area, store, parts_of(store, fold)["test"])
    for name, size in sorted(others, key=str):
        other = area_beside(path, name, "train_on")
        with store_of(Layout(name).patches, size) as store:
            parts = parts_of(store, fold)
            numbers = np.concatenate([parts["train"], parts["val"]])
            if fold is not None:  # as in training
                near_N = _near(area, other, store, tested, fold.buffer)
                numbers = numbers[~near_N[numbers]]
            learnt = _ground(area, other, store, numbers)
        count = sum(_touched(tested[key], learnt[key]) for key in tested.keys() & learnt.keys())
        if count:
            wrong = ", ".join(run for run, found in seen.items() if (name, size) in found)
            raise ContractError(
                path,
                f"{count} test patches on ground that run {wrong} has learnt from in {name}",
                "test patches that no run has seen",
                f"deal out the parts of {name} as here",
            )


def near_scored(path: Path, area: Area, fold: Fold) -> Callable[[str, PatchStore], Flags]:
    """What says which patches of a store are too near to this area's test patches of a fold.

    Patches of another size, or of another area, have been dealt out without looking at them: the
    fold's buffer is kept to all of the ground that is scored. Those of the scored store itself
    have theirs already.
    """
    with store_of(Layout(path.stem).patches) as store:
        tested = _ground(area, area, store, parts_of(store, fold)["test"])
        side = store.labels.shape[1]

    def near(name: str, store: PatchStore) -> Flags:
        if name == path.stem and store.labels.shape[1] == side:
            return np.zeros(len(store.labels), bool)
        other = area if name == path.stem else area_beside(path, name, "train_on")
        return _near(area, other, store, tested, fold.buffer)

    return near


def _near(area: Area, other: Area, store: PatchStore, tested: Ground, buffer: int) -> Flags:
    """Which patches have fewer than `buffer` pixels, along rows or columns, to tested ground."""
    result_N = np.zeros(len(store.labels), bool)
    pixel = area.the_grid().resolution if area.grid else 1.0
    for key, (numbers, boxes) in _places(area, other, store, np.arange(len(result_N))).items():
        if key not in tested:
            continue
        sides = shapely.bounds(tested[key])
        around = shapely.box(*(sides + buffer * pixel * np.array([-1, -1, 1, 1])).T)
        near = shapely.STRtree(around).query(boxes, predicate="intersects")[0]
        result_N[numbers[near]] = True
    return result_N


def _touched(tested: Any, learnt: Any) -> int:
    found: NDArray[np.int64] = shapely.STRtree(learnt).query(tested, predicate="intersects")[0]
    return len(np.unique(found))


def _ground(area: Area, other: Area, store: PatchStore, numbers: NDArray[np.int64]) -> Ground:
    """Ground of some patches of another area, in this one's terms; what only touches is apart."""
    return {key: boxes for key, (_, boxes) in _places(area, other, store, numbers).items()}


def _places(
    area: Area, other: Area, store: PatchStore, numbers: NDArray[np.int64]
) -> dict[str, tuple[NDArray[np.int64], Any]]:
    """Numbers and ground of some patches, by what they lie on."""
    row, col = (store.column(name)[numbers].astype(float) for name in ("row", "col"))
    size = store.labels.shape[1]
    sides = [col + EDGE, row + EDGE, col + size - EDGE, row + size - EDGE]
    if other.chips is None:
        return {"": (numbers, _on_grid(area, other, np.stack(sides, 1)))}
    files = {chip.name: str(chip.images[0].resolve()) for chip in find_chips(other.chips)}
    keys = [files[name] for name in store.attributes["pieces"]]
    piece = store.column("piece")[numbers]
    boxes = shapely.box(*sides)
    return {
        keys[number]: (numbers[piece == number], boxes[piece == number])
        for number in np.unique(piece)
    }


def _on_grid(area: Area, other: Area, sides_N4: NDArray[np.float64]) -> Any:
    """Boxes from pixels of another area's grid, in this area's CRS."""
    grid = other.the_grid()
    left, right = (grid.left + sides_N4[:, side] * grid.resolution for side in (0, 2))
    top, bottom = (grid.top - sides_N4[:, side] * grid.resolution for side in (1, 3))
    corners = np.stack([left, bottom, right, top], 1)
    if area.grid and area.the_grid().crs != grid.crs:
        move = Transformer.from_crs(grid.crs, area.the_grid().crs, always_xy=True)
        corners = np.array([move.transform_bounds(*box) for box in corners]).reshape(-1, 4)
    return shapely.box(*corners.T)
