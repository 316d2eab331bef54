"""Writing of GeoTIFFs, whole or not at all."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioError
from rasterio.transform import Affine
from rasterio.windows import Window as RasterioWindow

from mapmill.atomic import whole_file
from mapmill.errors import ContractError
from mapmill.grid import Affine6, Grid, Window
from mapmill.raster.opening import Array, Georeference, inspect, opened, quietly, read_last_block
from mapmill.raster.seal import COMPRESS, STAGE, seal

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
    profile = profile_of(
        place.crs, place.transform, window, len(bands), str(array_BYX.dtype), nodata
    )
    with whole_file(path) as part:
        with quietly(), rasterio.open(part, "w", **profile) as target:
            target.write(array_BYX)
            for number, name in enumerate(bands, 1):
                target.set_band_description(number, name)
            target.update_tags(**tags)
        with opened(part) as source:
            read_last_block(source)
        if STAGE in tags:
            seal(part)


def put(path: Path, target: Any, window: Window, whole: Window, array_BYX: Array) -> None:
    """Write a window to a raster of `whole` that is opened for it.

    Raises
    ------
    ContractError
        naming `path`, which the raster is to become, if there is no room.
    """
    rows, cols = window.slices(whole)
    try:
        target.write(array_BYX, window=RasterioWindow.from_slices(rows, cols))
    except RasterioError:
        found = "a file that could not be written whole"
        raise ContractError(path, found, "a whole one", "make room on the disk") from None


def _created(path: Path, part: Path, profile: dict[str, Any]) -> Any:
    """A raster opened for writing, which is to become `path`."""
    try:
        return rasterio.open(part, "w", **profile)
    except RasterioError as error:
        found, remedy = f"no file that can be made ({error})", "name another folder, or make room"
        raise ContractError(path, found, "a place to write to", remedy) from None


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

    Raises
    ------
    ContractError
        if the file cannot be read again.
    """
    whole = extent or grid.window
    profile = profile_of(grid.crs, grid.transform(whole), whole, len(bands), dtype, nodata)
    profile |= {"sparse_ok": sparse} | ({"num_threads": threads} if threads > 1 else {})
    with whole_file(path) as part:
        # by itself GDAL would keep tiles in a share of all the memory there is
        with rasterio.Env(GDAL_CACHEMAX=cache), _created(path, part, profile) as target:
            for number, name in enumerate(bands, 1):
                target.set_band_description(number, name)
            target.update_tags(**tags)

            def write(window: Window, array_BYX: Array) -> None:
                put(path, target, window, whole, array_BYX)

            yield write
        try:
            inspect(part)
        except ContractError:
            found = "a file that was not written whole"
            raise ContractError(path, found, "a whole one", "make room on the disk") from None
        if STAGE in tags:
            seal(part)


def profile_of(
    crs: str | None,
    transform: Affine6 | None,
    window: Window,
    count: int,
    dtype: str,
    nodata: float,
) -> dict[str, Any]:
    """How a tiled GeoTIFF of a window is created."""
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
        "compress": COMPRESS,
        "zstd_level": 1,
        "predictor": 1 if dtype == "uint8" else 2 if dtype == "uint16" else 3,
        "interleave": "band",
        "bigtiff": "IF_SAFER",
    }
