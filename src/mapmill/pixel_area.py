"""How much ground a pixel covers, or a polygon."""

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from mapmill.grid import Affine6

HECTARE = 10_000.0
"""Square metres."""
BEND = 0.05
"""Degrees after which an edge of a polygon in degrees gets a corner more, to follow parallels."""


def row_areas(crs: str, transform: Affine6, height: int) -> NDArray[np.float64]:
    """(height,) area of a pixel of each row in square metres.

    In degrees it is the area on the ellipsoid (geodesic polygon, Karney 2013); else that in the
    plane of the CRS, which differs from the ground by the square of its scale (in UTM by 0.1 %).
    """
    found = CRS.from_user_input(crs)
    step, _, left, _, _, top = transform
    if not found.is_geographic:
        metres = found.axis_info[0].unit_conversion_factor
        return np.full(height, (step * metres) ** 2)
    geod = found.get_geod()
    assert geod is not None
    return np.array([_pixel(geod, left, top - step * row, step) for row in range(height)])


def _pixel(geod: Geod, west: float, north: float, step: float) -> float:
    """Square metres of a pixel in degrees."""
    east, south = west + step, north - step
    ring = [west, east, east, west], [north, north, south, south]
    return abs(float(geod.polygon_area_perimeter(*ring)[0]))


def polygon_area(shape: Any, crs: str) -> float:
    """Square metres of a polygon or multipolygon (shapely), by the rules of `row_areas`."""
    found = CRS.from_user_input(crs)
    if not found.is_geographic:
        return float(shape.area) * float(found.axis_info[0].unit_conversion_factor) ** 2
    geod = found.get_geod()
    assert geod is not None
    edges = shapely.orient_polygons(shapely.segmentize(shape, BEND))
    return float(geod.geometry_area_perimeter(edges)[0]) if not shape.is_empty else 0.0


def plane_excess(crs: str, transform: Affine6, width: int, height: int) -> float:
    """By how much areas in the plane of a CRS exceed those on the ellipsoid, as a share of these.

    Of nine pixels from corner to corner the one that differs most; negative where the plane has
    less. 0 in degrees, whose areas are those on the ellipsoid; NaN where the CRS does not reach.
    """
    found = CRS.from_user_input(crs)
    globe = found.geodetic_crs
    if found.is_geographic or globe is None:
        return 0.0
    geod, step = globe.get_geod(), transform[0]
    assert geod is not None
    to_degrees = Transformer.from_crs(found, globe, always_xy=True)
    plane = row_areas(crs, transform, 1)[0]
    ratios = []
    for col in (0, width // 2, width - 1):
        for row in (0, height // 2, height - 1):
            west, north = transform[2] + col * step, transform[5] - row * step
            x, y = (
                [west, west + step, west + step, west],
                [north, north, north - step, north - step],
            )
            ground = abs(geod.polygon_area_perimeter(*to_degrees.transform(x, y))[0])
            ratios.append(plane / ground - 1 if np.isfinite(ground) and ground else np.nan)
    return float(max(ratios, key=lambda ratio: -1 if np.isnan(ratio) else abs(ratio)))
