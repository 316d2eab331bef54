"""How a net is built, as plain values: what planning, training and model files agree on."""

from dataclasses import dataclass, field
from typing import Any

CHOICES: dict[str, tuple[str, ...]] = {
    "net": ("unet", "smp"),
    "encoder": ("plain", "resnet18", "resnet34", "resnet50"),
    "padding": ("same", "valid"),
    "upsample": ("transpose", "bilinear"),
    "norm": ("batch", "group", "none"),
    "block": ("plain", "residual"),
    "attention": ("none", "se", "cbam", "gate", "self"),
    "head": ("mask", "mask+label", "multi-resolution"),
    "activation": ("softmax", "sigmoid"),
}
"""What each word of a design may be."""
LIMITS = {"width": (1, 1024), "depth": (1, 6)}
"""Least and most of each number."""
SMP_STRIDE = 32
"""Halvings of the encoders of segmentation-models-pytorch, multiplied."""
FREE = ("padding", "dropout")
"""Keys that change no weight: two designs may differ in them and share their weights."""


@dataclass(frozen=True)
class Design:
    """A net without its weights, bands and classes; the defaults are the U-Net of old models."""

    net: str = "unet"
    encoder: str = "plain"
    width: int = 32
    """Channels of the finest level, of a plain encoder or of a ResNet's decoder."""
    depth: int = 4
    """Halvings of a plain encoder; a ResNet always has five."""
    padding: str = "same"
    upsample: str = "transpose"
    norm: str = "batch"
    dropout: float = 0.0
    block: str = "plain"
    attention: str = "none"
    head: str = "mask"
    activation: str = "softmax"
    smp: dict[str, Any] = field(default_factory=dict)
    """Of `net: smp`: arch, encoder and further options."""

    @property
    def stride(self) -> int:
        """Pixels after which the net repeats itself."""
        if self.net == "smp":
            return SMP_STRIDE
        return 32 if self.encoder != "plain" else 2**self.depth

    @property
    def margin(self) -> int:
        """Pixels that the logits lack on each side.

        Two unpadded 3 x 3 convolutions at stride s take 2 s pixels; there is such a pair at each
        of the depth + 1 levels on the way down and of the depth levels on the way up.
        """
        return 6 * 2**self.depth - 4 if self.padding == "valid" else 0

    @property
    def normalises(self) -> bool:
        """Whether a channel is normalised over the pixels of a batch, of which it needs two."""
        return self.norm == "batch" or self.encoder != "plain" or self.net == "smp"

    @property
    def sees_all(self) -> bool:
        """Whether every pixel of the image can change every pixel of the logits."""
        return self.net == "unet" and (
            self.norm == "group" or self.attention in ("se", "cbam", "self")
        )

    def first_difference(self, other: "Design") -> tuple[str, Any, Any] | None:
        """Key, value here and value there of the first choice that keeps weights from fitting."""
        for key in self._that_shape():
            here, there = getattr(self, key), getattr(other, key)
            if here != there:
                return key, here, there
        return None

    def _that_shape(self) -> list[str]:
        """Keys that decide which weights there are."""
        if self.net == "smp":
            return ["net", "smp", "activation"]
        unused = FREE if self.encoder == "plain" else (*FREE, "depth")
        return [key for key in self.__dataclass_fields__ if key not in unused]
