"""Edges (Canny 1986, IEEE TPAMI 8(6)): blur, gradient, thin, and follow from strong to weak.

Axes: N images, H rows, W columns.
"""

import math

import torch
from torch import Tensor

from mapmill.features.windows import gaussian, gradient, shifted

TAN = math.tan(math.pi / 8)
"""Of 22.5 degrees: where a direction is nearer to a diagonal than to a row or column."""


def canny(
    values_NHW: Tensor,
    valid_NHW: Tensor,
    size: int,
    sigma: float,
    low: float,
    high: float,
    grow: int,
) -> Tensor:
    """1 on edges, 0 elsewhere.

    Parameters
    ----------
    size, sigma : window and standard deviation of the blur in pixels
    low, high : gradient, in units of the values a pixel, that an edge has everywhere, and that it
        reaches somewhere
    grow : pixels over which an edge is followed from where it is strong; below 0: without end
    """
    smooth_NHW = gaussian(values_NHW, valid_NHW, size, sigma)
    right, down = gradient(smooth_NHW, valid_NHW)
    length_NHW = torch.where(valid_NHW, (right * right + down * down).sqrt(), 0)
    ridge_NHW = _thin(length_NHW, right, down)
    weak_NHW = ridge_NHW & (length_NHW >= low)
    edge_NHW = ridge_NHW & (length_NHW >= high)
    steps = 0
    while grow < 0 or steps < grow:
        wider_NHW = _spread(edge_NHW) & weak_NHW
        if torch.equal(wider_NHW, edge_NHW):
            break
        edge_NHW, steps = wider_NHW, steps + 1
    return edge_NHW.to(values_NHW.dtype)


def _thin(length_NHW: Tensor, right_NHW: Tensor, down_NHW: Tensor) -> Tensor:
    """Whether a pixel's gradient is the largest of the three along its direction.

    Directions are rounded to 45 degrees. Of two equal neighbours the one behind counts, so that
    an edge between two pixels is one pixel wide.
    """
    flat, steep = down_NHW.abs() <= TAN * right_NHW.abs(), right_NHW.abs() < TAN * down_NHW.abs()
    falling = (right_NHW * down_NHW) > 0
    ridge_NHW = torch.zeros_like(flat)
    for chosen, (rows, cols) in (
        (flat, (0, 1)),
        (steep, (1, 0)),
        (~flat & ~steep & falling, (1, 1)),
        (~flat & ~steep & ~falling, (1, -1)),
    ):
        behind = shifted(length_NHW, -rows, -cols, 0.0)
        ahead = shifted(length_NHW, rows, cols, 0.0)
        ridge_NHW |= chosen & (length_NHW > behind) & (length_NHW >= ahead)
    return ridge_NHW & (length_NHW > 0)


def _spread(edge_NHW: Tensor) -> Tensor:
    """Edges and their eight neighbours."""
    rows = edge_NHW | shifted(edge_NHW, 1, 0, False) | shifted(edge_NHW, -1, 0, False)
    return rows | shifted(rows, 0, 1, False) | shifted(rows, 0, -1, False)
