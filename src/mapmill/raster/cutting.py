"""Cutting an area out of a raster that is read through a file object, tile by tile.

Of a remote file only those of its internal tiles are read that the area needs. They are copied
as they are: on the same pixels, none warped. What cannot be read is an error, never a hole.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.progress import track
from mapmill.raster.held import HeldFile, opened_held, reading
from mapmill.raster.inner_tiles import (
    LARGEST_TILE,
    check_tiles,
    has_alpha,
    needed_tiles,
)
from mapmill.raster.opening import Array, RasterInfo, bands_together, info_of
from mapmill.raster.writing import profile_of


@dataclass(frozen=True)
class Cut:
    """What was copied."""

    tiles: int
    """Internal tiles of the source; 0 where no window touches it, and nothing was written."""
    pixels: int
    """Pixels in those tiles."""
    valid: float
    """Share of their values, of all bands, that are not nodata (0 where none is declared)."""


NOTHING = Cut(0, 0, 0.0)


@dataclass(frozen=True)
class _Job:
    """One internal tile, of all bands where they are kept together, else of one."""

    window: Window
    """In pixels of the source."""
    bands: tuple[int, ...]


def cut(
    source_file: Any,
    where: str,
    target: Path,
    grid: Grid,
    windows: Sequence[Window],
    *,
    margin: int = 32,
    check: Callable[[RasterInfo], None] | None = None,
) -> Cut:
    """Copy the internal tiles of a GeoTIFF that windows of a grid need into a GeoTIFF.

    The copy covers the rectangle of these tiles, on the source's pixels; tiles of it that no
    window needs are left out and read as nodata. It is written directly to `target`, and
    removed if anything fails.

    Parameters
    ----------
    source_file : a file object to read and seek in; its method `want`, where it has one, is
        told which bytes will be read
    where : the source, for messages
    margin : pixels of the source, more than the windows cover, for resampling
    check : called with what the source says of itself before any pixel is read; it may raise

    Raises
    ------
    ContractError
        if the source is not a GeoTIFF of tiles, north up, in a CRS, or a tile is damaged.
    Exception
        the first that reading `source_file` raised.
    """
    held = HeldFile(source_file)
    try:
        with opened_held(held, where) as source:
            with reading(held, where):
                info = info_of(source, where)
            if check:
                check(info)
            check_tiles(source, where)
            tiles = needed_tiles(source, where, grid, windows, margin)
            return _copy(source, held, where, target, tiles) if tiles else NOTHING
    except BaseException:
        target.unlink(missing_ok=True)
        raise


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except (RasterioError, CPLE_BaseError) as error:
        raise ContractError(target, str(error), "a whole file", "check the disk") from None


def _copy(source: Any, held: HeldFile, where: str, target: Path, tiles: list[Window]) -> Cut:
    """Copy tiles into the rectangle that holds them, and prove that they are there."""
    row, col = min(tile.row for tile in tiles), min(tile.col for tile in tiles)
    height = max(tile.row_end for tile in tiles) - row
    width = max(tile.col_end for tile in tiles) - col
    box, jobs = Window(row, col, height, width), _jobs(source, tiles)
    _want(source, held, where, jobs)
    sums: list[int] = []
    valid = count = 0
    with _writing(target), rasterio.open(target, "w", **_profile_of(source, box)) as result:
        _describe(source, result)
        for job in track(jobs, f"cut {Path(where).name}", len(jobs), "tiles"):
            with reading(held, where):
                values = source.read(job.bands, window=_pixels(job.window))
            result.write(values, job.bands, window=_pixels(job.window, box))
            sums.append(zlib.crc32(values))
            valid += _valid(values, source.nodata)
            count += values.size
    _prove(target, box, jobs, sums)
    return Cut(len(tiles), sum(tile.height * tile.width for tile in tiles), valid / count)


def _jobs(source: Any, tiles: list[Window]) -> list[_Job]:
    """What is read at once, in the order of most files."""
    bands = tuple(source.indexes)
    groups = [bands] if bands_together(source) else [(band,) for band in bands]
    return [_Job(tile, group) for group in groups for tile in tiles]


def _want(source: Any, held: HeldFile, where: str, jobs: list[_Job]) -> None:
    """Tell a file object that can make use of it where the tiles are."""
    if not hasattr(held.file, "want"):
        return
    height, width = source.block_shapes[0]
    parts = []
    with reading(held, where):
        for job in jobs:
            place = f"{job.window.col // width}_{job.window.row // height}"
            start, size = (
                source.get_tag_item(f"BLOCK_{what}_{place}", "TIFF", bidx=job.bands[0])
                for what in ("OFFSET", "SIZE")
            )
            if start and size:
                parts.append((int(start), int(start) + int(size)))
    held.file.want(parts)


def _profile_of(source: Any, box: Window) -> dict[str, Any]:
    """How the copy is written: tiles as in the source, so that each is written once."""
    height, width = source.block_shapes[0]
    dtype = source.dtypes[0]
    tiled = height % 16 == width % 16 == 0 and max(height, width) <= LARGEST_TILE
    profile = profile_of(None, None, box, source.count, dtype, 0) | {
        "crs": source.crs,
        "transform": source.transform * Affine.translation(box.col, box.row),
        "nodata": source.nodata,
        "predictor": {"f": 3, "u": 2, "i": 2}.get(np.dtype(dtype).kind, 1),
        "tiled": tiled,
        "blockysize": height,
        "blockxsize": width,
        "photometric": "MINISBLACK",
        "alpha": "NO",
        "sparse_ok": True,
    }
    if not tiled:
        del profile["blockxsize"]
    return profile


def _describe(source: Any, result: Any) -> None:
    for number, name in enumerate(source.descriptions, 1):
        if name:
            result.set_band_description(number, name)
    if has_alpha(source):
        kinds = (ColorInterp.alpha if k is ColorInterp.alpha else 0 for k in source.colorinterp)
        result.colorinterp = [kind or ColorInterp.undefined for kind in kinds]


def _pixels(window: Window, within: Window | None = None) -> RasterioWindow:
    row, col = (within.row, within.col) if within else (0, 0)
    return RasterioWindow(window.col - col, window.row - row, window.width, window.height)


def _valid(values: Array, nodata: float | None) -> int:
    """Number of values that are data."""
    empty = 0 if nodata is None else nodata
    missing = np.isnan(values) if np.isnan(empty) else values == empty
    return int(values.size - np.count_nonzero(missing))


def _prove(target: Path, box: Window, jobs: list[_Job], sums: list[int]) -> None:
    """Find in the copy what was read from the source: GDAL may lose an error of the disk."""
    with _writing(target), rasterio.open(target, sharing=False) as result:
        for job, expected in zip(jobs, sums, strict=True):
            if zlib.crc32(result.read(job.bands, window=_pixels(job.window, box))) != expected:
                raise ContractError(
                    target, f"other values at {job.window}", "those of the source", "check the disk"
                )
