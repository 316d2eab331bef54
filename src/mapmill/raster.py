"""Reading and writing of rasters: the only module that opens rasterio.

Arrays are (band, y, x) or (y, x), rows from the north. Whatever is read comes back on the
area's grid, pixel for pixel, or an error is raised.
"""

import functools
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["GDAL_PAM_ENABLED"] = "NO"  # no stray .aux.xml beside what is read or written

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.features import rasterize
from rasterio.shutil import copy as copy_raster
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import calculate_default_transform, transform_bounds, transform_geom
from rasterio.windows import Window as RasterioWindow

from mapmill.atomic import aside, whole_file
from mapmill.errors import ContractError
from mapmill.grid import Affine6, Block, Grid, Window

Array = NDArray[Any]
TILE = 512


@dataclass(frozen=True)
class RasterInfo:
    """What a raster says of itself."""

    crs: str
    """Authority code where there is one, else WKT."""
    transform: tuple[float, ...]
    """Affine coefficients a, b, c, d, e, f."""
    width: int
    height: int
    count: int
    """Number of bands."""
    dtype: str
    bands: tuple[str, ...]
    """Band descriptions, '' where a band has none."""
    bounds_wgs84: tuple[float, float, float, float]
    """west, south, east, north in degrees."""

    @property
    def resolution(self) -> float:
        """Width of a pixel, in units of the CRS."""
        return self.transform[0]


@contextmanager
def _quietly() -> Iterator[None]:
    """Without a warning where an image does not say where it lies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _read_last_block(source: Any) -> None:
    """Prove that a file is whole."""
    *_, (_, last) = source.block_windows(source.count)
    source.read(source.count, window=last)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    # Errors while reading are the file's fault as much as errors while opening it.
    try:
        # by its own name, since a raster may have files beside it
        with _quietly(), rasterio.open(path.resolve() if path.is_symlink() else path) as source:
            yield source
    except RasterioError as error:
        missing = not path.exists()
        found = "no such file" if missing else f"no readable raster ({error})"
        raise ContractError(path, found, "a raster that GDAL reads", "check the file") from None


def inspect(path: Path) -> RasterInfo:
    """Describe a raster, after reading its last block to prove that it is whole.

    Raises
    ------
    ContractError
        if it is missing, unreadable, truncated, rotated or without a CRS.
    """
    with _opened(path) as source:
        if source.crs is None:
            raise ContractError(path, "no CRS", "a georeferenced raster", "assign one (gdal_edit)")
        t = source.transform
        if t.b or t.d or t.a <= 0 or t.e >= 0 or abs(t.a + t.e) > 1e-6 * t.a:
            raise ContractError(
                path, f"transform {tuple(t)[:6]}", "square pixels, north up", "warp it first"
            )
        _read_last_block(source)
        code = source.crs.to_epsg()
        return RasterInfo(
            crs=f"EPSG:{code}" if code else source.crs.to_wkt(),
            transform=tuple(t)[:6],
            width=source.width,
            height=source.height,
            count=source.count,
            dtype=source.dtypes[0],
            bands=tuple(name or "" for name in source.descriptions),
            bounds_wgs84=transform_bounds(source.crs, "EPSG:4326", *source.bounds),
        )


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

    Returns
    -------
    (window.height * factor, window.width * factor) array.
    """
    height, width = window.height * factor, window.width * factor
    target = Affine(*grid.transform(window, factor))
    with _opened(path) as source:
        result_dtype = dtype or source.dtypes[band - 1]
        offset = _whole_pixel_offset(source, grid.crs, target)
        if offset is not None:
            empty = np.full((height, width), nodata, result_dtype)
            return _read_aligned(source, band, offset, empty, nodata)
        declared = source.nodatavals[band - 1]
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
    source: Any, band: int, offset: tuple[int, int], result: Array, nodata: float
) -> Array:
    here = Window(offset[0], offset[1], *result.shape)
    part = here.intersect(Window(0, 0, source.height, source.width))
    if part is None:
        return result
    values = source.read(band, window=RasterioWindow(part.col, part.row, part.width, part.height))
    declared = source.nodatavals[band - 1]
    target = result[part.slices(here)]
    target[:] = values
    if declared is not None and not _same(declared, nodata):
        target[np.isnan(values) if np.isnan(declared) else values == declared] = nodata
    return result


def valid_pixels(image_BYX: Array, nodata: float) -> Array:
    """(y, x) bool: where every band has data."""
    missing = np.isnan(image_BYX) if np.isnan(nodata) else image_BYX == nodata
    return np.asarray(~missing.any(axis=0))


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


@contextmanager
def raster_by_window(
    path: Path,
    grid: Grid,
    dtype: str,
    *,
    bands: Sequence[str],
    nodata: float,
    tags: Mapping[str, str],
) -> Iterator[Callable[[Window, Array], None]]:
    """Write a GeoTIFF of a whole grid window by window; it appears when all is written.

    Yields a function that writes a (band, y, x) array at a window. Memory does not grow with
    the grid. Windows along tiles of TILE pixels compress each tile once; tiles that hold
    nothing but nodata 0 take no room.
    """
    profile = _profile(grid.crs, grid.transform(), grid.window, len(bands), dtype, nodata)
    # by itself GDAL would keep tiles in a share of all the memory there is
    cache = {"GDAL_CACHEMAX": 128 * 2**20}
    with whole_file(path) as part:
        with (
            rasterio.Env(**cache),
            rasterio.open(part, "w", **profile, sparse_ok=True) as target,
        ):
            for number, name in enumerate(bands, 1):
                target.set_band_description(number, name)
            target.update_tags(**tags)

            def write(window: Window, array_BYX: Array) -> None:
                rows, cols = window.slices(grid.window)
                target.write(array_BYX, window=RasterioWindow.from_slices(rows, cols))

            yield write
        inspect(part)


@dataclass(frozen=True)
class Georeference:
    """Where an image lies; both are None for one that does not say so."""

    crs: str | None
    """Authority code or WKT."""
    transform: Affine6 | None
    """Affine coefficients a, b, c, d, e, f, of any kind."""


NOWHERE = Georeference(None, None)


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
        with _quietly(), rasterio.open(part, "w", **profile) as target:
            target.write(array_BYX)
            for number, name in enumerate(bands, 1):
                target.set_band_description(number, name)
            target.update_tags(**tags)
        with _opened(part) as source:
            _read_last_block(source)


def read_image(path: Path) -> tuple[Array, Georeference, float | None]:
    """A whole image (band, y, x) as it is, where it lies, and its declared nodata.

    Raises
    ------
    ContractError
        if it is missing, unreadable or truncated.
    """
    with _opened(path) as source:
        crs = source.crs
        code = crs.to_epsg() if crs else None
        name = f"EPSG:{code}" if code else crs.to_wkt() if crs else None
        transform = None if source.transform.is_identity else tuple(source.transform)[:6]
        place = Georeference(name, transform)
        return np.asarray(source.read()), place, source.nodata


def read_bands(path: Path) -> tuple[Array, list[str]]:
    """A whole image (band, y, x) and the names of its bands."""
    with _opened(path) as source:
        return np.asarray(source.read()), [name or "" for name in source.descriptions]


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


@dataclass(frozen=True)
class BlockMosaic:
    """The blocks of one stage, read as if they were one raster."""

    grid: Grid
    blocks: tuple[Block, ...]
    """The blocks that there are; elsewhere everything is nodata."""
    extent: Window
    """The part of the grid that they are in."""
    path_of: Callable[[str], Path]
    """Block name -> path of its file."""
    nodata: float

    def read(self, window: Window, bands: Sequence[int] | None = None) -> Array:
        """Read a window that lies within the grid, over as many blocks as it touches.

        Returns
        -------
        (band, y, x) array; `bands` are numbers from 1, all by default.

        Raises
        ------
        ContractError
            if a block's file is not exactly its part of the grid.
        """
        result: Array | None = None
        for block in self.grid.blocks_touching(window):
            part = window.intersect(block.window)
            if part is None or block not in self._there:
                continue
            with self._block(block) as source:
                rows, cols = part.slices(block.window)
                values = source.read(bands, window=RasterioWindow.from_slices(rows, cols))
            if result is None:
                shape = (values.shape[0], window.height, window.width)
                result = np.full(shape, self.nodata, values.dtype)
            result[(slice(None), *part.slices(window))] = values
        return self._empty(window, bands) if result is None else result

    @functools.cached_property
    def _there(self) -> frozenset[Block]:
        return frozenset(self.blocks)

    def _empty(self, window: Window, bands: Sequence[int] | None) -> Array:
        """What is read where no block is."""
        with self._block(self.blocks[0]) as source:
            count, dtype = len(bands or source.indexes), source.dtypes[0]
        return np.full((count, window.height, window.width), self.nodata, dtype)

    def bands(self) -> list[str]:
        """Band names, of the first block."""
        with self._block(self.blocks[0]) as source:
            return [name or "" for name in source.descriptions]

    def thin(self, step: int, bands: Sequence[int]) -> Array:
        """Every `step`-th pixel of the extent, for pictures; one block in memory at a time."""
        rows, cols = -(-self.extent.height // step), -(-self.extent.width // step)
        first = self._empty(Window(0, 0, 1, 1), bands)
        result = np.full((len(bands), rows, cols), self.nodata, first.dtype)
        for block in self.blocks:
            top, left = block.window.row - self.extent.row, block.window.col - self.extent.col
            row, col = -(-top // step), -(-left // step)
            values = self.read(block.window, bands)[
                :, row * step - top :: step, col * step - left :: step
            ]
            result[:, row : row + values.shape[1], col : col + values.shape[2]] = values
        return result

    @contextmanager
    def _block(self, block: Block) -> Iterator[Any]:
        """One block's file, opened and found to be its part of the grid."""
        path = self.path_of(block.name)
        with _opened(path) as source:
            self._check(path, source, block.window)
            yield source

    def _check(self, path: Path, source: Any, window: Window) -> None:
        expected = (self.grid.transform(window), window.width, window.height)
        found = (tuple(source.transform)[:6], source.width, source.height)
        same_crs = source.crs == rasterio.crs.CRS.from_user_input(self.grid.crs)
        if not same_crs or found[1:] != expected[1:] or not np.allclose(found[0], expected[0]):
            raise ContractError(
                path, f"{source.crs} {found}", f"{self.grid.crs} {expected}", "delete it and rerun"
            )


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


def area_bounds_wgs84(grid: Grid, window: Window) -> tuple[float, float, float, float]:
    """west, south, east, north of a window, in degrees."""
    bounds: tuple[float, float, float, float] = transform_bounds(
        grid.crs, "EPSG:4326", *grid.bounds(window)
    )
    return bounds


def footprint_wgs84(grid: Grid, window: Window) -> dict[str, Any]:
    """The outline of a window as a GeoJSON polygon in degrees."""
    left, bottom, right, top = grid.bounds(window)
    ring = [(left, bottom), (right, bottom), (right, top), (left, top), (left, bottom)]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    outline: dict[str, Any] = transform_geom(grid.crs, "EPSG:4326", polygon, precision=7)
    return outline
