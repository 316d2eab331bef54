"""A block of layers over a large image strip by strip, so that what is between them stays small.

On a CPU the features of a large tile fill neither the caches nor memory that the process has
already: each layer would fetch all of them anew, into pages that the system has to clear first.

Axes: N images, C channels, H rows, W columns.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from mapmill.design import Design

STRIP_PX = 2**18
"""Pixels of all images of a strip, without its context."""
CONTEXT = 4
"""Rows around a strip: two convolutions of 3 x 3 see 2, an interpolation before them 1; even."""


def is_local(design: Design) -> bool:
    """Whether a row of a block's features is the same whatever lies `CONTEXT` rows away."""
    attends = design.attention in ("se", "cbam")
    # convolutions to a single channel are rounded by how PyTorch shares an image among threads
    is_wide = design.width > 1
    return design.padding == "same" and design.norm != "group" and not attends and is_wide


def in_strips(
    block: Callable[..., Tensor], image_NCHW: Tensor, below_NCHW: Tensor | None = None
) -> Tensor:
    """What a local block makes of an image, to the last bit; in strips on a CPU, without gradients.

    Parameters
    ----------
    block : of the image, and of what lies below it where that is given
    below_NCHW : of half as many rows and columns
    """
    count, _, height, width = image_NCHW.shape
    rows = max(2 * CONTEXT, STRIP_PX // (count * width) // 2 * 2)
    all_of = (image_NCHW,) if below_NCHW is None else (image_NCHW, below_NCHW)
    if height <= 2 * rows or image_NCHW.device.type != "cpu" or torch.is_grad_enabled():
        return block(*all_of)
    result = None
    for begin in range(0, height, rows):
        # the last strip is no smaller: of few values PyTorch convolves by other code
        top = min(begin, height - rows)
        start, stop = max(0, top - CONTEXT), min(height, top + rows + CONTEXT)
        parts = [image_NCHW[:, :, start:stop]]
        if below_NCHW is not None:
            parts.append(below_NCHW[:, :, start // 2 : -(-stop // 2)])
        found = block(*parts)
        if result is None:
            shape = (count, found.shape[1], height, width)
            result = torch.empty(shape, dtype=found.dtype, memory_format=torch.channels_last)
        result[:, :, top : top + rows] = found[:, :, top - start : top - start + rows]
    assert result is not None
    return result
