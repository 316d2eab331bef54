"""Reading and writing of rasters: the only package that opens rasterio.

Arrays are (band, y, x) or (y, x), rows from the north. Whatever is read comes back on the
area's grid, pixel for pixel, or an error is raised.
"""

from mapmill.raster.blocks import BlockMosaic
from mapmill.raster.cog import Read, Statistics, parts_of, read_small, reading, scratch, write_cog
from mapmill.raster.cutting import Cut, cut
from mapmill.raster.image import Image, opened_image
from mapmill.raster.on_grid import OUTSIDE, OnGrid, burn, on_grid, read_on_grid
from mapmill.raster.opening import (
    NOWHERE,
    Array,
    Georeference,
    RasterInfo,
    area_bounds_wgs84,
    check_whole,
    footprint_wgs84,
    inspect,
    metres,
    read_bands,
    read_image,
    valid_pixels,
)
from mapmill.raster.outlines import outlines
from mapmill.raster.windows import read_windows, values_at
from mapmill.raster.writing import raster_by_window, write_image, write_raster

__all__ = [
    "NOWHERE",
    "OUTSIDE",
    "Array",
    "BlockMosaic",
    "Cut",
    "Georeference",
    "Image",
    "OnGrid",
    "RasterInfo",
    "Read",
    "Statistics",
    "area_bounds_wgs84",
    "burn",
    "check_whole",
    "cut",
    "footprint_wgs84",
    "inspect",
    "metres",
    "on_grid",
    "opened_image",
    "outlines",
    "parts_of",
    "raster_by_window",
    "read_bands",
    "read_image",
    "read_on_grid",
    "read_small",
    "read_windows",
    "reading",
    "scratch",
    "valid_pixels",
    "values_at",
    "write_cog",
    "write_image",
    "write_raster",
]
