"""How models are brought over the ground."""

from typing import Annotated, Literal

from pydantic import Field

from mapmill.plan import Plan
from mapmill.sections.base import Distinct, Section


class Calibrate(Section):
    """Confidence of a map beside the labels of the validation part, made where it is asked for."""

    tiles: int = Field(default=200, ge=1)
    """Validation tiles that are looked at, at most, evenly spread over their list."""
    samples: int = Field(default=200_000, ge=100)
    """Labelled pixels of them that count, at most, evenly spread."""
    bins: int = Field(default=10, ge=2, le=100)
    """Bins of confidence in the table of reliability."""


class Predict(Section):
    """The model over the whole grid."""

    mode: Literal["auto", "exact", "blend"] = "auto"
    """exact: each tile is shown all that the net reaches; blend: overlapping windows are averaged;
    auto: exact where the net's reach is finite and this is at most 2.5 times the work of tiles
    without surroundings, else blend. In no mode do tiles or blocks leave a trace."""
    tile: int = Field(default=1024, ge=64)
    """Side of the square predicted at once, in pixels; it does not change the result, but `auto`
    chooses by it."""
    window: int | None = Field(default=None, ge=16, le=8192)
    """blend: side of the windows, in pixels; by default that of the training patches."""
    overlap: float = Field(default=0.5, ge=0, le=0.9)
    """blend: share of a window's side that it shares with the next; rounded so that windows start
    on multiples of the net's stride."""
    weights: Literal["hann", "gaussian"] = "hann"
    """blend: weights in a window, largest in the middle; the Gaussian's sigma: side / 8."""
    context: int = Field(default=256, ge=0, le=4096)
    """Most pixels around a tile that are read for `net: smp`, whose reach planning cannot know;
    a net that reaches further is blended."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 is quicker on most hardware, and a few pixels in a thousand change."""
    turns: Literal[1, 4, 8] = 1
    """Ways in which the ground is laid before the net, whose answers are averaged: as it is, in
    quarter turns, and mirrored as well. As many times the work."""
    vote: bool = False
    """Average the masks of three resolutions, of nets with `head: multi-resolution`."""
    threshold: Annotated[float, Field(gt=0, lt=1)] | Literal["validation"] = 0.5
    """Of two classes the second is mapped where its probability is larger than this; validation:
    than what `calibrate` found to give the largest F1 there."""
    temperature: Annotated[float, Field(gt=0, le=100)] | Literal["validation"] = 1.0
    """Confidence is lowered by more than 1 and raised by less; validation: by what `calibrate`
    found to fit there. It changes no class."""
    layers: Annotated[list[Literal["entropy", "margin", "probabilities"]], Distinct] = Field(
        default_factory=list
    )
    """What is written of each pixel beside its confidence, in percent: entropy of the classes'
    probabilities (100: all alike), the largest less the second largest, and each of them."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of one block."""
    members: bool = True
    """Where a map is made by several models, keep the class map of each beside their mean."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    @property
    def is_calibrated(self) -> bool:
        """Whether anything is taken from the validation part."""
        return "validation" in (self.threshold, self.temperature)

    @property
    def plan(self) -> Plan:
        """How the ground is cut."""
        keys = ("mode", "tile", "window", "overlap", "weights", "context", "precision")
        more = ("turns", "vote")
        return Plan(**{key: getattr(self, key) for key in (*keys, *more)})
