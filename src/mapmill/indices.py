"""Bands computed from other bands."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.sections import Compose

Array = NDArray[Any]


def with_differences(chosen: Compose, image_BYX: Array) -> Array:
    """The image (band, y, x) followed by its normalised differences (a - b) / (a + b).

    Where a + b is 0 the difference is 0, where either is NaN it is NaN. Rouse et al. 1974 call
    that of near infrared and red NDVI.
    """
    if not chosen.differences:
        return image_BYX
    number = {band: index for index, band in enumerate(chosen.bands)}
    added = []
    for first, second in chosen.differences.values():
        a_YX, b_YX = image_BYX[number[first]], image_BYX[number[second]]
        total_YX = a_YX + b_YX
        safe_YX = np.where(total_YX == 0, 1, total_YX)
        added.append(np.where(total_YX == 0, 0, (a_YX - b_YX) / safe_YX))
    return np.concatenate([image_BYX, np.stack(added).astype(image_BYX.dtype)])
