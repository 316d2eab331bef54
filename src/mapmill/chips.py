"""Which chips an area has: images and masks matched by name, and the table about them.

Only names are looked at here, so that planning stays quick.
"""

import csv
import glob
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from mapmill.errors import ConfigError
from mapmill.regular import read_lines
from mapmill.sections import Chips

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
TOKENS = {"{chip}": r"(?P<chip>[^/]+?)", "*": "[^/]*"}


@dataclass(frozen=True)
class Chip:
    """The files of one chip."""

    name: str
    images: tuple[Path, ...]
    """One for each entry of `chips.images`."""
    mask: Path | None
    """None for a chip without labels."""

    @property
    def files(self) -> list[str]:
        """All its files."""
        return [str(path) for path in (*self.images, self.mask) if path]


def find_chips(chosen: Chips) -> list[Chip]:
    """All chips, by name; numbers in names count as numbers.

    Raises
    ------
    ConfigError
        if there is none, or an image or mask has no counterpart.
    """
    masks = _matched(chosen.masks.files, "masks") if chosen.masks else {}
    images = [_matched(entry.files, "images", set(masks.values())) for entry in chosen.images]
    names, first = images[0].keys(), chosen.images[0].files
    for entry, found in zip(chosen.images[1:], images[1:], strict=True):
        for name in sorted(names - found.keys()):
            raise _lonely(name, images[0][name], entry.files)
        for name in sorted(found.keys() - names):
            raise _lonely(name, found[name], first)
    for name in sorted(masks.keys() - names):
        raise _lonely(name, masks[name], first)
    return [
        Chip(name, tuple(found[name] for found in images), masks.get(name))
        for name in sorted(names, key=_natural)
    ]


def chip_named(chips: Iterable[Chip], name: str) -> Chip:
    """The chip called `name`.

    Raises
    ------
    ConfigError
        if there is no such chip.
    """
    known = {chip.name: chip for chip in chips}
    if name not in known:
        some = ", ".join(list(known)[:12])
        raise ConfigError(f"chip {name}", "no such chip", f"one of {some}", "check the name")
    return known[name]


def _lonely(name: str, path: Path, pattern: str) -> ConfigError:
    return ConfigError(
        path,
        f"no counterpart of chip {name}",
        f"one like {pattern}",
        "add what is missing, or narrow the patterns under chips",
    )


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]


def _matched(pattern: str, kind: str, taken: Collection[Path] = ()) -> dict[str, Path]:
    """Files by the name of their chip, but those that are taken (masks beside their images)."""
    parts = re.split(r"(\{chip\}|\*)", pattern)
    if parts.count("{chip}") != 1:
        raise ConfigError(f"chips.{kind}", pattern, "{chip} once in the pattern", "correct it")
    regex = re.compile("".join(TOKENS.get(part, re.escape(part)) for part in parts))
    found: dict[str, Path] = {}
    for path in sorted(glob.glob("".join("*" if p in TOKENS else glob.escape(p) for p in parts))):
        match = regex.fullmatch(path)
        if not match or Path(path) in taken:
            continue
        name = match["chip"]
        if not SAFE_NAME.fullmatch(name) or ".." in name:
            raise ConfigError(
                path, f"the name {name!r}", "letters, digits, '.', '_', '-'", "rename"
            )
        if name in found:
            raise ConfigError(path, f"{name} also in {found[name]}", "one file", "narrow it")
        found[name] = Path(path)
    if not found:
        raise ConfigError(
            f"chips.{kind}",
            f"no file like {pattern}",
            "at least one",
            "get the data (the area file may say where), or correct it",
        )
    return found


def column_of(chosen: Chips, column: str, names: list[str]) -> dict[str, str]:
    """A column of the chips' table, by chip.

    Raises
    ------
    ConfigError
        if the table or the column is missing, or the table lacks a chip or has it twice.
    """
    path = Path(chosen.table or "")
    try:
        with read_lines(path) as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or []), list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(path, str(error), "the chips' table", "correct chips.table") from None
    for needed in ("chip", column):
        if needed not in columns:
            known = ", ".join(columns) or "nothing"
            raise ConfigError(path, f"columns {known}", needed, "correct the table or the split")
    values: dict[str, str] = {}
    for row in rows:
        if row["chip"] in values:
            raise ConfigError(path, f"chip {row['chip']} twice", "each chip once", "correct it")
        values[row["chip"]] = row[column] or ""
    for name in names:
        if not values.get(name):
            raise ConfigError(path, f"no {column} of chip {name}", "one for each chip", "add it")
    return {name: values[name] for name in names}
