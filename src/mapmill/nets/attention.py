"""Attention: weights between 0 and 1 for channels, places or skips, and places that see places.

Axes: N images, C channels, H rows, W columns, P places, D dimensions of one head.
"""

from math import gcd

import torch
from torch import Tensor, nn

SHRINK = 16
"""Channels of a squeezed layer are so many times fewer, and at least `FEWEST`."""
FEWEST = 4
HEADS = 8


class SqueezeExcite(nn.Module):
    """A weight for each channel, from the means over the whole image.

    Hu, Shen, Albanie, Sun and Wu 2018, arXiv:1709.01507.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = _perceptron(channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The same channels, weighed."""
        weight_NC: Tensor = self.weigh(x_NCHW.mean((2, 3))).sigmoid()
        return x_NCHW * weight_NC[:, :, None, None]


class Cbam(nn.Module):
    """A weight for each channel, from its mean and maximum over the image; then one for each place.

    Woo, Park, Lee and Kweon 2018, arXiv:1807.06521.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weigh = _perceptron(channels)
        self.place = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The same channels, weighed by channel and place."""
        weight_NC = self.weigh(x_NCHW.mean((2, 3))) + self.weigh(x_NCHW.amax((2, 3)))
        x = x_NCHW * weight_NC.sigmoid()[:, :, None, None]
        both = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        weighed: Tensor = x * self.place(both).sigmoid()
        return weighed


class Gate(nn.Module):
    """A weight for each place of a skip connection, from the skip and the coarser features.

    Oktay and others 2018, arXiv:1804.03999, equation 1; the coarser features come after their
    up-sampling, so that both have one resolution. It looks at single places: the net stays local.
    """

    def __init__(self, skip: int, signal: int) -> None:
        super().__init__()
        inner = max(1, signal // 2)
        self.of_skip = nn.Conv2d(skip, inner, 1, bias=False)
        self.of_signal = nn.Conv2d(signal, inner, 1)
        self.weigh = nn.Conv2d(inner, 1, 1)

    def forward(self, skip_NCHW: Tensor, signal_NCHW: Tensor) -> Tensor:
        """The skip, weighed."""
        both = (self.of_skip(skip_NCHW) + self.of_signal(signal_NCHW)).relu()
        weighed: Tensor = skip_NCHW * self._weight(self.weigh(both))
        return weighed

    def _weight(self, z_N1HW: Tensor) -> Tensor:
        if self.training:
            return z_N1HW.sigmoid()
        # PyTorch rounds the sigmoid by other code where a thread's share of an image ends, so that
        # maps would depend on tiles; a softmax over (z, 0), which is the same, has no such ends.
        both = torch.stack((z_N1HW, torch.zeros_like(z_N1HW)), dim=-1)
        return both.softmax(dim=-1)[..., 0]


class SelfAttention(nn.Module):
    """Every place of the coarsest level looks at every other, without regard to distance.

    Multi-head attention (Vaswani and others 2017, arXiv:1706.03762) added to its input, as in a
    non-local block (Wang, Girshick, Gupta and He 2018, arXiv:1711.07971).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = gcd(channels, HEADS)
        self.norm = nn.GroupNorm(1, channels)
        self.ask = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.answer = nn.Conv2d(channels, channels, 1)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """The same features, each with what it found elsewhere."""
        n, c, height, width = x_NCHW.shape
        split = (n, 3, self.heads, c // self.heads, height * width)
        asked = self.ask(self.norm(x_NCHW)).reshape(split).transpose(3, 4)
        query_NHPD, key_NHPD, value_NHPD = asked.unbind(1)
        found = nn.functional.scaled_dot_product_attention(query_NHPD, key_NHPD, value_NHPD)
        seen: Tensor = self.answer(found.transpose(2, 3).reshape(n, c, height, width))
        return x_NCHW + seen


def _perceptron(channels: int) -> nn.Sequential:
    """Two layers from a value for each channel to another."""
    inner = max(FEWEST, channels // SHRINK)
    return nn.Sequential(nn.Linear(channels, inner), nn.ReLU(), nn.Linear(inner, channels))
