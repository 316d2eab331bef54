"""Which part tiles belong to, and which are too near to another one."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from mapmill.grid import Window
from mapmill.sections import SPLITS
from mapmill.splits import Region, as_boxes

EDGE = 0.25
"""Ground along an edge that does not count, in pixels: what only touches does not overlap."""


class Place(NamedTuple):
    """What a tile serves."""

    part: str
    """train, val or test; '' where it lies in none, or in more than one."""
    fold: int | None
    dropped: str
    """Why it cannot serve it; '' if it can."""


def find_parts(regions: Sequence[Region], tiles: Sequence[Window], buffer: int) -> list[Place]:
    """Part, fold and reason to drop of each tile.

    A tile across two parts or folds belongs to none. A training tile nearer than the buffer to
    ground of validation or test is dropped, and a validation tile so near to ground of the test.

    Parameters
    ----------
    buffer : pixels between a tile and ground that is scored
    """
    serves_R = np.array([SPLITS.index(r.part) if r.part else -1 for r in regions], int)
    fold_R = np.array([-1 if r.fold is None else r.fold for r in regions], int)
    pairs = sorted({*zip(serves_R.tolist(), fold_R.tolist(), strict=True)})
    number_R = np.array([pairs.index(p) for p in zip(serves_R, fold_R, strict=True)], int)
    shapes = _shapes(regions)
    touch = [
        _touching(shapes, number_R, len(pairs), as_boxes(tiles, margin))
        for margin in (-EDGE, buffer - EDGE)
    ]
    whole_T = _whole(shapes, as_boxes(tiles, -EDGE))
    # thousands of tiles are alike in all that matters here
    kinds, kind_T = np.unique(np.column_stack([*touch, whole_T]), axis=0, return_inverse=True)
    count = len(pairs)
    places = [
        _place(pairs, np.flatnonzero(k[:count]), np.flatnonzero(k[count:-1]), bool(k[-1]), buffer)
        for k in kinds
    ]
    return [places[kind] for kind in kind_T.ravel()]


def _place(
    pairs: list[tuple[int, int]], inside: Any, near: Any, is_whole: bool, buffer: int
) -> Place:
    found = [pairs[number] for number in inside]
    parts = {part for part, _ in found}
    if not parts or parts == {-1}:
        return Place("", None, "outside the parts")
    if len(found) > 1:
        return Place("", None, "across two folds" if len(parts) == 1 else "across two parts")
    ((part, fold),) = found
    if not is_whole:
        return Place("", None, "partly outside the parts")
    is_near = max(pairs[number][0] for number in near) > part
    why = f"within {buffer} px of another part" if is_near else ""
    return Place(SPLITS[part], None if fold < 0 else fold, why)


def _shapes(regions: Sequence[Region]) -> Any:
    """The ground of regions as an array of polygons (shapely)."""
    is_window = np.array([isinstance(r.ground, Window) for r in regions], bool)
    shapes = np.empty(len(regions), object)
    shapes[is_window] = as_boxes([r.ground for r in regions if isinstance(r.ground, Window)])
    shapes[~is_window] = [r.ground for r in regions if not isinstance(r.ground, Window)]
    return shapes


def _touching(shapes: Any, number_R: Any, numbers: int, boxes: Any) -> NDArray[np.bool_]:
    """(tile, number) which numbers have ground in each box."""
    result = np.zeros((len(boxes), numbers), bool)
    region, tile = shapely.STRtree(boxes).query(shapes, predicate="intersects")
    result[tile, number_R[region]] = True
    return result


def _whole(shapes: Any, boxes: Any) -> NDArray[np.bool_]:
    """Which boxes lie wholly in the ground of regions, all taken together."""
    result = np.zeros(len(boxes), bool)
    result[shapely.STRtree(boxes).query(shapely.union_all(shapes), predicate="covers")] = True
    return result
