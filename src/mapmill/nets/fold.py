"""A net for prediction alone: each batch normalisation is part of the convolution before it."""

from copy import deepcopy
from itertools import pairwise

import torch
from torch import Tensor, nn

from mapmill.nets.parts import Segmenter


def folded(net: Segmenter) -> Segmenter:
    """A copy in evaluation whose batch normalisations are folded into convolutions.

    With running mean m and variance v a normalisation makes gamma (y - m) / sqrt(v + eps) + beta
    of a convolution y = w x + b: that is a convolution of weight w s and bias (b - m) s + beta,
    where s = gamma / sqrt(v + eps). It is worked out in float64; logits differ in last bits.

    The net's modules are to be ours: there a normalisation that is registered right after a
    convolution normalises what comes out of it.
    """
    copy = deepcopy(net).eval()
    for module in list(copy.modules()):
        for (first, before), (second, after) in pairwise(list(module.named_children())):
            if isinstance(before, nn.Conv2d) and isinstance(after, nn.BatchNorm2d):
                setattr(module, first, _both(before, after))
                setattr(module, second, nn.Identity())
    return copy


@torch.no_grad()
def _both(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution in place of a convolution and its normalisation."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    s_C = _exact(norm.weight) / (variance.double() + norm.eps).sqrt()
    before_C = 0 if convolution.bias is None else _exact(convolution.bias)
    bias_C = (before_C - mean.double()) * s_C + _exact(norm.bias)
    weight = _exact(convolution.weight) * s_C[:, None, None, None]
    dtype = convolution.weight.dtype
    convolution.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    convolution.bias = nn.Parameter(bias_C.to(dtype), requires_grad=False)
    return convolution


def _exact(values: Tensor) -> Tensor:
    return values.detach().double()
