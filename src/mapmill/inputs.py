"""What a net is shown: channels computed, normalised, 0 where invalid. Needs torch and numpy.

Training and prediction both come through here. Axes: N images, C channels, H rows, W columns.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapmill.features.compute import with_channels
from mapmill.nets.model import Card


def inputs_of(image_NCHW: Tensor, valid_NHW: Tensor, card: Card) -> Tensor:
    """Bands and channels computed from them (N, C, H, W) float32, as the net takes them.

    Parameters
    ----------
    image_NCHW : bands as they are in the imagery; anything where invalid
    valid_NHW : where every band has data
    """
    whole_NCHW = with_channels(image_NCHW.float(), valid_NHW, card.bands, card.channels)
    return normalise(whole_NCHW, valid_NHW, card)


def normalise(image_NCHW: Tensor, valid_NHW: Tensor, card: Card) -> Tensor:
    """(x - shift) / scale; invalid pixels become exactly 0."""
    shift, scale = (
        torch.tensor(values, dtype=torch.float32, device=image_NCHW.device)[:, None, None]
        for values in (card.shift or card.mean, card.scale or card.sd)
    )
    scaled = (image_NCHW - shift) / torch.where(scale > 0, scale, 1)
    return torch.where(valid_NHW[:, None], scaled, 0)


def tensor_of(image_NCHW: NDArray[Any], device: torch.device) -> Tensor:
    """An image on a device as float32; what crosses over is no larger than the array."""
    return torch.from_numpy(np.ascontiguousarray(image_NCHW)).to(device).float()


def valid_in(image_NCHW: Tensor, nodata: float | None) -> Tensor:
    """Where every band has data (N, H, W); a `nodata` of None is NaN."""
    missing = image_NCHW.isnan() if nodata is None else image_NCHW == nodata
    return ~missing.any(dim=1)
