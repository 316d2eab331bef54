"""What is pinned of a scene: the files of the wanted bands alone, and nothing secret.

Addresses are pinned without the query that may hold a secret, beside what is needed to check a
file (size, digest, CRS, shape) and to read it (offset, nodata).
"""

import urllib.parse
from collections.abc import Collection, Sequence
from contextlib import suppress

import pystac
from shapely.geometry import mapping

from mapmill.catalogue.addresses import fault, shown
from mapmill.catalogue.bands import (
    asset_of,
    described,
    holds_classes,
    holds_reflectance,
    nodata_of,
)
from mapmill.catalogue.baseline import baseline_of, offset_of
from mapmill.catalogue.items import BASELINE, NEAREST, OFFSET, safe_name
from mapmill.catalogue.scenes import EXCLUDE, Candidate
from mapmill.catalogue.sources import ADDED, plain
from mapmill.catalogue.stac import Json
from mapmill.errors import CatalogueError
from mapmill.sections import Catalogue

KEPT = (
    *("datetime", "start_datetime", "end_datetime", "eo:cloud_cover", "platform", "constellation"),
    *("instruments", "gsd", "grid:code", "s2:mgrs_tile", "bdc:tiles", "path", "row", "satellite"),
    *("sensor", "proj:code", "proj:epsg", "s2:processing_baseline", "processing:version"),
    *("sentinel:processing_baseline", "earthsearch:boa_offset_applied"),
    "sentinel:boa_offset_applied",
)
"""Properties that are pinned."""
OF_ASSET = (
    *("type", "proj:code", "proj:epsg", "proj:shape", "proj:transform", "file:size"),
    *("file:checksum", "checksum:multihash", "bdc:size", "bdc:raster_size", "nodata", "data_type"),
    "raster:bands",
)
"""Fields of an asset that are pinned."""


def pinned(
    found: Candidate,
    bands: Sequence[str],
    chosen: Catalogue,
    signed: bool = False,
    masks: Collection[str] = (),
) -> pystac.Item:
    """The item as it is pinned: the wanted bands, nothing secret.

    Parameters
    ----------
    signed : whether addresses are signed anew when they are asked for
    masks : those of the bands that hold classes, whatever the catalogue says

    Raises
    ------
    CatalogueError
        if a band is nowhere in it, or it is no STAC item.
    """
    own, name = found.item["properties"], safe_name("the catalogue", found.name)
    assets: dict[str, Json] = {}
    for band in bands:
        place = asset_of(found.item, band, chosen.assets)
        asset, key = found.item["assets"][place.key], safe_name(f"scene {name}", place.key)
        entry = assets.setdefault(key, _file(name, key, asset, place.count, signed))
        entry["bands"][place.number - 1] = {"name": band}
        if band not in masks and holds_reflectance(key, asset, band):
            entry[OFFSET] = offset_of(found.item, chosen)
        if band in masks or holds_classes(key, asset, band):
            entry[NEAREST] = True
    content = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": mapping(found.geometry),
        "bbox": list(found.geometry.bounds),
        "properties": {"datetime": None, **{k: own[k] for k in KEPT if own.get(k) is not None}},
        "links": [],
        "assets": assets,
    }
    baseline = baseline_of(found.item)
    content["properties"] |= {} if baseline is None else {BASELINE: baseline}
    if found.item.get("collection"):
        content["properties"]["mapmill:collection"] = str(found.item["collection"])
    try:
        return pystac.Item.from_dict(content)
    except (pystac.errors.STACError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogueError(f"scene {name}", f"no STAC item ({error})", "one", EXCLUDE) from None


def _file(name: str, key: str, asset: Json, count: int, signed: bool) -> Json:
    """What is pinned of an asset; bands that nobody wants have a name that nobody asks for."""
    kept = {field: asset[field] for field in OF_ASSET if asset.get(field) not in (None, "")}
    types = [band["data_type"] for band in described(asset) if band.get("data_type")]
    kept |= {"data_type": types[0]} if types and "data_type" not in kept else {}
    nodata = nodata_of(asset)
    kept |= {} if nodata is None else {"nodata": nodata}
    bands = [{"name": f"{key}#{number}"} for number in range(1, count + 1)]
    return {"href": _address(name, asset, signed), "roles": ["data"], "bands": bands, **kept}


def _address(name: str, asset: Json, signed: bool) -> str:
    """A file's address, of the network and never of ours, without its query."""
    told = str(asset["href"])
    wrong, href = fault(told, None), ""
    with suppress(ValueError):
        href = plain(told)
        named = {key for key, _ in urllib.parse.parse_qsl(urllib.parse.urlsplit(told).query)}
        if named - ADDED and not signed:
            wrong = "an address with a query"
    if wrong or not href:
        raise CatalogueError(
            f"scene {name}",
            f"{wrong or 'no address'} ({shown(told)[:100]})",
            "http or https, without a query",
            "set download.sign: item if the catalogue signs addresses, or exclude the scene",
        )
    return href
