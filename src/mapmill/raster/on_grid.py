"""Reading onto the grid, pixel for pixel or warped; and burning polygons onto it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform
from rasterio.windows import Window as RasterioWindow

from mapmill.grid import Grid, Window
from mapmill.raster.opening import Array, opened


def read_on_grid(
    path: Path,
    band: int,
    grid: Grid,
    window: Window,
    *,
    nodata: float,
    resampling: str = "nearest",
    factor: int = 1,
    dtype: str | None = None,
    told: float | None = None,
) -> Array:
    """Read one band onto a window of the grid, at `factor` times the grid's resolution.

    Where source and target agree pixel for pixel nothing is resampled; otherwise GDAL warps.
    Outside the source the result is `nodata`. A nodata value declared by the source becomes
    `nodata`; without one, `nodata` itself marks missing source pixels.

    Parameters
    ----------
    band : band number, from 1
    resampling : nearest, bilinear or average
    dtype : of the result; the source's by default
    told : nodata of the source where it declares none itself

    Returns
    -------
    (window.height * factor, window.width * factor) array.
    """
    height, width = window.height * factor, window.width * factor
    target = Affine(*grid.transform(window, factor))
    with opened(path) as source:
        result_dtype = dtype or source.dtypes[band - 1]
        declared = source.nodatavals[band - 1]
        declared = told if declared is None else declared
        offset = _whole_pixel_offset(source, grid.crs, target)
        if offset is not None:
            empty = np.full((height, width), nodata, result_dtype)
            return _read_aligned(source, band, offset, empty, nodata, declared)
        if declared is None and not np.isnan(nodata):
            declared = nodata
        scale = str(_scale(source, grid.crs, target))
        options = {
            "UNIFIED_SRC_NODATA": "NO",
            "XSCALE": scale,
            "YSCALE": scale,
            "crs": grid.crs,
            "transform": target,
            "width": width,
            "height": height,
            "resampling": Resampling[resampling],
            "src_nodata": declared,
            "nodata": nodata,
            "dtype": result_dtype,
            "tolerance": 1e-6,  # all but exact: a pixel must not depend on the block it is in
        }
        with WarpedVRT(source, **options) as warped:
            return np.asarray(warped.read(band))


def _scale(source: Any, crs: str, target: Affine) -> float:
    """Target over source pixels, at most 1: without it GDAL guesses from the size of a block."""
    step = source.transform.a
    if rasterio.crs.CRS.from_user_input(crs) != source.crs:
        size = (source.width, source.height)
        step = calculate_default_transform(source.crs, crs, *size, *source.bounds)[0].a
    return float(min(1.0, step / target.a))


def _whole_pixel_offset(source: Any, crs: str, target: Affine) -> tuple[int, int] | None:
    """(row, col) of the target's origin in the source, if both share one pixel lattice."""
    same = rasterio.crs.CRS.from_user_input(crs) == source.crs
    step = source.transform.a
    if not same or abs(step - target.a) > 1e-9 * step:
        return None
    col, row = ~source.transform * (target.c, target.f)
    if abs(col - round(col)) > 1e-3 or abs(row - round(row)) > 1e-3:
        return None
    return round(row), round(col)


def _read_aligned(
    source: Any,
    band: int,
    offset: tuple[int, int],
    result: Array,
    nodata: float,
    declared: float | None,
) -> Array:
    here = Window(offset[0], offset[1], *result.shape)
    part = here.intersect(Window(0, 0, source.height, source.width))
    if part is None:
        return result
    values = source.read(band, window=RasterioWindow(part.col, part.row, part.width, part.height))
    target = result[part.slices(here)]
    target[:] = values
    if declared is not None and not _same(declared, nodata):
        target[np.isnan(values) if np.isnan(declared) else values == declared] = nodata
    return result


def _same(a: float, b: float) -> bool:
    return a == b or (np.isnan(a) and np.isnan(b))


def burn(
    shapes: Sequence[tuple[Mapping[str, Any], int]], grid: Grid, window: Window, factor: int
) -> NDArray[np.uint8]:
    """Burn polygons, given in the grid's CRS with a class each, at `factor` times the resolution.

    A pixel belongs to a polygon that holds its centre; of several, to the last one given.
    """
    shape = (window.height * factor, window.width * factor)
    if not shapes:
        return np.zeros(shape, np.uint8)
    transform = Affine(*grid.transform(window, factor))
    burnt: NDArray[np.uint8] = rasterize(shapes, shape, 0, transform=transform, dtype="uint8")
    return burnt
