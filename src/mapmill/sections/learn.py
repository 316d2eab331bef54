"""From patches to a scored map: train, predict, mosaic, assess."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mapmill.sections.acquire import Remote
from mapmill.sections.base import Distinct, Name, RunOfArea, Section, Seed
from mapmill.sections.features import Inputs
from mapmill.sections.loop import Loop
from mapmill.sections.loss import Loss, LossShape, loss_terms
from mapmill.sections.net import NetKeys
from mapmill.sections.sampling import Sampling


class Weights(Remote):
    """Weights for the encoder: a .safetensors or torch file, on disk or fetched."""

    @model_validator(mode="after")
    def _pinned(self) -> "Weights":
        if not self.source:
            raise ValueError("neither file nor url")
        if self.url and not self.sha256:
            raise ValueError("url without sha256")
        if self.suffix not in (".safetensors", ".pth", ".pt"):
            raise ValueError(f"{self.source}, which is no .safetensors, .pth or .pt file")
        return self


class Pool(Section):
    """How the patches of another area are brought to this one's bands, classes and units."""

    bands: dict[str, str] = Field(default_factory=dict)
    """Band here -> band there, where the names differ."""
    classes: dict[str, int] = Field(default_factory=dict)
    """Name of a class there -> class here (0: ignore), where the names differ."""
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Values there are multiplied by this and then shifted by `offset` to be in units here."""
    offset: float = Field(default=0.0, allow_inf_nan=False)


def _named_pools(value: Any) -> Any:
    """A list of areas is a mapping without changes."""
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return {name: {} for name in value}
    return value


Pools = Annotated[dict[Name, Pool], BeforeValidator(_named_pools)]


class Train(NetKeys, Inputs, Sampling, Loop):
    """One run of training; `runs` overrides any of it by name."""

    weights: Weights | None = None
    """Weights that a ResNet encoder starts from; without them it starts at random."""
    init: RunOfArea | None = None
    """`area/run`: start from this trained model and fine-tune it."""
    train_on: Pools | None = Field(default=None, min_length=1)
    """Areas whose patches are learnt from, by default this one alone; this one's own are used
    only if it is named."""
    absent_classes: Literal["refuse", "warn"] = "refuse"
    """What to do where a class has no training pixel at all."""
    loss: Loss = "cross-entropy"
    """cross-entropy, focal, dice, jaccard, tversky, lovasz, log-cosh, boundary, center, or a sum of
    them, such as `0.7*focal + 0.3*jaccard`."""
    loss_shape: LossShape = LossShape()
    class_weights: Literal["none", "inverse", "sqrt-inverse", "effective", "given"] = "sqrt-inverse"
    """Weight of a class by the number of its training pixels, mean 1 over pixels. Of no effect in
    dice, jaccard, tversky and lovasz, where every class counts alike."""
    given_weights: dict[int, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """For `given`: weight by class, 1 where not given."""
    max_class_weight: float = Field(default=1000.0, ge=1)
    """Largest weight of a class over the smallest."""
    fraction: Literal["none", "soft", "weight"] = "none"
    """Use of the share of each grid pixel that its class takes (`downsample.fraction`): soft: the
    truth of the class, the rest of it shared by the others; weight: weight of the pixel."""
    periods: Literal["samples", "channels"] = "samples"
    """samples: a net sees one period at a time, and a map is the mean over its periods; channels:
    it sees the bands of all periods at once, and of each a channel that says where it is there."""
    size: int | None = Field(default=None, ge=16)
    """Side of the patches that are learnt from, one of those that are packed, in pixels; by
    default `select.size`."""
    seeds: Annotated[list[Seed], Distinct] = Field(default_factory=lambda: [1], min_length=1)
    """One model is trained for each."""
    threads: int = Field(default=2, ge=1)
    """CPU threads; part of the result, since they change the order of floating-point sums."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: layers compute in it; weights, their gradients and the loss stay float32."""
    compile: bool = False
    """Let torch compile the net, which takes a minute and a C++ compiler; see docs/training.md."""
    resident: bool | Literal["auto"] = "auto"
    """Whether the training patches live on the device, as stored, instead of being read for each
    batch; auto: on a CUDA GPU where they fit into half of its free memory. No result depends on
    it."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    @property
    def loss_terms(self) -> dict[str, float]:
        """Factor of each term of the loss."""
        return loss_terms(self.loss)

    @model_validator(mode="after")
    def _weights_given(self) -> "Train":
        if (self.class_weights == "given") != bool(self.given_weights):
            raise ValueError("one of class_weights: given and given_weights without the other")
        return self

    @model_validator(mode="after")
    def _of_effect(self) -> "Train":
        if self.fraction != "none" and set(self.loss_terms) == {"lovasz"}:
            raise ValueError(f"fraction: {self.fraction}, of no effect in the loss lovasz alone")
        if self.drop_period and self.periods == "samples":
            raise ValueError("drop_period: a key of periods: channels")
        return self


class Assess(Section):
    """Scores of the map."""

    block: int = Field(default=256, ge=1)
    """Side of the spatial blocks that are resampled for intervals, in pixels."""
    draws: int = Field(default=1000, ge=100, le=100_000)
    """Bootstrap draws."""
    seed: Seed = 0
    tolerance: int = Field(default=2, ge=1, le=20)
    """How far an edge of the map may lie from one of the labels and count as right, in pixels."""
    baseline: Literal["random-forest"] | None = None
    """Also fit a per-pixel random forest on the training tiles and score it likewise."""


class Map(Section):
    """A published map: the models of one run, averaged over its seeds and periods."""

    run: Name | None = None
    """A run of this area; by default the area's `model`."""
    periods: Annotated[list[Name], Distinct] | None = Field(default=None, min_length=1)
    """All periods by default."""
