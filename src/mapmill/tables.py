"""Ground of each class in each unit of a map, and what changed from one map to another.

These are counts of pixels. They hold the map's errors; `areas` corrects for those.
"""

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping, shape

from mapmill.draw import ClassMap
from mapmill.errors import ContractError
from mapmill.grid import Grid
from mapmill.raster import read_windows
from mapmill.raster.coverage import covered
from mapmill.sections import Tabulate
from mapmill.unit_pixels import grid_of
from mapmill.vector import read_polygons

Numbers = NDArray[Any]
REMEDIES = ("check tabulate.units and layer", "correct tabulate.name")
WHOLE = "the whole map"


def units_on(chosen: Tabulate, grid: Grid) -> dict[str, Any]:
    """Name -> ground (shapely, in the grid's CRS) of the units that touch the grid, by name.

    Raises
    ------
    ContractError
        if the file cannot be read, or none of its polygons touches the grid.
    """
    if chosen.units is None:
        return {WHOLE: shapely.box(*grid.bounds())}
    path = Path(chosen.units)
    found = read_polygons(path, chosen.layer, chosen.name, grid.crs, grid.bounds(), REMEDIES)
    named: dict[str, list[Any]] = {}
    for polygon, name in found:
        named.setdefault(name, []).append(shape(polygon))
    if not named:
        raise ContractError(path, "no polygon on the map", "units of the map", REMEDIES[0])
    return {name: _ground(shapes) for name, shapes in sorted(named.items())}


def _ground(shapes: list[Any]) -> Any:
    """All ground of some polygons, each place once."""
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(shapes)))
    return shapely.union_all([part for part in parts if part.geom_type == "Polygon"])


def hectares(source: ClassMap, units: dict[str, Any]) -> Numbers:
    """(unit, K + 1) hectares of each class in each unit; the map is read window by window."""
    result = np.zeros((len(units), source.classes + 1))
    shapes, grid = np.array(list(units.values())), grid_of(source)
    for window, class_YX in source.windows("tabulate"):
        bounds = grid.bounds(window)
        here = np.flatnonzero(shapely.intersects(shapes, shapely.box(*bounds)))
        if not here.size:
            continue
        polygons = [mapping(each) for each in shapely.clip_by_rect(shapes[here], *bounds)]
        pixel_Y = source.hectares_Y[window.row : window.row_end]
        result[here] += covered(class_YX, pixel_Y, bounds, polygons, source.classes)
    return result


def changes(before: ClassMap, after: ClassMap) -> Numbers:
    """(2, K + 1, K + 1) pixels and hectares by class before (rows) and after (columns).

    Raises
    ------
    ContractError
        if the maps do not lie on each other pixel for pixel.
    """
    place = [(s.info.crs, s.info.transform, s.info.width, s.info.height) for s in (before, after)]
    if place[0] != place[1]:
        raise ContractError(after.path, str(place[1]), str(place[0]), "make both maps again")
    size = before.classes + 1
    result = np.zeros((2, size * size))
    others = read_windows(after.path)
    for (window, one_YX), (_, other_YX) in zip(before.windows("changes"), others, strict=True):
        pair = one_YX.astype(np.int64) * size + other_YX
        weight_YX = np.broadcast_to(
            before.hectares_Y[window.row : window.row_end, None], one_YX.shape
        )
        result[0] += np.bincount(pair.ravel(), minlength=size * size)
        result[1] += np.bincount(pair.ravel(), weight_YX.ravel(), minlength=size * size)
    return result.reshape(2, size, size)
