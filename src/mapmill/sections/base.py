"""What all sections of an area file share: their base and the kinds of their values."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

SPLITS = ("train", "val", "test")
LONGEST_NAME = 80
"""Letters: files are called after an area, a map and a suffix, in 255 at most."""
VECTOR_SUFFIXES = {".gpkg", ".geojson", ".json", ".fgb"}


def _plain_name(name: str) -> str:
    if not name or not all(c.isascii() and (c.islower() or c.isdigit() or c == "-") for c in name):
        raise ValueError("a name of more than lower-case letters, digits and hyphens")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name of more than {LONGEST_NAME} letters")
    if name.startswith("-"):
        raise ValueError("a name that starts with a hyphen, as options of commands do")
    return name


def _no_repeats(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError(f"a value twice in {values}")
    return values


LINE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
"""Without codes of control, which a terminal obeys and XML cannot hold."""
Name = Annotated[str, AfterValidator(_plain_name)]
Distinct = AfterValidator(_no_repeats)
Line = Annotated[str, Field(pattern=LINE, max_length=300)]
"""Text on one line."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Coordinate = Annotated[float, Field(allow_inf_nan=False)]
Box = tuple[Coordinate, Coordinate, Coordinate, Coordinate]
"""left, bottom, right, top, in units of the CRS."""
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
Moment = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/]+/\S*[A-Za-z0-9]$")]
Address = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
"""Of a server, or a document on it: no query and no password."""
RunOfArea = Annotated[str, Field(pattern="^[a-z0-9-]+/[a-z0-9-]+$")]
"""A run of an area, `area/run`."""


class Section(BaseModel):
    """Base of every section: frozen, and no unknown keys."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )
