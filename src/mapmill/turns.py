"""The eight ways to lay a square down, for the mean of what a net says of each.

Axes: N images, C channels, H rows, W columns, K classes.
"""

from collections.abc import Callable

import torch
from torch import Tensor

KINDS = {
    1: ((0, False),),
    4: tuple((quarter, False) for quarter in range(4)),
    8: tuple((quarter, flipped) for flipped in (False, True) for quarter in range(4)),
}
"""Quarter turns, and whether left and right are exchanged before them."""


def turned(x: Tensor, quarters: int, flipped: bool) -> Tensor:
    """A tensor (..., H, W) flipped and then turned to the left."""
    return torch.rot90(x.flip(-1) if flipped else x, quarters, (-2, -1))


def turned_back(x: Tensor, quarters: int, flipped: bool) -> Tensor:
    """Undo `turned`."""
    back = torch.rot90(x, -quarters, (-2, -1))
    return back.flip(-1) if flipped else back


def mean_of_turns(
    probabilities: Callable[[Tensor, Tensor], Tensor],
    image_NCHW: Tensor,
    valid_NHW: Tensor,
    turns: int,
) -> Tensor:
    """The mean (N, K, H, W) of what is said of an image laid down in `turns` ways.

    The sum goes in one order: its rounding does not depend on the tile.

    Parameters
    ----------
    probabilities : of images and their validity; those of channels computed from the bands too,
        since a slope or an edge turns with the ground
    turns : 1, 4 or 8
    """
    total: Tensor | None = None
    for way in KINDS[turns]:
        said = turned_back(probabilities(turned(image_NCHW, *way), turned(valid_NHW, *way)), *way)
        total = said if total is None else total + said
    assert total is not None
    return total if turns == 1 else total / turns
