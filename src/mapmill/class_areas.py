"""What downsampling did to each class: areas before and after, of a block or of all."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mapmill.atomic import whole_file
from mapmill.errors import ContractError

AREAS = ("area_before", "area_after", "area_kept", "area_pure")
SHARES = ("kept", "purity", "pure")


@dataclass(frozen=True)
class ClassAreas:
    """Areas of class 0 to K, (K + 1,), in square units of the CRS."""

    before: NDArray[np.float64]
    """Of the label pixels."""
    after: NDArray[np.float64]
    """Of the cells."""
    kept: NDArray[np.float64]
    """Of the label pixels that are in cells of their own class."""
    pure: NDArray[np.float64]
    """Of the cells that hold nothing but their class."""

    def __add__(self, other: "ClassAreas") -> "ClassAreas":
        return ClassAreas(*(a + b for a, b in zip(self.columns, other.columns, strict=True)))

    @property
    def columns(self) -> tuple[NDArray[np.float64], ...]:
        """As in AREAS."""
        return self.before, self.after, self.kept, self.pure

    @property
    def shares(self) -> tuple[NDArray[np.float64], ...]:
        """As in SHARES; NaN where a class has no area.

        The share of a class's label pixels that is in cells of its own; the mean share of a
        cell's label pixels that have its class; and the share of its cells that are pure.
        """
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.kept / self.before, self.kept / self.after, self.pure / self.after


def write_areas(path: Path, areas: ClassAreas) -> None:
    """Write the table: a row for each class, from 0; a share of nothing is left out."""
    columns = [*areas.columns, *areas.shares]
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["class", *AREAS, *SHARES])
        for value in range(len(areas.before)):
            digits = (f"{column[value]:.10g}" for column in columns)
            rows.writerow([value, *("" if each == "nan" else each for each in digits)])


def read_areas(path: Path) -> ClassAreas:
    """Read a table that `write_areas` wrote.

    Raises
    ------
    ContractError
        if it is missing or is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            text = file.read()
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        if not text.endswith("\n") or [row["class"] for row in rows] != [
            *map(str, range(len(rows)))
        ]:
            raise ValueError("a row that is cut off")
        columns = [np.array([float(row[name]) for row in rows]) for name in AREAS]
    except FileNotFoundError:
        raise ContractError(path, "no such file", "areas of classes", "rerun downsample") from None
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise ContractError(path, str(error), "areas of classes", "delete it and rerun") from None
    return ClassAreas(*columns)
