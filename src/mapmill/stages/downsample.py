"""downsample: the label map, or burnt polygons, as classes on one block of the grid."""

import csv
import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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


def run(area_path: Path, block_name: str, output: Path) -> None:
    """Write the classes of one block (y, x) uint8, and beside it a table of class areas."""
    area = load_area(area_path)
    grid = area.grid.grid()
    window = grid.block_named(block_name).window
    file = Layout(area_path.stem).download("labels" + Path(area.labels.file).suffix)
    factor = area.labels.factor or natural_factor(file, grid)
    read = _burnt if is_vector(file) else _recoded
    fine_YX = read(area, file, grid, window, factor)
    label_YX = reduce(area, fine_YX, factor)
    write_raster(
        output,
        label_YX[None],
        grid,
        window,
        bands=["class"],
        nodata=0,
        tags=tags(area, "downsample"),
    )
    _write_areas(output.with_suffix(".csv"), area, fine_YX, label_YX, factor)
    log.info(
        "%s: %s of %d x %d label pixels a cell", output, area.downsample.method, factor, factor
    )


def natural_factor(file: Path, grid: Grid) -> int:
    """Label pixels along one side of a grid pixel."""
    if is_vector(file):
        return POLYGON_FACTOR
    info = inspect(file)
    if info.crs != grid.crs:
        return 1  # resolutions of two CRSs do not compare; labels.factor decides
    return max(1, round(grid.resolution / info.resolution))


def _recoded(area: Area, file: Path, grid: Grid, window: Window, factor: int) -> NDArray[np.uint8]:
    """Classes of a label raster at `factor` times the grid's resolution, by nearest pixel."""
    codes = read_on_grid(file, 1, grid, window, nodata=0, factor=factor)
    if area.labels.codes is None:
        beyond = codes[codes > len(area.classes)]
        if beyond.size:
            raise ContractError(
                file,
                f"code {beyond[0]}",
                f"classes 0 to {len(area.classes)}",
                "give labels.codes, the table from codes to classes",
            )
        return codes.astype(np.uint8)
    result = np.zeros(codes.shape, np.uint8)
    for code, value in area.labels.codes.items():
        result[codes == _number(file, code)] = value
    return result


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


def _write_areas(path: Path, area: Area, fine_YX: Array, label_YX: Array, factor: int) -> None:
    """Class areas before and after, in square units of the CRS."""
    count = len(area.classes) + 1
    cell = area.grid.resolution**2
    before = np.bincount(fine_YX.ravel(), minlength=count) * cell / factor**2
    after = np.bincount(label_YX.ravel(), minlength=count) * cell
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["class", "name", "area_before", "area_after"])
        names = {0: "ignore"} | {value: entry.name for value, entry in area.classes.items()}
        for value in range(count):
            rows.writerow([value, names[value], f"{before[value]:.10g}", f"{after[value]:.10g}"])
