"""The table from source codes to classes, as a CSV file."""

import csv
from pathlib import Path

from mapmill.errors import ConfigError


def read_codes(path: Path) -> dict[str, int]:
    """Class by code, from the columns `code` and `class`; other columns are for people.

    Raises
    ------
    ConfigError
        if the file or a column is missing, a code is there twice, or a class is no number.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
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
