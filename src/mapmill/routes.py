"""Three routes from labels to the classes of cells: by lattice, by factor, and by centres.

Each works in pieces, in threads, and the result does not depend on how it is cut.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mapmill.class_areas import ClassAreas
from mapmill.grid import Grid, Window
from mapmill.majority import Choice, ClassArray, Reducer, Tally, settle
from mapmill.progress import track
from mapmill.raster.centres import Centres, Grouped, grouped, pieces, ratio_of
from mapmill.raster.label_pixels import ROOM_PIXELS, Convert, shares, strips
from mapmill.raster.lattice import LabelFile, Lattice
from mapmill.recode import to_classes

FINE_PIXELS = 2**25
"""Label pixels that are made at a time by the route by factor, of all threads."""
Piece = TypeVar("Piece")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Codes:
    """From the codes of a label raster to classes."""

    table: Mapping[str, int] | None
    """Class by code; None: the codes are the classes."""
    classes: int
    """Classes are 1 to this number."""


@dataclass(frozen=True)
class Cells:
    """Classes of the cells of a window."""

    class_YX: ClassArray
    percent_YX: ClassArray | None
    """Share of the cell's label pixels that have its class, rounded down but at least 1: 100 is
    a pure cell. 0 where there is no class. None if it is not asked for."""
    areas: ClassAreas
    """In cells."""


class _Room:
    """The cells of a window while they are filled."""

    def __init__(self, window: Window, with_percent: bool) -> None:
        self.window, shape = window, (window.height, window.width)
        self.class_YX = np.zeros(shape, np.uint8)
        self.percent_YX = np.zeros(shape, np.uint8) if with_percent else None

    def fill(self, part: Window, cell_YX: ClassArray, count_YX: Any, size: Any) -> None:
        """Put in a part; `count_YX` of `size` label pixels have the class."""
        place = part.slices(self.window)
        self.class_YX[place] = cell_YX
        if self.percent_YX is not None:
            percent = np.maximum(100 * count_YX.astype(np.uint32) // size, 1)
            self.percent_YX[place] = np.where(cell_YX > 0, percent, 0)

    def cells(self, areas: ClassAreas, classes: int) -> Cells:
        """The whole, with the areas of class 0 to `classes`."""
        columns = (column[: classes + 1] for column in areas.columns)
        return Cells(self.class_YX, self.percent_YX, ClassAreas(*columns))


def by_lattice(
    file: LabelFile,
    lattice: Lattice,
    window: Window,
    codes: Codes,
    choice: Choice,
    threads: int,
    with_percent: bool,
) -> Cells:
    """Cells that are made of whole label pixels: read as they are, each piece decoded once.

    Raises
    ------
    ContractError
        if a code is no class.
    """
    factor, room = lattice.factor, _Room(window, with_percent)
    origin = lattice.pixels(Window(0, 0, 1, 1))
    table, fill, convert = _recoding(file, codes)

    def made(part: Window) -> Tally:
        reducer = Reducer(choice, factor, part.width // factor, table)
        top, left = (part.row - origin.row) // factor, (part.col - origin.col) // factor
        for done, code_YX in strips(file, part, factor, ROOM_PIXELS // threads, fill, convert):
            cell_YX, count_YX, beyond = reducer(code_YX)
            if beyond:  # raises
                to_classes(file.path, code_YX, codes.table, codes.classes, file.nodata)
            place = Window(top + done // factor, left, *cell_YX.shape)
            room.fill(place, cell_YX, count_YX, factor**2)
        return reducer.tally

    tally = Tally()
    parts = shares(file, lattice.pixels(window), factor, threads)
    for part in _in_threads(made, parts, threads):
        tally.add(part)
    return room.cells(_in_cells(tally, factor), codes.classes)


def _recoding(file: LabelFile, codes: Codes) -> tuple[ClassArray | None, int, Convert | None]:
    """How codes become classes: a table for the kernel, or a function to call before it.

    Returns
    -------
    The table, if any; what stands for pixels beyond the raster; the function, if any.
    """
    convert = partial(_converted, file=file, codes=codes)
    if file.dtype != "uint8":
        return None, 0, convert
    if codes.table is None:
        table = np.full(256, 255, np.uint8)  # 255 is never a class
        table[: codes.classes + 1] = np.arange(codes.classes + 1)
        if file.nodata is None or not 0 < file.nodata <= 255:
            return None, 0, None
        table[int(file.nodata)] = 0
        return table, 0, None
    table = _converted(np.arange(256, dtype=np.uint8), file=file, codes=codes)
    free = np.flatnonzero(table == 0)
    return (table, int(free[0]), None) if free.size else (None, 0, convert)


def _converted(codes_YX: NDArray[Any], *, file: LabelFile, codes: Codes) -> ClassArray:
    return to_classes(file.path, codes_YX, codes.table, codes.classes, file.nodata)


def by_factor(
    read: Callable[[Window], ClassArray],
    window: Window,
    factor: int,
    choice: Choice,
    threads: int,
    with_percent: bool,
) -> Cells:
    """Cells from label pixels that are made for it, `factor` along one side of each.

    Parameters
    ----------
    read : classes (y, x) of a window of the grid at `factor` times its resolution
    """
    room = _Room(window, with_percent)

    def made(part: Window) -> Tally:
        reducer = Reducer(choice, factor, part.width)
        cell_YX, count_YX, _ = reducer(read(part))
        room.fill(part, cell_YX, count_YX, factor**2)
        return reducer.tally

    tally = Tally()
    for part in _in_threads(made, list(_strips(window, factor, threads)), threads):
        tally.add(part)
    return room.cells(_in_cells(tally, factor), choice.classes)


def _strips(window: Window, factor: int, threads: int) -> Iterator[Window]:
    """The window cut into strips of about FINE_PIXELS label pixels for all threads."""
    height = max(1, FINE_PIXELS // threads // (window.width * factor**2))
    for row in range(window.row, window.row_end, height):
        yield Window(row, window.col, min(height, window.row_end - row), window.width)


def by_centres(
    file: LabelFile,
    grid: Grid,
    window: Window,
    codes: Codes,
    choice: Choice,
    threads: int,
    with_percent: bool,
) -> Cells:
    """Cells of a raster in another CRS or of another lattice: see `mapmill.raster.centres`."""
    room, own = _Room(window, with_percent), threading.local()
    convert = partial(_converted, file=file, codes=codes)

    def made(part: Window) -> ClassAreas:
        if not hasattr(own, "centres"):
            own.centres = Centres(file, grid)
        held = grouped(file, grid, part, own.centres, convert)
        cell_N, count_N = _chosen(held, choice)
        size_N = np.diff(held.starts)
        shape = (part.height, part.width)
        counts, sizes = (a.reshape(shape) for a in (count_N, size_N))
        room.fill(part, cell_N.reshape(shape), counts, sizes)
        return _areas_of_groups(held, cell_N, count_N, size_N)

    areas = ClassAreas(*np.zeros((4, 256)))
    for part in _in_threads(made, list(pieces(window, ratio_of(file, grid))), threads):
        areas += part
    return room.cells(areas, codes.classes)


def _chosen(held: Grouped, choice: Choice) -> tuple[ClassArray, NDArray[Any]]:
    """Classes of cells, and how many of their label pixels have them."""
    if choice.method != "nearest":
        return settle(choice, held.class_N, held.starts, held.square_N)
    cell_N, sizes = held.centre_YX.ravel(), np.diff(held.starts)
    same_N = held.class_N == np.repeat(cell_N, sizes)
    return cell_N, np.add.reduceat(same_N.astype(np.int64), held.starts[:-1])


def _areas_of_groups(
    held: Grouped, cell_N: ClassArray, count_N: NDArray[Any], size_N: NDArray[Any]
) -> ClassAreas:
    """Areas in cells: a label pixel is the part of its cell that it makes out."""

    def summed(values: NDArray[Any], weights: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(values, weights=weights, minlength=256).astype(float)

    return ClassAreas(
        summed(held.class_N, np.repeat(1 / size_N, size_N)),
        summed(cell_N, np.ones(cell_N.size)),
        summed(cell_N, count_N / size_N),
        summed(cell_N, (count_N == size_N).astype(float)),
    )


def _in_cells(tally: Tally, factor: int) -> ClassAreas:
    before, after, kept, pure = tally.counts.astype(float)
    return ClassAreas(before / factor**2, after, kept / factor**2, pure)


def _in_threads(work: Callable[[Piece], Made], parts: list[Piece], threads: int) -> Iterator[Made]:
    """What `work` makes of each part, in order, with the progress shown."""
    with ThreadPoolExecutor(threads) as pool:
        done = pool.map(work, parts)
        yield from track(done, "downsample", len(parts), "parts")
