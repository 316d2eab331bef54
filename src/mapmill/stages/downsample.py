"""downsample: the label map, or burnt polygons, as classes on one block of the grid."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from mapmill import kernels
from mapmill.areafile import load_area
from mapmill.atomic import whole_file
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.layout import Layout
from mapmill.provenance import tags
from mapmill.raster import Array, burn, inspect, read_on_grid, write_raster
from mapmill.vector import is_vector, read_polygons

log = logging.getLogger(__name__)
POLYGON_FACTOR = 5
STRIP_PIXELS = 2**25


def run(area_path: Path, block_name: str, output: Path) -> None:
    """Write the classes of one block (y, x) uint8, and beside it a table of class areas.

    Works in strips: a block of 2,500 px holds 625 million label pixels at ten to one.
    """
    area = load_area(area_path)
    grid = area.grid.grid()
    window = grid.block_named(block_name).window
    file = Layout(area_path.stem).download("labels" + Path(area.labels.file).suffix)
    factor = area.labels.factor or natural_factor(file, grid)
    read = _burnt if is_vector(file) else _recoded
    count = len(area.classes) + 1
    label_YX = np.zeros((window.height, window.width), np.uint8)
    before = np.zeros(count, np.int64)
    for strip in strips(window, factor):
        fine_YX = read(area, file, grid, strip, factor)
        label_YX[strip.slices(window)] = reduce(area, fine_YX, factor)
        before += np.bincount(fine_YX.ravel(), minlength=count)
    bands, provenance = ["class"], tags(area, "downsample")
    write_raster(output, label_YX[None], grid, window, bands=bands, nodata=0, tags=provenance)
    after = np.bincount(label_YX.ravel(), minlength=count)
    _write_areas(output.with_suffix(".csv"), area, before / factor**2, after)
    method = area.downsample.method
    log.info("%s: %s of %d x %d label pixels a cell", output, method, factor, factor)


def strips(window: Window, factor: int) -> Iterator[Window]:
    """The window cut into strips of about STRIP_PIXELS label pixels."""
    height = max(1, STRIP_PIXELS // (window.width * factor**2))
    for row in range(window.row, window.row_end, height):
        yield Window(row, window.col, min(height, window.row_end - row), window.width)


def natural_factor(file: Path, grid: Grid) -> int:
    """Label pixels along one side of a grid pixel."""
    if is_vector(file):
        return POLYGON_FACTOR
    info = inspect(file)
    if CRS.from_user_input(info.crs) != CRS.from_user_input(grid.crs):
        raise ContractError(
            file,
            f"labels in {info.crs[:40]}",
            f"labels in {grid.crs}, or labels.factor",
            "give labels.factor, the label pixels along one side of a grid pixel",
        )
    return max(1, round(grid.resolution / info.resolution))


def _recoded(area: Area, file: Path, grid: Grid, window: Window, factor: int) -> NDArray[np.uint8]:
    """Classes of a label raster at `factor` times the grid's resolution, by nearest pixel.

    What the raster does not cover, or declares as nodata, is 0.
    """
    info = inspect(file)
    table = {_number(file, code): value for code, value in (area.labels.codes or {}).items()}
    missing, dtype = _missing_code(info.dtype, table)
    codes = read_on_grid(file, 1, grid, window, nodata=missing, factor=factor, dtype=dtype)
    if area.labels.codes is None:
        codes[np.isnan(codes) if np.isnan(missing) else codes == missing] = 0
        beyond = codes[(codes > len(area.classes)) | (codes < 0) | (codes % 1 != 0)]
        if beyond.size:
            raise ContractError(
                file,
                f"code {beyond[0]:g}",
                f"classes 0 to {len(area.classes)}",
                "give labels.codes, the table from codes to classes",
            )
        return codes.astype(np.uint8)
    result = np.zeros(codes.shape, np.uint8)
    for code, value in table.items():
        result[codes == code] = value
    return result


def _missing_code(dtype: str, table: dict[float, int]) -> tuple[float, str]:
    """A value that no class has, to mark missing labels, and a dtype that can hold it."""
    if not np.issubdtype(np.dtype(dtype), np.integer):
        return float("nan"), dtype
    limits = np.iinfo(dtype)
    free = (code for code in range(limits.max, limits.min - 1, -1) if code not in table)
    if not table:
        return 0, dtype
    missing = next(free, None)
    return (missing, dtype) if missing is not None else (-1, "int32")


def _number(file: Path, code: str) -> float:
    try:
        return float(code)
    except ValueError:
        raise ContractError(
            file, f"labels.codes.{code}", "numbers, since labels are a raster", "correct the table"
        ) from None


def _burnt(area: Area, file: Path, grid: Grid, window: Window, factor: int) -> NDArray[np.uint8]:
    """Classes of polygons, burnt in file order."""
    if area.labels.attribute is None or area.labels.codes is None:
        raise ContractError(
            file, "polygons", "labels.attribute and labels.codes", "add them to the area file"
        )
    polygons = read_polygons(
        file, area.labels.layer, area.labels.attribute, grid.crs, grid.bounds(window)
    )
    codes = area.labels.codes
    return burn([(shape, codes.get(value, 0)) for shape, value in polygons], grid, window, factor)


def reduce(area: Area, fine_YX: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """From label pixels to grid pixels by the area's method."""
    chosen = area.downsample
    if factor == 1:
        return fine_YX
    if chosen.method == "nearest":
        return kernels.nearest(fine_YX, factor)
    if chosen.method == "mode":
        return kernels.mode(fine_YX, factor)
    weight_C = np.ones(256)
    for value, weight in chosen.class_weights.items():
        weight_C[value] = weight
    flat = np.ones((factor, factor))
    weight_YX = kernels.centre_weights(factor, chosen.sigma) if chosen.sigma else flat
    return kernels.weighted(fine_YX, factor, weight_C, weight_YX)


def _write_areas(path: Path, area: Area, before: Array, after: Array) -> None:
    """Class areas before and after, in square units of the CRS.

    Parameters
    ----------
    before, after : grid pixels of class 0 to K, as fractions before
    """
    cell = area.grid.resolution**2
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["class", "area_before", "area_after"])
        for value in range(len(area.classes) + 1):
            areas = (f"{pixels[value] * cell:.10g}" for pixels in (before, after))
            rows.writerow([value, *areas])
