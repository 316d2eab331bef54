"""Which loss is minimised, and the numbers in its formula."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from mapmill.sections.base import Section

LOSSES = (
    "cross-entropy",
    "focal",
    "dice",
    "jaccard",
    "tversky",
    "lovasz",
    "log-cosh",
    "boundary",
    "center",
)
TERM = re.compile(r"(?:(\d+(?:\.\d+)?|\.\d+)\*)?([a-z-]+)")


def loss_terms(text: str) -> dict[str, float]:
    """Factor by name of a sum such as `0.7*focal + 0.3*jaccard` or `cross-entropy+dice`.

    Raises
    ------
    ValueError
        if a term is none, named twice, or weighs nothing.
    """
    terms: dict[str, float] = {}
    for part in text.replace(" ", "").split("+"):
        found = TERM.fullmatch(part)
        if not found or found[2] not in LOSSES:
            raise ValueError(f"`{part}`, which is none of {', '.join(LOSSES)}, or a factor*name")
        if found[2] in terms:
            raise ValueError(f"`{part}`, a term named twice")
        terms[found[2]] = float(found[1] or 1)
        if not terms[found[2]]:
            raise ValueError(f"`{part}`, a term that weighs nothing")
    return terms


def _checked(text: str) -> str:
    loss_terms(text)
    return text


Loss = Annotated[str, AfterValidator(_checked)]


class LossShape(Section):
    """Numbers in the formulas of losses."""

    gamma: float = Field(default=2.0, ge=0, le=10)
    """Of `focal`: exponent of 1 - p."""
    alpha: float = Field(default=0.7, gt=0, le=10)
    """Of `tversky`: weight of what is missed."""
    beta: float = Field(default=0.3, gt=0, le=10)
    """Of `tversky`: weight of what is wrongly found."""
    weight: float = Field(default=5.0, ge=0, le=1000)
    """Of `boundary` and `center`: how much more a pixel on the line weighs."""
    sigma: float = Field(default=3.0, gt=0, le=20)
    """Of `boundary` and `center`: standard deviation of that weight, in pixels."""

    def as_numbers(self) -> dict[str, Any]:
        """For losses.Shape, which knows no section."""
        return self.model_dump()
