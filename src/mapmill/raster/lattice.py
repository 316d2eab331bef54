"""A label raster as it lies, and how its pixels lie in the cells of a grid."""

import math
from dataclasses import dataclass
from pathlib import Path

import rasterio

from mapmill.errors import ContractError
from mapmill.grid import Affine6, Grid, Window
from mapmill.raster.opening import opened

NEAR_PIXELS = 1e-3
"""How far from whole pixels a lattice may lie, at either end of the grid."""
UTM_ZONES = {25800 + zone: 32600 + zone for zone in range(28, 39)}
"""ETRS89 / UTM zone N -> WGS 84 / UTM zone N: the same to well below a metre, and to PROJ."""


@dataclass(frozen=True)
class LabelFile:
    """A raster of codes, read band 1 alone."""

    path: Path
    crs: str
    """Authority code where there is one, else WKT."""
    transform: Affine6
    height: int
    width: int
    dtype: str
    nodata: float | None
    tile: tuple[int, int]
    """Height and width of the pieces in which it is stored."""

    @property
    def resolution(self) -> float:
        """Width of a pixel, in units of the CRS."""
        return self.transform[0]

    @property
    def window(self) -> Window:
        """All of its pixels."""
        return Window(0, 0, self.height, self.width)


@dataclass(frozen=True)
class Lattice:
    """Cells of a grid that are made of whole label pixels."""

    factor: int
    """Label pixels along one side of a cell."""
    row: int
    """Of the label pixel in the grid's north-western corner; it may lie beyond the raster."""
    col: int

    def pixels(self, window: Window) -> Window:
        """The label pixels of a window of the grid, in rows and columns of the raster."""
        f = self.factor
        row, col = self.row + window.row * f, self.col + window.col * f
        return Window(row, col, window.height * f, window.width * f)


def describe(path: Path) -> LabelFile:
    """What a label raster says of itself.

    Raises
    ------
    ContractError
        if it is missing or unreadable, has no CRS, or its pixels are not square and north up.
    """
    with opened(path) as source:
        t = tuple(source.transform)[:6]
        if source.crs is None:
            raise ContractError(path, "no CRS", "a georeferenced raster", "assign one (gdal_edit)")
        if t[1] or t[3] or t[0] <= 0 or abs(t[0] + t[4]) > 1e-6 * t[0]:
            raise ContractError(path, f"transform {t}", "square pixels, north up", "warp it first")
        code = source.crs.to_epsg()
        return LabelFile(
            path,
            f"EPSG:{code}" if code else source.crs.to_wkt(),
            t,
            source.height,
            source.width,
            source.dtypes[0],
            source.nodatavals[0],
            source.block_shapes[0],
        )


def same_system(one: str, other: str) -> bool:
    """Whether two CRSs are one coordinate system here: equal, or UTM of ETRS89 and of WGS 84."""
    first, second = (rasterio.crs.CRS.from_user_input(crs) for crs in (one, other))
    if first == second:
        return True
    codes = [crs.to_epsg() for crs in (first, second)]
    zones = [UTM_ZONES.get(code or 0, code) for code in codes]
    return zones[0] is not None and zones[0] == zones[1]


def lattice_of(file: LabelFile, grid: Grid) -> Lattice | None:
    """How the file's pixels fill the grid's cells; None where they do not do so exactly."""
    step, _, left, _, down, top = file.transform
    factor = round(grid.resolution / step)
    if factor < 1 or not same_system(file.crs, grid.crs):
        return None
    bounds = grid.bounds()
    col, row = (bounds[0] - left) / step, (bounds[3] - top) / down
    far_col, far_row = (bounds[2] - left) / step, (bounds[1] - top) / down
    spans = (far_col - col - grid.width * factor, far_row - row - grid.height * factor)
    off = max(abs(col - round(col)), abs(row - round(row)), *(abs(span) for span in spans))
    if not math.isfinite(off) or off > NEAR_PIXELS:
        return None
    return Lattice(factor, round(row), round(col))
