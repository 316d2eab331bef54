"""Tables of the areas in maps."""

from pydantic import Field

from mapmill.sections.base import Section


class Tabulate(Section):
    """Pixel counts by class, unit and map."""

    units: str | None = None
    """Polygons (any vector file), such as municipalities; by default the map is one unit."""
    layer: str | None = None
    """Layer of a file with several."""
    name: str = Field(default="name", min_length=1)
    """Attribute with the name of a unit; polygons of one name are one unit."""
