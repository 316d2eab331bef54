"""How much ground a pixel covers."""

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod

from mapmill.grid import Affine6

HECTARE = 10_000.0
"""Square metres."""


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
