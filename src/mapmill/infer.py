"""Prediction of a window with an exact halo. Needs torch and numpy alone; fed with arrays.

A tile's origin lies on a multiple of the net's stride, counted from the grid's origin, and its
halo is at least the net's reach: so a pixel's result does not depend on tile or block size.
A net that looks at the whole image has no such halo; it is shown some context, and its results
do depend on the tile. Beyond the area's edge the image is reflected.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mapmill.channels import reach_of
from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.inputs import inputs_of, tensor_of
from mapmill.nets.model import Card, Net
from mapmill.nets.probe import reach

Array = NDArray[Any]
SMALL = 20_480
"""Values of one image up to which PyTorch does not use oneDNN (ConvParams::use_mkldnn)."""
CONTEXT = 256
Reader = Callable[[Window], tuple[Array, NDArray[np.bool_]]]
"""Image (band, y, x) and validity (y, x) of a window within the grid."""


@dataclass(frozen=True)
class Predictor:
    """A net on a device, with what it needs of its surroundings."""

    net: Net
    card: Card
    device: torch.device
    halo: int
    """Pixels around a tile that are read: the reach of the net and of the channels that it is
    shown, or else the context."""
    is_exact: bool = True
    """Whether the halo holds all that the net reaches."""

    @classmethod
    def of(cls, net: Net, card: Card, device: torch.device, context: int = CONTEXT) -> "Predictor":
        """Measure the reach where nobody did and move the net to its device.

        Parameters
        ----------
        context : pixels around a tile for a net that looks at the whole image; and for one of
            segmentation-models-pytorch the most that are read, since planning cannot know more
        """
        far = card.reach
        if far is None:
            far = reach(net, len(card.inputs), net.stride)
        is_exact = isinstance(far, int) and (card.net != "smp" or far <= context)
        halo = far if isinstance(far, int) and is_exact else context
        halo += reach_of(card.channels)
        moved = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return cls(moved, card, device, halo, is_exact)

    @torch.inference_mode()
    def probabilities(self, window: Window, grid: Window, read: Reader) -> Array:
        """Softmax (class, y, x) float32 of a window of the grid."""
        stride, margin = self.net.stride, self.net.margin
        start = [(edge - self.halo) // stride * stride for edge in (window.row, window.col)]
        ends = [window.row_end + self.halo, window.col_end + self.halo]
        sizes = [self.net.fits(end - s) for end, s in zip(ends, start, strict=True)]
        around = Window(*start, *sizes)
        image_BYX, valid_YX = read_reflected(around, grid, read)
        valid_NHW = torch.from_numpy(np.ascontiguousarray(valid_YX[None])).to(self.device)
        tensor = inputs_of(tensor_of(image_BYX[None], self.device), valid_NHW, self.card)
        # PyTorch convolves one small image by other code than a large one; two are never small.
        smallest = min(len(self.card.inputs), self.card.width / 2 ** (self.card.depth + 1))
        if smallest * (sizes[0] - 2 * margin) * (sizes[1] - 2 * margin) <= SMALL:
            tensor = tensor.expand(2, -1, -1, -1)
        logits_NKHW = self.net(tensor.contiguous(memory_format=torch.channels_last))
        rows, cols = window.slices(around.grow(-margin))
        # Classes last: else the end of a row is rounded by other code than its middle.
        inner_YXK = logits_NKHW[0, :, rows, cols].float().permute(1, 2, 0).contiguous().softmax(-1)
        return np.asarray(inner_YXK.permute(2, 0, 1).cpu().numpy())


def read_reflected(around: Window, grid: Window, read: Reader) -> tuple[Array, Array]:
    """Read a window that may reach beyond the grid; outside, the image is its own mirror."""
    inside = around.intersect(grid)
    if inside is None:
        raise ContractError(f"window {around}", "no overlap with the grid", "some", "report this")
    image_BYX, valid_YX = read(inside)
    pads = (
        (inside.row - around.row, around.row_end - inside.row_end),
        (inside.col - around.col, around.col_end - inside.col_end),
    )
    return np.pad(image_BYX, ((0, 0), *pads), "reflect"), np.pad(valid_YX, pads, "reflect")


def tiles_of(block: Window, size: int, stride: int) -> Iterator[Window]:
    """The parts of a block cut by a lattice of `size`, rounded up to a multiple of the stride."""
    step = -(-size // stride) * stride
    for row in range(block.row // step * step, block.row_end, step):
        for col in range(block.col // step * step, block.col_end, step):
            part = Window(row, col, step, step).intersect(block)
            if part:
                yield part
