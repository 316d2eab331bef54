"""What happens to single pixels around a net on the CPU: three kernels, and what they are given.

Axes: B bands, K classes, y rows, x columns.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill import native

Array = NDArray[Any]
Floats = NDArray[np.float32]
VALUES = ("uint8", "uint16", "int16", "float32")
"""Kinds of bands that `normalised` takes."""
F32, U8 = "CPointer(float32)", "CPointer(uint8)"
SOFTMAX = f"{F32} int64 int64 int64 int64 int64 int64 {F32} {F32} int64 int64"
CLASSIFY = f"{F32} int64 int64 int64 int64 int64 float64 {U8} int64 {F32} {U8} {U8}"
NORMALISE = f"int64 int64 {U8} int64 {F32} {F32} int64 int64 int64 {F32} {F32}"


@cache
def _kernel(name: str, signature: str) -> native.Kernel:
    return native.load("pixel_kernels", name, signature)


def _steps(values: Array) -> list[int]:
    """Values from one place to the next, along each axis."""
    return [step // values.itemsize for step in values.strides]


def _in_rows(values: Array) -> Array:
    """The same, with columns that are neighbours in memory."""
    return values if _steps(values)[-1] == 1 else np.ascontiguousarray(values)


def normalised(
    image_BYX: Array, valid_YX: NDArray[np.bool_], shift_B: Floats, scale_B: Floats, shown: Array
) -> None:
    """(x - shift) / scale in float32, 0 where invalid; bits as PyTorch has them.

    Parameters
    ----------
    image_BYX : of a kind in `VALUES`
    shown : (y, x, band) float32 to fill, contiguous
    """
    bands, rows, cols = image_BYX.shape
    expected = (rows, cols), (bands,), (bands,), (rows, cols, bands)
    found = valid_YX.shape, shift_B.shape, scale_B.shape, shown.shape
    if found != expected:  # the kernel writes where it is told, beyond the array too
        raise ValueError(f"arrays of {found} for an image of {image_BYX.shape}")
    # a no-op where bytes are in this processor's order already
    image_BYX = image_BYX.astype(image_BYX.dtype.newbyteorder("="), copy=False)
    image_BYX, valid_YX = _in_rows(image_BYX), _in_rows(valid_YX)
    room = np.empty((bands, cols), np.float32)
    band, line, _ = _steps(image_BYX)
    kernel = _kernel("normalise", f"CPointer({image_BYX.dtype.name}) {NORMALISE}")
    arrays = (shift_B, scale_B, room, shown)
    shift, scale, room_at, shown_at = (array.ctypes.data for array in arrays)
    places = (image_BYX.ctypes.data, band, line, valid_YX.ctypes.data, _steps(valid_YX)[0])
    kernel(*places, shift, scale, bands, rows, cols, room_at, shown_at)


def probabilities(logits_KYX: Floats) -> tuple[Floats, int]:
    """Softmax over the classes (class, y, x), and how many pixels have none.

    Those have logits that are infinite or no numbers.
    """
    classes, rows, cols = logits_KYX.shape
    share_KYX = np.empty(logits_KYX.shape, np.float32)
    room = np.empty((classes + 2, cols), np.float32)
    wrong = _kernel("softmax", SOFTMAX)(
        logits_KYX.ctypes.data, *_steps(logits_KYX), classes, rows, cols,
        room.ctypes.data, share_KYX.ctypes.data, rows * cols, cols,
    )  # fmt: skip
    return share_KYX, wrong


def class_and_percent(
    share_KYX: Floats, threshold: float, times_YX: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """(2, y, x): class 1 to K and its probability in percent, 1 to 100; 0 where `times_YX` is 0.

    Of equals the first; of two classes the second where it is above the threshold.
    """
    share_KYX, times_YX = _in_rows(share_KYX), _in_rows(times_YX)
    classes, rows, cols = share_KYX.shape
    found_2YX = np.empty((2, rows, cols), np.uint8)
    room = np.empty(cols, np.float32)
    band, line, _ = _steps(share_KYX)
    _kernel("classify", CLASSIFY)(
        share_KYX.ctypes.data, band, line, classes, rows, cols, threshold,
        times_YX.ctypes.data, _steps(times_YX)[0], room.ctypes.data,
        found_2YX[0].ctypes.data, found_2YX[1].ctypes.data,
    )  # fmt: skip
    return found_2YX
