"""Channels that are computed from the bands, and how all channels are normalised."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mapmill.channels import FILTERS
from mapmill.formulas import parsed
from mapmill.sections.base import Distinct, Line, Section

KINDS = ("index", "formula", *FILTERS)
USES: dict[str, dict[str, Any]] = {
    "index": {"constants": {}},
    "formula": {"name": None, "constants": {}},
    "gaussian": {"size": 11, "sigma": 2.0},
    "median": {"size": 11},
    "sobel": {"direction": "both"},
    "canny": {"size": 11, "sigma": 1.0, "low": 0.1, "high": 0.2, "grow": 32},
    "local_min_max": {"size": 31},
    "global_min_max": {},
    "slope": {"pixel": None},
}
"""Keys of each kind, with what they are by default."""


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Sources = Annotated[
    list[str],
    BeforeValidator(_listed, json_schema_input_type=str | list[str]),
    Field(min_length=1),
]
"""Names of bands, of indices, or of channels further up in the list; one may stand alone."""


class Feature(Section):
    """One kind of channel, of one or more bands."""

    index: str | None = None
    """An index by name: NDVI, NBR ..., or one of the catalogue of `mapmill[indices]`."""
    formula: str | None = None
    """A formula of band names or symbols, such as `(B08 - B11) / (B08 + B11)`; give it a `name`."""
    gaussian: Sources | None = None
    """Blurred by a Gaussian of `sigma` pixels, cut off to `size` x `size`."""
    median: Sources | None = None
    """Median of `size` x `size`; of an even number of valid pixels the lower of the middle two."""
    sobel: Sources | None = None
    """Gradient; `direction` x (to the right), y (downwards) or both (its length)."""
    canny: Sources | None = None
    """1 on edges, else 0."""
    local_min_max: Sources | None = None
    """0 at the least and 1 at the largest value of the `size` x `size` window around the pixel."""
    global_min_max: Sources | None = None
    """0 at the least and 1 at the largest value of the training pixels; cut off there."""
    slope: Sources | None = None
    """Slope in degrees of a height in metres (Horn 1981)."""
    name: Line | None = None
    constants: dict[str, float] = Field(default_factory=dict)
    """Numbers for names in the formula that are no bands, such as `L`."""
    size: int | None = Field(default=None, ge=3, le=255)
    """Side of the window in pixels, odd."""
    sigma: float | None = Field(default=None, gt=0, le=50)
    direction: Literal["x", "y", "both"] | None = None
    low: float | None = Field(default=None, gt=0)
    """Of canny: gradient of an edge's weak parts, in standard deviations of the source a pixel."""
    high: float | None = Field(default=None, gt=0)
    """Of canny: gradient that an edge must reach somewhere."""
    grow: int | Literal["all"] | None = None
    """Of canny: pixels that an edge is followed from where it is strong; `all` looks at the whole
    tile, whose borders then leave traces in the map."""
    pixel: float | None = Field(default=None, gt=0)
    """Of slope: side of a pixel in metres, by default that of a grid in metres."""

    @property
    def kind(self) -> str:
        """Which of the kinds it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    def chosen(self, key: str) -> Any:
        """A key's value, or what it is by default."""
        value = getattr(self, key)
        return USES[self.kind][key] if value is None else value

    @property
    def channels(self) -> dict[str, str]:
        """Name of each channel that it gives, and the band or channel that this is made from."""
        if self.kind in ("index", "formula"):
            return {self.name or self.index or "": ""}
        keys = [key for key in USES[self.kind] if getattr(self, key) is not None]
        told = "".join(f" {key}={getattr(self, key)}" for key in keys)
        return {f"{self.kind} {source}{told}": source for source in getattr(self, self.kind)}

    @model_validator(mode="after")
    def _one_kind(self) -> "Feature":
        kinds = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none"
            raise ValueError(f"{found}, where one of {', '.join(KINDS)} is expected")
        for key in self.model_fields_set - set(kinds) - set(USES[self.kind]):
            if getattr(self, key) not in (None, {}):
                raise ValueError(f"{key}: a key that {self.kind} has not")
        if self.size is not None and self.size % 2 == 0:
            raise ValueError(f"size: {self.size}, which is even")
        if self.formula is not None:
            parsed(self.formula)
            if not self.name:
                raise ValueError("name: nothing; a formula needs one")
        if self.kind == "canny":
            if self.chosen("low") > self.chosen("high"):
                raise ValueError(f"low: {self.chosen('low')}, more than high")
            if self.grow != "all" and not 0 <= self.chosen("grow") <= 512:
                raise ValueError(f"grow: {self.grow}, not from 0 to 512")
        return self


def _spelt_out(value: Any) -> Any:
    """`NDVI` is an index, `canny` that of gray."""
    if not isinstance(value, str):
        return value
    name = value.replace("-", "_")
    return {name: ["gray"]} if name in FILTERS else {"index": value}


Spelt = BeforeValidator(_spelt_out, json_schema_input_type=str | Feature)
Features = Annotated[list[Annotated[Feature, Spelt]], Field(max_length=100)]


class Inputs(Section):
    """What a net is shown of the imagery."""

    features: Features = Field(default_factory=list)
    """Channels computed from the bands, after them: an index by name, or a mapping such as
    {median: B04, size: 5}. See docs/features.md."""
    without: Annotated[list[str], Distinct] = Field(default_factory=list)
    """Bands of the image that the net is not shown; features may still be computed from them."""
    roles: dict[str, str] = Field(default_factory=dict)
    """Symbol in formulas -> band, where the bands have other names than Sentinel-2's: {N: NIR}."""
    reflectance: float | None = Field(default=None, gt=0)
    """Value of the imagery that means a reflectance of 1, such as 10000: for indices with
    constants, such as EVI."""
    normalise: Literal["standard", "mean", "min-max", "percentile"] = "standard"
    """(x - a) / b by training pixels; standard: mean, standard deviation; mean: mean, range;
    min-max: least, range; percentile: the 2nd, and from it to the 98th."""

    @property
    def channel_names(self) -> list[str]:
        """Names of the channels that the features give, in order."""
        return [name for feature in self.features for name in feature.channels]

    @model_validator(mode="after")
    def _named_once(self) -> "Inputs":
        names = self.channel_names
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"features: {name} twice")
        return self
