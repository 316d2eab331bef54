"""downsample: the label map, or burnt polygons, as classes on one block of the grid."""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from mapmill import kernels
from mapmill.areafile import labels_file, load_area
from mapmill.atomic import whole_file
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.extent import grid_block
from mapmill.grid import Grid, Window
from mapmill.layout import Layout
from mapmill.provenance import tags
from mapmill.raster import Array, burn, inspect, read_on_grid, write_raster
from mapmill.recode import code_number, to_classes
from mapmill.vector import is_vector, read_polygons

log = logging.getLogger(__name__)
POLYGON_FACTOR = 5
STRIP_PIXELS = 2**25


def run(area_path: Path, block_name: str, output: Path) -> None:
    """Write the classes of one block (y, x) uint8, and beside it a table of class areas.

    Works in strips: a block of 2,500 px holds 625 million label pixels at ten to one.
    """
    area = load_area(area_path)
    grid = area.the_grid()
    window = grid_block(area, block_name).window
    file = Layout(area_path.stem).download(labels_file(area))
    factor = area.the_labels().factor or natural_factor(file, grid)
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
    _write_areas(output.with_suffix(".csv"), area, grid.resolution, before / factor**2, after)
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
    codes = area.the_labels().codes
    known = {code_number(file, code) for code in codes or {}}
    missing, dtype = _missing_code(inspect(file).dtype, known)
    codes_YX = read_on_grid(file, 1, grid, window, nodata=missing, factor=factor, dtype=dtype)
    return to_classes(file, codes_YX, codes, len(area.classes), missing)


def _missing_code(dtype: str, known: set[float]) -> tuple[float, str]:
    """A value that no class has, to mark missing labels, and a dtype that can hold it."""
    if not np.issubdtype(np.dtype(dtype), np.integer):
        return float("nan"), dtype
    limits = np.iinfo(dtype)
    free = (code for code in range(limits.max, limits.min - 1, -1) if code not in known)
    if not known:
        return 0, dtype
    missing = next(free, None)
    return (missing, dtype) if missing is not None else (-1, "int32")


def _burnt(area: Area, file: Path, grid: Grid, window: Window, factor: int) -> NDArray[np.uint8]:
    """Classes of polygons, burnt in file order."""
    labels = area.the_labels()
    if labels.attribute is None or labels.codes is None:
        raise ContractError(
            file, "polygons", "labels.attribute and labels.codes", "add them to the area file"
        )
    bounds = grid.bounds(window)
    polygons = read_polygons(file, labels.layer, labels.attribute, grid.crs, bounds)
    codes = labels.codes
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


def _write_areas(path: Path, area: Area, side: float, before: Array, after: Array) -> None:
    """Class areas before and after, in square units of the CRS.

    Parameters
    ----------
    side : of a grid pixel, in units of the CRS
    before, after : grid pixels of class 0 to K, as fractions before
    """
    cell = side**2
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["class", "area_before", "area_after"])
        for value in range(len(area.classes) + 1):
            areas = (f"{pixels[value] * cell:.10g}" for pixels in (before, after))
            rows.writerow([value, *areas])
