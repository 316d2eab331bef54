"""areas: accuracy of a map and area of its classes, from points that people interpreted."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from mapmill import interpreted, unit_estimates
from mapmill.areafile import load_area
from mapmill.atomic import whole_file, write_text
from mapmill.draw import ClassMap, Counted, plane_remarks
from mapmill.errors import ContractError
from mapmill.interpreted import Interpreted
from mapmill.layout import Layout
from mapmill.provenance import file_digest
from mapmill.raster import values_at
from mapmill.sample_files import DESIGN, Design, read_design
from mapmill.sample_table import read_reference

Row = dict[str, Any]


def run(
    area_path: Path,
    map_name: str,
    sample: Path,
    units: Path | None,
    layer: str | None,
    name: str,
) -> str:
    """Write the tables of a map's accuracy and areas; the same in words.

    Parameters
    ----------
    sample : the interpreted table, beside the design of the sample
    units : polygons for which areas are estimated too, called by their attribute `name`
    layer : of a file with several

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
    notes = _of_numbers(accuracy, areas, design) + plane_remarks(source)
    notes += interpreted.remarks(data, names)
    said = _summary(map_name, _how(map_name, data, design), accuracy, areas, notes)
    by_unit = folder / "units.csv"
    by_unit.unlink(missing_ok=True)  # that of another sample would stand beside the new tables
    if units:
        maps = ClassMap(layout.map(design.map), len(names)), source
        rows = unit_estimates.by_unit(data, design, maps, units, layer, name)
        _write(by_unit, rows)
        said += unit_estimates.told(rows, by_unit)
    _write(folder / "accuracy.csv", accuracy)
    _write(folder / "areas.csv", areas)
    _write(folder / "confusion.csv", _confusion(data, names))
    write_text(folder / "summary.txt", said)
    return said + f"tables: {folder}"


def _interpreted(path: Path, design: Design, source: ClassMap, names: list[str]) -> Interpreted:
    """The points, what people saw there and what the map says."""
    if design.classes != names or design.crs != source.info.crs:
        found = f"classes {', '.join(design.classes)} in {design.crs}"
        expected = f"{', '.join(names)} in {source.info.crs}"
        raise ContractError(path.parent / DESIGN, found, expected, "draw a sample of this area")
    own = design.sha256 == file_digest(source.path)
    data = Interpreted(
        stratum=design.stratum,
        mapped=values_at(source.path, design.xy).astype(np.int64),
        reference=read_reference(path, design, source.info.resolution),
        units=design.units,
        hectares=design.hectares,
        own=own,
    )
    for value, count in zip(data.strata, data.sampled, strict=True):
        if not count:
            found = f"no reference in class {names[value - 1]}"
            raise ContractError(path, found, "one in each at least", "interpret more points")
    return data


def _accuracy(data: Interpreted, names: list[str]) -> list[Row]:
    """Overall, user's and producer's accuracy: a row each."""
    overall = interpreted.overall(data).row()
    rows: list[Row] = [{"what": "overall accuracy", "class": "all", **overall}]
    for value, name in enumerate(names, 1):
        for what, score in (("user's", interpreted.users), ("producer's", interpreted.producers)):
            rows.append({"what": f"{what} accuracy", "class": name, **score(data, value).row()})
    return rows


def _areas(data: Interpreted, names: list[str], counted: Counted) -> list[Row]:
    """Area of each class, and the pixel count beside it."""
    ground = float(data.hectares[data.strata].sum())
    rows = []
    for value, name in enumerate(names, 1):
        row = interpreted.class_share(data, value).row(ground, "ha")
        rows.append({"class": name, **row, "pixel_count_ha": float(counted.hectares[value])})
    return rows


def _confusion(data: Interpreted, names: list[str]) -> list[Row]:
    """Points by class in the map (rows) and reference (columns)."""
    rows, columns = ["(no data)", *names], ["(no reference)", *names]
    return [
        {"map \\ reference": title, **dict(zip(columns, row, strict=True))}
        for title, row in zip(rows, interpreted.matrix(data).tolist(), strict=True)
    ]


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


def _how(map_name: str, data: Interpreted, design: Design) -> str:
    """Which strata the numbers rest on."""
    used = f"{int((data.reference > 0).sum())} points; strata: "
    if data.own:
        return used + "the map's classes (Olofsson et al. 2014)"
    other = f"the map `{design.map}`"
    if design.map == map_name:
        other = "an earlier file of this map: it has changed since the sample was drawn"
    return f"{used}classes of {other} (Stehman 2014)"


def _of_numbers(accuracy: list[Row], areas: list[Row], design: Design) -> list[str]:
    """What the numbers do not tell."""
    said, errors = [], [row["standard_error"] for row in accuracy]
    if 0 in errors + [row["standard_error_ha"] for row in areas]:
        said.append(
            "a standard error of 0: its points agree; it does not say that there are no errors"
        )
    if design.units[0]:
        without = f"{design.hectares[0]:,.1f} ha where the map that was drawn from has no class"
        said.append(f"areas are without {without}: no point was drawn there")
    return said


def _summary(
    map_name: str, how: str, accuracy: list[Row], areas: list[Row], notes: list[str]
) -> str:
    """The tables as text for people."""
    lines = [f"Accuracy of the map `{map_name}` and areas of its classes", f"from {how}"]
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
