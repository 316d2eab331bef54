"""Numba kernels of single pixels: bands to a net's input, logits to shares, shares to classes.

Written for machine code that needs nothing of Python or numba when it runs (`mapmill.native`):
arrays are addresses, strides count values, rooms are given by the caller. A pixel's result
depends on its own values alone: there are no sums over pixels, and no processor's shortcuts that
are rounded otherwise at the end of an array.
"""

from typing import Any

import numba
import numpy as np

_compiled = numba.njit(error_model="numpy", nogil=True)

LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
"""ln 2 in two parts, of which the first has few digits: its multiples are exact."""
LEAST = np.float32(-87.0)
"""Below it the exponential is taken for 0: it nears the smallest normal float32."""


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _exp(x: Any) -> Any:
    """exp(x) of a float32 of at most 0; no number of none.

    x = n ln 2 + r with |r| <= ln 2 / 2; exp(r) by the polynomial of expf in the Cephes library
    (Moshier 1992), and 2 ** n by its bits.
    """
    inside = x if x >= LEAST else LEAST
    n = np.floor(inside * LOG2_E + np.float32(0.5))
    r = inside - n * LN2_HIGH - n * LN2_LOW
    y = np.float32(1.9875691500e-4)
    y = y * r + np.float32(1.3981999507e-3)
    y = y * r + np.float32(8.3334519073e-3)
    y = y * r + np.float32(4.1665795894e-2)
    y = y * r + np.float32(1.6666665459e-1)
    y = y * r + np.float32(5.0000001201e-1)
    y = y * (r * r) + r + np.float32(1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    if x >= LEAST:
        return y * power
    return x if np.isnan(x) else np.float32(0)


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def softmax(
    logits: Any, band: int, line: int, step: int, classes: int, rows: int, cols: int, room: Any,
    share: Any, share_band: int, share_line: int,
) -> int:  # fmt: skip
    """Probabilities of rows of logits.

    Parameters
    ----------
    logits : float32; `band`, `line` and `step` from one class, row and column to the next
    room : (classes + 2, cols) float32
    share : float32 to fill; its columns are neighbours

    Returns
    -------
    Pixels whose logits have no probabilities: one is not a number, or infinite.
    """
    most, total, wrong = classes * cols, (classes + 1) * cols, 0
    for y in range(rows):
        _copy_row(logits, y * line, band, step, classes, cols, room)
        for x in range(cols):
            room[total + x] = 0
        for k in range(classes):
            for x in range(cols):
                e = _exp(room[k * cols + x] - room[most + x])
                room[k * cols + x] = e
                room[total + x] += e
        for k in range(classes):
            start = y * share_line + k * share_band
            for x in range(cols):
                share[start + x] = room[k * cols + x] / room[total + x]
        for x in range(cols):
            wrong += not (room[total + x] >= 1 and room[most + x] < np.inf)
    return wrong


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _copy_row(
    logits: Any, start: int, band: int, step: int, classes: int, cols: int, room: Any
) -> None:
    """The logits of a row, class by class, and after them the largest of each pixel."""
    most = classes * cols
    for x in range(cols):
        room[most + x] = -np.inf
    for k in range(classes):
        at = start + k * band
        for x in range(cols):
            room[k * cols + x] = logits[at + x * step]
        for x in range(cols):
            room[most + x] = max(room[most + x], room[k * cols + x])


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def classify(
    share: Any, band: int, line: int, classes: int, rows: int, cols: int, threshold: float,
    times: Any, times_line: int, room: Any, found: Any, percent: Any,
) -> int:  # fmt: skip
    """The class of each pixel, 1 to `classes`, and its probability in percent, 1 to 100.

    Of equals the first; of two classes the second where it is above the threshold. 0 where
    `times` is 0.

    Parameters
    ----------
    share : float32 probabilities; `band` and `line` from one class and row to the next
    room : (cols,) float32
    found, percent : (rows, cols) uint8 to fill
    """
    for y in range(rows):
        start, at = y * line, y * cols
        for x in range(cols):
            room[x] = share[start + x]
            found[at + x] = 1
        if classes == 2:
            for x in range(cols):
                second = np.float64(share[start + band + x])
                is_second = (1 - threshold) * second > threshold * np.float64(room[x])
                found[at + x] = np.uint8(2) if is_second else np.uint8(1)
                room[x] = share[start + band + x] if is_second else room[x]
        else:
            for k in range(1, classes):
                for x in range(cols):
                    p = share[start + k * band + x]
                    is_more = p > room[x]
                    found[at + x] = np.uint8(k + 1) if is_more else found[at + x]
                    room[x] = p if is_more else room[x]
        for x in range(cols):
            rounded = np.rint(100 * np.float64(room[x]))
            inside = max(1.0, min(100.0, rounded))
            seen = times[y * times_line + x] > 0
            percent[at + x] = np.uint8(inside) if seen else np.uint8(0)
            found[at + x] = found[at + x] if seen else np.uint8(0)
    return 0


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def normalise(
    image: Any, band: int, line: int, valid: Any, valid_line: int, shift: Any, scale: Any,
    bands: int, rows: int, cols: int, room: Any, shown: Any,
) -> int:  # fmt: skip
    """(x - shift) / scale of each band, in float32; 0 where a pixel is not valid.

    Parameters
    ----------
    image : values of any type; `band` and `line` from one band and row to the next
    valid : uint8
    shift, scale : (bands,) float32
    room : (bands, cols) float32
    shown : (rows, cols, bands) float32 to fill: channels last
    """
    for y in range(rows):
        for b in range(bands):
            start, less, by = y * line + b * band, shift[b], scale[b]
            for x in range(cols):
                value = (np.float32(image[start + x]) - less) / by
                room[b * cols + x] = value if valid[y * valid_line + x] else np.float32(0)
        for b in range(bands):
            at = y * cols * bands + b
            for x in range(cols):
                shown[at + x * bands] = room[b * cols + x]
    return 0
