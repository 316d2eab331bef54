"""A U-Net whose encoder is a ResNet (He, Zhang, Ren and Sun 2015, arXiv:1512.03385).

The encoder's tensors have the names and shapes of torchvision's ResNets without their classifier
`fc`, and like there the 3 x 3 convolution of a bottleneck carries the stride ("v1.5"): published
weights fit as they are.

Axes: N images, C channels, H rows, W columns, K classes.
"""

from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn

from mapmill.design import Design
from mapmill.nets.decoder import SkipNet
from mapmill.nets.heads import Outputs
from mapmill.nets.parts import PLAIN, double


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    expansion = 1
    """Channels that leave the block, as a multiple of `channels`."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, channels, 3, stride)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = _shortcut(inputs, channels, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Features (N, C, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x_NCHW)).relu()
        y = self.bn2(self.conv2(y))
        added: Tensor = y + self.downsample(x_NCHW)
        return added.relu()


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, beside a shortcut."""

    expansion = 4
    """Channels that leave the block, as a multiple of `channels`."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * channels
        self.conv1 = _conv(inputs, channels, 1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = _conv(channels, channels, 3, stride)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = _conv(channels, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Features (N, 4 C, H / stride, W / stride)."""
        y = self.bn1(self.conv1(x_NCHW)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        added: Tensor = y + self.downsample(x_NCHW)
        return added.relu()


RESNETS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
"""Kind of block, and how many in each of the four layers (Table 1 of the paper)."""


class ResNet(nn.Module):
    """The features of a ResNet at five resolutions.

    Parameters
    ----------
    bands : channels of the image
    name : one of `RESNETS`
    """

    def __init__(self, bands: int, name: str) -> None:
        super().__init__()
        block, counts = RESNETS[name]
        ends = [channels * block.expansion for channels in (64, 128, 256, 512)]
        self.channels = [64, *ends]
        """Channels of the features, from the finest."""
        self.conv1 = _conv(bands, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _layer(block, 64, 64, counts[0], 1)
        self.layer2 = _layer(block, ends[0], 128, counts[1], 2)
        self.layer3 = _layer(block, ends[1], 256, counts[2], 2)
        self.layer4 = _layer(block, ends[2], 512, counts[3], 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image_NCHW: Tensor) -> list[Tensor]:
        """Features at strides 2, 4, 8, 16 and 32."""
        features = [self.bn1(self.conv1(image_NCHW)).relu()]
        features.append(self.layer1(nn.functional.max_pool2d(features[-1], 3, 2, 1)))
        for layer in (self.layer2, self.layer3, self.layer4):
            features.append(layer(features[-1]))
        return features


class ResNetUNet(SkipNet):
    """A ResNet that halves five times, and a U-Net's decoder with skip connections.

    The skips at strides 2 to 16 are the encoder's features; the one at stride 1 comes from two
    convolutions of the image, so that what is one pixel wide is not lost.

    Parameters
    ----------
    bands : channels of the image
    classes : channels of the logits
    encoder : one of `RESNETS`
    width : channels of the decoder at stride 1; each level down has twice as many
    design : everything else, of the decoder; the encoder stays as published
    """

    def __init__(
        self, bands: int, classes: int, encoder: str, width: int, design: Design = PLAIN
    ) -> None:
        super().__init__(replace(design, encoder=encoder, width=width))
        self.encoder = ResNet(bands, encoder)
        self.entry = double(bands, width, self.design)
        *skips, deepest = self.encoder.channels
        outputs = [width * 2**level for level in range(5)]
        self.add_decoder([width, *skips], outputs, deepest, classes)

    def forward(self, image_NCHW: Tensor) -> Tensor | Outputs:
        """Logits of an image (N, C, H, W), of all heads in training."""
        return self.decode([self.block(self.entry, image_NCHW), *self.encoder(image_NCHW)])


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The input itself, or its projection where the block changes its shape."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


def _layer(
    block: type[BasicBlock] | type[Bottleneck], inputs: int, channels: int, count: int, stride: int
) -> nn.Sequential:
    """`count` blocks, of which the first carries the stride."""
    sizes = [inputs] + [channels * block.expansion] * count
    strides = [stride] + [1] * (count - 1)
    return nn.Sequential(
        *(block(a, channels, s) for (a, _), s in zip(pairwise(sizes), strides, strict=True))
    )
