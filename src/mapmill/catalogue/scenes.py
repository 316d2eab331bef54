"""Which scenes of a search are taken, and what is pinned of them.

An item is pinned with the files of the wanted bands alone, their addresses without the query
that may hold a secret, and what is needed to check a file: size, digest, CRS, shape.
"""

import logging
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pystac
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import mapping, shape

from mapmill.catalogue.addresses import fault, shown
from mapmill.catalogue.bands import asset_of, described, spectral
from mapmill.catalogue.items import safe_name
from mapmill.catalogue.sources import plain
from mapmill.catalogue.stac import Json, Question
from mapmill.errors import CatalogueError
from mapmill.sections import Catalogue

log = logging.getLogger(__name__)
LEAST = 1e-3
"""Share of the area that a scene has to add."""
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
OFFSET = "mapmill:offset"
"""Added to the values of a file's pixels that are not nodata."""
BASELINES = ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline")
APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")


@dataclass(frozen=True)
class Candidate:
    """A scene that was found."""

    item: Json
    geometry: Any
    """Polygon in degrees."""
    coverage: float
    """Share of the area that it covers."""
    kept: bool = True
    why: str = ""
    """Why it was left out."""

    @property
    def name(self) -> str:
        """Its id."""
        return str(self.item["id"])

    @property
    def moment(self) -> str:
        """Its date and time; of a span the first."""
        own = self.item["properties"]
        return str(own.get("datetime") or own.get("start_datetime") or "")

    @property
    def cloud(self) -> float | None:
        """Clouds in percent, where the catalogue says."""
        value = self.item["properties"].get("eo:cloud_cover")
        return float(value) if isinstance(value, int | float) and abs(value) < 1e9 else None

    @property
    def tile(self) -> str:
        """Name of its tile, or path and row."""
        return tile_of(self.item["properties"])


def tile_of(properties: Json) -> str:
    """Name of a tile: 31TDF, 020020, 200/140; '' where there is none."""
    several = properties.get("bdc:tiles")
    if isinstance(several, list) and several:
        return str(several[0])
    code = properties.get("s2:mgrs_tile") or properties.get("grid:code") or ""
    return str(code).removeprefix("MGRS-")


def choose(
    items: Iterable[Json], chosen: Catalogue, area: Any, question: Question
) -> list[Candidate]:
    """The scenes that are found, in their order, each taken or left out for a reason.

    Parameters
    ----------
    area : polygon of the area's blocks, in degrees
    """
    found = [_candidate(item, area) for item in items]
    sifted = [_sifted(each, chosen, question) for each in found]
    names = [each.name for each in sifted if each.kept]
    for name in names:
        if names.count(name) > 1:
            raise CatalogueError(
                f"scene {name}",
                "two of that name, in several collections",
                "one of each name",
                "name fewer in search.catalogue.collections",
            )
    return _layered(_ordered(sifted, chosen.order), area, chosen.layers)


def _candidate(item: Json, area: Any) -> Candidate:
    name = safe_name("the catalogue", str(item.get("id")))
    if not isinstance(item.get("properties"), dict) or not isinstance(item.get("assets"), dict):
        raise CatalogueError(
            f"scene {name}", "no properties or no assets", "a STAC item", "exclude it"
        )
    geometry = _geometry(item, name)
    share = shapely.intersection(geometry, area).area / area.area
    return Candidate(item, geometry, share)


def _geometry(item: Json, name: str) -> Any:
    """Footprint in degrees, from its geometry or its box."""
    try:
        if item.get("geometry"):
            geometry = shapely.make_valid(shape(item["geometry"]))
        else:
            box = [float(value) for value in item["bbox"]]
            half = len(box) // 2
            geometry = shapely.box(*box[:2], *box[half : half + 2])
    except (ShapelyError, LookupError, TypeError, ValueError, AttributeError, OverflowError):
        geometry = None
    if geometry is None or not geometry.area > 0:
        raise CatalogueError(
            f"scene {name}",
            "no footprint",
            "a polygon",
            f"add {name} to search.catalogue.exclude",
        )
    return geometry


def _sifted(found: Candidate, chosen: Catalogue, question: Question) -> Candidate:
    """The candidate, left out where the question does not ask for it."""
    own = found.item["properties"]
    start = str(own.get("start_datetime") or found.moment)
    end = str(own.get("end_datetime") or found.moment)
    why = ""
    if found.name in chosen.exclude:
        why = "excluded"
    elif (found.item.get("collection") or question.collections[0]) not in question.collections:
        why = "another collection"
    elif end[:19] < question.start[:19] or start[:19] > question.end[:19]:
        why = "another time"
    elif chosen.tiles and found.tile not in chosen.tiles:
        why = "another tile"
    elif found.cloud is not None and found.cloud > question.max_cloud:
        why = "too cloudy"
    elif found.coverage == 0:
        why = "beside the area"
    return replace(found, kept=not why, why=why)


def _ordered(found: Sequence[Candidate], order: str) -> list[Candidate]:
    """Least cloudy or newest first; scenes that do not tell their clouds come last."""
    newest = sorted(sorted(found, key=lambda c: c.name), key=lambda c: c.moment, reverse=True)
    if order == "newest":
        return newest
    return sorted(newest, key=lambda c: 101.0 if c.cloud is None else c.cloud)


def _layered(found: list[Candidate], area: Any, layers: int) -> list[Candidate]:
    """Leave out scenes that lie where there are so many before them."""
    if layers == 0:
        return found
    missing, result = [area] * layers, []
    for each in found:
        taken = each
        if each.kept:
            taken = replace(each, kept=False, why="nothing new")
            for number, place in enumerate(missing):
                if shapely.intersection(each.geometry, place).area > LEAST * area.area:
                    missing[number] = shapely.difference(place, each.geometry)
                    taken = each
                    break
        result.append(taken)
    return result


def covered(found: Iterable[Candidate], area: Any) -> float:
    """Share of the area that the scenes taken cover together."""
    union = shapely.union_all([each.geometry for each in found if each.kept])
    return float(shapely.intersection(union, area).area / area.area)


def pinned(found: Candidate, bands: Sequence[str], chosen: Catalogue) -> pystac.Item:
    """The item as it is pinned: the wanted bands, nothing secret.

    Raises
    ------
    CatalogueError
        if a band is nowhere in it, or it is no STAC item.
    """
    name, own = found.name, found.item["properties"]
    places = {band: asset_of(found.item, band, chosen.assets) for band in bands}
    assets: dict[str, Json] = {}
    for band, place in places.items():
        asset = found.item["assets"][place.key]
        key = safe_name(f"scene {name}", place.key)
        entry = assets.setdefault(key, _file(name, asset, place.names))
        entry["bands"][place.number - 1] = {"name": band}
        if spectral(asset, band):
            entry[OFFSET] = offset_of(name, own, chosen)
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
    if found.item.get("collection"):
        content["properties"]["mapmill:collection"] = str(found.item["collection"])
    try:
        return pystac.Item.from_dict(content)
    except (pystac.errors.STACError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CatalogueError(
            f"scene {name}", f"no STAC item ({error})", "one", "add it to search.catalogue.exclude"
        ) from None


def _file(name: str, asset: Json, names: Sequence[str]) -> Json:
    """What is pinned of an asset; its address is one of the network, never a file of ours."""
    wrong, href = fault(str(asset["href"]), None), ""
    with suppress(ValueError):
        href = plain(str(asset["href"]))
    if wrong or not href:
        raise CatalogueError(
            f"scene {name}",
            f"{wrong or 'no address'} ({shown(str(asset['href']))[:100]})",
            "http or https",
            f"report it there, or add {name} to search.catalogue.exclude",
        )
    kept = {key: asset[key] for key in OF_ASSET if asset.get(key) not in (None, "")}
    types = [band["data_type"] for band in described(asset) if band.get("data_type")]
    kept |= {"data_type": types[0]} if types and "data_type" not in kept else {}
    bands = [{"name": name} for name in names]
    return {"href": href, "roles": ["data"], "bands": bands, **kept}


def offset_of(name: str, properties: Json, chosen: Catalogue) -> int:
    """What is added to a scene's values: -1000 for Sentinel-2 since baseline 04.00.

    ESA's processing baseline decides, never the date: reprocessed scenes of earlier years have
    the offset too. Not where the catalogue says that it has been added.
    """
    given = chosen.offset.get(name) if isinstance(chosen.offset, dict) else chosen.offset
    if given is not None:
        return given
    baseline = baseline_of(properties)
    if baseline is None or any(properties.get(key) is True for key in APPLIED):
        return 0
    return -1000 if baseline >= 4 else 0


def baseline_of(properties: Json) -> float | None:
    """Processing baseline of a Sentinel-2 scene; None where there is none."""
    for key in BASELINES:
        match = re.fullmatch(r"N?(\d\d?)\.?(\d\d)", str(properties.get(key, "")))
        if match:
            return float(f"{match[1]}.{match[2]}")
    return None
