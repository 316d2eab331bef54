"""What nets are made of: their common face, and the pair of convolutions at each level.

Axes: N images, C channels, H rows, W columns.
"""

from math import gcd
from typing import Any

from torch import Tensor, nn

from mapmill.design import Design
from mapmill.nets.attention import Cbam, SqueezeExcite

PLAIN = Design()
GROUPS = 8
"""Most groups of a group normalisation."""


class Segmenter(nn.Module):
    """A net that gives each pixel of an image its logits.

    In evaluation `forward` returns logits (N, K, H - 2 margin, W - 2 margin) of an image
    (N, C, H, W) float32 whose invalid pixels are 0; in training it may return `Outputs`.
    """

    stride: int
    """Pixels after which the net repeats itself."""
    margin: int = 0
    """Pixels that the logits lack on each side."""
    all_heads: bool = False
    """Whether `Outputs` are returned in evaluation too."""

    def fits(self, size: int) -> int:
        """The smallest side of an image, at least `size`, that the net takes."""
        return -(-size // self.stride) * self.stride


def centre(x: Any, height: int, width: int) -> Any:
    """The middle of a tensor or array (..., y, x)."""
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def double(inputs: int, outputs: int, design: Design = PLAIN) -> nn.Module:
    """Two 3 x 3 convolutions, each with its normalisation and ReLU, and what the design adds."""
    if design.block == "residual":
        return Residual(inputs, outputs, design)
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [*_convolution(channels, outputs, design), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, *_attention(outputs, design), *_dropout(design))


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut (He, Zhang, Ren and Sun 2015, arXiv:1512.03385).

    Attention weighs the convolutions' side alone, as in SE-ResNet.
    """

    def __init__(self, inputs: int, outputs: int, design: Design) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(inputs, outputs, design),
            nn.ReLU(inplace=True),
            *_convolution(outputs, outputs, design),
            *_attention(outputs, design),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)
        self.drop = nn.Sequential(*_dropout(design))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Features of as many channels as `outputs`."""
        body = self.body(x_NCHW)
        added: Tensor = body + centre(self.shortcut(x_NCHW), *body.shape[2:])
        dropped: Tensor = self.drop(added.relu())
        return dropped


def _convolution(inputs: int, outputs: int, design: Design) -> list[nn.Module]:
    """A 3 x 3 convolution and its normalisation."""
    padding = 1 if design.padding == "same" else 0
    bare = design.norm == "none"
    convolution = nn.Conv2d(inputs, outputs, 3, padding=padding, bias=bare)
    return [convolution] if bare else [convolution, _norm(outputs, design)]


def _norm(channels: int, design: Design) -> nn.Module:
    """Batch normalisation, or over groups of channels (Wu and He 2018, arXiv:1803.08494)."""
    if design.norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(gcd(channels, GROUPS), channels)


def _attention(channels: int, design: Design) -> list[nn.Module]:
    """Attention that stands in a block."""
    kinds: dict[str, type[SqueezeExcite] | type[Cbam]] = {"se": SqueezeExcite, "cbam": Cbam}
    return [kinds[design.attention](channels)] if design.attention in kinds else []


def _dropout(design: Design) -> list[nn.Module]:
    """Whole channels are left out (Tompson and others 2015, arXiv:1411.4280)."""
    return [nn.Dropout2d(design.dropout)] if design.dropout else []
