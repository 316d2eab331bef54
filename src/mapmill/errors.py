"""The errors a user can cause and mend. Anything else is a bug and keeps its traceback."""

from errno import EACCES, EDQUOT, EFBIG, ENOSPC, EPERM, EROFS
from pathlib import Path

REFUSALS = (ENOSPC, EDQUOT, EFBIG, EACCES, EPERM, EROFS)
"""Errors of the system when it refuses to write: no room, or no rights."""


class MapmillError(Exception):
    """A mistake outside the program, told in one line.

    Parameters
    ----------
    where : path, or path and key, of what is wrong
    found : what is there
    expected : what should be there
    remedy : what the user can do about it
    """

    def __init__(self, where: str | Path, found: str, expected: str, remedy: str) -> None:
        parts = [one_line(str(part)) for part in (where, found, expected, remedy)]
        super().__init__("{}: found {}; expected {}; {}".format(*parts))


LONGEST = 600
"""Letters of each part of a message; a library may quote a whole file."""


def one_line(text: str) -> str:
    """On one line, and no longer than a person reads."""
    # what a server or a file says may hold codes that a terminal obeys, or cannot write
    words = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 4]} ..."


class ConfigError(MapmillError):
    """An area file says something that mapmill cannot do."""


class ContractError(MapmillError):
    """A file is not what its contract says."""


class CatalogueError(MapmillError):
    """A catalogue or a download did not give what was asked for."""


class DiskError(MapmillError):
    """A file cannot be written: there is no room, or no right to."""
