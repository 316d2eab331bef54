"""Whether an image that was fetched is the one that the search has pinned."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape

from mapmill.catalogue import http
from mapmill.catalogue.items import BASELINE, Asset, Scene
from mapmill.errors import CatalogueError, ContractError
from mapmill.raster import RasterInfo, inspect
from mapmill.raster.sampling import valid_values

log = logging.getLogger(__name__)
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
"""First bytes of GeoTIFF and JPEG 2000: GDAL reads other formats too, some of which name files."""
DARK, DARK_SHARE = 500, 0.005
"""With the offset still in, no land or water is so dark: in more than this share of the pixels
reflectance would be below -0.05."""
SENTINEL_2_DARKEST = 1000
VISIBLE = {"B01", "B02", "B03", "B04", "coastal", "blue", "green", "red"}


def check_image(part: Path, scene: Scene, asset: Asset) -> Mapping[str, Any]:
    """Compare a file with what the search has pinned; facts for its record.

    Raises
    ------
    CatalogueError
        if it is another image; a DamagedError if it is none that is whole.
    """
    with part.open("rb") as file:
        start = file.read(12)
    if not start.startswith(MAGIC):
        raise http.DamagedError(asset.href, "no GeoTIFF and no JPEG 2000", "an image", "rerun")
    try:
        info = inspect(part)
        check_info(info, scene, asset)
        values = [valid_values(part, n, asset.nodata) for n in range(1, info.count + 1)]
    except ContractError as error:
        found = str(error).removeprefix(f"{part}: found ").partition(";")[0]
        raise http.DamagedError(asset.href, found, "a whole image", "rerun later") from None
    if not any(each.size for each in values):
        raise CatalogueError(
            asset.href, "no pixel with data", "imagery", f"exclude {scene.id} in search.catalogue"
        )
    check_offset(values, scene, asset)
    return facts(info)


def facts(info: RasterInfo) -> dict[str, Any]:
    """What is recorded of an image."""
    shape_BYX = [info.count, info.height, info.width]
    return {"crs": info.crs, "shape": shape_BYX, "dtype": info.dtype}


def check_info(info: RasterInfo, scene: Scene, asset: Asset) -> None:
    """CRS, shape, place and bands are those of the pinned item, as far as it says."""
    named = {**scene.properties, **asset.fields}
    code = named.get("proj:code") or (named.get("proj:epsg") and f"EPSG:{named['proj:epsg']}")
    told = {
        "CRS": (info.crs, code),
        "shape": ([info.height, info.width], _shape(asset)),
        "type": (_kind(info.dtype), _kind(_dtype(asset))),
    }
    for what, (found, expected) in told.items():
        if expected and found != expected:
            raise _other(asset, f"{what} {found}", f"{what} {expected}", scene)
    transform = _numbers(asset.fields.get("proj:transform"))[:6]
    near = 0.01 * info.resolution
    if len(transform) == 6 and not np.allclose(info.transform, transform, rtol=0, atol=near):
        raise _other(asset, f"transform {info.transform}", f"{transform}", scene)
    count = len(asset.bands)
    if info.count not in (count, count + (count >= 3)):  # one more: where the others have data
        raise _other(asset, f"{info.count} bands", f"{count}", scene)
    there = shapely.box(*info.bounds_wgs84)
    footprint = shapely.make_valid(shape(dict(scene.geometry)))
    if shapely.intersection(there, footprint).area < 0.5 * min(there.area, footprint.area):
        where = ", ".join(f"{value:.3f}" for value in info.bounds_wgs84)
        raise _other(asset, f"an image of {where} degrees", "the place of its scene", scene)


def _shape(asset: Asset) -> list[float]:
    """Rows and columns, where the catalogue tells them."""
    size = asset.fields.get("bdc:raster_size")
    told = [size.get("y"), size.get("x")] if isinstance(size, dict) else None
    return _numbers(asset.fields.get("proj:shape") or told)


def _numbers(value: Any) -> list[float]:
    """A list of numbers; an empty one where it is something else."""
    listed = value if isinstance(value, list) else []
    right = all(isinstance(each, int | float) for each in listed)
    return listed if right else []


def _dtype(asset: Asset) -> Any:
    """Type of the values, where the catalogue tells it."""
    listed = asset.fields.get("raster:bands")
    first = listed[0] if isinstance(listed, list) and listed else None
    return (isinstance(first, dict) and first.get("data_type")) or asset.fields.get("data_type")


def _kind(dtype: Any) -> str:
    """Whether values are whole numbers: catalogues are often wrong about more than that."""
    try:
        kind = np.dtype(dtype or "").kind
    except TypeError:
        return ""
    return {"u": "integer", "i": "integer", "f": "float", "c": "complex"}.get(kind, "")


def _other(asset: Asset, found: str, expected: str, scene: Scene) -> CatalogueError:
    remedy = f"delete the pinned search and rerun, or exclude {scene.id}"
    return CatalogueError(asset.href, found, expected, remedy)


def check_pixels(path: Path, scene: Scene, asset: Asset, at_least: float = 0.0) -> None:
    """Look at the pixels of a file that is right in all else.

    Parameters
    ----------
    at_least : share of it that is said to have data; above a half, none at all is an error

    Raises
    ------
    CatalogueError
        if there are none where there should be, or they deny the scene's offset.
    """
    numbers = range(1, len(asset.bands) + 1)
    values = [valid_values(path, number, asset.nodata) for number in numbers]
    if at_least > 0.5 and not any(each.size for each in values):
        raise CatalogueError(asset.href, "no pixel with data", "imagery", f"exclude {scene.id}")
    check_offset(values, scene, asset)


def check_offset(values: list[Any], scene: Scene, asset: Asset) -> None:
    """Compare the offset that the baseline asks for with the valid values of each band.

    Pixels that are too dark for it prove that it was removed before. The other way round there
    is no proof (snow, desert), so a visible band without a dark pixel is a warning.
    """
    baseline = scene.properties.get(BASELINE) or 0
    for band, each in zip(asset.bands, values, strict=False):
        dark = float((each < DARK).mean()) if each.size else 0.0
        if asset.offset == -1000 and dark > DARK_SHARE:
            raise CatalogueError(
                asset.href,
                f"values below {DARK} in {100 * dark:.1f} % of the pixels",
                "none: by its processing baseline the offset of 1000 is still in",
                f"it is not: add to search.catalogue: offset: {{{scene.id}: 0}} (or 0 for all)",
            )
        bright = each.size > 0 and np.percentile(each, 0.1) >= SENTINEL_2_DARKEST
        if asset.offset == 0 and baseline >= 4 and {band, asset.key} & VISIBLE and bright:
            log.warning(
                "%s: no pixel of %s is darker than %d: the offset of baseline %.2f may still be "
                "in; look at it, and set search.catalogue.offset: -1000 if so",
                *(asset.href, band, SENTINEL_2_DARKEST, baseline),
            )
