"""Scenes to serve: simulated GeoTIFFs whose values tell their place, or files that are there."""

import datetime
import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_bounds
from rasterio.warp import transform_geom
from servers.scenes import BANDS as SENTINEL_2
from servers.scenes import CLOUD_DN, CLOUD_HIGH, VEGETATION, Orbit, coordinate_scene, lattice
from shapely.geometry import box, mapping, shape

STEPS = {"B02": 10, "B03": 10, "B04": 10, "B08": 10, "B01": 60, "B09": 60, "BAND0": 2}
STEPS |= {f"BAND{n}": 8 for n in range(1, 5)}
"""Metres of a pixel, where they are not 20."""
COMMON = {
    **{"B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge"},
    **{"B06": "rededge", "B07": "rededge", "B08": "nir", "B8A": "nir08", "B09": "nir09"},
    **{"B11": "swir16", "B12": "swir22"},
    **{"BAND0": "pan", "BAND1": "blue", "BAND2": "green", "BAND3": "red", "BAND4": "nir"},
}
"""Common names of the bands of Sentinel-2 and of CBERS-4A/WPM."""


@dataclass(frozen=True)
class Scene:
    """One scene of a catalogue, with a file for each of its bands."""

    id: str
    collection: str
    moment: datetime.datetime
    files: dict
    """Band (B02, BAND0, SCL ...) -> path; servers give them their own asset keys."""
    cloud: float | None = 0.0
    """Per cent."""
    properties: dict = field(default_factory=dict)
    """More properties of the item."""
    raster: dict = field(default_factory=dict)
    """More keys of raster:bands of the spectral bands, such as the offset."""
    geometry: dict | None = None
    """Footprint in degrees, where it is not that of the first file."""

    def changed(self, **changes):
        """A copy with these changes."""
        return replace(self, **changes)

    @cached_property
    def profiles(self):
        """Band -> what rasterio tells of the file."""
        found = {}
        for band, path in self.files.items():
            with rasterio.open(path) as source:
                found[band] = dict(source.profile) | {"bounds": tuple(source.bounds)}
        return found

    @cached_property
    def crs(self):
        return next(iter(self.profiles.values()))["crs"]

    @cached_property
    def footprint(self):
        """Outline in degrees, a GeoJSON geometry."""
        if self.geometry:
            return self.geometry
        bounds = next(iter(self.profiles.values()))["bounds"]
        ring = box(*bounds).segmentize(max(bounds[2] - bounds[0], bounds[3] - bounds[1]) / 8)
        found = transform_geom(self.crs, "EPSG:4326", mapping(ring), precision=9)
        return {"type": "Polygon", "coordinates": [[list(p) for p in found["coordinates"][0]]]}

    @cached_property
    def bbox(self):
        """West, south, east, north in degrees."""
        return [round(value, 9) for value in shape(self.footprint).bounds]


def moment_of(text):
    """A moment in UTC of a datetime or a text such as 2018-04-12 or 2018-04-12T10:50:31Z."""
    found = text if isinstance(text, datetime.datetime) else datetime.datetime.fromisoformat(text)
    return found.replace(tzinfo=found.tzinfo or datetime.UTC).astimezone(datetime.UTC)


def right(band, bounds, moment, *, crs="EPSG:32631", step=None, cloudy=0.0, add=0):
    """What `simulated` writes for a band, (y, x): call it for what should come out.

    A pixel that comes out one place off, in another band or from another month has another value.
    """
    step, moment = step or STEPS.get(band, 20), moment_of(moment)
    width, height = (math.ceil((bounds[i + 2] - bounds[i]) / step) for i in (0, 1))
    bounds = (bounds[0], bounds[3] - height * step, bounds[0] + width * step, bounds[3])
    place = (crs, bounds, width, height)
    hidden_YX = Orbit(moment, cloudy).clouds(*place) if cloudy else np.zeros((height, width), bool)
    if band == "SCL":
        return np.where(hidden_YX, CLOUD_HIGH, VEGETATION).astype(np.uint8)
    if band in SENTINEL_2:
        (values_YX,) = coordinate_scene(*place, [band], moment, moment)
    else:
        scaled = tuple(value * 10.0 / step for value in bounds)
        columns, rows = lattice(crs, scaled, width, height)
        number = int(band[-1])
        line = rows[:, None] if number % 2 else columns[None, :]
        values_YX = 1 + (np.zeros((height, width), int) + line + 797 * number) % 10_000
        values_YX = 1 + (values_YX - 1 + 503 * moment.month) % 10_000
    return np.where(hidden_YX, CLOUD_DN, values_YX).astype(np.int64) + add


def simulated(
    folder,
    id,
    moment,
    *,
    bounds,
    bands=("B02", "B03", "B04", "SCL"),
    crs="EPSG:32631",
    collection="sentinel-2-l2a",
    cloudy=0.0,
    cloud=None,
    arrays=None,
    steps=None,
    dtype=None,
    add=0,
    covers=None,
    nodata=0,
    block=64,
    driver="COG",
    baseline="02.14",
    tile=None,
    properties=None,
    raster=None,
):
    """Write a scene into a folder, one tiled GeoTIFF for each band.

    Parameters
    ----------
    bounds : of all bands, in the CRS; pixels begin at its upper left corner
    cloudy : share of the ground under simulated clouds; SCL tells them
    cloud : eo:cloud_cover in per cent, where it is not that of `cloudy`; "none" for null
    arrays : band -> (y, x), written as they are in the place of simulated values
    steps : band -> size of its pixels, where it is not that of the satellite
    dtype : of the files; by default uint16, int16 for BANDn, uint8 for SCL
    add : added to each value, as since baseline 04.00
    covers : box in the CRS outside of which pixels are nodata
    driver : COG, or GTiff for files in strips
    """
    moment, files = moment_of(moment), {}
    for band in bands:
        step = (steps or {}).get(band)
        values_YX = (arrays or {}).get(band)
        if values_YX is None:
            more = {"add": 0 if band == "SCL" else add, "cloudy": cloudy, "step": step}
            values_YX = right(band, bounds, moment, crs=crs, **more)
        step = step or STEPS.get(band, 20)
        if covers is not None:
            values_YX = np.where(_inside(values_YX.shape, bounds, step, covers), values_YX, 0)
        kind = dtype or ("int16" if band.startswith("BAND") else "uint16")
        kind = "uint8" if band == "SCL" else kind
        path = Path(folder) / id / f"{band}.tif"
        place = {"crs": crs, "left": bounds[0], "top": bounds[3], "step": step}
        write(path, values_YX.astype(kind), **place, nodata=nodata, block=block, driver=driver)
        files[band] = path
    known = {"s2:processing_baseline": baseline} if collection.startswith("sentinel") else {}
    known |= {"earthsearch:boa_offset_applied": not add} if known else {}
    known |= {"grid:code": f"MGRS-{tile}", "s2:mgrs_tile": tile} if tile else {}
    told = {"offset": -0.1 if baseline >= "04.00" else 0.0, "scale": 0.0001}
    share = None if cloud == "none" else 100.0 * cloudy if cloud is None else cloud
    return Scene(
        id, collection, moment, files, share, known | (properties or {}), told | (raster or {})
    )


def from_files(files, id, moment, collection, *, cloud=0.0, properties=None, **more):
    """A scene of files that are there: band -> path, or a folder of files named after bands."""
    if not isinstance(files, dict):
        known = {*COMMON, "SCL"}
        files = {p.stem: p for p in sorted(Path(files).glob("*.tif")) if p.stem in known}
    files = {band: Path(path) for band, path in files.items()}
    return Scene(id, collection, moment_of(moment), files, cloud, properties or {}, **more)


def write(path, array_BYX, *, crs, left, top, step, nodata=0, block=64, driver="COG"):
    """Write (band, y, x) or (y, x) as a GeoTIFF that is read in windows, or in strips."""
    array_BYX = array_BYX if array_BYX.ndim == 3 else array_BYX[None]
    count, height, width = array_BYX.shape
    bounds = (left, top - height * step, left + width * step, top)
    profile = {"count": count, "height": height, "width": width, "dtype": array_BYX.dtype.name}
    profile |= {"crs": crs, "transform": from_bounds(*bounds, width, height), "nodata": nodata}
    profile |= {"compress": "deflate"}
    if driver == "COG" and block >= 128:
        profile |= {"blocksize": block, "overviews": "NONE"}
    elif driver == "COG":  # which GDAL does not write with smaller blocks
        driver = "GTiff"
        profile |= {"tiled": True, "blockxsize": block, "blockysize": block}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver=driver, **profile) as target:
        target.write(array_BYX)


def _inside(size, bounds, step, covers):
    """Pixels (y, x) whose centres a box covers."""
    y = bounds[3] - (np.arange(size[0])[:, None] + 0.5) * step
    x = bounds[0] + (np.arange(size[1])[None, :] + 0.5) * step
    return (x > covers[0]) & (x < covers[2]) & (y > covers[1]) & (y < covers[3])
