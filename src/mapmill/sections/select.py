"""Which tiles are learnt from, and what each serves."""

from typing import Literal

from pydantic import Field, model_validator

from mapmill.sections.base import Fraction, Section, Seed


class Split(Section):
    """Which part a tile serves: training, validation or test."""

    method: Literal["strips", "blocks", "random", "chip", "column"] | None = None
    """strips: one stretch per part across the area; blocks: squares dealt out at random;
    random: tile by tile (neighbours leak; only for non-overlapping tiles); chip: whole chips
    dealt out at random; column: chips with the same value in a column of their table stay
    together. By default blocks, and chip for chips."""
    direction: Literal["west-east", "north-south"] = "north-south"
    """For `strips`: the order in which train, val and test follow one another."""
    column: str | None = None
    """For `column`: its name. Where its values are train, val and test they say the part."""
    strata: str | None = None
    """For `chip`: a column of the chips' table; chips are dealt out stratum by stratum, so that
    each part holds its share of every one."""
    train: Fraction = 0.6
    val: Fraction = 0.2
    test: Fraction = 0.2
    folds: int | None = Field(default=None, ge=3)
    """Deal out this many folds instead of shares (not for strips): fold `fold` is the test
    part, the next one validation, all others training."""
    fold: int = Field(default=0, ge=0)
    """Which of the folds is the test part."""
    block: int = Field(default=1000, ge=1)
    """For `blocks`: side of a square, in pixels."""
    buffer: int = Field(default=0, ge=0)
    """Tiles nearer than this to a part that is scored are dropped, in pixels."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _parts(self) -> "Split":
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train, val and test that do not sum to 1")
        if (self.method == "column") != (self.column is not None):
            raise ValueError("one of method: column and column: NAME without the other")
        if self.strata and self.method not in ("chip", None):
            raise ValueError("strata with a method other than chip")
        if self.folds and self.method == "strips":
            raise ValueError("folds with strips, which have none; use blocks")
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold {self.fold}, not under `folds`, numbered from 0")
        return self


class Select(Section):
    """Which tiles are learnt from."""

    size: int = Field(ge=16, le=8192)
    """Side of a tile, in pixels."""
    stride: int | None = Field(default=None, ge=1)
    """Pixels from one tile to the next; the size by default."""
    min_valid: Fraction = 0.5
    """Least share of pixels with imagery."""
    min_labelled: Fraction = 0.05
    """Least share of pixels with a label."""
    drop_only: list[int] = Field(default_factory=list)
    """A tile that holds no class but these is dropped (sea, water)."""
    split: Split = Split()

    @property
    def step(self) -> int:
        """Pixels from one tile to the next."""
        return self.stride or self.size

    @model_validator(mode="after")
    def _random_leaks(self) -> "Select":
        if self.split.method == "random" and self.step < self.size:
            raise ValueError("overlapping tiles dealt out one by one; split otherwise")
        return self
