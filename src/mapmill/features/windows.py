"""Filters over a square window that leave invalid pixels out.

Axes: N images, H rows, W columns. What is invalid, or lies beyond the edge of the tensor, is not
there: filters over a window use the pixels that are, gradients take the pixel's own value instead.
Only sums, products and comparisons of shifted copies are used, in one order, so that a pixel's
result does not depend on where in a tensor it stands, down to the last bit.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad

WORK = 1 << 24
"""Values that the median holds at once."""


def shifted(values_NHW: Tensor, rows: int, cols: int, fill: float | bool) -> Tensor:
    """At each pixel the value `rows` below and `cols` to the right of it."""
    height, width = values_NHW.shape[1:]
    edges = (max(-cols, 0), max(cols, 0), max(-rows, 0), max(rows, 0))
    wide = pad(values_NHW, edges, value=fill)
    top, left = max(rows, 0), max(cols, 0)
    return wide[:, top : top + height, left : left + width]


def gaussian(values_NHW: Tensor, valid_NHW: Tensor, size: int, sigma: float) -> Tensor:
    """Weighted mean of the valid pixels of the window; 0 where there is none."""
    half = size // 2
    taps = [math.exp(-((step / sigma) ** 2) / 2) for step in range(-half, half + 1)]
    total = torch.where(valid_NHW, values_NHW, 0)
    weight = valid_NHW.to(values_NHW.dtype)
    for down, right in ((1, 0), (0, 1)):
        total, weight = (_weighted(each, taps, half, down, right) for each in (total, weight))
    return torch.where(weight > 0, total / torch.where(weight > 0, weight, 1), 0)


def _weighted(values_NHW: Tensor, taps: list[float], half: int, down: int, right: int) -> Tensor:
    result = torch.zeros_like(values_NHW)
    for step, tap in zip(range(-half, half + 1), taps, strict=True):
        result = result + shifted(values_NHW, step * down, step * right, 0.0) * tap
    return result


def median(values_NHW: Tensor, valid_NHW: Tensor, size: int) -> Tensor:
    """Median of the valid pixels; of an even number the lower one; 0 where there is none."""
    half, nan = size // 2, float("nan")
    there = torch.where(valid_NHW, values_NHW, nan)
    wide = pad(there, (half, half, half, half), value=nan)
    count, height, width = values_NHW.shape
    rows = max(1, WORK // (count * width * size * size))
    parts = []
    for top in range(0, height, rows):
        band = wide[:, top : top + rows + 2 * half]
        window = band.unfold(1, size, 1).unfold(2, size, 1).flatten(3)
        parts.append(window.nanmedian(dim=3).values)
    return torch.cat(parts, dim=1).nan_to_num(nan=0.0)


def local_min_max(values_NHW: Tensor, valid_NHW: Tensor, size: int) -> Tensor:
    """Place between the least (0) and largest (1) valid value of the window; 0 where it is flat."""
    least = -_largest(torch.where(valid_NHW, -values_NHW, -torch.inf), size // 2)
    most = _largest(torch.where(valid_NHW, values_NHW, -torch.inf), size // 2)
    span = most - least
    usable = valid_NHW & (span > 0)
    return torch.where(usable, (values_NHW - least) / torch.where(usable, span, 1), 0)


def _largest(values_NHW: Tensor, half: int) -> Tensor:
    """Largest value of the window: of the rows, then of the columns of that.

    Each step doubles the length that has been looked at.
    """
    for down, right in ((1, 0), (0, 1)):
        for sign in (1, -1):
            seen = 0
            ahead = values_NHW
            for step in _doubling(half):
                other = shifted(ahead, sign * step * down, sign * step * right, -torch.inf)
                ahead = torch.maximum(ahead, other)
                seen += step
            assert seen == half
            values_NHW = ahead
    return values_NHW


def _doubling(half: int) -> Iterator[int]:
    """Steps that sum to `half`, each at most one more than the sum before."""
    seen = 0
    while seen < half:
        step = min(seen + 1, half - seen)
        yield step
        seen += step


def gradient(
    values_NHW: Tensor, valid_NHW: Tensor, smoothing: tuple[int, int, int] = (1, 2, 1)
) -> tuple[Tensor, Tensor]:
    """Change to the right and downwards, a pixel, by the Sobel operator over 8.

    Horn (1981, Hill shading and the reflectance map, eq. 6) takes slopes from the same weights.
    """
    right, down = torch.zeros_like(values_NHW), torch.zeros_like(values_NHW)
    for across, weight in zip((-1, 0, 1), smoothing, strict=True):
        for sign in (-1, 1):
            right = right + _near(values_NHW, valid_NHW, across, sign) * (sign * weight)
            down = down + _near(values_NHW, valid_NHW, sign, across) * (sign * weight)
    return right / (2 * sum(smoothing)), down / (2 * sum(smoothing))


def _near(values_NHW: Tensor, valid_NHW: Tensor, rows: int, cols: int) -> Tensor:
    """A neighbour's value; the pixel's own where the neighbour is not there."""
    there = shifted(valid_NHW, rows, cols, False)
    return torch.where(there, shifted(values_NHW, rows, cols, 0.0), values_NHW)


def slope(values_NHW: Tensor, valid_NHW: Tensor, pixel: float) -> Tensor:
    """Slope in degrees of heights in the pixel's units."""
    right, down = gradient(values_NHW, valid_NHW)
    steepness = (right * right + down * down).sqrt() / pixel
    return torch.rad2deg(torch.atan(steepness.to(exact(steepness)))).to(values_NHW.dtype)


def exact(like: Tensor) -> torch.dtype:
    """The most exact numbers that a tensor's device has.

    Functions other than + - * / and the root may round a number otherwise at the end of a row than
    in its middle; in float64 that is lost when the result becomes float32.
    """
    return torch.float32 if like.device.type == "mps" else torch.float64
