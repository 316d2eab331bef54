"""What a net is shown: channels computed, normalised, 0 where invalid. Needs torch and numpy.

Training and prediction both come through here. Axes: N images, P joined periods (1 where none are
joined), C channels, H rows, W columns.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapmill.features.compute import with_channels
from mapmill.nets.model import Card


def inputs_of(image_NCHW: Tensor, valid_NHW: Tensor, card: Card) -> Tensor:
    """Bands that are shown, and channels computed (N, C, H, W) float32, as the net takes them.

    Parameters
    ----------
    image_NCHW : bands as they are in the imagery; anything where invalid. Of joined periods those
        of each, one after another, with NaN where a period is invalid
    valid_NHW : where every band has data; of joined periods this is seen from the image
    """
    if card.periods:
        valid_NPHW = valid_in(image_NCHW, None, len(card.periods))
    else:
        valid_NPHW = valid_NHW[:, None]
    return marked(shown(image_NCHW, valid_NPHW, card), valid_NPHW, card)


def shown(image_NCHW: Tensor, valid_NPHW: Tensor, card: Card) -> Tensor:
    """Bands and channels of each period, normalised and exactly 0 where it is invalid."""
    parts = []
    for number, part in enumerate(card.each()):
        image, valid_NHW = image_NCHW.chunk(valid_NPHW.shape[1], 1)[number], valid_NPHW[:, number]
        whole = with_channels(image.float(), valid_NHW, part.bands, part.channels)
        if part.without:
            hidden = [number for number, band in enumerate(part.bands) if band in part.without]
            whole = whole[:, [n for n in range(whole.shape[1]) if n not in hidden]]
        parts.append(normalise(whole, valid_NHW, part))
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def marked(image_NCHW: Tensor, valid_NPHW: Tensor, card: Card) -> Tensor:
    """The same; of joined periods each is followed by a channel, 1 where it has data, else 0."""
    if not card.periods:
        return image_NCHW
    image_NPCHW = torch.stack(image_NCHW.chunk(len(card.periods), dim=1), dim=1)
    marks_NP1HW = valid_NPHW.to(image_NCHW.dtype)[:, :, None]
    return torch.cat([image_NPCHW, marks_NP1HW], dim=2).flatten(1, 2)


def normalise(image_NCHW: Tensor, valid_NHW: Tensor, card: Card) -> Tensor:
    """(x - shift) / scale; invalid pixels become exactly 0."""
    shift, scale = (
        torch.tensor(values, dtype=torch.float32, device=image_NCHW.device)[:, None, None]
        for values in (card.shift or card.mean, card.scale or card.sd)
    )
    scaled = (image_NCHW - shift).div_(torch.where(scale > 0, scale, 1))
    return scaled.masked_fill_(~valid_NHW[:, None], 0)


def tensor_of(image_NCHW: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """An image on a device as float32; what crosses over is no larger than the array."""
    return on_device(image_NCHW, device).float()


def on_device(values: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """Values on a device, of their own dtype.

    To CUDA they go from pinned memory, while the CPU goes on.
    """
    if isinstance(values, Tensor):
        return values.to(device)
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def valid_in(image_NCHW: Tensor, nodata: float | None, periods: int = 1) -> Tensor:
    """Where every band of a period has data (N, P, H, W); a `nodata` of None is NaN."""
    missing = image_NCHW.isnan() if nodata is None else image_NCHW == nodata
    return ~torch.stack(missing.chunk(periods, dim=1), dim=1).any(dim=2)
