"""Writing of GeoTIFFs and of Cloud Optimized GeoTIFFs, whole or not at all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.shutil import copy as copy_raster
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from mapmill.atomic import aside, whole_file
from mapmill.errors import ContractError
from mapmill.grid import Affine6, Grid, Window
from mapmill.raster.blocks import BlockMosaic
from mapmill.raster.opening import Array, Georeference, inspect, opened, quietly, read_last_block

TILE = 512
CACHE = 128 * 2**20
"""Bytes of tiles that GDAL keeps while it reads and writes window by window."""


def write_raster(
    path: Path,
    array_BYX: Array,
    grid: Grid,
    window: Window,
    *,
    bands: Sequence[str],
    nodata: float,
    tags: Mapping[str, str],
) -> None:
    """Write a window of the grid as a tiled GeoTIFF, whole or not at all."""
    if array_BYX.shape[1:] != (window.height, window.width):
        raise ValueError(f"array {array_BYX.shape} does not fit {window}")
    place = Georeference(grid.crs, grid.transform(window))
    write_image(path, array_BYX, place, bands=bands, nodata=nodata, tags=tags)


def write_image(
    path: Path,
    array_BYX: Array,
    place: Georeference,
    *,
    bands: Sequence[str],
    nodata: float,
    tags: Mapping[str, str],
) -> None:
    """Write an image as a tiled GeoTIFF, whole or not at all, with its georeference if any."""
    if len(array_BYX) != len(bands):
        raise ValueError(f"array {array_BYX.shape} does not fit {len(bands)} bands")
    window = Window(0, 0, *array_BYX.shape[1:])
    profile = _profile(place.crs, place.transform, window, len(bands), str(array_BYX.dtype), nodata)
    with whole_file(path) as part:
        with quietly(), rasterio.open(part, "w", **profile) as target:
            target.write(array_BYX)
            for number, name in enumerate(bands, 1):
                target.set_band_description(number, name)
            target.update_tags(**tags)
        with opened(part) as source:
            read_last_block(source)


@contextmanager
def raster_by_window(
    path: Path,
    grid: Grid,
    dtype: str,
    *,
    bands: Sequence[str],
    nodata: float,
    tags: Mapping[str, str],
    extent: Window | None = None,
    threads: int = 1,
    sparse: bool = True,
    cache: int = CACHE,
) -> Iterator[Callable[[Window, Array], None]]:
    """Write a GeoTIFF of a grid window by window; it appears when all is written.

    Yields a function that writes a (band, y, x) array at a window. Memory does not grow with
    the grid. Windows along tiles of TILE pixels compress each tile once.

    Parameters
    ----------
    extent : the part of the grid that the file is of; all of it by default
    threads : that compress tiles; they change no byte
    sparse : let tiles that hold nothing but nodata 0 take no room
    cache : bytes of tiles that GDAL keeps
    """
    whole = extent or grid.window
    profile = _profile(grid.crs, grid.transform(whole), whole, len(bands), dtype, nodata)
    profile |= {"sparse_ok": sparse} | ({"num_threads": threads} if threads > 1 else {})
    with whole_file(path) as part:
        # by itself GDAL would keep tiles in a share of all the memory there is
        with rasterio.Env(GDAL_CACHEMAX=cache), rasterio.open(part, "w", **profile) as target:
            for number, name in enumerate(bands, 1):
                target.set_band_description(number, name)
            target.update_tags(**tags)

            def write(window: Window, array_BYX: Array) -> None:
                rows, cols = window.slices(whole)
                target.write(array_BYX, window=RasterioWindow.from_slices(rows, cols))

            yield write
        inspect(part)


def _profile(
    crs: str | None,
    transform: Affine6 | None,
    window: Window,
    count: int,
    dtype: str,
    nodata: float,
) -> dict[str, Any]:
    place = {"crs": crs, "transform": Affine(*transform)} if transform else {"crs": crs}
    return {
        **place,
        "driver": "GTiff",
        "width": window.width,
        "height": window.height,
        "count": count,
        "dtype": dtype,
        "nodata": nodata,
        "tiled": True,
        "blockxsize": TILE,
        "blockysize": TILE,
        "compress": "ZSTD",
        "zstd_level": 1,
        "predictor": 1 if dtype == "uint8" else 2 if dtype == "uint16" else 3,
        "interleave": "band",
        "bigtiff": "IF_SAFER",
    }


def write_cog(
    path: Path,
    blocks: BlockMosaic,
    band: int,
    *,
    overviews: str,
    compress: str,
    tags: Mapping[str, str],
    colours: Mapping[int, str] | None = None,
    description: str,
) -> None:
    """Write one uint8 band of all blocks as one Cloud Optimized GeoTIFF of their extent, nodata 0.

    Memory does not grow with the area: blocks are copied one by one into a tiled file aside,
    which GDAL's COG driver then turns into the product.

    Parameters
    ----------
    overviews : resampling of the overviews, `mode` for classes, `average` for quantities
    colours : value -> #rrggbb
    """
    grid = blocks.grid
    plain = aside(path.with_suffix(".plain.tif"))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        profile = _profile(grid.crs, grid.transform(blocks.extent), blocks.extent, 1, "uint8", 0)
        with rasterio.open(plain, "w", **profile, sparse_ok=True) as target:
            for block in blocks.blocks:
                rows, cols = block.window.slices(blocks.extent)
                values = blocks.read(block.window, [band])
                target.write(values, window=RasterioWindow.from_slices(rows, cols))
            target.set_band_description(1, description)
            target.update_tags(**tags)
            if colours:
                table = {value: _rgba(colour) for value, colour in colours.items()}
                target.write_colormap(1, {0: (0, 0, 0, 0), **table})
                target.colorinterp = [ColorInterp.palette]
        options = {
            "blocksize": TILE,
            "compress": compress,
            "overview_resampling": overviews,
            "bigtiff": "IF_SAFER",
        }
        with whole_file(path) as part:
            try:
                copy_raster(plain, part, driver="COG", **options)
            except (RasterioError, CPLE_BaseError) as error:
                raise ContractError(path, str(error), "a whole map", "check the disk") from None
            inspect(part)
    finally:
        plain.unlink(missing_ok=True)


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue, 255
