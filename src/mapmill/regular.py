"""Files that are files: neither a folder nor a pipe nor a device, and texts that fit in memory.

A pipe would be waited for without end, and a device such as /dev/zero be read without end.
"""

import io
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST_TEXT = 2**26
"""Bytes of a text that is read at once: an area file has some thousand."""
KINDS: dict[str, Callable[[int], bool]] = {
    "a folder": stat.S_ISDIR,
    "a pipe": stat.S_ISFIFO,
    "a socket": stat.S_ISSOCK,
    "a device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


def regular(path: Path) -> Path:
    """The path itself, if there is a file of bytes; links are followed.

    Raises
    ------
    OSError
        in words for people, if it is missing or something else; a FileNotFoundError if missing.
    """
    mode = path.stat().st_mode  # OSError for a circle of links, too
    if not stat.S_ISREG(mode):
        what = next((kind for kind, is_one in KINDS.items() if is_one(mode)), "something")
        raise OSError(f"{what} where a file should be")
    return path


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """A whole text.

    Raises
    ------
    OSError
        as `regular`, or if it is longer than any text that is meant to be read by people.
    UnicodeDecodeError
        if it is no text.
    """
    size = regular(path).stat().st_size
    if size > MOST_TEXT:
        raise OSError(f"{size:,} bytes; at most {MOST_TEXT:,} are read")
    return path.read_text(encoding=encoding)


def read_lines(path: Path) -> io.StringIO:
    """A table in UTF-8 for the csv module, a byte-order mark left out; errors as `read_text`."""
    return io.StringIO(read_text(path, "utf-8-sig"), newline="")


def read_json(path: Path, **options: Any) -> Any:
    """A JSON value; errors as `read_text`, and ValueError if it is none or nested too deep."""
    try:
        return json.loads(read_text(path), **options)
    except RecursionError:
        raise ValueError("nested too deep") from None
