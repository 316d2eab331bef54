"""Pixels to serve: a simulated scene whose values tell their place, or rasters from disk."""

import datetime
import re
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_bounds
from rasterio.vrt import WarpedVRT

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""Those of Sentinel-2 L2A."""
VEGETATION, CLOUD_HIGH = 4, 9
CLOUDY = (0, 1, 3, 8, 9, 10)
"""Classes of SCL that a script passes over: no data, defective, shadow, three of clouds."""
CLOUD_DN = 9000
STEP = {"EPSG:4326": 1e-4, "OGC:CRS84": 1e-4}
"""Side of the lattice's cells, where it is not 10 units of the CRS."""
CELL = 32
"""Lattice cells along one side of a simulated cloud."""


def lattice(crs, bbox, width, height):
    """Column (x) and row (y) on the fixed lattice of 10 m of each pixel's centre."""
    left, bottom, right, top = bbox
    step = STEP.get(crs, 10.0)
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = top - (np.arange(height) + 0.5) * (top - bottom) / height
    return np.floor(x / step).astype(np.int64), np.floor(y / step).astype(np.int64)


def coordinate_scene(crs, bbox, width, height, bands, time_from, time_to):
    """A simulated scene: values 1 to 10000 that tell column or row, band and month.

    Bands B01, B03, B05 ... tell the column of the lattice and B02, B04, B06 ... the row, each
    beginning at another value. A pixel that comes out one place off, in another band or from
    another month has another value; call this function for what is right.
    """
    columns, rows = lattice(crs, bbox, width, height)
    array_BYX = np.empty((len(bands), height, width), np.uint16)
    for plane, band in zip(array_BYX, bands, strict=True):
        number = BANDS.index(band)
        place = rows[:, None] if number % 2 else columns[None, :]
        plane[:] = 1 + (place + 797 * number + 503 * time_from.month) % 10_000
    return array_BYX


class Rasters:
    """Rasters of a folder, by period and band, brought to the grid that is asked for.

    The period is the first date in a file's path (2018, 2018-04 or 2018-04-03; none: always). The
    bands are the file's own descriptions, or the one that its name holds (`S1_B02.tif`).
    """

    def __init__(self, folder):
        self.files = []
        for path in sorted(Path(folder).rglob("*.tif")):
            bands = _bands(path)
            if bands:
                self.files.append((*_period(str(path.relative_to(folder))), path, bands))
        self.layers = {"SCL"} & {band for *_, bands in self.files for band in bands}

    def __call__(self, crs, bbox, width, height, bands, time_from, time_to):
        array_BYX = np.zeros((len(bands), height, width), np.uint16)
        place = {"crs": crs, "transform": from_bounds(*bbox, width, height)}
        place |= {"width": width, "height": height, "resampling": Resampling.nearest, "nodata": 0}
        for first, last, path, held in self.files:
            wanted = [(i, held[band]) for i, band in enumerate(bands) if band in held]
            if not wanted or last < time_from or first > time_to:
                continue
            with ExitStack() as stack:
                source = stack.enter_context(rasterio.open(path))
                view = stack.enter_context(WarpedVRT(source, **place))
                for i, index in wanted:
                    empty_YX = array_BYX[i] == 0
                    array_BYX[i][empty_YX] = view.read(index)[empty_YX].astype(np.uint16)
        return array_BYX


def _bands(path):
    known = (*BANDS, "SCL")
    with rasterio.open(path) as source:
        found = {name: i for i, name in enumerate(source.descriptions, 1) if name in known}
    named = re.search(r"(?<![A-Za-z0-9])(B\d[\dA]|SCL)(?![A-Za-z0-9])", path.stem.replace("_", " "))
    return found or ({named[1]: 1} if named and named[1] in known else {})


def _period(text):
    date = re.search(r"(?<!\d)(\d{4})(?:-(\d\d))?(?:-(\d\d))?(?!\d)", text)
    year, month, day = (int(p) if p else None for p in date.groups()) if date else (None,) * 3
    utc = datetime.UTC
    if year is None:
        return datetime.datetime.min.replace(tzinfo=utc), datetime.datetime.max.replace(tzinfo=utc)
    first = datetime.datetime(year, month or 1, day or 1, tzinfo=utc)
    days = 1 if day else 31 if month else 366
    after = first + datetime.timedelta(days=days)
    if not day:  # the first day of the next month or year
        after = after.replace(day=1) if month else after.replace(month=1, day=1)
    return first, after - datetime.timedelta(microseconds=1)


@dataclass(frozen=True)
class Orbit:
    """One pass of the satellite, with the share of the ground that clouds hide."""

    moment: datetime.datetime
    cloudy: float

    def clouds(self, crs, bbox, width, height):
        """Where this pass sees clouds (y, x): the same ground at any size of request."""
        columns, rows = (axis // CELL for axis in lattice(crs, bbox, width, height))
        with np.errstate(over="ignore"):
            mixed = rows.astype(np.uint64)[:, None] * np.uint64(0xD1B54A32D192ED03)
            mixed = mixed + columns.astype(np.uint64)[None, :] * np.uint64(0x9E3779B97F4A7C15)
            mixed = mixed + np.uint64(self.moment.toordinal()) * np.uint64(0xBF58476D1CE4E5B9)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0x94D049BB133111EB)
        return (mixed >> np.uint64(40)).astype(np.float64) / 2.0**24 < self.cloudy


def orbits_between(time_from, time_to, clouds, every_days=5):
    """Passes in a time range, the earliest first; `clouds` is a share or a function of the time."""
    day = time_from.replace(hour=10, minute=50, second=31, microsecond=0)
    found = []
    while day <= time_to:
        if day >= time_from and day.toordinal() % every_days == 0:
            found.append(Orbit(day, float(clouds(day) if callable(clouds) else clouds)))
        day += datetime.timedelta(days=1)
    return found
