"""How label pixels become grid pixels."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mapmill.sections.base import Section


class Downsample(Section):
    """Label pixels to grid pixels."""

    method: Literal["nearest", "mode", "weighted"] = "mode"
    ties: Literal["first", "lowest", "nearest-to-centre"] = "first"
    """Of classes that are equal: the first to reach the maximum, row by row, as in GDAL; the
    lowest; or that of the pixel nearest to the cell's centre (of equally near ones the first)."""
    min_fraction: float = Field(default=0.0, ge=0, lt=1)
    """A cell becomes 0 where pixels with a class are no more than this share of it; by default
    one pixel is enough."""
    class_weights: dict[int, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """For `weighted`: weight of a class, 1 where not given."""
    sigma: float | None = Field(default=None, gt=0)
    """For `weighted`: width of the Gaussian weight by distance to the cell's centre, in cells.
    Weights of places are whole numbers, 255 where it is largest."""
    fraction: bool = False
    """Whether `pack` stores the share of each cell that its class takes, in per cent: how sure
    a label is, or its weight."""

    @model_validator(mode="after")
    def _nearest_asks_nobody(self) -> "Downsample":
        chosen = [key for key in ("ties", "min_fraction") if key in self.model_fields_set]
        if self.method == "nearest" and chosen:
            raise ValueError(f"{chosen[0]}: a key of mode and weighted, beside method nearest")
        return self
