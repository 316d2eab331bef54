"""A probability sample of a map, to be interpreted by people."""

from typing import Annotated

from pydantic import Field

from mapmill.sections.base import Section, Seed

Accuracy = Annotated[float, Field(gt=0, lt=1)]


class SampleSection(Section):
    """Points that are drawn at random within each class of a map."""

    seed: Seed = 0
    """Another number draws other points."""
    size: int | None = Field(default=None, ge=2)
    """Points in all; by default as many as `standard_error` asks for."""
    standard_error: float = Field(default=0.02, gt=0, lt=0.5)
    """Of overall accuracy, where `size` is not given; half as large asks for four times as many."""
    accuracy: Accuracy = 0.8
    """User's accuracy that is expected of each class, for the same purpose."""
    accuracies: dict[int, Accuracy] = Field(default_factory=dict)
    """Likewise by class, where it differs."""
    least: int = Field(default=50, ge=2)
    """Points in each class at least, or all its pixels where it has fewer."""
    chip: int = Field(default=64, ge=0, le=1024)
    """Side of the picture of each point's surroundings, in pixels; 0 makes none."""
