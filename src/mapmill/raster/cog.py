"""Writing of Cloud Optimized GeoTIFFs, whole or not at all, in memory that does not grow."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.shutil import copy as copy_raster
from rasterio.windows import Window as RasterioWindow

from mapmill.atomic import spare, whole_file
from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.raster.opening import Array, inspect, opened
from mapmill.raster.seal import seal
from mapmill.raster.writing import TILE, profile_of, put, raster_by_window

STEP = 2 * TILE
"""Side of the parts that a raster is written in: whole tiles of it."""
CACHE = 16 * 2**20
"""Bytes of tiles that GDAL keeps: single bands need few."""
Read = Callable[[Window], Array]
"""(band, y, x) uint8 of a window within the extent."""


@dataclass(frozen=True)
class Statistics:
    """Of the valid pixels of one band; None where there are none."""

    minimum: float
    maximum: float
    mean: float
    stddev: float
    valid_percent: float


def parts_of(extent: Window, halo: int = 0) -> Iterator[Window]:
    """The extent in parts that hold whole tiles of a file of it; larger ones for a wide halo."""
    step = STEP if halo <= STEP // 2 else 2 * STEP
    for row in range(extent.row, extent.row_end, step):
        for col in range(extent.col, extent.col_end, step):
            part = Window(row, col, step, step).intersect(extent)
            assert part
            yield part


@contextmanager
def scratch(path: Path, grid: Grid, extent: Window, read: Read, halo: int = 0) -> Iterator[Read]:
    """What `read` gives of one uint8 band, kept in a file beside `path` while it is used.

    Yields a function that reads any window within the extent.

    Parameters
    ----------
    halo : pixels that `read` looks at around a window
    """
    with spare(path.with_suffix(".tif")) as kept:
        with raster_by_window(
            kept, grid, "uint8", bands=[""], nodata=0, tags={}, extent=extent, cache=CACHE
        ) as write:
            for part in parts_of(extent, halo):
                write(part, read(part))
        with reading(kept, extent) as again:
            yield again


@contextmanager
def reading(path: Path, extent: Window) -> Iterator[Read]:
    """A function that reads any window of a file of the extent.

    Raises
    ------
    ContractError
        if the file is of another size.
    """
    with rasterio.Env(GDAL_CACHEMAX=CACHE), opened(path) as source:
        if source.shape != (extent.height, extent.width):
            found, expected = str(source.shape), f"({extent.height}, {extent.width}) pixels"
            raise ContractError(path, found, expected, "delete it and rerun")

        def read(window: Window) -> Array:
            rows, cols = window.slices(extent)
            values: Array = source.read(window=RasterioWindow.from_slices(rows, cols))
            return values

        yield read


def write_cog(
    path: Path,
    grid: Grid,
    extent: Window,
    read: Read,
    *,
    bands: Sequence[str],
    nodata: int,
    overviews: str,
    compress: str,
    tags: Mapping[str, str],
    units: str = "",
    colours: Mapping[int, str] | None = None,
) -> list[Statistics | None]:
    """Write uint8 bands as one Cloud Optimized GeoTIFF of the extent; the statistics of each.

    Memory does not grow with the extent: its parts are copied one by one into a tiled file
    aside, which GDAL's COG driver then turns into the product.

    Parameters
    ----------
    bands : names of the bands
    overviews : resampling of the overviews, `mode` for classes, `average` for quantities
    units : of all bands
    colours : value -> #rrggbb, of a single band
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        spare(path.with_suffix(".plain.tif")) as plain,
        rasterio.Env(GDAL_CACHEMAX=CACHE),
    ):
        profile = profile_of(grid.crs, grid.transform(extent), extent, len(bands), "uint8", nodata)
        with rasterio.open(plain, "w", **profile, sparse_ok=nodata == 0) as target:
            for part in parts_of(extent):
                put(path, target, part, extent, read(part))
            for number, name in enumerate(bands, 1):
                target.set_band_description(number, name)
                target.set_band_unit(number, units)
            target.update_tags(**tags)
            if colours:
                table = {value: _rgba(colour) for value, colour in colours.items()}
                target.write_colormap(1, {0: (0, 0, 0, 0), **table})
                target.colorinterp = [ColorInterp.palette]
        return _copy(plain, path, overviews, compress)


def _copy(plain: Path, path: Path, overviews: str, compress: str) -> list[Statistics | None]:
    """Turn a tiled file into a COG with statistics."""
    options = {
        "blocksize": TILE,
        "compress": compress,
        "overview_resampling": overviews,
        "bigtiff": "IF_SAFER",
        "statistics": "YES",
    }
    with whole_file(path) as part:
        try:
            copy_raster(plain, part, driver="COG", **options)
        except (RasterioError, CPLE_BaseError) as error:
            raise ContractError(path, str(error), "a whole map", "make room on the disk") from None
        inspect(part)
        with opened(part) as source:
            found = [_statistics(source.tags(number)) for number in source.indexes]
        seal(part)
    return found


def _statistics(tags: Mapping[str, str]) -> Statistics | None:
    if "STATISTICS_MEAN" not in tags:  # nothing but nodata
        return None
    names = ("MINIMUM", "MAXIMUM", "MEAN", "STDDEV", "VALID_PERCENT")
    return Statistics(*(float(tags[f"STATISTICS_{name}"]) for name in names))


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue, 255


def read_small(path: Path, step: int) -> Array:
    """The first band at every `step`-th pixel, (y, x), by the overviews that there are."""
    with opened(path) as source:
        shape = -(-source.height // step), -(-source.width // step)
        small: Array = source.read(1, out_shape=shape)
        return small
