"""The table of a sample as people filled it in: CSV, or a vector file from a GIS."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.errors import ContractError
from mapmill.regular import read_text
from mapmill.sample_files import Design
from mapmill.sections import VECTOR_SUFFIXES
from mapmill.vector import read_points

Numbers = NDArray[Any]
Columns = dict[str, list[Any]]
WANTED = "point", "reference"


def read_reference(path: Path, design: Design, pixel: float) -> Numbers:
    """(point,) class that people saw at each point, 0 where they did not say.

    A reference is a class's name, in any case, or its number.

    Parameters
    ----------
    pixel : side of a pixel, in units of the CRS

    Raises
    ------
    ContractError
        if the table cannot be read, holds an unknown class or point, a point twice, or points
        that lie elsewhere than those that were drawn.
    """
    columns, xy = _columns(path, design.crs)
    size = len(design.stratum)
    result, seen = np.zeros(size, np.int64), np.zeros(size, bool)
    for row, (point, text) in enumerate(zip(*(columns[n] for n in WANTED), strict=True)):
        where, number = f"{path}: row {row + 2}", _plain(point)
        index = int(number) - 1 if number.isdecimal() else -1
        if not 0 <= index < size or seen[index]:
            found = f"point {point}" + (" again" if 0 <= index < size else "")
            raise ContractError(where, found, f"each of 1 to {size} once", "correct the table")
        seen[index] = True
        result[index] = _code(where, _plain(text), design.classes)
        away = np.abs(xy[row] - design.xy[index]).max()
        if away > pixel / 2:  # NaN where the table does not say
            found = f"point {number} {away:.6g} from where it was drawn, in units of the CRS"
            remedy = "use the table that was written beside this design.json"
            raise ContractError(where, found, "the points of this sample", remedy)
    return result


def _code(where: str, text: str, names: list[str]) -> int:
    """Number of the class that a reference names."""
    if text in ("", "0"):
        return 0
    found = {n for n, name in enumerate(names, 1) if name.casefold() == text.casefold()}
    if len(found) > 1:  # names that differ in their case alone
        found = {n for n in found if names[n - 1] == text}
    if text.isdecimal() and 1 <= int(text) <= len(names):
        found.add(int(text))  # a class may be called by the number of another
    if len(found) != 1:
        known = f"one of {', '.join(names)}"
        raise ContractError(where, f"reference {text!r}", known, "correct it")
    return found.pop()


def _plain(value: Any) -> str:
    """A cell as text; spreadsheets and GeoPackages write 2 as 2.0 and nothing as NaN or None."""
    text = "" if value is None or value != value else str(value).strip()
    whole = text.removesuffix(".0").removesuffix(",0")
    return whole if whole.isdecimal() else text


def _columns(path: Path, crs: str) -> tuple[Columns, Numbers]:
    """Columns of a table, and where its points are (point, 2) in the CRS; NaN where untold."""
    if path.suffix.lower() in VECTOR_SUFFIXES:
        columns, xy = read_points(path, crs)
    else:
        columns = _read_csv(path)
        xy = np.full((len(next(iter(columns.values()), [])), 2), np.nan)
        for axis, name in enumerate("xy"):
            if name in columns:
                xy[:, axis] = [_number(path, row, text) for row, text in enumerate(columns[name])]
    for name in WANTED:
        if name not in columns:
            known = ", ".join(str(each) for each in columns) or "no rows"
            raise ContractError(path, known, f"a column {name!r}", "keep the columns of the table")
    return columns, xy


def _number(path: Path, row: int, text: str) -> float:
    """A coordinate, with a point or a comma for its decimals; NaN where there is none."""
    try:
        return float(text.strip().replace(",", ".") or "nan")
    except ValueError:
        remedy = "restore columns x and y, or leave both out"
        raise ContractError(
            f"{path}: row {row + 2}", f"coordinate {text!r}", "a number", remedy
        ) from None


def _read_csv(path: Path) -> Columns:
    """Columns of a CSV file, without empty rows; cells are parted by semicolons or commas."""
    try:
        text = read_text(path, "utf-8-sig")
        comma = ";" if ";" in text.partition("\n")[0] else ","
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=comma))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        expected = "a CSV file in UTF-8, or a GeoPackage"
        raise ContractError(path, str(error), expected, "save it as such") from None
    header = [name.strip() for name in rows[0]] if rows else []
    for name in (*WANTED, "x", "y"):
        if header.count(name) > 1:
            raise ContractError(path, f"two columns {name!r}", "one of each", "delete one")
    kept = []
    for number, row in enumerate(rows[1:], 2):
        if any(row[len(header) :]):
            found, remedy = f"{len(row)} cells", "put quotes around text that holds commas"
            raise ContractError(f"{path}: row {number}", found, f"{len(header)}", remedy)
        if any(row):
            kept.append(row + [""] * (len(header) - len(row)))
    return {name: [row[n] for row in kept] for n, name in enumerate(header) if name}
