"""Items of imagery that is at hand: files by a pattern, a static catalogue, the sample."""

import datetime
import os
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

import pystac
from shapely.geometry import box, mapping

from mapmill.catalogue import files, sample
from mapmill.catalogue.bands import holds_classes
from mapmill.catalogue.files import Found
from mapmill.catalogue.items import NEAREST
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.raster import RasterInfo, inspect


def find(area: Area, period: str, folder: Path, archive: Path | None) -> list[pystac.Item]:
    """Items of a period.

    Parameters
    ----------
    folder : that of the item collection, from which paths are relative
    archive : the sample's, for an area that lives in one
    """
    found = _find(area, period, archive)
    return [
        _item(list(group), area, period, folder, archive)
        for _, group in groupby(found, lambda f: f.scene)
    ]


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
        classes = len(names) == 1 and holds_classes(each.asset, {}, names[0])
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
                    **({NEAREST: True} if classes else {}),
                },
            ),
        )
    return item


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
