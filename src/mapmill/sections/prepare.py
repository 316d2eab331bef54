"""From scenes and labels to patches: compose, downsample, select, pack."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mapmill.sections.base import Fraction, Line, Section, Seed


class Compose(Section):
    """Bands put on the grid."""

    bands: list[Line] = Field(min_length=1)
    """Bands read from the imagery, in the order of the model's channels."""
    dtype: Literal["uint16", "float32"] = "uint16"
    """uint16 has nodata 0, float32 has nodata NaN."""
    resampling: Literal["nearest", "bilinear", "average"] = "bilinear"
    """Used where a source is not on the grid pixel for pixel."""
    units: str = "digital numbers"
    """What the values are, such as `reflectance x 10000` or `dB`: areas that share a model or
    pool their patches have the same."""
    differences: dict[str, tuple[str, str]] = Field(default_factory=dict)
    """Bands computed as (a - b) / (a + b) of two others, such as NDVI: [B08, B04]; they follow
    `bands` and need dtype float32."""

    @property
    def nodata(self) -> float:
        """Declared nodata of the composed image."""
        return 0.0 if self.dtype == "uint16" else float("nan")

    @property
    def all_bands(self) -> list[str]:
        """Bands of the image, in the order of the model's channels."""
        return [*self.bands, *self.differences]

    @model_validator(mode="after")
    def _bands_exist(self) -> "Compose":
        if len(set(self.all_bands)) < len(self.all_bands):
            raise ValueError("bands: one named twice (differences add to them)")
        if self.differences and self.dtype != "float32":
            raise ValueError("differences with dtype uint16; they are fractions and need float32")
        for name, pair in self.differences.items():
            for band in pair:
                if band not in self.bands:
                    raise ValueError(f"differences.{name}: {band}, none of the bands")
        return self


class Downsample(Section):
    """Label pixels to grid pixels."""

    method: Literal["nearest", "mode", "weighted"] = "mode"
    class_weights: dict[int, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """For `weighted`: weight of a class, 1 where not given."""
    sigma: float | None = Field(default=None, gt=0)
    """For `weighted`: width of the Gaussian weight by distance to the cell's centre, in cells."""


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


class Pack(Section):
    """The patch store."""

    shard: int = Field(default=64, ge=1)
    """Patches in one file."""
