"""How bands are put on the grid, and how several scenes become one image."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mapmill.sections.base import Line, Section

Code = Annotated[int, Field(ge=0, le=65535)]
"""A value of a mask band."""
KINDS = ("clear", "cloud", "snow", "nodata")
PRESETS: dict[str, dict[str, list[int]]] = {
    # Sentinel-2's scene classification: 1 is saturated or defective, 3 the shadow of a cloud,
    # 8 to 10 clouds from medium probability to cirrus; 2 is dark ground, 7 unclassified
    "scl": {"clear": [2, 4, 5, 6, 7], "cloud": [3, 8, 9, 10], "snow": [11], "nodata": [0, 1]},
    "cmask": {"clear": [127], "cloud": [255], "snow": [], "nodata": [0]},  # of CBERS, by INPE
}


class Mask(Section):
    """What a band of each scene tells of its pixels: clear, cloud or shadow, snow, nothing."""

    preset: Literal["scl", "cmask"] | None = None
    """Values whose meaning is known: scl, Sentinel-2's scene classification (cloud: 3, 8, 9, 10;
    snow: 11; nodata: 0, 1; clear: 2, 4 to 7); cmask, of CBERS (clear: 127, cloud: 255, nodata: 0).
    Otherwise `cloud`, `snow`, `nodata` and `clear` list them."""
    band: Line = ""
    """Band that holds them; SCL or CMASK by default."""
    clear: list[Code] = Field(default_factory=list)
    """Values of clear pixels; if none are listed, all that no other list has."""
    cloud: list[Code] = Field(default_factory=list)
    """Values of clouds and their shadows."""
    snow: list[Code] = Field(default_factory=list)
    nodata: list[Code] = Field(default_factory=list)
    """Values of pixels that were not observed, or badly. So is what the file declares as nodata,
    unless a list has it."""
    grow: int = Field(default=0, ge=0, le=200)
    """Pixels of the grid by which clouds are made larger on all sides."""
    remove: list[Literal["cloud", "snow"]] = Field(default=["cloud"])
    """What is not used: where no scene shows anything else, the pixel is nodata."""

    @property
    def band_name(self) -> str:
        """Band that holds the values."""
        return self.band or (self.preset or "").upper()

    def codes(self) -> dict[str, list[int]]:
        """Values of each kind; of `clear` none where everything else is clear."""
        if self.preset:
            return PRESETS[self.preset]
        return {kind: getattr(self, kind) for kind in KINDS}

    @model_validator(mode="after")
    def _one_way(self) -> "Mask":
        listed = [kind for kind in KINDS if getattr(self, kind)]
        if self.preset and listed:
            raise ValueError(f"{listed[0]}: values beside preset, which knows them; take one out")
        if not self.preset and not (self.band and set(listed) - {"clear"}):
            raise ValueError("preset: nothing, nor band with values of cloud, snow or nodata")
        values = [value for kind in listed for value in getattr(self, kind)]
        for value in values:
            if values.count(value) > 1:
                raise ValueError(
                    f"{listed[0]}: {value} is listed twice in clear, cloud, snow, nodata"
                )
        return self


class Pansharpen(Section):
    """Detail of a panchromatic band, brought into others by weighted Brovey."""

    pan: Line
    """Panchromatic band; the grid has its resolution, or nearly so."""
    bands: list[Line] = Field(default_factory=list)
    """Bands that are sharpened; by default all of compose.bands."""
    weights: list[Annotated[float, Field(ge=0, le=10)]] = Field(default_factory=list)
    """One for each of these bands: how much of it the panchromatic band sees; equal by default."""

    def the_bands(self, composed: list[str]) -> list[str]:
        """Bands that are sharpened."""
        return self.bands or [band for band in composed if band != self.pan]

    def the_weights(self, composed: list[str]) -> list[float]:
        """A weight for each of them."""
        bands = self.the_bands(composed)
        return self.weights or [1 / len(bands)] * len(bands)


class Compose(Section):
    """Bands put on the grid."""

    bands: list[Line] = Field(min_length=1)
    """Bands read from the imagery, in the order of the model's channels."""
    dtype: Literal["uint16", "float32"] = "uint16"
    """uint16 has nodata 0, float32 has nodata NaN."""
    resampling: Literal["nearest", "bilinear", "average"] = "bilinear"
    """Used where a source is not on the grid pixel for pixel; classes and masks are always read by
    nearest pixel."""
    mask: Mask | None = None
    """Clouds, shadows and snow, by a band of each scene."""
    combine: Literal["first", "least-cloudy", "median", "mean", "max-ndvi"] = "first"
    """How several scenes become one image. first: the first with a pixel that is used gives it, all
    bands together; least-cloudy: likewise, after ordering scenes by the clouds that they tell of
    themselves; max-ndvi: the greenest gives it; median and mean: of all that are used, band by
    band."""
    ndvi: tuple[Line, Line] | None = None
    """Near infrared and red, such as [B08, B04], for max-ndvi."""
    pansharpen: Pansharpen | None = None
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

    @property
    def measured(self) -> list[str]:
        """Bands of measurements that a scene must hold."""
        pan = [self.pansharpen.pan] if self.pansharpen else []
        return [*self.bands, *(band for band in pan if band not in self.bands)]

    @property
    def wanted(self) -> list[str]:
        """All bands that a scene must hold: those measured, and that of the mask."""
        mask = [self.mask.band_name] if self.mask else []
        return [*self.measured, *(band for band in mask if band not in self.measured)]

    @model_validator(mode="after")
    def _bands_exist(self) -> "Compose":
        if len(set(self.all_bands)) < len(self.all_bands):
            raise ValueError("bands: one named twice (differences add to them)")
        if self.differences and self.dtype != "float32":
            raise ValueError("differences with dtype uint16; they are fractions and need float32")
        for name, pair in self.differences.items():
            self._check_among(f"differences.{name}", pair)
        if (self.combine == "max-ndvi") != (self.ndvi is not None):
            raise ValueError("ndvi: it goes with combine: max-ndvi, which needs it: [NIR, RED]")
        self._check_among("ndvi", self.ndvi or ())
        return self

    @model_validator(mode="after")
    def _pansharpen_fits(self) -> "Compose":
        chosen = self.pansharpen
        if chosen is None:
            return self
        bands = chosen.the_bands(self.bands)
        self._check_among("pansharpen.bands", bands)
        if not bands or chosen.pan in bands or len(set(bands)) < len(bands):
            raise ValueError("pansharpen.bands: none, one twice, or the panchromatic band itself")
        if len(chosen.the_weights(self.bands)) != len(bands):
            raise ValueError(
                f"pansharpen.weights: {len(chosen.weights)} for {len(bands)} bands; one for each"
            )
        if sum(chosen.the_weights(self.bands)) <= 0:
            raise ValueError("pansharpen.weights: all 0")
        return self

    def _check_among(self, key: str, names: "list[str] | tuple[str, ...]") -> None:
        for band in names:
            if band not in self.bands:
                raise ValueError(f"{key}: {band}, none of the bands")
