"""How bands are put on the grid."""

from typing import Literal

from pydantic import Field, model_validator

from mapmill.sections.base import Line, Section


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
