"""Opening rasters, and what they say of themselves."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["GDAL_PAM_ENABLED"] = "NO"  # no stray .aux.xml beside what is read or written

# A raster may name others: never such that come over the network, and none that is written to
# while it is read, as MRF's caches are. VRTs are read first (`virtual`); other formats that name
# rasters are left out, and those of services.
os.environ["CPL_VSIL_CURL_ALLOWED_FILENAME"] = "none"  # no extension, which an address may have
os.environ["GDAL_SKIP"] = (
    "WMS,WCS,WMTS,HTTP,OGCAPI,PLMOSAIC,EEDA,EEDAI,DAAS,"
    "MRF,STACTA,STACIT,GTI,KMLSUPEROVERLAY,MAP,TIL,ISIS3,PCIDSK,ERS"
)

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.warp import transform_bounds, transform_geom
from rasterio.windows import Window as RasterioWindow

from mapmill.errors import ContractError
from mapmill.grid import Affine6, Grid, Window
from mapmill.raster.seal import check_seal
from mapmill.raster.virtual import check_opened, check_references
from mapmill.regular import regular

Array = NDArray[Any]
LARGEST_PIECE = 2**29
"""Bytes of one tile, or strip, once it is in memory."""
LARGEST_CHIP = 2**30
"""Bytes of an image that is read as a whole."""
ARCHIVE = "/vsizip/{"
"""How the path of a member of the sample's archive begins."""
JPEG_2000 = (".jp2", ".j2k")
"""Suffixes of those members that are no GeoTIFF: neither format names another raster."""


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


@dataclass(frozen=True)
class Georeference:
    """Where an image lies; both are None for one that does not say so."""

    crs: str | None
    """Authority code or WKT."""
    transform: Affine6 | None
    """Affine coefficients a, b, c, d, e, f, of any kind."""


NOWHERE = Georeference(None, None)


@contextmanager
def quietly() -> Iterator[None]:
    """Without a warning where an image does not say where it lies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A raster opened for reading.

    Raises
    ------
    ContractError
        if it is missing, damaged or unreadable: errors while reading are the file's fault as well.
    """
    try:
        where = real_file(path)
        if where.is_file():
            check_seal(where)
        driver = None
        if str(where).startswith(ARCHIVE):  # whose members are not looked into before
            driver = "JP2OpenJPEG" if where.suffix.lower() in JPEG_2000 else "GTiff"
        with quietly(), rasterio.open(where, driver=driver) as source:
            check_opened(source, path)
            yield source
    except RasterioError as error:
        raise unreadable(path, error) from None


def real_file(path: Path) -> Path:
    """The file that a path leads to: by its own name, since a raster may have files beside it.

    Raises
    ------
    ContractError
        if it is missing, no file of bytes, or leads elsewhere: of GDAL's own systems of files,
        which reach into the network, only the members of the sample's archive are read.
    """
    if str(path).startswith(ARCHIVE):
        return path
    try:
        where = regular(path).resolve() if path.is_symlink() else regular(path)
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise ContractError(path, found, "a raster that GDAL reads", "check the file") from None
    check_references(where)
    return where


def unreadable(path: Path, error: RasterioError) -> ContractError:
    """An error about a file that GDAL does not read."""
    found = f"no readable raster ({error})" if path.exists() else "no such file"
    return ContractError(path, found, "a raster that GDAL reads", _remedy(path, "check the file"))


def _remedy(where: str | Path, of_users: str) -> str:
    """What to do about a damaged file: what a stage wrote it writes again; users' are theirs."""
    path = Path(where)
    if "results" not in path.parts:
        return of_users
    if not path.is_symlink():
        return "delete it and rerun"
    return f"{of_users}; if it was fetched delete {os.path.relpath(path.resolve())} too and rerun"


def bands_together(source: Any) -> bool:
    """Whether a tile of the file holds all bands."""
    return source.interleaving is None or source.interleaving.name != "band"


def check_pieces(source: Any, path: Path) -> None:
    """No piece of a file takes more memory than there may be, however few bytes it has in it.

    Raises
    ------
    ContractError
        if a tile or strip is larger than LARGEST_PIECE.
    """
    together = source.count if bands_together(source) else 1
    pixels = max(height * width for height, width in source.block_shapes)
    size = pixels * together * np.dtype(source.dtypes[0]).itemsize
    if size > LARGEST_PIECE:
        found, most = "tiles of a monstrous size", f"at most {LARGEST_PIECE:,} bytes"
        raise ContractError(path, found, most, "write it in tiles (gdal_translate -co TILED=YES)")


def read_last_block(source: Any) -> None:
    """Prove that a file is whole."""
    height, width = source.block_shapes[-1]
    row, col = (source.height - 1) // height * height, (source.width - 1) // width * width
    last = RasterioWindow(col, row, source.width - col, source.height - row)
    source.read(source.count, window=last)


def inspect(path: Path) -> RasterInfo:
    """Describe a raster, after reading its last block to prove that it is whole.

    Raises
    ------
    ContractError
        if it is missing, unreadable, truncated, rotated or without a CRS.
    """
    with opened(path) as source:
        info = info_of(source, path)
        check_pieces(source, path)
        read_last_block(source)
        return info


def info_of(source: Any, where: str | Path) -> RasterInfo:
    """What an opened raster says of itself.

    Raises
    ------
    ContractError
        if it is rotated or without a CRS.
    """
    if source.crs is None:
        remedy = _remedy(where, "assign one (gdal_edit)")
        raise ContractError(where, "no CRS", "a georeferenced raster", remedy)
    t = source.transform
    if t.b or t.d or t.a <= 0 or t.e >= 0 or abs(t.a + t.e) > 1e-6 * t.a:
        raise ContractError(
            where, f"transform {tuple(t)[:6]}", "square pixels, north up", "warp it first"
        )
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


def metres(info: RasterInfo) -> float | None:
    """Side of a raster's pixel in metres; None where its CRS is in degrees."""
    crs = rasterio.crs.CRS.from_user_input(info.crs)
    return float(info.resolution * crs.linear_units_factor[1]) if crs.is_projected else None


def check_whole(path: Path, values: int, dtype: Any) -> None:
    """Refuse an array that is no chip, before any of it is read.

    Raises
    ------
    ContractError
        if it takes more than LARGEST_CHIP.
    """
    size = values * np.dtype(dtype).itemsize
    if size > LARGEST_CHIP:
        found, most = f"an array of {size:,} bytes", f"at most {LARGEST_CHIP:,}"
        raise ContractError(path, found, most, "cut it into chips, or use it as a scene on a grid")


def read_image(path: Path) -> tuple[Array, Georeference, float | None]:
    """A whole image (band, y, x) as it is, where it lies, and its declared nodata.

    Raises
    ------
    ContractError
        if it is missing, unreadable or truncated.
    """
    with opened(path) as source:
        check_whole(path, source.count * source.height * source.width, source.dtypes[0])
        crs = source.crs
        code = crs.to_epsg() if crs else None
        name = f"EPSG:{code}" if code else crs.to_wkt() if crs else None
        transform = None if source.transform.is_identity else tuple(source.transform)[:6]
        place = Georeference(name, transform)
        return np.asarray(source.read()), place, source.nodata


def read_bands(path: Path) -> tuple[Array, list[str]]:
    """A whole image (band, y, x) and the names of its bands."""
    with opened(path) as source:
        return np.asarray(source.read()), [name or "" for name in source.descriptions]


def valid_pixels(image_BYX: Array, nodata: float) -> Array:
    """(y, x) bool: where every band has data."""
    missing = np.isnan(image_BYX) if np.isnan(nodata) else image_BYX == nodata
    return np.asarray(~missing.any(axis=0))


def area_bounds_wgs84(grid: Grid, window: Window) -> tuple[float, float, float, float]:
    """west, south, east, north of a window, in degrees."""
    bounds: tuple[float, float, float, float] = transform_bounds(
        grid.crs, "EPSG:4326", *grid.bounds(window)
    )
    return bounds


def footprint_wgs84(grid: Grid, window: Window, steps: int = 1) -> dict[str, Any]:
    """The outline of a window as GeoJSON in degrees: a polygon, or two beside the antimeridian.

    Parameters
    ----------
    steps : parts of each edge, which is a curve in degrees
    """
    left, bottom, right, top = grid.bounds(window)
    corners = np.array([(left, bottom), (right, bottom), (right, top), (left, top)])
    along = np.arange(steps)[:, None] / steps
    edges = [a + along * (b - a) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)]
    ring = [tuple(point) for point in np.concatenate([*edges, corners[:1]]).tolist()]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    outline: dict[str, Any] = transform_geom(grid.crs, "EPSG:4326", polygon, precision=7)
    return outline
