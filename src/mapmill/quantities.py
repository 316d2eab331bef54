"""What else probabilities say of a pixel, in whole percent: entropy, margin, each class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mapmill.temperature import TINY

LAYERS = ("entropy", "margin", "probabilities")
Percent = NDArray[np.uint8]


def names_of(layers: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Names of the bands that layers make."""
    names = []
    for layer in layers:
        names += (
            [f"probability of {name}" for name in classes] if layer == "probabilities" else [layer]
        )
    return names


def quantities(p_KYX: NDArray[np.floating], layers: Sequence[str]) -> Percent:
    """(band, y, x) percent, halves rounded to the even number.

    entropy: Shannon's, of the most that there can be (log K); 0 where one class is certain.
    margin: the largest probability less the second largest. probabilities: of each class.
    """
    bands: list[NDArray[np.floating]] = []
    for layer in layers:
        if layer == "entropy":
            bands.append(_entropy(p_KYX))
        elif layer == "margin":
            second_YX, first_YX = np.partition(p_KYX, -2, axis=0)[-2:]
            bands.append(first_YX - second_YX)
        else:
            bands.extend(p_KYX)
    shape = (len(bands), *p_KYX.shape[1:])
    result = np.empty(shape, np.uint8)
    for out_YX, band_YX in zip(result, bands, strict=True):
        out_YX[:] = np.rint(100 * np.clip(band_YX.astype(np.float64), 0, 1))
    return result


def _entropy(p_KYX: NDArray[np.floating]) -> NDArray[np.floating]:
    total_YX = np.zeros(p_KYX.shape[1:])
    for p_YX in p_KYX:
        total_YX -= p_YX * np.log(np.maximum(p_YX, TINY))
    entropy: NDArray[np.floating] = total_YX / np.log(len(p_KYX))
    return entropy
