"""The U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597) with padded convolutions.

Axes: N images, C channels, H rows, W columns, K classes.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


class UNet(nn.Module):
    """Encoder and decoder of `depth` halvings with skip connections.

    Parameters
    ----------
    bands : channels of the image
    classes : channels of the logits
    width : channels of the first level; each level down has twice as many
    depth : number of halvings; height and width of the image divide by 2 ** depth
    """

    def __init__(self, bands: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth + 1)]
        self.stride = 2**depth
        self.entry = double(bands, width)
        self.down = nn.ModuleList(double(a, b) for a, b in pairwise(channels))
        self.widen = nn.ModuleList(
            nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in pairwise(channels)
        )
        self.up = nn.ModuleList(double(2 * a, a) for a in channels[:-1])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, image_NCHW: Tensor) -> Tensor:
        """Logits (N, K, H, W) of an image (N, C, H, W)."""
        features = [self.entry(image_NCHW)]
        for down in self.down:
            features.append(down(nn.functional.max_pool2d(features[-1], 2)))
        x = features.pop()
        for widen, up in zip(reversed(self.widen), reversed(self.up), strict=True):
            x = up(torch.cat([features.pop(), widen(x)], dim=1))
        logits_NKHW: Tensor = self.head(x)
        return logits_NKHW


def double(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, each with batch normalisation and ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers += [
            nn.Conv2d(channels, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)
