"""downsample: the label map, or burnt polygons, as classes on one block of the grid."""

import logging
import os
from pathlib import Path

import numpy as np

from mapmill.areafile import labels_file, load_area
from mapmill.class_areas import ClassAreas, write_areas
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.extent import grid_block
from mapmill.grid import Grid, Window
from mapmill.layout import Layout
from mapmill.majority import WIDEST, Choice, ClassArray
from mapmill.provenance import tags
from mapmill.raster.label_pixels import read_nearest
from mapmill.raster.lattice import LabelFile, describe, lattice_of, same_system
from mapmill.raster.writing import write_raster
from mapmill.recode import code_number, to_classes
from mapmill.routes import Cells, Codes, by_centres, by_factor, by_lattice
from mapmill.sections import VECTOR_SUFFIXES

log = logging.getLogger(__name__)
POLYGON_FACTOR = 5


def run(
    area_path: Path,
    block_name: str,
    output: Path,
    fraction: Path | None = None,
    *,
    threads: int | None = None,
) -> None:
    """Write the classes of one block (y, x) uint8, and beside it a table of class areas.

    Parameters
    ----------
    fraction : where to write the share of each cell that its class takes, uint8 per cent
    threads : as many as there are cores for this process by default
    """
    area = load_area(area_path)
    grid = area.the_grid()
    window = grid_block(area, block_name).window
    path = Layout(area_path.stem).download(labels_file(area))
    threads = threads or len(os.sched_getaffinity(0))
    route = _of_polygons if path.suffix.lower() in VECTOR_SUFFIXES else _of_raster
    cells, said = route(area, path, grid, window, threads, fraction is not None)
    provenance = tags(area, "downsample")
    for file, name, array_YX in (
        (fraction, "fraction", cells.percent_YX),
        (output, "class", cells.class_YX),
    ):
        if file is not None and array_YX is not None:
            image_BYX = array_YX[None]
            write_raster(file, image_BYX, grid, window, bands=[name], nodata=0, tags=provenance)
    areas = ClassAreas(*(each * grid.resolution**2 for each in cells.areas.columns))
    write_areas(output.with_suffix(".csv"), areas)
    log.info("%s: %s of %s, %d threads", output, area.downsample.method, said, threads)


def choice_of(area: Area) -> Choice:
    """The rule by which a class wins in this area."""
    own = area.downsample
    return Choice(
        len(area.classes), own.method, own.ties, own.min_fraction, own.class_weights, own.sigma
    )


def _of_raster(
    area: Area, path: Path, grid: Grid, window: Window, threads: int, with_percent: bool
) -> tuple[Cells, str]:
    """Cells of a label raster, and a word on how they were made."""
    file, factor = describe(path), area.the_labels().factor
    codes = Codes(area.the_labels().codes, len(area.classes))
    choice, lattice = choice_of(area), lattice_of(file, grid)
    rest = (threads, with_percent)
    if lattice and lattice.factor in ({factor} if factor else range(WIDEST + 1)):
        cells = by_lattice(file, lattice, window, codes, choice, *rest)
        said = f"{lattice.factor} x {lattice.factor} label pixels a cell, as they are"
        same = "" if file.crs == grid.crs else f" ({file.crs} taken for {grid.crs}: both UTM)"
        return cells, said + same
    if factor:

        def read(part: Window) -> ClassArray:
            return _nearest_classes(file, codes, grid, part, factor)

        said = f"{factor} x {factor} label pixels a cell, each the nearest of the file's"
        return by_factor(read, window, factor, choice, *rest), said
    cells = by_centres(file, grid, window, codes, choice, *rest)
    why = "another lattice" if same_system(file.crs, grid.crs) else f"another CRS, {file.crs[:40]}"
    said = f"the label pixels with their centre in the cell (labels in {why}: exact, slower)"
    return cells, said


def _nearest_classes(
    file: LabelFile, codes: Codes, grid: Grid, window: Window, factor: int
) -> ClassArray:
    """Classes of a label raster at `factor` times the grid's resolution, by nearest pixel.

    What the raster does not cover, or declares as nodata, is 0.
    """
    known = {code_number(file.path, code) for code in codes.table or {}}
    missing, dtype = _missing_code(file.dtype, known)
    codes_YX = read_nearest(file, grid, window, factor, missing, dtype)
    return to_classes(file.path, codes_YX, codes.table, codes.classes, missing)


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


def _of_polygons(
    area: Area, path: Path, grid: Grid, window: Window, threads: int, with_percent: bool
) -> tuple[Cells, str]:
    """Cells of polygons, burnt in file order, and a word on how they were made."""
    from mapmill.raster import burn  # with pyogrio: for polygons alone
    from mapmill.vector import read_polygons

    labels = area.the_labels()
    attribute, codes = labels.attribute, labels.codes
    if attribute is None or codes is None:
        raise ContractError(
            path, "polygons", "labels.attribute and labels.codes", "add them to the area file"
        )
    factor = labels.factor or POLYGON_FACTOR

    def read(part: Window) -> ClassArray:
        polygons = read_polygons(path, labels.layer, attribute, grid.crs, grid.bounds(part))
        shapes = [(shape, codes.get(value, 0)) for shape, value in polygons]
        return burn(shapes, grid, part, factor)

    said = f"polygons burnt at {factor} x {factor} pixels a cell"
    return by_factor(read, window, factor, choice_of(area), threads, with_percent), said
