"""Imagery that is already on disk: files found by a pattern, or a static STAC catalogue."""

import datetime
import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pystac

from mapmill.catalogue.items import safe_name
from mapmill.errors import CatalogueError, ConfigError
from mapmill.regular import read_json, read_text

NOT_STAC = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
    *(pystac.errors.STACError, pystac.errors.STACTypeError),
)
TOKENS = {"{scene}": r"(?P<scene>[^/]+?)", "{band}": r"(?P<band>[A-Za-z0-9]+)", "*": "[^/]*"}


@dataclass(frozen=True)
class Found:
    """One file of a scene, before it is opened."""

    scene: str
    asset: str
    """Band name of a single-band file, else `image`."""
    path: str
    """Path on disk, or the member's name in an archive."""
    properties: dict[str, Any]
    """Properties of the item it came from, if any."""
    bands: tuple[str, ...] | None = None
    """Band names, where the catalogue gives them."""


def match_pattern(pattern: str, names: Iterable[str], period: str) -> list[Found]:
    """Sort the names that fit a pattern into scenes and bands.

    Without `{scene}` all files are one scene named after the period; without `{band}` each
    file holds all bands.

    Raises
    ------
    CatalogueError
        if nothing fits, or two files claim the same band of a scene.
    """
    regex = re.compile("".join(TOKENS.get(p, re.escape(p)) for p in _split(pattern)))
    found: dict[tuple[str, str], Found] = {}
    for name in sorted(names):
        match = regex.fullmatch(name)
        if not match:
            continue
        groups = match.groupdict()
        scene, band = groups.get("scene") or period, groups.get("band") or "image"
        item = Found(safe_name(name, scene), safe_name(name, band), name, {})
        if (scene, band) in found:
            raise CatalogueError(
                f"pattern {pattern}",
                f"{found[scene, band].path} and {name}, both {band} of {scene}",
                "one file for each scene and band",
                "add {scene} or {band} to the pattern, or narrow it",
            )
        found[scene, band] = item
    if not found:
        raise CatalogueError(
            f"period {period}", f"no file like {pattern}", "at least one scene", "correct search"
        )
    return [found[key] for key in sorted(found)]


def _split(pattern: str) -> list[str]:
    parts = re.split(r"(\{scene\}|\{band\}|\*)", pattern)
    for token in ("{scene}", "{band}"):
        if parts.count(token) > 1:
            raise ConfigError(f"pattern {pattern}", f"{token} twice", "each once", "correct it")
    return parts


def on_disk(pattern: str, period: str) -> list[Found]:
    """Files on disk that fit a pattern."""
    parts = [glob.escape(p) if p not in TOKENS else "*" for p in _split(pattern)]
    return match_pattern(pattern, glob.glob("".join(parts)), period)


def in_catalogue(path: Path, name: str, moments: tuple[str, str]) -> list[Found]:
    """Assets of a static STAC catalogue on disk whose items fall between two moments (UTC).

    Raises
    ------
    CatalogueError
        if it cannot be read, or holds no item of the period.
    """
    try:
        items = list(_items(path))
    except NOT_STAC as error:
        raise CatalogueError(
            path, repr(error), "a static STAC catalogue", "check the file"
        ) from None
    chosen = [item for item in items if moments[0] <= _moment(item) <= moments[1]]
    if not chosen:
        raise CatalogueError(
            path, f"{len(items)} items, none in the period", f"items of {name}", "check its dates"
        )
    return [found for item in sorted(chosen, key=_moment_and_id) for found in _assets(item)]


class _Disk(pystac.StacIO):
    """Reads documents of a catalogue on disk, and never from the network that one may name."""

    def read_text(self, source: Any, *_args: Any, **_keywords: Any) -> str:
        if "://" in str(source):
            raise OSError(f"a document at {source}, not on disk")
        return read_text(Path(source))

    def write_text(self, dest: Any, txt: str, *_args: Any, **_keywords: Any) -> None:
        raise OSError("a catalogue is only read")


def _items(path: Path) -> Iterable[pystac.Item]:
    if read_json(path).get("type") == "FeatureCollection":
        items = pystac.ItemCollection.from_file(str(path), stac_io=_Disk()).items
        for item in items:
            if item.get_self_href() is None:
                item.set_self_href(str(path.resolve()))
        return items
    found = pystac.read_file(str(path), stac_io=_Disk())
    if isinstance(found, pystac.Item):
        return [found]
    if isinstance(found, pystac.Catalog):
        return found.get_items(recursive=True)
    raise ValueError(f"a STAC {type(found).__name__}")


def _moment_and_id(item: pystac.Item) -> tuple[str, str]:
    return _moment(item), item.id


def _moment(item: pystac.Item) -> str:
    moment = item.datetime or item.common_metadata.start_datetime
    if moment is None:
        return ""
    in_utc = moment.astimezone(datetime.UTC) if moment.tzinfo else moment
    return in_utc.strftime("%Y-%m-%dT%H:%M:%SZ")


def _assets(item: pystac.Item) -> Iterable[Found]:
    for key, asset in item.get_assets().items():
        href = asset.get_absolute_href()
        other = asset.media_type and not asset.media_type.startswith("image/")
        if other or href is None or {"thumbnail", "overview"} & set(asset.roles or []):
            continue
        if "://" in href:
            raise CatalogueError(
                f"item {item.id}", f"asset {key} at {href}", "a file on disk", "use local assets"
            )
        fields = asset.to_dict()
        named = fields.get("bands") or fields.get("eo:bands") or []
        bands = tuple(str(band["name"]) for band in named if "name" in band)
        yield Found(
            safe_name(href, item.id),
            safe_name(href, key),
            href,
            dict(item.properties),
            bands or None,
        )
