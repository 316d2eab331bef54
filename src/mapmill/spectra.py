"""What a satellite sees of the simulated landscape: reflectance, season, haze, clouds and snow."""

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from mapmill.world import (
    CELL,
    CROP,
    Function,
    World,
    bell,
    cell,
    elevation,
    hashed,
    memory,
    mix,
    noise,
    salt,
    towards_sea,
    unit,
)

PERIODS = ("2018-04", "2018-08")
SUMMER_CROP, GREEN_CROP = 10, 11  # surfaces of fields of class CROP

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
# fmt: off
REFLECTANCE_PSB = np.array([
    [  # April
        [0] * 10,
        [350, 650, 400, 950, 2700, 3500, 3700, 3900, 1800, 900],  # winter cereal, green
        [420, 760, 540, 1180, 2450, 2900, 3050, 3250, 2250, 1250],
        [450, 600, 700, 1050, 1550, 1750, 1900, 2050, 2150, 1350],
        [220, 380, 260, 560, 1400, 1750, 1850, 1950, 900, 420],
        [430, 620, 640, 1020, 1750, 2050, 2150, 2300, 2050, 1250],
        [1150, 1450, 1800, 2000, 2150, 2250, 2400, 2500, 3000, 2600],
        [1700, 1850, 2000, 2100, 2200, 2300, 2400, 2450, 2500, 2300],
        [1000, 1100, 1200, 1300, 1400, 1450, 1500, 1550, 1700, 1600],
        [500, 450, 280, 200, 150, 130, 110, 100, 60, 40],
        [850, 1100, 1400, 1650, 1850, 2000, 2150, 2300, 2900, 2400],  # summer crop, ploughed
        [330, 640, 360, 950, 3000, 3900, 4100, 4300, 1750, 800],  # green crop
    ],
    [  # August
        [0] * 10,
        [850, 1200, 1650, 2000, 2350, 2550, 2750, 2950, 3800, 2900],  # winter cereal, stubble
        [600, 880, 900, 1450, 2300, 2650, 2800, 3000, 2900, 1850],
        [250, 480, 270, 750, 2400, 3200, 3400, 3600, 1600, 650],
        [230, 400, 270, 600, 1550, 1950, 2050, 2150, 1000, 460],
        [480, 700, 760, 1150, 1800, 2100, 2200, 2350, 2400, 1500],
        [1300, 1650, 2050, 2250, 2400, 2500, 2650, 2750, 3300, 2900],
        [1800, 1950, 2100, 2200, 2300, 2400, 2500, 2550, 2600, 2400],
        [1050, 1150, 1250, 1350, 1450, 1500, 1550, 1600, 1800, 1700],
        [420, 400, 230, 170, 120, 110, 90, 80, 40, 30],
        [300, 600, 350, 900, 2900, 3900, 4200, 4400, 1850, 850],  # summer crop, green
        [340, 660, 400, 980, 2900, 3700, 3900, 4100, 1900, 880],
    ],
], np.float64)
"""Reflectance x 10000 (period, surface, band); surface 1 to 9 are the classes."""
HAZE_B = np.array([520, 380, 280, 230, 180, 150, 120, 100, 40, 20], np.float64)
CLOUD_B = np.array([5600, 5700, 5800, 5900, 6000, 6000, 6000, 5900, 4400, 3500], np.float64)
SNOW_B = np.array([8200, 8300, 8200, 8000, 7800, 7600, 7400, 7000, 1200, 1000], np.float64)
GREENING_B = np.array([-0.4, -0.2, -0.6, -0.2, 0.6, 1, 1, 1, -0.3, -0.5], np.float64)
"""What a more vigorous canopy adds to each band, relative."""
OPEN_S = np.array([0, 0.9, 0.9, 0.45, 0.2, 0.6, 1, 0.8, 0.6, 0, 0.9, 0.9])
"""Share of the ground where snow is seen."""
ROUGH_S = np.array([0, 0.03, 0.03, 0.08, 0.09, 0.07, 0.05, 0.12, 0.05, 0.05, 0.03, 0.03])
"""Standard deviation of a pixel's brightness, relative."""
# fmt: on


FloatArray = NDArray[np.float64]


def composed(function: Function) -> Function:
    """Compile, each time anew: these functions contain those of the world (see `compiled`)."""
    compiler: Any = numba.njit(nogil=True)
    result: Function = compiler(function)
    return result


@composed
def cloud(x: float, y: float, period: int, world: Any) -> Any:
    """Opacity of the cloud over a place, 0 to 1.

    Each square of a lattice has one cloud. Of two neighbours one belongs to each period, so
    that no place is under clouds in both.
    """
    i, j = math.floor(x / world.cloud), math.floor(y / world.cloud)
    if (hashed(salt(world, 50), i >> 1, j) ^ np.uint64(i)) & np.uint64(1) != np.uint64(period):
        return 0.0
    h = hashed(salt(world, 51), i, j)
    radius = world.cloud * (0.12 + 0.13 * unit(h))
    east = x - world.cloud * (i + 0.36 + 0.28 * unit(mix(h + np.uint64(1))))
    south = y - world.cloud * (j + 0.36 + 0.28 * unit(mix(h + np.uint64(2))))
    far = math.sqrt(east * east + south * south)
    if far > 1.44 * radius:
        return 0.0
    far *= 1.0 + 0.2 * noise(x, y, world.cloud / 12.0, salt(world, 52))
    return min(1.0, max(0.0, 0.5 + (radius - far) / (0.3 * radius)))


@composed
def snow(x: float, y: float, world: Any) -> Any:
    """Cover of snow on open ground in April, 0 to 1: high in the mountains, in patches."""
    if towards_sea(x, y, world) > world.peak:
        return 0.0
    height = (elevation(x, y, world) - 0.7) / 0.3
    return min(1.0, max(0.0, height + 0.4 * noise(x, y, 150.0, salt(world, 60))))


@composed
def surface(code: int, name: Any) -> Any:
    """Row of the table of spectra: the class, or what grows on the field."""
    chance = unit(mix(name + np.uint64(2)))
    if code != CROP or chance < 0.4:
        return code
    return SUMMER_CROP if chance < 0.75 else GREEN_CROP


@composed
def mixed(share: Any, period: int, name: Any, result: Any) -> Any:
    """Reflectance of a cell by the shares of its classes, into `result` (band).

    Returns
    -------
    (roughness, openness to snow) of the cell.
    """
    rough, free = 0.0, 0.0
    result[:] = 0.0
    for code in range(1, share.size):
        if share[code] > 0.0:
            row = surface(code, name)
            rough += share[code] * ROUGH_S[row]
            free += share[code] * OPEN_S[row]
            for band in range(result.size):
                result[band] += share[code] * REFLECTANCE_PSB[period, row, band]
    return rough, free


@composed
def paint(
    x: float, y: float, row: int, col: int, period: int, share: Any, name: Any, world: Any, out: Any
) -> None:
    """The image of one cell and period, into `out` (band), reflectance x 10000.

    Parameters
    ----------
    x, y : centre of the cell
    row, col : its place in the image, which gives each pixel noise of its own
    share : (class) shares of its label pixels, of sum 1
    name : hash of the field at its centre
    """
    number = np.uint64(period)
    rough, free = mixed(share, period, name, out)
    h = hashed(salt(world, 70 + period), row, col)
    green = 0.35 * (unit(mix(name + np.uint64(4) + number)) - 0.5)
    tone = 0.88 + 0.24 * unit(mix(name + np.uint64(3)))
    tone *= 1.0 + 0.07 * noise(x, y, 70.0, salt(world, 61)) + rough * bell(h)
    cover = free * snow(x, y, world) if period == 0 and free > 0.0 else 0.0
    shade = cloud(x + 0.1 * world.cloud, y - 0.08 * world.cloud, period, world)
    opacity = cloud(x, y, period, world)
    haze = 0.5 + 0.5 * noise(x, y, 6000.0, salt(world, 62 + period))
    for band in range(out.size):
        value = out[band] * tone * (1.0 + green * GREENING_B[band])
        value += cover * (SNOW_B[band] - value)
        value = value * (1.0 - 0.5 * shade) + haze * HAZE_B[band]
        value += opacity * (CLOUD_B[band] * (0.7 + 2.5 * tone / 8.0) - value)
        h = mix(h + np.uint64(1))
        value += (25.0 + 0.02 * value) * bell(h)
        out[band] = min(12000.0, max(1.0, math.floor(value + 0.5)))


@composed
def counted(memory: Any, code: int, share: Any) -> Any:
    """Shares of the classes in a cell, into `share`, and its most frequent class.

    Of equals the class that first reaches the number, row by row; 0 only where it is alone.
    """
    share[:] = 0.0
    if code >= 0:
        share[code] = 1.0
        return code
    best, total = 0, 0
    for r in range(CELL):
        for c in range(CELL):
            code = memory.fine[r, c]
            if code > 0:
                share[code] += 1.0
                total += 1
                if best == 0 or share[code] > share[best]:
                    best = code
    for code in range(share.size):
        share[code] /= max(1, total)
    return best


@composed
def _fill(
    x_YX: Any, y_YX: Any, corner: Any, world: Any, memory: Any, label: Any, truth: Any, image: Any
) -> None:
    share, value = np.zeros(10), np.zeros(image.shape[1])
    for r in range(x_YX.shape[0]):
        for c in range(x_YX.shape[1]):
            x, y = x_YX[r, c], y_YX[r, c]
            code = cell(x, y, world, memory)
            if label.size:
                part = label[r * CELL : (r + 1) * CELL, c * CELL : (c + 1) * CELL]
                if code >= 0:
                    part[:] = code
                else:
                    part[:] = memory.fine
            best = counted(memory, code, share)
            if truth.size:
                truth[r, c] = best
            if best == 0:
                continue
            for period in range(image.shape[0]):
                row, col = corner[0] + r, corner[1] + c
                paint(x, y, row, col, period, share, memory.name[0, 0], world, value)
                for band in range(value.size):
                    image[period, band, r, c] = value[band]


def simulate(
    x_YX: FloatArray, y_YX: FloatArray, corner: tuple[int, int], world: World, what: str
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint16]]:
    """Label map, truth and images of the cells around the given centres.

    Parameters
    ----------
    x_YX, y_YX : metres east and south of the area's north-western corner
    corner : row and column of the first cell in its raster
    what : labels, images or both; what is not asked for is empty

    Returns
    -------
    Classes (10 y, 10 x), most frequent class (y, x), reflectance x 10000 (period, band, y, x).
    """
    rows, cols = x_YX.shape if what != "images" else (0, 0)
    label_YX = np.zeros((rows * CELL, cols * CELL), np.uint8)
    truth_YX = np.zeros((rows, cols), np.uint8)
    shape = x_YX.shape if what != "labels" else (0, 0)
    image_PBYX = np.zeros((len(PERIODS) if shape[0] else 0, len(BANDS), *shape), np.uint16)
    _fill(x_YX, y_YX, corner, world, memory(), label_YX, truth_YX, image_PBYX)
    return label_YX, truth_YX, image_PBYX
