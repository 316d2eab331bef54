"""areas: accuracy of a map and area of its classes, from points that people interpreted."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from mapmill import interpreted
from mapmill.areafile import load_area
from mapmill.atomic import whole_file, write_text
from mapmill.draw import ClassMap, Counted
from mapmill.errors import ContractError
from mapmill.estimators import Share
from mapmill.interpreted import Interpreted
from mapmill.layout import Layout
from mapmill.provenance import file_digest
from mapmill.raster import values_at
from mapmill.sample_files import DESIGN, Design, read_design, read_reference
from mapmill.unit_pixels import fill_units, units_of

Row = dict[str, Any]
INTERVAL = ("standard_error", "low", "high")


def run(area_path: Path, map_name: str, sample: Path, units: Path | None, name: str) -> str:
    """Write the tables of a map's accuracy and areas; the same in words.

    Parameters
    ----------
    sample : the interpreted table, beside the design of the sample
    units : polygons for which areas are estimated too, called by their attribute `name`

    Raises
    ------
    ContractError
        if a file is not what it should be, or a class of the map has no interpreted point.
    """
    area, layout = load_area(area_path), Layout(area_path.stem)
    area.run_of(map_name)
    names = area.class_names
    design = read_design(sample.parent / DESIGN)
    source = ClassMap(layout.map(map_name), len(names))
    data = _interpreted(sample, design, source, names)
    counted, folder = source.count(), layout.areas(map_name)
    accuracy, areas = _accuracy(data, names), _areas(data, names, counted)
    _write(folder / "accuracy.csv", accuracy)
    _write(folder / "areas.csv", areas)
    _write(folder / "confusion.csv", _confusion(data, names))
    said = _summary(map_name, data, accuracy, areas, interpreted.remarks(data, names))
    if units:
        drawn = ClassMap(layout.map(design.map), len(names))
        rows = _by_unit(data, design, drawn, units, name, names)
        _write(folder / "units.csv", rows)
        said += _of_units(rows, folder / "units.csv")
    write_text(folder / "summary.txt", said)
    return said + f"tables: {folder}"


def _interpreted(path: Path, design: Design, source: ClassMap, names: list[str]) -> Interpreted:
    """The points, what people saw there and what the map says."""
    if len(design.units) != len(names) + 1 or design.crs != source.info.crs:
        found = f"{len(design.units) - 1} classes in {design.crs}"
        expected = f"{len(names)} classes in {source.info.crs}"
        raise ContractError(path.parent / DESIGN, found, expected, "draw a sample of this area")
    own = design.sha256 == file_digest(source.path)
    data = Interpreted(
        stratum=design.stratum,
        mapped=values_at(source.path, design.xy).astype(np.int64),
        reference=read_reference(path, len(design.stratum), names),
        units=design.units,
        hectares=design.hectares,
        own=own,
    )
    for value, count in zip(data.strata, data.sampled, strict=True):
        if not count:
            found = f"no reference in class {names[value - 1]}"
            raise ContractError(path, found, "one in each at least", "interpret more points")
    return data


def _told(found: Share, scale: float = 1.0) -> list[float]:
    """Value, standard error, and ends of the interval."""
    values = (found.value, found.standard_error, found.low, found.high)
    return [scale * float(value) for value in values]


def _accuracy(data: Interpreted, names: list[str]) -> list[Row]:
    """Overall, user's and producer's accuracy: a row each."""
    rows = [_row("overall accuracy", "all", interpreted.overall(data))]
    for value, name in enumerate(names, 1):
        rows.append(_row("user's accuracy", name, interpreted.users(data, value)))
        rows.append(_row("producer's accuracy", name, interpreted.producers(data, value)))
    return rows


def _row(what: str, name: str, found: Share) -> Row:
    return {
        "what": what,
        "class": name,
        **dict(zip(("value", *INTERVAL), _told(found), strict=True)),
    }


def _areas(data: Interpreted, names: list[str], counted: Counted) -> list[Row]:
    """Area of each class, and the pixel count beside it."""
    ground = float(data.hectares[data.strata].sum())
    rows = []
    for value, name in enumerate(names, 1):
        found = _told(interpreted.class_share(data, value), ground)
        row = dict(zip(("ha", *(f"{key}_ha" for key in INTERVAL)), found, strict=True))
        row["pixel_count_ha"] = float(counted.hectares[value])
        rows.append({"class": name, **row})
    return rows


def _confusion(data: Interpreted, names: list[str]) -> list[Row]:
    """Points by class in the map (rows) and reference (columns)."""
    found, titles = interpreted.matrix(data), ["nothing", *names]
    return [
        {"map \\ reference": titles[number], **dict(zip(["unknown", *names], row, strict=True))}
        for number, row in enumerate(found.tolist())
    ]


def _by_unit(
    data: Interpreted, design: Design, drawn: ClassMap, path: Path, name: str, names: list[str]
) -> list[Row]:
    """Area of each class in each unit."""
    if file_digest(drawn.path) != design.sha256:
        found = "another map than the sample was drawn from"
        raise ContractError(drawn.path, found, "the same file", "leave out --units, or draw anew")
    units = units_of(path, name, drawn, len(design.stratum))
    fill_units(units, drawn, design.xy)
    rows = []
    for unit in units:
        ground = float(unit.hectares[1:].sum())
        for value, title in enumerate(names, 1):
            part = interpreted.unit_share(data, value, unit.inside, unit.units, unit.hectares)
            values = _told(part.share, ground) if part.share else [float("nan")] * 4
            row: Row = {"unit": unit.name, "class": title}
            row |= dict(zip(("ha", *(f"{key}_ha" for key in INTERVAL)), values, strict=True))
            row |= {"pixel_count_ha": float(unit.hectares[value]), "points": part.points}
            rows.append(row | {"method": part.method})
    return rows


def _write(path: Path, rows: list[Row]) -> None:
    """A table; what cannot be told is left empty."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({key: _cell(value) for key, value in row.items()})


def _cell(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if np.isnan(value) else f"{value:.8g}"


def _number(value: float, form: str) -> str:
    return "unknown" if np.isnan(value) else format(value, form)


def _summary(
    map_name: str, data: Interpreted, accuracy: list[Row], areas: list[Row], notes: list[str]
) -> str:
    """The tables as text for people."""
    used = int((data.reference > 0).sum())
    how = "strata: its classes (Olofsson et al. 2014)"
    if not data.own:
        how = "strata: classes of the map that the sample was drawn from (Stehman 2014)"
    lines = [f"Accuracy of the map `{map_name}` and areas of its classes, from {used} points", how]
    lines += ["intervals: 95 %, also where no error was found; see docs/areas.md", ""]
    for row in accuracy:
        title = f"{row['what']} {row['class']}".removesuffix(" all")
        value = f"{_number(row['value'], '.3f'):>8s}  ({row['low']:.3f} to {row['high']:.3f})"
        error = _number(row["standard_error"], ".3f")
        lines.append(f"{title:44s} {value}   standard error {error}")
    lines += ["", "area in hectares; the count of pixels beside it is biased by the map's errors"]
    for row in areas:
        between = f"({row['low_ha']:,.1f} to {row['high_ha']:,.1f})"
        error = _number(row["standard_error_ha"], ",.1f")
        count = f"pixel count {row['pixel_count_ha']:,.1f}"
        title, value = row["class"], _number(row["ha"], ",.1f")
        lines.append(f"{title:30s} {value:>14s}  {between}   standard error {error}   {count}")
    lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def _of_units(rows: list[Row], path: Path) -> str:
    """How the units were estimated."""
    methods: dict[str, set[str]] = {}
    for row in rows:
        methods.setdefault(row["method"], set()).add(row["unit"])
    told = [f"{len(units)} units: {method}" for method, units in sorted(methods.items())]
    return "\n".join(["", *told, f"areas in each unit: {path}", ""])
