"""The way back up: features of several resolutions to logits, with skip connections.

Axes: N images, C channels, H rows, W columns, K classes.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mapmill.design import Design
from mapmill.nets.attention import Gate, SelfAttention
from mapmill.nets.heads import Outputs
from mapmill.nets.parts import Segmenter, centre, double
from mapmill.nets.strips import in_strips, is_local


class SkipNet(Segmenter):
    """A net whose encoder's features a U-Net's decoder brings back to the image's resolution."""

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design, self.stride, self.margin = design, design.stride, design.margin

    def add_decoder(
        self, skips: Sequence[int], outputs: Sequence[int], deepest: int, classes: int
    ) -> None:
        """Make the layers of the decoder and of the heads.

        Parameters
        ----------
        skips : channels of the encoder's features by level, the finest first, without the deepest
        outputs : channels of the decoder's features by level
        deepest : channels of the encoder's deepest features
        """
        design, inputs = self.design, [*outputs[1:], deepest]
        self.widen = nn.ModuleList(
            _widen(a, b, design) for a, b in zip(inputs, outputs, strict=True)
        )
        self.up = nn.ModuleList(
            double(s + b, b, design) for s, b in zip(skips, outputs, strict=True)
        )
        logits = 1 if design.activation == "sigmoid" else classes
        self.head = nn.Conv2d(outputs[0], logits, 1)
        is_gated = design.attention == "gate"
        pairs = list(zip(skips, outputs, strict=True)) if is_gated else []
        self.gates = nn.ModuleList(Gate(skip, output) for skip, output in pairs)
        attends = design.attention == "self"
        self.attend: nn.Module = SelfAttention(deepest) if attends else nn.Identity()
        if design.head == "multi-resolution":
            self.half_head = nn.Conv2d(inputs[0], logits, 1)
            # Shi and others 2016, arXiv:1609.05158: four logits of each pixel, put side by side
            self.double_head = nn.Sequential(
                nn.Conv2d(outputs[0], 4 * logits, 1), nn.PixelShuffle(2)
            )
        if design.head == "mask+label":
            self.label_head = nn.Linear(deepest, classes)

    def decode(self, features: list[Tensor]) -> Tensor | Outputs:
        """Logits of an encoder's features, the finest first; of all heads where asked.

        The list is empty afterwards: what the net no longer needs is freed on the way, since the
        finest levels take most of the memory.
        """
        deepest = self.attend(features.pop())
        x: Tensor = deepest
        coarser = deepest
        only_mask = not (self.training or self.all_heads) or self.design.head == "mask"
        for level in reversed(range(len(self.up))):
            if self.design.head == "multi-resolution":
                coarser = x
            through = partial(self._through, level, to_mask=only_mask and level == 0)
            x = self.block(through, features.pop(), x)
        if only_mask:
            return x
        mask_NKHW = self._logits(self.head(x))
        if self.design.head == "mask+label":
            return Outputs(mask_NKHW, label_NK=self.label_head(deepest.mean((2, 3))))
        height, width = mask_NKHW.shape[2:]
        half_NKHW = centre(self._logits(self.half_head(coarser)), height // 2, width // 2)
        return Outputs(mask_NKHW, half_NKHW, self._logits(self.double_head(x)))

    def block(
        self, make: Callable[..., Tensor], image_NCHW: Tensor, below_NCHW: Tensor | None = None
    ) -> Tensor:
        """What `make` makes of features (and of those below), in strips where it is local."""
        given = (image_NCHW,) if below_NCHW is None else (image_NCHW, below_NCHW)
        return in_strips(make, *given) if is_local(self.design) else make(*given)

    def _through(self, level: int, feature_NCHW: Tensor, x_NCHW: Tensor, to_mask: bool) -> Tensor:
        """One level up: its features, or the mask's logits of those."""
        x = self._joined(level, feature_NCHW, x_NCHW)
        del feature_NCHW, x_NCHW
        block = self.up[level]
        # one by one: a Sequential would hold its input to the end
        for layer in block if isinstance(block, nn.Sequential) else [block]:
            x = layer(x)
        return self._logits(self.head(x)) if to_mask else x

    def _joined(self, level: int, feature_NCHW: Tensor, x_NCHW: Tensor) -> Tensor:
        """What comes from below, twice as wide, beside the encoder's feature."""
        wide = self.widen[level](x_NCHW)
        skip = centre(feature_NCHW, *wide.shape[2:])
        if self.gates:
            skip = self.gates[level](skip, wide)
        return torch.cat([skip, wide], dim=1)

    def _logits(self, raw_NCHW: Tensor) -> Tensor:
        """Logits of all classes: 0 and z, whose softmax is 1 - sigmoid(z) and sigmoid(z)."""
        if self.design.activation == "softmax":
            return raw_NCHW
        return torch.cat([torch.zeros_like(raw_NCHW), raw_NCHW], dim=1)


def _widen(inputs: int, outputs: int, design: Design) -> nn.Module:
    """Twice as many rows and columns."""
    if design.upsample == "transpose":
        return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
    # in this order, which is quicker; a convolution of 1 x 1 and the interpolation commute
    upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), upsample)
