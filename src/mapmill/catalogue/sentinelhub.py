"""Imagery of Sentinel Hub, asked for block by block."""

import os
from pathlib import Path

from mapmill.config import Area
from mapmill.errors import CatalogueError
from mapmill.grid import Block

VARIABLES = ("SH_CLIENT_ID", "SH_CLIENT_SECRET")


def credentials() -> tuple[str, str]:
    """Client id and secret, from the environment alone.

    Raises
    ------
    CatalogueError
        naming the variables that are not set.
    """
    found = [os.environ.get(name, "") for name in VARIABLES]
    missing = [name for name, value in zip(VARIABLES, found, strict=True) if not value]
    if missing:
        raise CatalogueError(
            "Sentinel Hub",
            f"no {' and no '.join(missing)} in the environment",
            "the id and secret of an OAuth client",
            f"create one in your account, then: export {' '.join(f'{n}=...' for n in missing)}",
        )
    return found[0], found[1]


def fetch(area: Area, period: str, block: Block) -> Path:
    """The image of one block and period.

    Raises
    ------
    CatalogueError
        always: this version plans such areas but cannot ask Sentinel Hub.
    """
    raise CatalogueError(
        f"Sentinel Hub, {period} {block.name} of {area.title}",
        "a source that this version of mapmill cannot download from",
        "source: files",
        "download the imagery by other means and name it under search.periods",
    )
