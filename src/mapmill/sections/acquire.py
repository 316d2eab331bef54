"""Where a map is made and what is to be seen there: grid, classes, labels, chips."""

import re
from typing import Literal

from pydantic import Field, model_validator
from pyproj import CRS
from pyproj.exceptions import CRSError

from mapmill.grid import Grid
from mapmill.sections.base import Box, Colour, Line, Section, Sha256, Url

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
        """Suffix of its name, in lower case; '' where it has none that is fit for a path."""
        found = re.search(r"\.[A-Za-z0-9]{1,9}\Z", self.source.partition("?")[0])
        return found[0].lower() if found else ""


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
