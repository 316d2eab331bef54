"""Files of features that hold them themselves: none that lead to other files, or to addresses."""

import functools
import json
import mmap
import re
from pathlib import Path

from mapmill.regular import regular

FORMATS = ("GPKG", "GeoJSON", "FlatGeobuf", "ESRI Shapefile", "GeoJSONSeq", "TopoJSON", "ESRIJSON")
MARKS, BOM = (b"SQLite format 3\0", b"fgb", b"\0\0\x27\x0a"), b"\xef\xbb\xbf"
"""How GeoPackage, FlatGeobuf and Shapefile begin, and what may stand before JSON."""
HEAD = 2**16
"""Bytes in which GDAL looks for what kind of JSON a file is, and more."""
COMMAND = b"gdal_streamed_alg"
"""The mark of JSON that is a command of GDAL."""
CRS = re.compile(rb"""(?:crs|\\u0063rs|\\u0063\\u0072s|\\u0063r\\u0073|\\u0063\\u0072\\u0073"""
                 rb"""|c\\u0072s|cr\\u0073|c\\u0072\\u0073)["']""")  # fmt: skip
"""The key of GeoJSON's CRS in all its spellings, and its last quote."""
LONGEST = 2**16
"""Bytes of a CRS that is an object."""


def of_features(path: Path) -> Path:
    """The path itself, if the file begins as those of FORMATS do and names no address.

    GDAL would open whatever it knows, and some of it names addresses that are asked at once.

    Raises
    ------
    OSError
        if it does not, or is no file.
    """
    with regular(path).open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(MARKS):
        return path
    if not head.removeprefix(BOM).lstrip().startswith(b"{") or COMMAND in head:
        raise OSError(f"none of {', '.join(FORMATS)}")
    about = path.stat()
    _check_crs(path, (about.st_dev, about.st_ino, about.st_size, about.st_ctime_ns))
    return path


@functools.lru_cache(maxsize=64)
def _check_crs(path: Path, state: tuple[int, ...]) -> None:
    """Refuse GeoJSON whose CRS is an address, which GDAL asks; once for each `state` of the file.

    Raises
    ------
    OSError
        if a key `crs` may hold one: GDAL reads more than JSON allows, so all but JSON is refused.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in CRS.finditer(content):
            after = content[found.end() : found.end() + LONGEST].lstrip()
            if after.startswith((b",", b"}", b"]")):  # a value
                continue
            after = after.removeprefix(b":").lstrip()
            if (not after or after.startswith((b"{", b"/", b":"))) and not _is_name(after):
                raise OSError('a "crs" that is no name')


def _is_name(text: bytes) -> bool:
    """Whether a text begins with a CRS that is given by its name."""
    try:
        crs, _ = json.JSONDecoder().raw_decode(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return False
    return isinstance(crs, dict) and str(crs.get("type", "name")).casefold() in ("name", "epsg")
