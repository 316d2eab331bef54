"""The U-Net (Ronneberger, Fischer and Brox 2015, arXiv:1505.04597), padded or as it was.

Axes: N images, C channels, H rows, W columns, K classes.
"""

from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn

from mapmill.design import Design
from mapmill.nets.decoder import SkipNet
from mapmill.nets.heads import Outputs
from mapmill.nets.parts import PLAIN, double


class UNet(SkipNet):
    """Encoder and decoder of `depth` halvings with skip connections.

    Parameters
    ----------
    bands : channels of the image
    classes : channels of the logits
    width : channels of the first level; each level down has twice as many
    depth : number of halvings
    design : everything else; width and depth in it are not used
    """

    def __init__(
        self, bands: int, classes: int, width: int, depth: int, design: Design = PLAIN
    ) -> None:
        super().__init__(replace(design, width=width, depth=depth))
        channels = [width * 2**level for level in range(depth + 1)]
        self.entry = double(bands, width, self.design)
        self.down = nn.ModuleList(double(a, b, self.design) for a, b in pairwise(channels))
        self.add_decoder(channels[:-1], channels[:-1], channels[-1], classes)

    def fits(self, size: int) -> int:
        """The smallest side of an image, at least `size`, that the net takes.

        Without padding each level on the way down takes 4 pixels of its own; what is left has to
        be even at each halving: sides are 4 less than a multiple of the stride, 572 for depth 4.
        """
        if not self.margin:
            return super().fits(size)
        return super().fits(max(size, 2 * self.margin + 1) + 4) - 4

    def forward(self, image_NCHW: Tensor) -> Tensor | Outputs:
        """Logits of an image (N, C, H, W), of all heads in training."""
        features = [self.block(self.entry, image_NCHW)]
        for down in self.down:
            features.append(self.block(down, nn.functional.max_pool2d(features[-1], 2)))
        return self.decode(features)
