"""Detail of a panchromatic band for bands of coarser pixels: weighted Brovey.

Each band is multiplied by the panchromatic value over the weighted sum of all bands, as GDAL's
pansharpening does (Gillespie et al. 1987 for equal weights).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def brovey(
    image_BYX: NDArray[Any], pan_YX: NDArray[Any], weights: Sequence[float], nodata: float
) -> None:
    """Sharpen an image in its own memory.

    Whole numbers are rounded, halves up, and stay within their type, above nodata 0. Where the
    panchromatic band or any band is missing the pixel is nodata in all bands; where the weighted
    sum is not positive it stays as it was.

    Parameters
    ----------
    image_BYX : (band, y, x) on the panchromatic band's pixels
    pan_YX : of the same dtype
    weights : one for each band
    """
    missing_YX = _missing(pan_YX, nodata)
    total_YX = np.zeros(pan_YX.shape)
    for band_YX, weight in zip(image_BYX, weights, strict=True):
        missing_YX |= _missing(band_YX, nodata)
        total_YX += weight * band_YX
    ratio_YX = np.ones(pan_YX.shape)
    np.divide(pan_YX, total_YX, out=ratio_YX, where=(total_YX > 0) & ~missing_YX)
    for band_YX in image_BYX:
        sharp_YX = band_YX * ratio_YX
        if image_BYX.dtype.kind == "u":
            sharp_YX = np.floor(sharp_YX + 0.5).clip(1, np.iinfo(image_BYX.dtype).max)
        band_YX[:] = np.where(missing_YX, nodata, sharp_YX)


def _missing(values_YX: NDArray[Any], nodata: float) -> NDArray[np.bool_]:
    return np.asarray(np.isnan(values_YX) if np.isnan(nodata) else values_YX == nodata)
