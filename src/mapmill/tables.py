"""Ground of each class in each unit of a map, and what changed from one map to another.

These are counts of pixels. They hold the map's errors; `areas` corrects for those.
"""

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping

from mapmill.draw import ClassMap
from mapmill.errors import ContractError
from mapmill.grid import Grid
from mapmill.pixel_area import HECTARE, polygon_area
from mapmill.raster import read_windows
from mapmill.raster.coverage import covered
from mapmill.sections import Tabulate
from mapmill.unit_pixels import grid_of, read_units

Numbers = NDArray[Any]
REMEDIES = ("check tabulate.units and layer", "correct tabulate.name")
WHOLE = "the whole map"


def units_on(chosen: Tabulate, grid: Grid) -> dict[str, Any]:
    """Name -> ground (shapely, in the grid's CRS) of the units, or of the whole grid.

    Raises
    ------
    ContractError
        see `read_units`.
    """
    if chosen.units is None:
        return {WHOLE: shapely.box(*grid.bounds())}
    return read_units(Path(chosen.units), chosen.layer, chosen.name, grid, REMEDIES)


def outside(units: dict[str, Any], grid: Grid) -> Numbers:
    """(unit,) hectares of each unit that are not on the grid."""
    place = shapely.box(*grid.bounds())
    rest = [shapely.difference(unit, place) for unit in units.values()]
    return np.array([polygon_area(each, grid.crs) for each in rest]) / HECTARE


def hectares(source: ClassMap, units: dict[str, Any]) -> Numbers:
    """(unit, K + 1) hectares of each class in each unit; the map is read window by window."""
    result = np.zeros((len(units), source.classes + 1))
    shapes, grid = np.array(list(units.values())), grid_of(source)
    for window, class_YX in source.windows("tabulate"):
        bounds = grid.bounds(window)
        here = np.flatnonzero(shapely.intersects(shapes, shapely.box(*bounds)))
        inside = shapely.clip_by_rect(shapes[here], *bounds)
        held = shapely.area(inside) > 0  # not those that only touch the window
        if not held.any():
            continue
        here, polygons = here[held], [mapping(each) for each in inside[held]]
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
