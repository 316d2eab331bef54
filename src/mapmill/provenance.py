"""Where a product came from, as tags: stage, version, digests. No dates, hosts or paths."""

import hashlib
import platform
from importlib import metadata
from pathlib import Path, PurePath
from typing import Any

from mapmill import __version__
from mapmill.chain import VERSION
from mapmill.config import Area
from mapmill.settings import digest

LIBRARIES = ("torch", "numpy", "numba", "rasterio", "zarr", "scikit-learn", "snakemake")
"""Those that results depend on, and what runs the chain."""


def software() -> dict[str, str]:
    """Versions of what is at work here."""
    found = {"mapmill": __version__, "Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def without_folders(value: Any) -> Any:
    """A JSON value in which absolute paths are cut to their last part and a digest of the whole.

    A report tells settings; folders of a machine are nobody else's business.
    """
    if isinstance(value, dict):
        return {key: without_folders(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_folders(each) for each in value]
    if isinstance(value, str) and value.startswith(("/", "~")):
        return f".../{PurePath(value).name} ({hashlib.sha256(value.encode()).hexdigest()[:8]})"
    return value


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
