"""A raster of any size, a window at a time or at points."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window as RasterioWindow

from mapmill.grid import Window
from mapmill.raster.opening import Array, opened
from mapmill.raster.writing import CACHE

SIDE = 1024
"""Of a window: a whole number of the inner tiles of our files."""


def read_windows(path: Path) -> Iterator[tuple[Window, Array]]:
    """The first band of a raster, (y, x), window by window, row by row.

    Raises
    ------
    ContractError
        if it is missing or unreadable.
    """
    with opened(path) as source:
        whole = Window(0, 0, source.height, source.width)
        for row in range(0, source.height, SIDE):
            for col in range(0, source.width, SIDE):
                window = Window(row, col, SIDE, SIDE).intersect(whole)
                assert window is not None
                part = RasterioWindow(window.col, window.row, window.width, window.height)
                with rasterio.Env(GDAL_CACHEMAX=CACHE):  # within one step: readers may alternate
                    class_YX = np.asarray(source.read(1, window=part))
                yield window, class_YX


def values_at(path: Path, xy: Array) -> Array:
    """(point,) value of the first band at coordinates in the raster's CRS; 0 outside of it."""
    with opened(path) as source:
        result = np.zeros(len(xy), source.dtypes[0])
        for number, (x, y) in enumerate(xy):
            row, col = source.index(x, y)
            if 0 <= row < source.height and 0 <= col < source.width:
                result[number] = source.read(1, window=RasterioWindow(col, row, 1, 1))[0, 0]
    return result
