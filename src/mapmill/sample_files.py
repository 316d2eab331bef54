"""The files of a sample that are written: what was drawn, and the table that people fill in.

The table tells nothing of the map: who interprets a point is not to know what the map says.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.atomic import whole_file, write_json
from mapmill.errors import ContractError
from mapmill.regular import read_json

Numbers = NDArray[Any]
DESIGN = "design.json"
COLUMNS = ["point", "x", "y", "longitude", "latitude", "reference", "comment"]


@dataclass(frozen=True)
class Design:
    """What was drawn, from which map."""

    map: str
    """Name of the map."""
    sha256: str
    """Digest of its file."""
    crs: str
    classes: list[str]
    """Names of class 1 to K."""
    units: Numbers
    """(K + 1,) pixels of class 0 to K in the map."""
    hectares: Numbers
    """(K + 1,) their ground."""
    stratum: Numbers
    """(point,) class that the map had there."""
    xy: Numbers
    """(point, 2) coordinates in the CRS."""


def write_design(path: Path, design: Design, seed: int) -> None:
    """Write the design; its points are numbered from 1."""
    points = zip(design.stratum.tolist(), design.xy.tolist(), strict=True)
    content = {
        "map": design.map,
        "map_sha256": design.sha256,
        "crs": design.crs,
        "seed": seed,
        "classes": design.classes,
        "units": design.units.tolist(),
        "hectares": design.hectares.tolist(),
        "points": [[stratum, *xy] for stratum, xy in points],
    }
    write_json(path, content)


def read_design(path: Path) -> Design:
    """Read a design.

    Raises
    ------
    ContractError
        if it is missing or no design.
    """
    remedy = "keep the table in the folder where `mapmill sample` wrote it"
    try:
        content = read_json(path)
        points = np.array(content["points"], float).reshape(-1, 3)
        design = Design(
            str(content["map"]),
            content["map_sha256"],
            content["crs"],
            [str(name) for name in content["classes"]],
            np.array(content["units"], np.int64),
            np.array(content["hectares"], float),
            points[:, 0].astype(np.int64),
            points[:, 1:],
        )
        _check(design)
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else repr(error)
        raise ContractError(path, found, "the design of the sample", remedy) from None
    return design


def _check(design: Design) -> None:
    """Raise a ValueError if strata and points do not go together."""
    size = len(design.classes) + 1
    if design.units.shape != (size,) or design.hectares.shape != (size,):
        raise ValueError("not one size for each class")
    there = design.units[1:] > 0
    hectares = design.hectares[1:][there]
    if not (np.isfinite(hectares).all() and (hectares > 0).all() and (design.units >= 0).all()):
        raise ValueError("a class of no size")
    if not np.isin(design.stratum, np.flatnonzero(there) + 1).all():
        raise ValueError("a point in a class that the map has not")
    drawn = np.bincount(design.stratum, minlength=size)
    if not len(drawn) or (drawn > design.units).any() or not np.isfinite(design.xy).all():
        raise ValueError("more points than pixels, or a point nowhere")


def write_points(path: Path, xy: Numbers, lonlat: Numbers) -> None:
    """Write the table to fill in (CSV): `reference` and `comment` are empty."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for number, ((x, y), (lon, lat)) in enumerate(zip(xy, lonlat, strict=True), 1):
            rows.writerow([number, f"{x:.10g}", f"{y:.10g}", f"{lon:.7f}", f"{lat:.7f}", "", ""])
