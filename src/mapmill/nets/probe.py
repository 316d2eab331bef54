"""How far a net sees, measured."""

import torch

from mapmill.nets.parts import Segmenter

GLOBAL = "global"
"""The reach of a net in which every pixel can change every other."""


LEAST, STRIDES = 1024, 64
"""Pixels, and strides, of the widest image that is tried."""


def reach(net: Segmenter, bands: int, stride: int) -> int | str:
    """How many pixels away an input pixel can change the output: measured, not declared.

    A NaN is put on one line, in each phase of the stride, and followed to the output; along rows
    and along columns. NaN times 0 is NaN: a path counts whatever its weights are.

    Returns
    -------
    pixels, or "global" where the reach is over about half of the widest image that is tried
    """
    was_training = net.training
    net.eval()
    width, limit = 16 * stride, max(LEAST, STRIDES * stride)
    try:
        while width <= limit:
            farthest = _farthest(net, bands, stride, width)
            if farthest is not None:
                return farthest
            width *= 2
    finally:
        net.train(was_training)
    return GLOBAL


def _farthest(net: Segmenter, bands: int, stride: int, width: int) -> int | None:
    """The reach, if images of `width` pixels are large enough to tell."""
    farthest, most = 0, width // 2 - stride
    for phase in range(stride):
        for axis in (3, 2):
            farthest = max(farthest, _spread(net, bands, width, phase, axis))
            if farthest >= most - net.margin:  # it may go on beyond the image
                return None
    return farthest


def _spread(net: Segmenter, bands: int, width: int, phase: int, axis: int) -> int:
    """Largest distance along an axis from a NaN at `width / 2 + phase` to a NaN in the output."""
    place = width // 2 + phase
    image_NCHW = torch.zeros(1, bands, net.fits(net.stride), net.fits(width))
    image_NCHW[..., place] = torch.nan
    if axis == 2:
        image_NCHW = image_NCHW.transpose(2, 3).contiguous()
    with torch.inference_mode():
        broken_HW = net(image_NCHW).isnan().any(dim=1)[0]
    touched = broken_HW.any(dim=3 - axis).nonzero() + net.margin
    return int((touched - place).abs().max()) if len(touched) else 0
