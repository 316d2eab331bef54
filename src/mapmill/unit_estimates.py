"""Areas of classes in administrative units, from points that were not drawn for them."""

from pathlib import Path
from typing import Any

from mapmill import interpreted
from mapmill.draw import ClassMap
from mapmill.errors import ContractError
from mapmill.estimators import UNKNOWN
from mapmill.interpreted import Interpreted
from mapmill.provenance import file_digest
from mapmill.sample_files import Design
from mapmill.unit_pixels import Unit, count_units, grid_of, read_units

Row = dict[str, Any]
REMEDIES = ("check --units and --layer", "give --name one of them")
WHOLE = 99.5
"""Per cent of a unit's ground that the map tells, to be called whole: pixels cut its edges."""


def by_unit(
    data: Interpreted,
    design: Design,
    maps: tuple[ClassMap, ClassMap],
    path: Path,
    layer: str | None,
    name: str,
) -> list[Row]:
    """Area of each class in each unit.

    Parameters
    ----------
    maps : that which the sample was drawn from, and that which is judged
    path, layer, name : polygons, and their attribute with the unit's name

    Raises
    ------
    ContractError
        if the units cannot be read, or the map that was drawn from is there no more.
    """
    drawn, judged = maps
    if file_digest(drawn.path) != design.sha256:
        found = "another map than the sample was drawn from"
        raise ContractError(drawn.path, found, "the same file", "leave out --units, or draw anew")
    grounds = read_units(path, layer, name, grid_of(drawn), REMEDIES)
    units = count_units(grounds, drawn, design.xy)
    counted = units if data.own else count_units(grounds, judged, design.xy)
    return [
        row
        for unit, pixels in zip(units, counted, strict=True)
        for row in _of_unit(data, design, unit, pixels)
    ]


def _of_unit(data: Interpreted, design: Design, unit: Unit, pixels: Unit) -> list[Row]:
    """A row for each class; `pixels` is the unit on the map that is judged."""
    ground, rows = float(unit.hectares[1:].sum()), []
    for value, title in enumerate(design.classes, 1):
        part = interpreted.unit_share(data, value, unit.inside, unit.units, unit.hectares)
        row: Row = {"unit": unit.name, "class": title}
        row |= (part.share or UNKNOWN).row(ground, "ha")
        row |= {"pixel_count_ha": float(pixels.hectares[value]), "points": part.points}
        rows.append(row | {"mapped_percent": 100 * unit.told, "method": part.method})
    return rows


def told(rows: list[Row], path: Path) -> str:
    """How the units were estimated, in words."""
    methods: dict[str, set[str]] = {}
    for row in rows:
        methods.setdefault(row["method"], set()).add(row["unit"])
    lines = [f"{len(units)} units: {method}" for method, units in sorted(methods.items())]
    parts = {row["unit"] for row in rows if row["mapped_percent"] < WHOLE}
    if parts:
        lines.append(
            f"{len(parts)} units lie partly where the map has no class: their areas are those of"
            " the rest (`mapped_percent` of the unit)"
        )
    return "\n".join(["", *lines, f"areas in each unit: {path}", ""])
