"""Opening and closing of single classes of a map, by a disc. Pure functions over numpy arrays.

Classes are uint8 (y, x), 0 for nodata. Nodata and what lies beyond the array count as part of
whatever class is worked on: coasts and the map's edge are not worn off. Pixels without a class
stay without. A pixel depends on those up to `halo` away alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.uint8]
Where = NDArray[np.bool_]


def halo(radius: int) -> int:
    """Pixels around an array that its opening or closing depends on."""
    return 2 * radius


def disc(radius: int) -> list[tuple[int, int]]:
    """Rows and columns from the centre of all pixels no further than `radius` from it."""
    steps = range(-radius, radius + 1)
    return [(row, col) for row in steps for col in steps if row**2 + col**2 <= radius**2]


def opening(class_YX: Classes, radii: Mapping[int, int]) -> Classes:
    """Take from each class, in their order, what is narrower than its disc.

    Such a pixel gets the most frequent other class within the disc around it, of equals the
    lowest; it stays as it is where there is none.

    Parameters
    ----------
    radii : class -> radius of its disc, in pixels
    """
    for value, radius in sorted(radii.items()):
        own_YX = (class_YX == value) | (class_YX == 0)
        kept_YX = dilated(eroded(own_YX, radius), radius)
        lost_YX = (class_YX == value) & ~kept_YX
        if lost_YX.any():
            class_YX = np.where(lost_YX, _most_frequent(class_YX, value, radius), class_YX)
    return class_YX


def closing(class_YX: Classes, radii: Mapping[int, int]) -> Classes:
    """Give to each class, in their order, the gaps in it that are narrower than its disc."""
    for value, radius in sorted(radii.items()):
        wide_YX = dilated(class_YX == value, radius) | (class_YX == 0)
        gained_YX = eroded(wide_YX, radius) & (class_YX > 0)
        class_YX = np.where(gained_YX, np.uint8(value), class_YX)
    return class_YX


def dilated(where_YX: Where, radius: int) -> Where:
    """Pixels whose disc holds any that is true; beyond the array nothing is."""
    result = np.zeros_like(where_YX)
    for part_YX in _moved(where_YX, radius, False):
        result |= part_YX
    return result


def eroded(where_YX: Where, radius: int) -> Where:
    """Pixels whose disc holds only true ones; beyond the array all are."""
    result = np.ones_like(where_YX)
    for part_YX in _moved(where_YX, radius, True):
        result &= part_YX
    return result


def _most_frequent(class_YX: Classes, but: int, radius: int) -> Classes:
    """The most frequent class within the disc but one, the lowest of equals; `but` if none."""
    best_YX = np.full(class_YX.shape, but, np.uint8)
    most_YX = np.zeros(class_YX.shape, np.uint16)
    for value in np.unique(class_YX):
        if value not in (0, but):
            count_YX = np.zeros(class_YX.shape, np.uint16)
            for part_YX in _moved(class_YX == value, radius, False):
                count_YX += part_YX
            more_YX = count_YX > most_YX
            best_YX[more_YX], most_YX[more_YX] = value, count_YX[more_YX]
    return best_YX


def _moved(array_YX: NDArray[Any], radius: int, beyond: bool) -> Iterator[NDArray[Any]]:
    """The array moved by each step of the disc."""
    height, width = array_YX.shape
    padded_YX = np.pad(array_YX, radius, constant_values=beyond)
    for row, col in disc(radius):
        yield padded_YX[radius + row :, radius + col :][:height, :width]
