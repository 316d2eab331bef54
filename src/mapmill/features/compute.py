"""From bands to all channels, by what a model's card says.

Axes: N images, C channels, H rows, W columns.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from mapmill.channels import Channel
from mapmill.features.canny import canny
from mapmill.features.windows import exact, gaussian, gradient, local_min_max, median, slope
from mapmill.formulas import evaluate


def with_channels(
    image_NCHW: Tensor, valid_NHW: Tensor, bands: Sequence[str], channels: Sequence[Channel]
) -> Tensor:
    """The image, followed by the channels that a net sees; these are 0 where invalid.

    Parameters
    ----------
    image_NCHW : bands as they are in the imagery, float32; anything where invalid
    valid_NHW : where every band has data
    """
    if not channels:
        return image_NCHW
    held = {band: image_NCHW[:, number] for number, band in enumerate(bands)}
    for channel in channels:
        made_NHW = _made(channel, held, valid_NHW)
        held[channel.name] = torch.where(valid_NHW, made_NHW, 0)
    added = [held[channel.name] for channel in channels if channel.shown]
    return torch.cat([image_NCHW, torch.stack(added, dim=1)], dim=1)


def _made(channel: Channel, held: dict[str, Tensor], valid_NHW: Tensor) -> Tensor:
    if channel.kind == "formula":
        return _by_formula(channel, held, valid_NHW)
    values_NHW, numbers = held[channel.sources["x"]], channel.numbers
    size = int(numbers.get("size", 0))
    match channel.kind:
        case "gaussian":
            return gaussian(values_NHW, valid_NHW, size, numbers["sigma"])
        case "median":
            return median(values_NHW, valid_NHW, size)
        case "local_min_max":
            return local_min_max(values_NHW, valid_NHW, size)
        case "global_min_max":
            span = numbers["most"] - numbers["least"]
            return ((values_NHW - numbers["least"]) / (span if span > 0 else 1.0)).clamp(0, 1)
        case "sobel":
            right, down = gradient(values_NHW, valid_NHW)
            both = (right * right + down * down).sqrt()
            return (right, down, both)[int(numbers["direction"])]
        case "slope":
            return slope(values_NHW, valid_NHW, numbers["pixel"])
        case "canny":
            limits = numbers["low"], numbers["high"], int(numbers["grow"])
            return canny(values_NHW, valid_NHW, size, numbers["sigma"], *limits)
    raise AssertionError(channel.kind)


def _by_formula(channel: Channel, held: dict[str, Tensor], valid_NHW: Tensor) -> Tensor:
    dtype = exact(valid_NHW)
    unit = channel.numbers.get("reflectance", 1.0)
    values: dict[str, Tensor | float] = dict(channel.numbers)
    for symbol, source in channel.sources.items():
        values[symbol] = torch.where(valid_NHW, held[source], 0).to(dtype) / unit
    result = evaluate(channel.formula, values, _divide, _power)
    whole = torch.as_tensor(result, dtype=dtype, device=valid_NHW.device).expand(valid_NHW.shape)
    return torch.where(whole.isfinite(), whole, 0).to(torch.float32)


def _divide(top: Tensor | float, bottom: Tensor | float) -> Tensor | float:
    """The quotient; 0 where it would be one by 0."""
    if isinstance(bottom, Tensor):
        quotient = top / torch.where(bottom == 0, 1, bottom)
        return torch.where(bottom == 0, 0, quotient)
    return top / bottom if bottom else top * 0.0


def _power(base: Tensor | float, exponent: Tensor | float) -> Tensor | float:
    """The power; of two numbers infinite where it is too large."""
    try:
        result: Tensor | float | complex = base**exponent
    except (OverflowError, ZeroDivisionError):
        return float("inf")
    return float("nan") if isinstance(result, complex) else result
