"""The internal tiles of a raster: which an area needs, and whether they are small enough."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.warp import transform_bounds

from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.raster.held import WHOLE
from mapmill.raster.opening import bands_together

LARGEST_TILE = 4096
"""Side of an internal tile, in pixels."""
LARGEST_ROWS = 64 * 2**20
"""Bytes of one strip of a raster without tiles."""


def check_tiles(source: Any, where: str) -> None:
    """Refuse a raster of which a little cannot be read without a lot, or not as it is.

    Raises
    ------
    ContractError
        if it has large tiles, or none; bands of several kinds; or an internal mask.
    """
    shapes, dtypes = set(source.block_shapes), set(source.dtypes)
    if len(shapes) > 1 or len(dtypes) > 1:
        found = f"bands of types {sorted(dtypes)} and tiles {sorted(shapes)}"
        raise ContractError(where, found, "bands alike", WHOLE)
    ((height, width),) = shapes
    together = source.count if bands_together(source) else 1
    size = height * width * together * np.dtype(source.dtypes[0]).itemsize
    if max(height, width) > LARGEST_TILE and size > LARGEST_ROWS:
        found = f"no tiles, or of {width} x {height} px"
        raise ContractError(where, found, f"internal tiles of at most {LARGEST_TILE} px", WHOLE)
    if MaskFlags.per_dataset in source.mask_flag_enums[0] and not has_alpha(source):
        raise ContractError(where, "an internal mask", "nodata, or none", WHOLE)


def has_alpha(source: Any) -> bool:
    """Whether a band says where the others have data."""
    return ColorInterp.alpha in source.colorinterp


def needed_tiles(
    source: Any, where: str, grid: Grid, windows: Iterable[Window], margin: int
) -> list[Window]:
    """The internal tiles that windows of a grid need, row by row, in pixels of the source.

    Parameters
    ----------
    margin : pixels of the source, more than the windows cover

    Raises
    ------
    ContractError
        if a window has no place in the source's CRS.
    """
    height, width = source.block_shapes[0]
    places: set[tuple[int, int]] = set()
    for window in windows:
        part = _part(source, where, grid, window, margin)
        if part:
            rows = range(part.row // height, (part.row_end - 1) // height + 1)
            cols = range(part.col // width, (part.col_end - 1) // width + 1)
            places.update((row, col) for row in rows for col in cols)
    whole = Window(0, 0, source.height, source.width)
    tiles = [Window(row * height, col * width, height, width) for row, col in sorted(places)]
    return [part for tile in tiles if (part := tile.intersect(whole))]


def _part(source: Any, where: str, grid: Grid, window: Window, margin: int) -> Window | None:
    """The pixels of the source that a window of the grid needs, if any."""
    try:
        bounds = transform_bounds(grid.crs, source.crs, *grid.bounds(window), densify_pts=21)
    except (RasterioError, CPLE_BaseError):
        bounds = (np.inf,) * 4
    if not np.isfinite(bounds).all():
        found = f"a CRS that does not reach {grid.bounds(window)} of {grid.crs}"
        raise ContractError(where, found, "one of the area", "leave this file out")
    left, bottom, right, top = bounds
    if left > right:  # across the 180th meridian
        left, right = source.bounds.left, source.bounds.right
    step, t = source.transform.a, source.transform
    # a coarser pixel of the grid is made of all that lie around it
    reach = margin + int(np.ceil(2 * max((right - left) / window.width, step) / step))
    row, col = int(np.floor((t.f - top) / step)), int(np.floor((left - t.c) / step))
    row_end, col_end = int(np.ceil((t.f - bottom) / step)), int(np.ceil((right - t.c) / step))
    part = Window(row, col, row_end - row, col_end - col).grow(reach)
    return part.intersect(Window(0, 0, source.height, source.width))
