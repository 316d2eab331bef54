"""Numba kernels over class rasters. Codes are uint8 classes; 0 means ignore."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

ClassArray = NDArray[np.uint8]


def nearest(label_YX: ClassArray, factor: int) -> ClassArray:
    """Take the source pixel at offset factor // 2 of each cell, as GDAL's nearest does."""
    return np.ascontiguousarray(label_YX[factor // 2 :: factor, factor // 2 :: factor])


def mode(label_YX: ClassArray, factor: int) -> ClassArray:
    """Most frequent class of each factor x factor cell.

    Ties go to the class that first reaches the maximum count, row by row, as in GDAL.
    Class 0 wins only where a cell holds nothing else.
    """
    weight_C = np.ones(256)
    weight_C[0] = 0.0
    return weighted(label_YX, factor, weight_C, np.ones((factor, factor)))


def weighted(
    label_YX: ClassArray, factor: int, weight_C: NDArray[np.float64], weight_YX: NDArray[np.float64]
) -> ClassArray:
    """Class with the largest sum of class weight times position weight in each cell.

    Parameters
    ----------
    label_YX : classes at `factor` times the resolution; both sides divide by `factor`
    weight_C : one weight for each of the 256 possible classes; that of class 0 is ignored
    weight_YX : (factor, factor) weights of the positions within a cell
    """
    result: ClassArray = _weighted(label_YX, factor, weight_C, weight_YX)
    return result


@numba.njit(nogil=True, cache=True)  # type: ignore[untyped-decorator, unused-ignore]
def _weighted(label: Any, factor: int, class_weight: Any, place_weight: Any) -> Any:
    height, width = label.shape[0] // factor, label.shape[1] // factor
    result = np.zeros((height, width), np.uint8)
    total = np.zeros(256)
    for row in range(height):
        for col in range(width):
            best = 0
            for y in range(factor):
                for x in range(factor):
                    code = label[row * factor + y, col * factor + x]
                    if code == 0:
                        continue
                    total[code] += class_weight[code] * place_weight[y, x]
                    if best == 0 or total[code] > total[best]:
                        best = code
            result[row, col] = best
            for y in range(factor):
                for x in range(factor):
                    total[label[row * factor + y, col * factor + x]] = 0.0
    return result


def centre_weights(factor: int, sigma_cells: float) -> NDArray[np.float64]:
    """Gaussian weights by distance to the cell's centre; `sigma_cells` is in cell widths."""
    offset = (np.arange(factor) + 0.5) / factor - 0.5
    square = offset[:, None] ** 2 + offset[None, :] ** 2
    weights: NDArray[np.float64] = np.exp(-square / (2 * sigma_cells**2))
    return weights
