"""How a net is built: keys of `train`, and presets that fill them."""

from typing import Any, Literal

from pydantic import Field, model_validator

from mapmill.design import Design
from mapmill.sections.base import Section

PRESETS: dict[str, dict[str, Any]] = {
    "unet": {"width": 64, "depth": 4},
    "unet-small": {"width": 16, "depth": 4},
    "rau-net": {
        "width": 56,
        "depth": 4,
        "block": "residual",
        "attention": "gate",
        "head": "multi-resolution",
    },
    "rau-net-small": {
        "width": 16,
        "depth": 4,
        "block": "residual",
        "attention": "gate",
        "head": "multi-resolution",
    },
}
"""Values of the keys that the user leaves out."""
OWN = ("preset", "encoder", "padding", "upsample", "norm", "dropout", "block", "attention", "head")
"""Keys that say how our own nets are built."""


class Smp(Section):
    """A net of segmentation-models-pytorch; needs the extra `mapmill[smp]`."""

    arch: str = Field(pattern="^[A-Za-z0-9+]+$")
    """Unet, UnetPlusPlus, DeepLabV3Plus, Segformer, ..."""
    encoder: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    """An encoder that it knows, such as resnet34, or one of timm's, `tu-` and its name."""
    options: dict[str, str | int | float | bool | list[int]] = Field(default_factory=dict)
    """Further arguments of the architecture."""

    @model_validator(mode="after")
    def _no_second_say(self) -> "Smp":
        for key in ("encoder_name", "encoder_weights", "in_channels", "classes", "activation"):
            if key in self.options:
                raise ValueError(f"options with {key}, which mapmill sets itself")
        return self


class NetKeys(Section):
    """How the net of a run is built."""

    preset: Literal["unet", "unet-small", "rau-net", "rau-net-small"] | None = None
    """Values for those of the keys below that are left out, see docs/nets.md."""
    net: Literal["unet", "smp"] = "unet"
    encoder: Literal["plain", "resnet18", "resnet34", "resnet50"] = "plain"
    """plain: the U-Net's own, of `depth` levels; a ResNet halves five times."""
    width: int = Field(default=32, ge=1, le=1024)
    """Channels of the finest level."""
    depth: int = Field(default=4, ge=1, le=6)
    """Number of halvings of the plain encoder."""
    padding: Literal["same", "valid"] = "same"
    """valid: the original U-Net, whose mask is smaller than the image; labels are cropped."""
    upsample: Literal["transpose", "bilinear"] = "transpose"
    norm: Literal["batch", "group", "none"] = "batch"
    """Of the plain encoder and of every decoder; a ResNet keeps its batch normalisation."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of channels left out after each pair of convolutions, in training."""
    block: Literal["plain", "residual"] = "plain"
    attention: Literal["none", "se", "cbam", "gate", "self"] = "none"
    """se, cbam: in each block; gate: on the skips; self: at the coarsest level."""
    head: Literal["mask", "mask+label", "multi-resolution"] = "mask"
    """What is learnt beside the mask: which classes are in the image, or masks at 1/2 and 2 times
    its resolution. The map is made of the mask."""
    label_weight: float = Field(default=0.2, ge=0, le=100)
    """Of `mask+label`: factor of the loss of the image's label."""
    activation: Literal["softmax", "sigmoid"] = "softmax"
    """sigmoid: one logit, for areas of two classes."""
    smp: Smp | None = None
    """Of `net: smp`: which."""

    @model_validator(mode="after")
    def _filled(self) -> "NetKeys":
        # Not through the constructor: what the user set and what a preset fills stay apart, so
        # that a run with another preset still changes it.
        for key, value in PRESETS.get(self.preset or "", {}).items():
            if key not in self.model_fields_set:
                self.__dict__[key] = value
        return self

    @model_validator(mode="after")
    def _buildable(self) -> "NetKeys":
        if (self.net == "smp") != (self.smp is not None):
            raise ValueError("one of net: smp and smp without the other")
        for key in OWN if self.net == "smp" else ():
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key}: {getattr(self, key)}, beside net: smp, which has none")
        if self.padding == "valid" and self.encoder != "plain":
            raise ValueError(f"padding: valid with encoder {self.encoder}; a plain one has it")
        return self

    @property
    def design(self) -> Design:
        """The same as a plain value."""
        chosen = {key: getattr(self, key) for key in Design.__dataclass_fields__}
        return Design(**chosen | {"smp": self.smp.model_dump() if self.smp else {}})
