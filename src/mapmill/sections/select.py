"""Which tiles are learnt from, and what each serves."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mapmill.sections.base import Distinct, Fraction, Section, Seed


class Split(Section):
    """Which part a tile serves: training, validation or test."""

    method: Literal["strips", "blocks", "random", "subtiles", "strata", "chip", "column"] | None = (
        None
    )
    """strips: one stretch per part across the area; blocks: squares dealt out at random;
    strata: likewise, stratum by stratum; subtiles: large tiles (squares, or chips) cut in equal
    pieces that are dealt out at random; random: tile by tile (only for tiles that do not
    overlap; neighbours leak, as they do with subtiles); chip: whole chips dealt out at random;
    column: polygons say the part, or chips with the same value in a column of their table stay
    together. By default blocks, and chip for chips."""
    direction: Literal["west-east", "north-south"] = "north-south"
    """For `strips`: the order in which train, val and test follow one another."""
    polygons: str | None = None
    """For `column` and `strata` on a grid: a vector file."""
    layer: str | None = None
    """Its layer, where it has several."""
    column: str | None = None
    """For `column`: name of the attribute of `polygons`, or of the column of the chips' table.
    Where its values are train, val and test they say the part; others are dealt out."""
    strata: str | None = None
    """For `strata`: name of the attribute of `polygons`; each square belongs to the stratum that
    has most of it. For `chip`: a column of the chips' table. Things are dealt out stratum by
    stratum, so that each part holds its share of every one."""
    train: Fraction = 0.6
    val: Fraction = 0.2
    test: Fraction = 0.2
    folds: int | None = Field(default=None, ge=3)
    """Deal out this many folds instead of shares (not for strips): fold `fold` is the test
    part, the next one validation, all others training."""
    fold: int = Field(default=0, ge=0)
    """Which of the folds is the test part."""
    block: int = Field(default=1000, ge=1)
    """For `blocks`, `strata` and `subtiles`: side of a square, in pixels."""
    subtiles: int = Field(default=4, ge=2, le=64)
    """For `subtiles`: a square, or a chip, is cut in this many pieces by as many."""
    buffer: Annotated[int, Field(ge=0)] | Literal["auto"] = 0
    """Tiles nearer than this to a part that is scored are dropped, in pixels. auto: what the
    widest net of the area's runs sees on each side, and `range` beyond it."""
    range: int | None = Field(default=None, ge=0)
    """For `buffer: auto`: pixels over which ground is alike (the range of its autocorrelation);
    0 leaves it at what the nets see."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _parts(self) -> "Split":
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train, val and test that do not sum to 1")
        if (self.method == "column") != (self.column is not None):
            raise ValueError("one of method: column and column: NAME without the other")
        if self.strata and self.method not in ("chip", "strata", None):
            raise ValueError("strata: NAME with a method other than strata or chip")
        if self.method == "strata" and not self.strata:
            raise ValueError("method: strata without strata: NAME")
        if self.polygons and self.method not in ("column", "strata"):
            raise ValueError("polygons with a method other than column or strata")
        if self.layer and not self.polygons:
            raise ValueError("layer without polygons")
        if (self.buffer == "auto") != (self.range is not None):
            raise ValueError("one of buffer: auto and range: PIXELS without the other")
        if self.folds and self.method == "strips":
            raise ValueError("folds with strips, which have none; use blocks")
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold {self.fold}, not under `folds`, numbered from 0")
        return self


Side = Annotated[int, Field(ge=16, le=8192)]
"""Of a tile, in pixels."""


class Select(Section):
    """Which tiles are learnt from."""

    size: Side
    """Side of a tile, in pixels."""
    stride: int | None = Field(default=None, ge=1)
    """Pixels from one tile to the next; the size by default."""
    more_sizes: Annotated[list[Side], Distinct] = Field(default_factory=list)
    """Further sides of tiles, in pixels, to learn at several scales; their strides are in the
    same proportion, rounded. Maps are scored on tiles of `size` alone."""
    min_valid: Fraction = 0.5
    """Least share of pixels with imagery."""
    min_labelled: Fraction = 0.05
    """Least share of pixels with a label."""
    max_cloud: Fraction = 1.0
    """Largest share of pixels under clouds or their shadow."""
    max_snow: Fraction = 1.0
    """Largest share of pixels under snow; it is kept by default."""
    drop_only: list[int] = Field(default_factory=list)
    """A tile that holds no class but these is dropped (sea, water)."""
    split: Split = Split()

    @property
    def step(self) -> int:
        """Pixels from one tile to the next."""
        return self.stride or self.size

    @property
    def sizes(self) -> dict[int, int]:
        """Stride of the tiles of each size, in pixels; `size` comes first."""
        more = {size: max(1, round(size * self.step / self.size)) for size in self.more_sizes}
        return {self.size: self.step} | more

    @model_validator(mode="after")
    def _sizes_differ(self) -> "Select":
        if self.size in self.more_sizes:
            raise ValueError(f"more_sizes: {self.size}, which is size")
        return self

    @model_validator(mode="after")
    def _random_leaks(self) -> "Select":
        if self.split.method == "random" and self.step < self.size:
            raise ValueError("overlapping tiles dealt out one by one; split otherwise")
        return self
