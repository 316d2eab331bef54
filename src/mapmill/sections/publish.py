"""The published map: mosaic and vectorise."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mapmill.sections.base import Address, Line, Section

Radius = Annotated[int, Field(ge=1, le=10)]


class Provider(Section):
    """An organisation that had a part in the map, as STAC lists them."""

    name: Line
    roles: list[Literal["licensor", "producer", "processor", "host"]] = Field(min_length=1)
    url: Address | None = None


class Mosaic(Section):
    """The published map. Filters work in the order of their keys; none by default."""

    compress: Literal["DEFLATE", "ZSTD", "LZW"] = "DEFLATE"
    opening: dict[int, Radius] = Field(default_factory=dict)
    """Class -> radius of a disc in pixels: what is narrower goes to the class most frequent
    around it."""
    closing: dict[int, Radius] = Field(default_factory=dict)
    """Class -> radius of a disc in pixels: gaps in the class that are narrower are filled."""
    minimum_px: int = Field(default=1, ge=1, le=1000)
    """Pixels of the smallest patch that stays; smaller ones go to the neighbour with the longest
    common border."""
    minimum_ha: float | None = Field(default=None, gt=0)
    """The same in hectares, rounded up to whole pixels; at most 1,000 of them."""

    @property
    def has_filters(self) -> bool:
        """Whether the map may differ from what was predicted."""
        small = self.minimum_px > 1 or self.minimum_ha is not None
        return bool(self.opening or self.closing) or small

    @model_validator(mode="after")
    def _one_minimum(self) -> "Mosaic":
        if self.minimum_ha is not None and self.minimum_px > 1:
            raise ValueError("both minimum_px and minimum_ha")
        return self


class Vectorise(Section):
    """The map as polygons, made where `results/AREA_MAP.gpkg` is asked for."""

    minimum_px: int = Field(default=10, ge=1, le=1000)
    """Pixels of the smallest polygon; smaller patches go to a neighbour first."""
    simplify: float = Field(default=1.0, ge=0, le=100)
    """How far borders may move, in pixels; neighbours go on sharing them. 0 keeps the pixels'
    sides."""
