"""Reading onto the grid, pixel for pixel or warped; and burning polygons onto it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio._err import CPLE_BaseError
from rasterio.dtypes import _gdal_typename
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.features import rasterize
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform as transform_points
from rasterio.windows import Window as RasterioWindow

from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.raster.opening import Array, opened, unreadable

TOLERANCE = 1e-5
"""Source pixels by which a place may be wrong, as GDAL interpolates between exact ones.

All but exact, so that a pixel does not depend on the block it is in: one in some thousands differs,
by 1. GDAL's own 0.125 would change two thirds; 1e-6 takes three times as long.
"""
OUTSIDE = -(2**31)
"""What `codes=True` gives where the source does not reach: no code of any class."""


class OnGrid:
    """Bands of an open file as they lie on the grid, read window by window.

    For one thread at a time. Use `on_grid` to make one.
    """

    def __init__(
        self, source: Any, offset: tuple[int, int] | None, base: Window, **about: Any
    ) -> None:
        self._source, self._offset, self._base = source, offset, base
        self.path: Path = about["path"]
        self.bands: list[int] = about["bands"]
        self.factor: int = about["factor"]
        self.nodata: float = about["nodata"]
        self.declared: float | None = about["declared"]
        """The source's nodata, or what was told in its place."""
        self.codes: bool = about["codes"]
        self.dtype = np.dtype(about["dtype"])
        """Of what is read."""

    @property
    def is_aligned(self) -> bool:
        """Whether source and grid agree pixel for pixel, so that nothing is resampled."""
        return self._offset is not None

    def read(self, window: Window, out_BYX: Array | None = None) -> Array:
        """Read a window of the grid; `nodata` where the source has none or does not reach.

        Parameters
        ----------
        out_BYX : where to put it, of this reader's dtype; a new array by default

        Returns
        -------
        (band, window.height * factor, window.width * factor) array.

        Raises
        ------
        ContractError
            if the file cannot be read.
        """
        shape = (len(self.bands), window.height * self.factor, window.width * self.factor)
        result_BYX = np.empty(shape, self.dtype) if out_BYX is None else out_BYX
        row = (window.row - self._base.row) * self.factor
        col = (window.col - self._base.col) * self.factor
        try:
            if self._offset is None:
                there = RasterioWindow(col, row, shape[2], shape[1])
                self._source.read(self.bands, window=there, out=result_BYX)
                return result_BYX
            here = Window(self._offset[0] + row, self._offset[1] + col, shape[1], shape[2])
            return self._read_aligned(here, result_BYX)
        except RasterioError as error:  # told here, since several files may be open
            raise unreadable(self.path, error) from None

    def _read_aligned(self, here: Window, result_BYX: Array) -> Array:
        part = here.intersect(Window(0, 0, self._source.height, self._source.width))
        if part != here:
            result_BYX.fill(self.nodata)
        if part is None:
            return result_BYX
        there = RasterioWindow(part.col, part.row, part.width, part.height)
        target_BYX = result_BYX[(slice(None), *part.slices(here))]
        if self._source.dtypes[self.bands[0] - 1] == self.dtype.name:
            self._source.read(self.bands, window=there, out=target_BYX)
        else:  # cast by numpy, since GDAL would cut values off at the ends of their range
            with np.errstate(over="ignore"):  # beyond float32 is infinite, and so missing
                target_BYX[:] = self._source.read(self.bands, window=there)
        known = None if self.codes else self.declared
        if known is not None and not _same(known, self.nodata):
            missing = np.isnan(target_BYX) if np.isnan(known) else target_BYX == known
            target_BYX[missing] = self.nodata
        return result_BYX


@contextmanager
def on_grid(
    path: Path,
    bands: Sequence[int],
    grid: Grid,
    window: Window,
    *,
    nodata: float,
    resampling: str = "nearest",
    factor: int = 1,
    dtype: str | None = None,
    told: float | None = None,
    codes: bool = False,
) -> Iterator[OnGrid]:
    """Open bands of a file to be read as they lie on the grid, at `factor` times its resolution.

    Where source and target agree pixel for pixel nothing is resampled; otherwise GDAL warps, and
    a pixel depends neither on the window that it is read in nor on how far the source reaches.

    Parameters
    ----------
    bands : band numbers, from 1; of one type
    window : the part of the grid that is read, by any windows within; beyond it only what is
        aligned can be read
    nodata : the result where the source has none: what it declares, or else `nodata` itself,
        marks its missing pixels
    resampling : nearest, bilinear or average
    dtype : of the result; the source's by default
    told : nodata of the source where it declares none itself
    codes : values are classes and come as they are, int32, also what is declared as nodata;
        OUTSIDE where the source does not reach

    Raises
    ------
    ContractError
        if the file cannot be read, or the grid has no place in its CRS.
    """
    target = Affine(*grid.transform(window, factor))
    with opened(path) as source:
        first = bands[0] - 1
        declared = source.nodatavals[first]
        about = {
            "path": path,
            "bands": list(bands),
            "factor": factor,
            "nodata": OUTSIDE if codes else nodata,
            "declared": told if declared is None else declared,
            "dtype": "int32" if codes else dtype or source.dtypes[first],
            "codes": codes,
        }
        offset = _whole_pixel_offset(source, grid.crs, target)
        if offset is not None:
            yield OnGrid(source, offset, window, **about)
            return
        scales = _scales(source, path, grid, factor)
        size = {"width": window.width * factor, "height": window.height * factor}
        with (
            _one_nodata(source, about) as whole,
            WarpedVRT(
                whole,
                crs=grid.crs,
                transform=target,
                **size,
                **_warp_options(about, scales, "nearest" if codes else resampling),
            ) as warped,
        ):
            yield OnGrid(warped, None, window, **about)


@contextmanager
def _one_nodata(source: Any, about: dict[str, Any]) -> Iterator[Any]:
    """The source, or its bands seen with missing pixels of one kind.

    Where 0 means missing and the source declares another value, both do: GDAL's warper, which
    leaves out one value only, would blend the other with its neighbours. `about` is changed to
    fit what is yielded.
    """
    declared, nodata = about["declared"], about["nodata"]
    if about["codes"] or nodata != 0 or declared is None or declared == 0:
        yield source
        return
    seen = _seen_as_zero(source, about["bands"], declared)
    about |= {"bands": list(range(1, len(about["bands"]) + 1)), "declared": 0.0}
    with rasterio.open(seen) as whole:
        yield whole


def _seen_as_zero(source: Any, bands: Sequence[int], declared: float) -> str:
    """A virtual dataset (XML) of some bands in which `declared` is 0, and 0 is nodata."""
    entries = "".join(
        f'<VRTRasterBand dataType="{_gdal_typename(source.dtypes[band - 1])}" band="{number}">'
        f"<NoDataValue>0</NoDataValue><ComplexSource>"
        f'<SourceFilename relativeToVRT="0">{escape(source.name)}</SourceFilename>'
        f"<SourceBand>{band}</SourceBand><NODATA>{declared!r}</NODATA>"
        f"</ComplexSource></VRTRasterBand>"
        for number, band in enumerate(bands, 1)
    )
    place = ", ".join(f"{value!r}" for value in source.transform.to_gdal())
    return (
        f'<VRTDataset rasterXSize="{source.width}" rasterYSize="{source.height}">'
        f"<SRS>{escape(source.crs.to_wkt())}</SRS><GeoTransform>{place}</GeoTransform>"
        f"{entries}</VRTDataset>"
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
    told: float | None = None,
) -> Array:
    """Read one band onto a window of the grid, at `factor` times the grid's resolution.

    As `on_grid`, once.

    Returns
    -------
    (window.height * factor, window.width * factor) array.
    """
    with on_grid(
        path,
        [band],
        grid,
        window,
        nodata=nodata,
        resampling=resampling,
        factor=factor,
        dtype=dtype,
        told=told,
    ) as reader:
        return np.asarray(reader.read(window)[0])


def _warp_options(
    about: Mapping[str, Any], scales: tuple[float, float], resampling: str
) -> dict[str, Any]:
    nodata, missing = about["nodata"], about["declared"]
    if about["codes"] or (missing is None and not np.isnan(nodata)):
        missing = nodata
    return {
        "UNIFIED_SRC_NODATA": "NO",
        "XSCALE": str(scales[0]),
        "YSCALE": str(scales[1]),
        "resampling": Resampling[resampling],
        "src_nodata": missing,
        "nodata": nodata,
        "dtype": about["dtype"],
        "tolerance": TOLERANCE,
    }


def _scales(source: Any, path: Path, grid: Grid, factor: int) -> tuple[float, float]:
    """Target pixels for one source pixel along the source's axes, at most 1.

    By them GDAL widens its kernels where the target is coarser. Left alone it would guess them
    from what is read at once. They are measured at the middle of the grid, so that they depend
    on the grid, and on the source's CRS and pixel, but not on what part of it there is.

    Raises
    ------
    ContractError
        if the middle of the grid has no place in the source's CRS.
    """
    left, bottom, right, top = grid.bounds()
    x, y = (left + right) / 2, (bottom + top) / 2
    a, b, _, d, e, _ = tuple(source.transform)[:6]
    crs = rasterio.crs.CRS.from_user_input(grid.crs)
    if crs == source.crs:
        across, down = math.hypot(a, d), math.hypot(b, e)
    else:
        try:
            (u,), (v,) = transform_points(crs, source.crs, [x], [y])[:2]
            ends = [u - a / 2, u + a / 2, u - b / 2, u + b / 2]
            sides = [v - d / 2, v + d / 2, v - e / 2, v + e / 2]
            xs, ys = transform_points(source.crs, crs, ends, sides)[:2]
        except (RasterioError, CPLE_BaseError):
            raise _nowhere(source, path, grid) from None
        across = math.hypot(xs[1] - xs[0], ys[1] - ys[0])
        down = math.hypot(xs[3] - xs[2], ys[3] - ys[2])
    if not (0 < across < math.inf and 0 < down < math.inf):
        raise _nowhere(source, path, grid)
    step = grid.resolution / factor
    return min(1.0, across / step), min(1.0, down / step)


def _nowhere(source: Any, path: Path, grid: Grid) -> ContractError:
    return ContractError(
        path, f"{source.crs}", f"a CRS in which the grid ({grid.crs}) has a place", "warp it first"
    )


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
