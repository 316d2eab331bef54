"""What a scene shows at each pixel: nothing, the clear ground, a cloud or its shadow, snow.

States are uint8: EMPTY, CLEAR, CLOUD, SNOW.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

EMPTY, CLEAR, CLOUD, SNOW = range(4)
KINDS = {"nodata": EMPTY, "clear": CLEAR, "cloud": CLOUD, "snow": SNOW}
UNLISTED = 255
LARGEST = 2**16 - 1
"""Of the values that a mask lists."""
States = NDArray[np.uint8]


def table(codes: Mapping[str, Sequence[int]], declared: float | None = None) -> States:
    """State of each value of a mask band: entry `value + 1`, for values from -1 to LARGEST + 1.

    The first and last entries stand for all that is below and above. Values in no list are clear
    where `codes` lists none as clear, else UNLISTED.

    Parameters
    ----------
    codes : values of each of KINDS
    declared : nodata of the file: EMPTY, unless it is listed
    """
    result = np.full(LARGEST + 3, UNLISTED if codes["clear"] else CLEAR, np.uint8)
    if declared is not None and not math.isnan(declared):
        result[min(max(int(declared), -1), LARGEST + 1) + 1] = EMPTY
    for kind, values in codes.items():
        result[np.array(values, int) + 1] = KINDS[kind]
    return result


def states(code_YX: NDArray[Any], table_C: States, outside: int) -> States:
    """State of each pixel of a mask band.

    Parameters
    ----------
    code_YX : values, whole numbers
    table_C : as made by `table`
    outside : the value of pixels that the mask does not reach: EMPTY

    Raises
    ------
    ValueError
        if there are values that no list has; the message holds some of them.
    """
    state_YX: States = table_C[np.clip(code_YX, -1, LARGEST + 1) + 1]
    state_YX[code_YX == outside] = EMPTY
    unlisted = state_YX == UNLISTED
    if unlisted.any():
        raise ValueError(", ".join(map(str, np.unique(code_YX[unlisted])[:5])))
    return state_YX


def grown(state_YX: States, pixels: int) -> States:
    """The states with clouds on every clear or snowy pixel that is `pixels` or nearer to one.

    Distance is that between the centres of pixels. What was not observed stays EMPTY.
    """
    cloud_YX = state_YX == CLOUD
    if pixels == 0 or not cloud_YX.any():
        return state_YX
    far_YX = cloud_YX.copy()
    reach = min(pixels, len(cloud_YX) - 1)
    for up in range(-reach, reach + 1):
        wide = math.isqrt(pixels * pixels - up * up)
        near_YX = _widened(cloud_YX, wide)
        if up >= 0:
            far_YX[up:] |= near_YX[: len(near_YX) - up]
        else:
            far_YX[:up] |= near_YX[-up:]
    return np.where(far_YX & (state_YX != EMPTY), np.uint8(CLOUD), state_YX)


def _widened(cloud_YX: NDArray[np.bool_], wide: int) -> NDArray[np.bool_]:
    """Where a pixel of the same row, at most `wide` away, is set."""
    height, width = cloud_YX.shape
    count = np.zeros((height, width + 2 * wide + 1), np.int32)
    np.cumsum(cloud_YX, axis=1, out=count[:, wide + 1 : wide + 1 + width])
    count[:, wide + 1 + width :] = count[:, wide + width, None]
    return np.asarray(count[:, 2 * wide + 1 :] > count[:, :width])
