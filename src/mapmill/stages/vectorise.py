"""vectorise: the published map as polygons, for programs that work on features."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from mapmill.areafile import load_area
from mapmill.config import Area
from mapmill.extent import extent_of
from mapmill.filters import sieved
from mapmill.layout import Layout
from mapmill.raster import Array, outlines, reading, scratch
from mapmill.vector import write_polygons

log = logging.getLogger(__name__)


def run(area_path: Path, map_name: str, output: Path) -> None:
    """Write a GeoPackage: a polygon for each patch of the map, none smaller than the minimum.

    The map is held in memory, a byte a pixel, and so are its polygons.
    """
    area = load_area(area_path)
    grid, extent, chosen = area.the_grid(), extent_of(area), area.vectorise
    keep = partial(scratch, output, grid, extent)
    with (
        reading(Layout(area_path.stem).map(map_name), extent) as published,
        sieved(keep, extent, published, chosen.minimum_px) as read,
    ):
        polygons, values = outlines(read(extent)[0])
    shapes = simplified(polygons, chosen.simplify)
    left, _, _, top = grid.bounds(extent)

    def placed(xy: Array) -> Array:
        return np.column_stack(
            [left + xy[:, 0] * grid.resolution, top - xy[:, 1] * grid.resolution]
        )

    write_polygons(
        output, shapely.transform(shapes, placed), map_name, grid.crs, _fields(area, shapes, values)
    )
    log.info("%s: %d polygons", output, len(values))


def simplified(polygons: list[Any], tolerance: float) -> Array:
    """Polygons in pixels with fewer corners, whose neighbours go on sharing their borders.

    By coverage simplification (Visvalingam and Whyatt 1993 for shared edges): what is taken away
    at a corner is a triangle of an area below the square of the tolerance.
    """
    if not tolerance or not polygons:
        return np.array(polygons, dtype=object)
    # a corner at each pixel: polygons then meet at common corners, as a coverage has to
    shared = shapely.segmentize(polygons, 1.0)
    return np.asarray(shapely.coverage_simplify(shared, tolerance))


def _fields(area: Area, shapes: Array, values: list[int]) -> dict[str, Array]:
    """Class, name, colour, and area in square units of the CRS."""
    entries = [area.classes[value] for value in values]
    return {
        "class": np.array(values, np.int32),
        "name": np.array([entry.name for entry in entries], dtype=object),
        "colour": np.array([entry.colour for entry in entries], dtype=object),
        "area": shapely.area(shapes) * area.the_grid().resolution ** 2,
    }
