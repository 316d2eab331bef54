"""The table from source codes to classes, as a CSV file."""

import csv
import itertools
from pathlib import Path

from mapmill.errors import ConfigError
from mapmill.regular import read_lines


def read_codes(path: Path) -> dict[str, int]:
    """Class by code, from the columns `code` and `class`; other columns are for people.

    Lines that start with # are remarks above the header only: a code may be a colour, #rrggbb.

    Raises
    ------
    ConfigError
        if the file or a column is missing, a code is there twice, or a class is no number.
    """
    try:
        # a byte-order mark, as spreadsheets write it, is no part of the first column's name
        with read_lines(path) as file:
            rows = list(csv.DictReader(itertools.dropwhile(_is_remark, file)))
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "the class table", "correct labels.table") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(path, str(error), "a CSV file in UTF-8", "correct labels.table") from None
    if not rows or not {"code", "class"} <= rows[0].keys():
        found = ", ".join(str(key) for key in rows[0]) if rows else "no rows"
        raise ConfigError(path, found, "columns code and class", "add them")
    result: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        code, value = (row["code"] or "").strip(), (row["class"] or "").strip()
        if code in result:
            raise ConfigError(path, f"code {code} twice", "each code once", "take one row out")
        if not code or not value.isdecimal():
            raise ConfigError(
                path, f"code {code!r}, class {value!r} in row {number}", "numbers", "correct it"
            )
        result[code] = int(value)
    return result


def _is_remark(line: str) -> bool:
    return line.startswith("#")
