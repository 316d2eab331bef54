"""A stratified random sample of a map's pixels: each place of a class is as likely as another.

The map is read window by window, twice: to count its classes, and to draw from them. Memory does
not grow with the map.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.pixel_area import HECTARE, plane_excess, row_areas
from mapmill.progress import track
from mapmill.raster import RasterInfo, inspect, read_windows
from mapmill.raster.windows import SIDE

Numbers = NDArray[Any]
TRUE_ENOUGH = 0.01
"""Share by which areas in the plane may differ from the ground without a remark."""


@dataclass(frozen=True)
class Counted:
    """Pixels of class 0 to K of a map."""

    units: Numbers
    """(K + 1,) pixels."""
    hectares: Numbers
    """(K + 1,)."""


class ClassMap:
    """A published map that is read window by window."""

    def __init__(self, path: Path, classes: int) -> None:
        self.path, self.classes = path, classes
        self.info: RasterInfo = inspect(path)
        transform = self.info.transform
        a, b, c, d, e, f = transform
        self.hectares_Y = row_areas(self.info.crs, (a, b, c, d, e, f), self.info.height) / HECTARE

    def windows(self, doing: str) -> Iterator[tuple[Window, Numbers]]:
        """Windows and classes (y, x), with a progress bar.

        Raises
        ------
        ContractError
            if there is a class that the area has not.
        """
        rows, cols = -(-self.info.height // SIDE), -(-self.info.width // SIDE)
        for window, class_YX in track(read_windows(self.path), doing, rows * cols, "windows"):
            if class_YX.max() > self.classes:
                found = f"class {class_YX.max()}"
                raise ContractError(self.path, found, f"0 to {self.classes}", "make the map again")
            yield window, class_YX

    def tally(self, class_YX: Numbers, window: Window) -> Counted:
        """Pixels and ground of each class in a window."""
        place = np.arange(window.height)[:, None] * (self.classes + 1)
        size = window.height * (self.classes + 1)
        by_row = np.bincount((place + class_YX).ravel(), minlength=size)
        by_row = by_row.reshape(window.height, -1)
        rows = self.hectares_Y[window.row : window.row_end]
        return Counted(by_row.sum(axis=0), rows @ by_row)

    def count(self) -> Counted:
        """Pixels and ground of each class in the whole map."""
        units = np.zeros(self.classes + 1, np.int64)
        hectares = np.zeros(self.classes + 1)
        for window, class_YX in self.windows("count"):
            found = self.tally(class_YX, window)
            units, hectares = units + found.units, hectares + found.hectares
        return Counted(units, hectares)

    def centres(self, rows: Numbers, cols: Numbers) -> Numbers:
        """(point, 2) coordinates x, y of pixels' centres."""
        step, _, left, _, _, top = self.info.transform
        return np.column_stack([left + (cols + 0.5) * step, top - (rows + 0.5) * step])


def plane_remarks(source: ClassMap) -> list[str]:
    """A sentence where areas in the plane of the map's CRS are not those of the ground."""
    info = source.info
    a, b, c, d, e, f = info.transform
    excess = plane_excess(info.crs, (a, b, c, d, e, f), info.width, info.height)
    if not abs(excess) > TRUE_ENOUGH:  # NaN too: nothing is known
        return []
    than = f"{abs(excess):.1%} {'larger' if excess > 0 else 'smaller'} than on the ellipsoid"
    return [f"areas in the plane of {info.crs[:40]} are up to {than}: use a map in another CRS"]


@dataclass(frozen=True)
class Points:
    """Pixels that were drawn, in random order."""

    stratum: Numbers
    row: Numbers
    col: Numbers


def draw(source: ClassMap, wanted: Numbers, seed: int) -> Points:
    """Draw `wanted` (K + 1,) pixels of each class.

    Every pixel has a random key u^(1 / area) with u in 0 to 1; the largest keys of a class are
    its sample (Efraimidis and Spirakis 2006, https://doi.org/10.1016/j.ipl.2005.11.003), which is
    simple random sampling where all pixels are of one size, and in proportion to the ground
    where they are not. The keys of a window depend on the seed and its place alone.
    """
    kept = [np.empty((0, 3)) for _ in wanted]
    least = np.where(wanted > 0, -np.inf, np.inf)
    weight_Y = source.hectares_Y / source.hectares_Y.max()
    for window, class_YX in source.windows("draw"):
        random = np.random.default_rng([seed, window.row, window.col])
        uniform_YX = 1 - random.random(class_YX.shape)  # in (0, 1]: no logarithm of nothing
        weight = weight_Y[window.row : window.row_end, None]
        limit_YK = np.exp(least * weight)  # of u, so that few logarithms are needed
        row, col = np.nonzero(uniform_YX >= np.take_along_axis(limit_YK, class_YX, axis=1))
        key = np.log(uniform_YX[row, col]) / weight[row, 0]
        found = np.column_stack([key, row + window.row, col + window.col])
        value = class_YX[row, col]
        for number in np.unique(value):
            both = np.concatenate([kept[number], found[value == number]])
            order = np.argsort(-both[:, 0], kind="stable")[: wanted[number]]
            kept[number] = both[order]
            if len(order) == wanted[number]:
                least[number] = both[order[-1], 0]
    stratum = np.repeat(np.arange(len(wanted)), [len(each) for each in kept])
    together = np.concatenate(kept)
    order = np.random.default_rng([seed]).permutation(len(stratum))
    row, col = together[order, 1:].astype(np.int64).T
    return Points(stratum[order], row, col)
