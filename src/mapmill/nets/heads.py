"""What a net returns in training beside its mask, and the one loss of all of it.

Axes: N images, K classes, H rows, W columns.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mapmill.errors import ContractError
from mapmill.losses import Loss, Sum, here
from mapmill.nets.parts import Segmenter

HEADS = ("head.", "half_head.", "double_head.", "label_head.", "model.segmentation_head.")
"""How names of tensors begin that depend on the number of classes."""


class Outputs(NamedTuple):
    """Logits of all heads."""

    mask_NKHW: Tensor
    half_NKHW: Tensor | None = None
    """Of every second row and column."""
    double_NKHW: Tensor | None = None
    """Of twice as many rows and columns."""
    label_NK: Tensor | None = None
    """Of each class's being in the image at all."""


def whole_strides(net: Segmenter, image_NCHW: Tensor) -> Outputs:
    """Outputs of an image of any size, without the net's margin on each side.

    Rows and columns of 0, as invalid pixels have, are added at the bottom and right up to a
    size that the net takes, and their logits are cut off: they count in no loss and no score.

    Raises
    ------
    ContractError
        if the image is no larger than the margins.
    """
    height, width = image_NCHW.shape[2:]
    more = (0, net.fits(width) - width, 0, net.fits(height) - height)
    rows, cols = height - 2 * net.margin, width - 2 * net.margin
    if min(rows, cols) < 1:
        raise ContractError(
            "train.padding",
            f"patches of {min(height, width)} px for padding: valid",
            f"more than {2 * net.margin} px",
            "raise select.size or train.crop, lower train.depth, or take padding: same",
        )
    found = net(nn.functional.pad(image_NCHW, more))
    outputs = found if isinstance(found, Outputs) else Outputs(found)
    mask_NKHW, half_NKHW, double_NKHW, label_NK = outputs
    return Outputs(
        mask_NKHW[:, :, :rows, :cols],
        None if half_NKHW is None else half_NKHW[:, :, : rows // 2, : cols // 2],
        None if double_NKHW is None else double_NKHW[:, :, : 2 * rows, : 2 * cols],
        label_NK,
    )


def vote(outputs: Outputs) -> Tensor:
    """The logarithm of the mean of three heads' probabilities, (N, K, H, W) of the mask.

    Each half pixel votes for its four, four double pixels for their one: no pixel looks at others
    than before, so that tiles leave no trace.

    Raises
    ------
    ContractError
        if there are not three heads.
    """
    mask_NKHW, half_NKHW, double_NKHW, _ = outputs
    if half_NKHW is None or double_NKHW is None:
        raise ContractError("predict.vote", "one mask", "head: multi-resolution", "set it to false")
    coarse = half_NKHW.float().softmax(dim=1)
    coarse = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    fine = nn.functional.avg_pool2d(double_NKHW.float().softmax(dim=1), 2)
    return ((mask_NKHW.float().softmax(dim=1) + coarse + fine) / 3).log()


def total_loss(
    loss: Loss,
    outputs: Outputs,
    label_NHW: Tensor,
    weight_K: Tensor,
    label_weight: float,
    weight_NHW: Tensor | None = None,
    share_NHW: Tensor | None = None,
    summed: Sum = here,
) -> Tensor:
    """One loss of all heads: the mean over the masks, and the weighted label loss.

    Parameters
    ----------
    label_NHW : uint8, of the mask's size, 0 is ignored
    weight_K : weight of each class
    label_weight : of `label_loss`
    weight_NHW, share_NHW : weight and share of each pixel, see losses.Loss
    summed : the sum over all processes, for `label_loss`; that of `loss` is its own
    """
    pixels = (label_NHW, weight_NHW, share_NHW)
    total = _loss(loss, outputs.mask_NKHW, weight_K, pixels)
    if outputs.half_NKHW is not None and outputs.double_NKHW is not None:
        index = majority(label_NHW)
        halved = tuple(None if a is None else _fours(a).gather(-1, index)[..., 0] for a in pixels)
        twice = tuple(None if a is None else _doubled(a) for a in pixels)
        total = total + _loss(loss, outputs.half_NKHW, weight_K, halved)
        total = (total + _loss(loss, outputs.double_NKHW, weight_K, twice)) / 3
    if outputs.label_NK is not None:
        total = total + label_weight * label_loss(outputs.label_NK, label_NHW, summed)
    return total


def _loss(
    loss: Loss, logits_NKHW: Tensor, weight_K: Tensor, pixels: tuple[Tensor | None, ...]
) -> Tensor:
    label_NHW, weight_NHW, share_NHW = pixels
    assert label_NHW is not None
    return loss(logits_NKHW, label_NHW, weight_K, weight_NHW, share_NHW)


def label_loss(logits_NK: Tensor, label_NHW: Tensor, summed: Sum = here) -> Tensor:
    """Mean binary cross-entropy of "class k is among the labelled pixels", over classes and images.

    An image without a labelled pixel has no part in it. As in Zhang and others 2018,
    arXiv:1803.08904, section 3.1. The mean is over the images of all processes.
    """
    counted_NK = torch.zeros(len(logits_NK), logits_NK.shape[1] + 1, device=logits_NK.device)
    there_NK = counted_NK.scatter(1, label_NHW.flatten(1).long(), 1.0)[:, 1:]
    labelled_N = there_NK.any(dim=1)
    each_NK = nn.functional.binary_cross_entropy_with_logits(
        logits_NK[labelled_N].float(), there_NK[labelled_N], reduction="none"
    )
    own = each_NK.sum()
    total, count = summed(torch.stack([own, own.new_tensor(float(each_NK.numel()))]))
    mean: Tensor = total / count.clamp(min=1)
    return mean


def majority(label_NHW: Tensor) -> Tensor:
    """Which pixel of each square of 2 x 2, from 0 row by row, has its most frequent class.

    Unlabelled pixels count only where nothing else is; of equals the first pixel counts.

    Returns
    -------
    int64 (N, H // 2, W // 2, 1)
    """
    fours = _fours(label_NHW)
    count = (fours[..., :, None] == fours[..., None, :]).sum(dim=-1) * (fours > 0)
    return count.argmax(dim=-1, keepdim=True)


def _fours(x_NHW: Tensor) -> Tensor:
    """The pixels of each square of 2 x 2, (N, H // 2, W // 2, 4); an odd last line is left out."""
    n, height, width = x_NHW.shape
    even = x_NHW[:, : height // 2 * 2, : width // 2 * 2]
    squares = even.reshape(n, height // 2, 2, width // 2, 2).transpose(2, 3)
    return squares.reshape(n, height // 2, width // 2, 4)


def _doubled(x_NHW: Tensor) -> Tensor:
    return x_NHW.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)
