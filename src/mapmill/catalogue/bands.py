"""Which file of a scene holds a band: by its name, or by the band's common name.

Catalogues call the same band B04, red or BAND3, and some rename it from one year to the next.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mapmill.errors import CatalogueError

Json = dict[str, Any]
COMMON = {
    "B01": ("coastal",),
    "B02": ("blue",),
    "B03": ("green",),
    "B04": ("red",),
    "B05": ("rededge071", "rededge1"),
    "B06": ("rededge075", "rededge2"),
    "B07": ("rededge078", "rededge3"),
    "B08": ("nir",),
    "B8A": ("nir08",),
    "B09": ("nir09",),
    "B11": ("swir16",),
    "B12": ("swir22",),
    "SCL": ("scl",),
}
"""Bands of Sentinel-2 by their common names (STAC's eo extension, and Earth Search's)."""
CLASSES = {"scl", "cmask", "clm", "datamask", "qa_pixel", "qa", "provenance", "clearob", "totalob"}
"""Names of bands that are no measurement."""
NO_IMAGE = {"thumbnail", "overview", "visual", "metadata"}


@dataclass(frozen=True)
class Place:
    """Where a band is."""

    key: str
    """Of the asset."""
    number: int
    """Of the band in its file, from 1."""
    count: int
    """Bands of the file."""


def asset_of(item: Json, band: str, given: Mapping[str, str]) -> Place:
    """The asset that holds a band, and the band's number in it.

    Looked for in this order: an asset of that key, an asset with a band of that name, one of
    its common name; of several, one that is a TIFF and holds that band alone.

    Raises
    ------
    CatalogueError
        if there is none, or it is not clear which.
    """
    wanted = given.get(band, band)
    images = {key: asset for key, asset in item["assets"].items() if _is_image(key, asset)}
    if wanted in images and len(_bands(wanted, images[wanted])) == 1:
        return _place(wanted, images[wanted], 0)
    for names in ((wanted,), (wanted, *COMMON.get(wanted, ()))):
        found = [
            (key, number)
            for key, asset in images.items()
            for number, own in enumerate(_bands(key, asset))
            if own & set(names)
        ]
        best = _best(found, images)
        if len(best) == 1:
            key, number = best[0]
            return _place(key, images[key], number)
        if best:
            raise _unclear(item, band, f"{wanted} in {', '.join(key for key, _ in best)}")
    raise _unclear(item, band, f"assets {', '.join(sorted(images)) or 'none'}")


def _unclear(item: Json, band: str, found: str) -> CatalogueError:
    return CatalogueError(
        f"scene {item['id']}",
        found,
        f"one with band {band}",
        f"say which: search.catalogue.assets: {{{band}: its key}}",
    )


def _is_image(key: str, asset: Any) -> bool:
    if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
        return False
    kind = str(asset.get("type") or "image/")
    roles = asset.get("roles")
    named = {key, *map(str, roles if isinstance(roles, list) else ())}
    return kind.startswith("image/") and not NO_IMAGE & named


def _bands(key: str, asset: Json) -> list[set[str]]:
    """For each band of a file the names that it goes by."""
    listed = described(asset)
    if not listed:
        return [{key}]
    names = [
        {str(b[k]) for k in ("name", "common_name", "eo:common_name") if b.get(k)} for b in listed
    ]
    return [names[0] | {key}] if len(names) == 1 else names


def described(asset: Json) -> list[Json]:
    """What an asset tells of its bands; in STAC 0.9 those are numbers, which tell nothing."""
    listed = asset.get("bands") or asset.get("eo:bands")
    return [b for b in listed if isinstance(b, dict)] if isinstance(listed, list) else []


def _best(found: list[tuple[str, int]], images: Mapping[str, Json]) -> list[tuple[str, int]]:
    """Of several places those in files of one band, and of these in TIFFs."""
    alone = [f for f in found if len(_bands(f[0], images[f[0]])) == 1] or found
    return [f for f in alone if "tiff" in str(images[f[0]].get("type"))] or alone


def _place(key: str, asset: Json, number: int) -> Place:
    return Place(key, number + 1, max(1, len(described(asset))))


def holds_classes(key: str, asset: Json, band: str) -> bool:
    """Whether a file holds classes or flags, whose values have no middle."""
    told = [asset, *described(asset)]
    return bool(_names(key, asset, band) & CLASSES) or any(
        "classification:classes" in t for t in told
    )


def holds_reflectance(key: str, asset: Json, band: str) -> bool:
    """Whether the offset of a scene concerns a file: all but classes, aerosols and vapour."""
    others = _names(key, asset, band) & {"aot", "wvp"}
    return not others and not holds_classes(key, asset, band)


def nodata_of(asset: Json) -> float | None:
    """The value that marks missing pixels, where the catalogue tells it."""
    listed = asset.get("raster:bands")
    first = listed[:1] if isinstance(listed, list) else []
    for told in (asset, *first, *described(asset)[:1]):
        value = told.get("nodata") if isinstance(told, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return None


def _names(key: str, asset: Json, band: str) -> set[str]:
    own = set().union(*_bands(key, asset)) if len(described(asset)) <= 1 else set()
    return {name.lower() for name in (key, band, *own)}
