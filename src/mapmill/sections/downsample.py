"""How label pixels become grid pixels."""

from typing import Annotated, Literal

from pydantic import Field

from mapmill.sections.base import Section


class Downsample(Section):
    """Label pixels to grid pixels."""

    method: Literal["nearest", "mode", "weighted"] = "mode"
    class_weights: dict[int, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """For `weighted`: weight of a class, 1 where not given."""
    sigma: float | None = Field(default=None, gt=0)
    """For `weighted`: width of the Gaussian weight by distance to the cell's centre, in cells."""
