"""Where a product came from, as tags: stage, version, digests. No dates, hosts or paths."""

import hashlib
from pathlib import Path

from mapmill import __version__
from mapmill.chain import VERSION
from mapmill.config import Area
from mapmill.settings import digest


def tags(area: Area, stage: str, name: str | None = None, **inputs: str) -> dict[str, str]:
    """Provenance of one output, for TIFF tags and Zarr attributes.

    Parameters
    ----------
    inputs : digest or identity of each input that made it
    """
    result = {
        "MAPMILL_STAGE": stage,
        "MAPMILL_STAGE_VERSION": str(VERSION[stage]),
        "MAPMILL_VERSION": __version__,
        "MAPMILL_SETTINGS": digest(area, stage, name),
    }
    return result | {f"MAPMILL_INPUT_{key.upper()}": value for key, value in inputs.items()}


def file_digest(path: Path) -> str:
    """sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
