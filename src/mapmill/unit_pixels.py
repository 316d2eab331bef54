"""Pixels of a map in each unit of a polygon layer, such as municipalities."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import mapping, shape

from mapmill.draw import ClassMap
from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.pixel_area import HECTARE, polygon_area
from mapmill.raster import burn
from mapmill.vector import inspect_polygons, layers_with_shapes, read_polygons

log = logging.getLogger(__name__)
Numbers = NDArray[Any]
UNNAMED = "(no name)"
FORMULA = "=+-@\t\r"
"""A spreadsheet runs a cell that begins with one of these."""
CUT = "cut it to the surroundings of the map"
SURFACES = ("Polygon", "MultiPolygon", "GeometryCollection")


@dataclass
class Unit:
    """One unit and what of the map is in it."""

    name: str
    ground: Any
    """Polygon or multipolygon (shapely) in the map's CRS."""
    units: Numbers
    """(K + 1,) pixels whose centre is inside, by class."""
    hectares: Numbers
    """(K + 1,) their ground."""
    inside: Numbers
    """(point,) bool: the points whose pixel is inside."""
    told: float
    """Share of its ground where the map has a class; polygons off the map are not counted."""


def read_units(
    path: Path, layer: str | None, attribute: str, grid: Grid, remedies: tuple[str, str]
) -> dict[str, Any]:
    """Name -> ground (shapely, in the grid's CRS) of the units with ground on the grid, by name.

    Polygons of one name are one unit, each place of it counted once. A name that a spreadsheet
    would run as a formula is led by an apostrophe.

    Raises
    ------
    ContractError
        if the file cannot be read, has several layers and none is named, has no such attribute,
        holds points or lines, a polygon that the grid's CRS does not reach, or none with ground on
        the grid.
    """
    if layer is None:
        several = layers_with_shapes(path)
        if len(several) > 1:
            raise ContractError(path, f"layers {', '.join(several)}", "one layer", remedies[0])
        layer = several[0] if several else None
    found = read_polygons(path, layer, attribute, grid.crs, grid.bounds(), remedies, edges=True)
    named: dict[str, list[Any]] = {}
    for polygon, name in found:
        if polygon["type"] not in SURFACES:
            raise ContractError(path, f"a {polygon['type']}", "polygons", remedies[0])
        ground = shape(polygon)
        if not np.isfinite(shapely.get_coordinates(ground)).all():
            raise ContractError(
                path, f"{name!r}, beyond {grid.crs[:40]}", "units near the map", CUT
            )
        named.setdefault(_cell(name), []).append(ground)
    place = shapely.box(*grid.bounds())
    units = {name: _ground(shapes) for name, shapes in sorted(named.items())}
    units = {name: unit for name, unit in units.items() if unit.intersection(place).area > 0}
    if not units:
        raise ContractError(path, "no polygon on the map", "units of the map", remedies[0])
    every = inspect_polygons(path, layer)["features"]
    log.info("%s: %d units on the map, of %d polygons", path, len(units), every)
    return units


def _cell(name: str) -> str:
    """A unit's name as it stands in tables."""
    name = name.strip() or UNNAMED
    return f"'{name}" if name[0] in FORMULA else name


def _ground(shapes: list[Any]) -> Any:
    """All ground of some polygons, each place once."""
    parts = shapely.get_parts(shapely.get_parts(shapely.make_valid(shapes)))
    return shapely.union_all([part for part in parts if part.geom_type == "Polygon"])


def grid_of(source: ClassMap) -> Grid:
    """The grid of a map, without blocks."""
    info = source.info
    step, _, left, _, _, top = info.transform
    return Grid(info.crs, left, top, step, info.width, info.height, max(info.width, info.height))


def count_units(grounds: dict[str, Any], source: ClassMap, xy: Numbers) -> list[Unit]:
    """The pixels of each unit, and its points; memory does not grow with the map."""
    size, grid = source.classes + 1, grid_of(source)
    units = [
        Unit(name, ground, np.zeros(size, np.int64), np.zeros(size), np.zeros(len(xy), bool), 0)
        for name, ground in grounds.items()
    ]
    cols = np.floor((xy[:, 0] - grid.left) / grid.resolution).astype(int)
    rows = np.floor((grid.top - xy[:, 1]) / grid.resolution).astype(int)
    polygons = [mapping(unit.ground) for unit in units]
    for window, class_YX in source.windows("units"):
        here = _inside(window, rows, cols)
        for unit, polygon in zip(units, polygons, strict=True):
            if not _meet(grid.bounds(window), unit.ground.bounds):
                continue
            within_YX = burn([(polygon, 1)], grid, window, 1) > 0
            counted = source.tally(np.where(within_YX, class_YX, 0), window)
            unit.units[1:] += counted.units[1:]
            unit.hectares[1:] += counted.hectares[1:]
            unit.inside[here] |= within_YX[rows[here] - window.row, cols[here] - window.col]
    for unit in units:
        whole = polygon_area(unit.ground, grid.crs) / HECTARE
        unit.told = min(1.0, float(unit.hectares.sum()) / whole)
    return units


def _inside(window: Window, rows: Numbers, cols: Numbers) -> Numbers:
    """Numbers of the pixels in a window."""
    down = (rows >= window.row) & (rows < window.row_end)
    return np.flatnonzero(down & (cols >= window.col) & (cols < window.col_end))


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
