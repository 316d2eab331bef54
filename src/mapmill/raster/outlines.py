"""Stretches of one class as polygons."""

from rasterio.features import shapes
from shapely.geometry import shape

from mapmill.raster.opening import Array


def outlines(class_YX: Array) -> tuple[list[object], list[int]]:
    """Polygons of all patches whose pixels share sides, and the class of each; none of class 0.

    Corners are in pixels: x from the west, y from the north.
    """
    found = [
        (shape(outline), int(value))
        for outline, value in shapes(class_YX, mask=class_YX > 0, connectivity=4)
    ]
    return [polygon for polygon, _ in found], [value for _, value in found]
