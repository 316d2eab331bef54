"""The files of a sample: what was drawn, and the table that people fill in.

The table tells nothing of the map: who interprets a point is not to know what the map says.
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.atomic import whole_file, write_json
from mapmill.errors import ContractError
from mapmill.sections import VECTOR_SUFFIXES
from mapmill.vector import read_table

Numbers = NDArray[Any]
DESIGN = "design.json"
COLUMNS = ["point", "x", "y", "longitude", "latitude", "reference", "comment"]


@dataclass(frozen=True)
class Design:
    """What was drawn, from which map."""

    map: str
    """Name of the map."""
    sha256: str
    """Digest of its file."""
    crs: str
    units: Numbers
    """(K + 1,) pixels of class 0 to K in the map."""
    hectares: Numbers
    """(K + 1,) their ground."""
    stratum: Numbers
    """(point,) class that the map had there."""
    xy: Numbers
    """(point, 2) coordinates in the CRS."""


def write_design(path: Path, design: Design, seed: int) -> None:
    """Write the design; its points are numbered from 1."""
    points = zip(design.stratum.tolist(), design.xy.tolist(), strict=True)
    content = {
        "map": design.map,
        "map_sha256": design.sha256,
        "crs": design.crs,
        "seed": seed,
        "units": design.units.tolist(),
        "hectares": design.hectares.tolist(),
        "points": [[stratum, *xy] for stratum, xy in points],
    }
    write_json(path, content)


def read_design(path: Path) -> Design:
    """Read a design.

    Raises
    ------
    ContractError
        if it is missing or no design.
    """
    remedy = "keep the table in the folder where `mapmill sample` wrote it"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        points = np.array(content["points"], float).reshape(-1, 3)
        return Design(
            content["map"],
            content["map_sha256"],
            content["crs"],
            np.array(content["units"], np.int64),
            np.array(content["hectares"], float),
            points[:, 0].astype(np.int64),
            points[:, 1:],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else repr(error)
        raise ContractError(path, found, "the design of the sample", remedy) from None


def write_points(path: Path, xy: Numbers, lonlat: Numbers) -> None:
    """Write the table to fill in (CSV): `reference` and `comment` are empty."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for number, ((x, y), (lon, lat)) in enumerate(zip(xy, lonlat, strict=True), 1):
            rows.writerow([number, f"{x:.10g}", f"{y:.10g}", f"{lon:.7f}", f"{lat:.7f}", "", ""])


def read_reference(path: Path, points: int, names: list[str]) -> Numbers:
    """(point,) class that people saw at each point, 0 where they did not say.

    Parameters
    ----------
    points : how many were drawn
    names : of class 1 to K; a reference is a name or a number

    Raises
    ------
    ContractError
        if the table cannot be read, or holds an unknown class or point, or a point twice.
    """
    codes = {name.casefold(): number for number, name in enumerate(names, 1)}
    codes |= {str(number): number for number in range(1, len(names) + 1)} | {"": 0, "0": 0}
    result, seen = np.zeros(points, np.int64), set()
    for line, (point, text) in enumerate(_rows(path), 2):
        where, code = f"{path}: row {line}", codes.get(_plain(text).casefold())
        number = _plain(point)
        if not number.isdecimal() or not 1 <= int(number) <= points or number in seen:
            found = f"point {point}" + (" again" if number in seen else "")
            raise ContractError(where, found, f"each of 1 to {points} once", "correct the table")
        if code is None:
            known = ", ".join(names)
            raise ContractError(where, f"reference {text!r}", f"one of {known}", "correct it")
        seen.add(number)
        result[int(number) - 1] = code
    return result


def _plain(value: Any) -> str:
    """A cell as text; spreadsheets and GeoPackages write 2 as 2.0 and nothing as NaN or None."""
    text = "" if value is None or value != value else str(value).strip()
    return text.removesuffix(".0")


def _rows(path: Path) -> list[tuple[Any, Any]]:
    """Point and reference of each row of a CSV file or of a vector file."""
    if path.suffix.lower() in VECTOR_SUFFIXES:
        columns = read_table(path)
    else:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ContractError(path, str(error), "a CSV file in UTF-8", "check it") from None
        comma = ";" if ";" in text.partition("\n")[0] else ","
        found = list(csv.DictReader(text.splitlines(), delimiter=comma))
        columns = {name: [row[name] for row in found] for name in (found[0] if found else ())}
    for name in ("point", "reference"):
        if name not in columns:
            known = ", ".join(str(each) for each in columns) or "no rows"
            raise ContractError(path, known, f"a column {name!r}", "keep the columns of the table")
    return list(zip(columns["point"], columns["reference"], strict=True))
