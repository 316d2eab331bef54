"""Which patches are drawn, and how they are changed before a net sees them."""

from typing import Literal

from pydantic import Field

from mapmill.sections.base import Fraction, Section


class Sampling(Section):
    """Order and augmentation of training patches."""

    sampling: Literal["all", "random", "balanced", "strata"] = "all"
    """all: each patch once before any twice; random: with replacement; balanced: likewise, with
    weights by the rarest class that a patch holds; strata: each stratum, or fold, alike."""
    crop: int | None = Field(default=None, ge=16)
    """Side of a random crop of the patch; the whole patch by default. Sides that do not divide by
    the net's stride are filled up with ignored pixels."""
    zoom: float = Field(default=1.0, ge=1, le=4)
    """Largest factor by which a patch is enlarged or reduced at random; 1: never. Where a reduced
    patch ends, ignored pixels follow."""
    jitter: float = Field(default=0.0, ge=0)
    """Standard deviation of a random gain and offset per channel, in units of the normalised
    image."""
    noise: float = Field(default=0.0, ge=0)
    """Standard deviation of random noise per pixel, in the same units."""
    drop_band: Fraction = 0.0
    """Probability with which a channel of a patch is set to 0."""
    drop_period: Fraction = 0.0
    """With `periods: channels`: probability with which each period of a patch is taken for missing;
    one is always kept."""
    cutmix: Fraction = 0.0
    """Probability with which a patch gets a rectangle of another one, with its labels (Yun et al.
    2019)."""
