"""Pixels of a map in each unit of a polygon layer, such as municipalities."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape

from mapmill.draw import ClassMap
from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.raster import burn
from mapmill.vector import read_polygons

Numbers = NDArray[Any]
REMEDIES = ("check --units", "give --name one of them")


@dataclass
class Unit:
    """One unit and what of the map is in it."""

    name: str
    shapes: list[dict[str, Any]]
    """Polygons in the map's CRS."""
    units: Numbers
    """(K + 1,) pixels whose centre is inside, by class."""
    hectares: Numbers
    """(K + 1,) their ground."""
    inside: Numbers
    """(point,) bool: the points whose pixel is inside."""


def units_of(path: Path, attribute: str, source: ClassMap, points: int) -> list[Unit]:
    """Units that touch the map, by name; polygons of one name are one unit.

    Raises
    ------
    ContractError
        if the file cannot be read, has no such attribute, or none touches the map.
    """
    grid = grid_of(source)
    found = read_polygons(path, None, attribute, grid.crs, grid.bounds(), REMEDIES)
    named: dict[str, list[dict[str, Any]]] = {}
    for polygon, name in found:
        named.setdefault(name, []).append(polygon)
    if not named:
        raise ContractError(path, "no polygon on the map", "units of the map", REMEDIES[0])
    size = source.classes + 1
    return [
        Unit(name, shapes, np.zeros(size, np.int64), np.zeros(size), np.zeros(points, bool))
        for name, shapes in sorted(named.items())
    ]


def grid_of(source: ClassMap) -> Grid:
    """The grid of a map, without blocks."""
    info = source.info
    step, _, left, _, _, top = info.transform
    return Grid(info.crs, left, top, step, info.width, info.height, max(info.width, info.height))


def fill_units(units: list[Unit], source: ClassMap, xy: Numbers) -> None:
    """Count the pixels of each unit, and find its points; memory does not grow with the map."""
    grid = grid_of(source)
    cols = np.floor((xy[:, 0] - grid.left) / grid.resolution).astype(int)
    rows = np.floor((grid.top - xy[:, 1]) / grid.resolution).astype(int)
    reach = [shapely.union_all([shape(each) for each in unit.shapes]).bounds for unit in units]
    for window, class_YX in source.windows("units"):
        here = _inside(window, rows, cols)
        for unit, box in zip(units, reach, strict=True):
            if not _meet(grid.bounds(window), box):
                continue
            within_YX = burn([(each, 1) for each in unit.shapes], grid, window, 1) > 0
            counted = source.tally(np.where(within_YX, class_YX, 0), window)
            unit.units[1:] += counted.units[1:]
            unit.hectares[1:] += counted.hectares[1:]
            unit.inside[here] |= within_YX[rows[here] - window.row, cols[here] - window.col]


def _inside(window: Window, rows: Numbers, cols: Numbers) -> Numbers:
    """Numbers of the pixels in a window."""
    down = (rows >= window.row) & (rows < window.row_end)
    return np.flatnonzero(down & (cols >= window.col) & (cols < window.col_end))


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
