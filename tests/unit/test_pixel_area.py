"""Ground of polygons and of planes, against closed forms."""

import numpy as np
import pytest
import shapely

from mapmill.pixel_area import plane_excess, polygon_area, row_areas

A, B = 6378137.0, 6356752.314245
"""Half axes of WGS 84."""


def zone(south, north, degrees):
    """Square metres of the ellipsoid between two parallels."""
    e = np.sqrt(1 - (B / A) ** 2)
    s = np.sin(np.radians([south, north]))
    part = s / (2 * (1 - (e * s) ** 2)) + np.arctanh(e * s) / (2 * e)
    return B**2 * np.radians(degrees) * np.diff(part)[0]


def test_a_polygon_in_degrees_has_the_ground_between_its_parallels():
    """A unit's share on the map would be wrong, or negative for rings of the other sense."""
    outer, hole = shapely.box(10, 60, 16, 80), shapely.box(11, 61, 12, 62)
    shape = shapely.MultiPolygon([outer.difference(hole).reverse(), shapely.box(20, 0, 21, 1)])
    expected = zone(60, 80, 6) - zone(61, 62, 1) + zone(0, 1, 1)
    assert polygon_area(shape, "EPSG:4326") == pytest.approx(expected, rel=1e-6)
    assert polygon_area(shapely.Polygon(), "EPSG:4326") == 0
    assert polygon_area(shapely.box(0, 0, 30, 40), "EPSG:32631") == 1200
    feet = polygon_area(shapely.box(0, 0, 30, 40), "EPSG:2264")  # of the United States
    assert feet == pytest.approx(1200 * (1200 / 3937) ** 2)


def test_small_pixels_in_degrees_lose_nothing_to_rounding():
    """Areas of sub-metre pixels would be noise: their sides are differences of large numbers."""
    step = 1e-6
    transform = (step, 0, 2.1, 0, -step, 41.4)
    expected = np.cos(np.radians(41.4)) * np.radians(step) ** 2
    e2 = 1 - (B / A) ** 2  # radii of curvature of the ellipsoid
    w = np.sqrt(1 - e2 * np.sin(np.radians(41.4)) ** 2)
    expected *= (A / w) * (A * (1 - e2) / w**3)
    assert row_areas("EPSG:4326", transform, 1)[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("crs", "left", "top", "low", "high"),
    [
        ("EPSG:32631", 400_000, 4_600_000, -0.001, 0.001),
        ("EPSG:3857", 0, 8_400_000, 2.9, 3.1),  # 60 degrees: 1 / cos^2 = 4
        ("EPSG:3035", 4_000_000, 3_000_000, -1e-4, 1e-4),  # an equal-area projection
        ("EPSG:4326", 10, 60, 0, 0),
    ],
)
def test_how_far_a_plane_is_from_the_ground(crs, left, top, low, high):
    """Areas of a projection that stretches the ground would be told without a remark."""
    step = 1e-4 if crs == "EPSG:4326" else 10
    found = plane_excess(crs, (step, 0, left, 0, -step, top), 300, 200)
    assert low <= found <= high
