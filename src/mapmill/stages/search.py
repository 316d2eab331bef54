"""search: what a catalogue holds for a period, pinned as a STAC item collection."""

import datetime
import logging
import os
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import pystac
from shapely.geometry import box, mapping

from mapmill.areafile import load_area
from mapmill.atomic import write_json
from mapmill.catalogue import files, sample
from mapmill.catalogue.files import Found
from mapmill.config import Area
from mapmill.errors import CatalogueError, ContractError
from mapmill.extent import extent_of
from mapmill.layout import Layout
from mapmill.raster import RasterInfo, area_bounds_wgs84, inspect

log = logging.getLogger(__name__)


def run(area_path: Path, period_name: str, output: Path) -> None:
    """Write the item collection of one period.

    Raises
    ------
    CatalogueError
        if nothing is found, or a band that the area composes is nowhere in a scene.
    """
    area = load_area(area_path)
    archive = Layout(area_path.stem).download("sample.whl")
    inside = archive if area.source == "sample" else None
    found = _find(area, period_name, inside)
    items = [
        _item(list(group), area, period_name, output.parent, inside)
        for _, group in groupby(found, lambda f: f.scene)
    ]
    items = _over_the_area(items, area, period_name)
    _check_bands(items, area)
    write_json(output, _without_root(pystac.ItemCollection(items).to_dict()))
    log.info("%d scenes of %d files in %s", len(items), len(found), output)


def _find(area: Area, name: str, archive: Path | None) -> list[Found]:
    period = area.period(name)
    if period.stac is not None:
        return files.in_catalogue(Path(period.stac), name, area.moments(name))
    pattern = period.files or ""
    if archive is not None:
        return files.match_pattern(pattern, sample.members(archive), name)
    return files.on_disk(pattern, name)


def _item(
    found: list[Found], area: Area, period: str, folder: Path, archive: Path | None
) -> pystac.Item:
    infos = [inspect(_openable(f, archive)) for f in found]
    west, south, east, north = (
        pick(i.bounds_wgs84[side] for i in infos) for side, pick in enumerate((min, min, max, max))
    )
    properties = found[0].properties or _moments(area, period)
    item = pystac.Item(
        id=found[0].scene,
        geometry=mapping(box(west, south, east, north)),
        bbox=[west, south, east, north],
        datetime=_parse(properties.get("datetime")),
        properties={**properties, "proj:code": infos[0].crs, "gsd": _finest(infos)},
        start_datetime=_parse(properties.get("start_datetime")),
        end_datetime=_parse(properties.get("end_datetime")),
    )
    for each, info in zip(found, infos, strict=True):
        names = each.bands or _band_names(each, info, area)
        item.add_asset(
            each.asset,
            pystac.Asset(
                _href(each, folder, archive),
                roles=["data"],
                extra_fields={
                    "bands": [{"name": name} for name in names],
                    "proj:code": info.crs,
                    "proj:transform": list(info.transform),
                    "proj:shape": [info.height, info.width],
                },
            ),
        )
    return item


def _over_the_area(items: list[pystac.Item], area: Area, period: str) -> list[pystac.Item]:
    """Scenes that share ground with the area; the others are left out."""
    west, south, east, north = area_bounds_wgs84(area.the_grid(), extent_of(area))
    kept = []
    for item in items:
        left, bottom, right, top = item.bbox or (0.0, 0.0, 0.0, 0.0)
        if left < east and right > west and bottom < north and top > south:
            kept.append(item)
        else:
            log.info("scene %s lies beside the area and is left out", item.id)
    if not kept:
        raise CatalogueError(
            f"period {period}",
            f"none of {len(items)} scenes over the area",
            f"scenes of {west:.3f}, {south:.3f} to {east:.3f}, {north:.3f} degrees",
            "check the files, their CRS and grid.bounds",
        )
    return kept


def _openable(found: Found, archive: Path | None) -> Path:
    return Path(found.path) if archive is None else Path(f"/vsizip/{{{archive}}}/{found.path}")


def _href(found: Found, folder: Path, archive: Path | None) -> str:
    if archive is not None:
        return f"{os.path.relpath(archive, folder)}#{found.path}"
    return os.path.relpath(found.path, folder)


def _finest(infos: Iterable[RasterInfo]) -> float:
    return min(info.resolution for info in infos)


def _moments(area: Area, period: str) -> dict[str, Any]:
    start, end = area.moments(period)
    return {"datetime": None, "start_datetime": start, "end_datetime": end}


def _parse(text: str | None) -> datetime.datetime | None:
    return datetime.datetime.fromisoformat(text) if text else None


def _band_names(found: Found, info: RasterInfo, area: Area) -> list[str]:
    if found.asset != "image":  # the pattern has {band}
        return [found.asset]
    given = area.search.bands if area.search else None
    names = given or [name for name in info.bands if name]
    if len(names) != info.count:
        raise ContractError(
            found.path,
            f"{info.count} bands and {len(names)} names",
            "a name for each band",
            "give search.bands, one name for each band in the file's order",
        )
    return names


def _check_bands(items: list[pystac.Item], area: Area) -> None:
    for item in items:
        held = [b["name"] for asset in item.assets.values() for b in asset.extra_fields["bands"]]
        for band in area.compose.bands:
            if band not in held:
                raise CatalogueError(
                    f"scene {item.id}", f"bands {', '.join(held)}", band, "correct compose.bands"
                )


def _without_root(collection: dict[str, Any]) -> dict[str, Any]:
    for feature in collection["features"]:
        feature["links"] = []
    return collection
