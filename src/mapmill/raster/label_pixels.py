"""Reading of label pixels: every one, at full resolution, each stored piece decoded once."""

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window as RasterioWindow

from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.raster.lattice import LabelFile
from mapmill.raster.opening import Array, real_file

CACHE = {"GDAL_CACHEMAX": 8 * 2**20}
"""Bytes of decoded pieces that GDAL keeps: few, since none is needed twice."""
Convert = Callable[[Array], Array]
ROOM_PIXELS = 2**25
"""Label pixels in memory at a time, of all threads."""
PIECE_PIXELS = 2**22
"""Label pixels to read at a time, at least: fewer would stay in cache, but cost more calls."""
SHARES = 4
"""Parts of a window for each thread, where it can be cut between stored pieces."""


@contextmanager
def full_resolution(file: LabelFile) -> Iterator[Any]:
    """A handle of the raster for one thread; of its own, and blind to overviews.

    Raises
    ------
    ContractError
        if it cannot be read.
    """
    try:
        with (
            rasterio.Env(**CACHE),
            rasterio.open(real_file(file.path), sharing=False, OVERVIEW_LEVEL="NONE") as source,
        ):
            yield source
    except RasterioError as error:
        raise ContractError(
            file.path, f"no readable raster ({error})", "a raster that GDAL reads", "check the file"
        ) from None


def shares(file: LabelFile, part: Window, factor: int, threads: int) -> list[Window]:
    """Cut label pixels into parts of whole cells for threads to read.

    Cuts lie between stored pieces wherever a cell's edge does, so that none is decoded twice;
    in rows there are no other cuts, unless there is nowhere to cut and more than one thread.

    Parameters
    ----------
    part : in rows and columns of the raster; its sides divide by `factor`
    """
    tile_rows, tile_cols = file.tile
    widest = max(factor, ROOM_PIXELS // threads // max(min(tile_rows, part.height), factor))
    cols = [0, part.width]
    if part.width > widest and tile_cols < file.width:
        cols = _cuts(part.col, part.width, factor, tile_cols, widest, exact=False)
    few = threads * SHARES if part.height > 4 * tile_rows else 1
    step = -(-part.height // few)
    rows = _cuts(part.row, part.height, factor, tile_rows, step, exact=True)
    if len(rows) == 2 and few > 1:
        share = -(-part.height // (threads * factor)) * factor
        rows = [*range(0, part.height, share), part.height]
    return [
        Window(part.row + top, part.col + left, bottom - top, right - left)
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(cols)
    ]


def _cuts(start: int, length: int, factor: int, tile: int, step: int, exact: bool) -> list[int]:
    """Where to cut a stretch of pixels, from 0 to `length`, about every `step`.

    Parameters
    ----------
    start : of the stretch, in pixels of the raster
    exact : only where a cell and a stored piece end together; else at any cell's edge where
        there is no such place
    """
    period = math.lcm(tile, factor)
    first = next((at for at in range(0, period, factor) if (start + at) % tile == 0), None)
    if first is None or period > length:
        if exact:
            return [0, length]
        first, period = 0, factor
    every = max(period, step // period * period)
    inner = range(first if first else every, length, every)
    return [0, *inner, length]


def strips(
    file: LabelFile, part: Window, factor: int, room: int, fill: int, convert: Convert | None
) -> Iterator[tuple[int, Array]]:
    """Read label pixels from the north, whole rows of cells at a time.

    Reading goes from one row of stored pieces to the next; what does not fill a row of cells
    waits for the next turn.

    Parameters
    ----------
    part : in rows and columns of the raster; its height divides by `factor`
    room : label pixels in memory at a time, if a row of cells is no more
    fill : stands for what is beyond the raster
    convert : from the file's codes to uint8; None for a file of uint8 to be had as it is

    Yields
    ------
    Row of the first pixel, counted from the part's, and uint8 codes (y, x), which are
    overwritten in the next turn.
    """
    tile = min(file.tile[0], part.height)
    high = max(1, min(room, PIECE_PIXELS) // (part.width * tile)) * tile
    if tile * part.width > room:
        high = max(1, room // part.width)
    room_YX = np.empty((min(high, part.height) + factor, part.width), np.uint8)
    with full_resolution(file) as source:
        held, row, done = 0, part.row, 0
        while row < part.row_end:
            end = min((row // high + 1) * high, part.row_end)
            target_YX = room_YX[held : held + end - row]
            _read(source, Window(row, part.col, end - row, part.width), target_YX, fill, convert)
            held, row = held + end - row, end
            whole = held // factor * factor
            if whole:
                yield done, room_YX[:whole]
                room_YX[: held - whole] = room_YX[whole:held].copy()
                held, done = held - whole, done + whole


def _read(source: Any, part: Window, target_YX: Array, fill: int, convert: Convert | None) -> None:
    """Read a part, which may reach beyond the raster, into `target_YX`."""
    inside = part.intersect(Window(0, 0, source.height, source.width))
    if inside != part:
        target_YX[:] = fill
    if inside is None:
        return
    place = inside.slices(part)
    window = RasterioWindow(inside.col, inside.row, inside.width, inside.height)
    if convert:
        target_YX[place] = convert(source.read(1, window=window))
    else:
        source.read(1, window=window, out=target_YX[place])


def read_part(file: LabelFile, part: Window, fill: int, convert: Convert) -> Array:
    """Classes (y, x) uint8 of any part of the raster's lattice; `fill` beyond the raster."""
    result_YX = np.empty((part.height, part.width), np.uint8)
    with full_resolution(file) as source:
        _read(source, part, result_YX, fill, convert)
    return result_YX


def read_nearest(
    file: LabelFile, grid: Grid, window: Window, factor: int, missing: float, dtype: str
) -> Array:
    """Codes (y, x) of a window at `factor` times the grid's resolution, by nearest pixel.

    Parameters
    ----------
    missing : stands for what is beyond the raster, or nodata
    """
    options = {
        "crs": grid.crs,
        "transform": Affine(*grid.transform(window, factor)),
        "width": window.width * factor,
        "height": window.height * factor,
        "resampling": Resampling.nearest,
        "src_nodata": missing if file.nodata is None else file.nodata,
        "nodata": missing,
        "dtype": dtype,
        "tolerance": 1e-6,  # a pixel must not depend on the block that it is in
    }
    with full_resolution(file) as source, WarpedVRT(source, **options) as warped:
        return np.asarray(warped.read(1))
