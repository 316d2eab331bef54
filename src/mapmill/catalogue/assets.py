"""One file of a scene, from its catalogue to the store: all of it, or what the area needs of it."""

import hashlib
import json
import logging
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import shapely
from shapely.geometry import shape

from mapmill.atomic import flush, room_for, write_json
from mapmill.catalogue import http, keep, sources, stac
from mapmill.catalogue.addresses import joined
from mapmill.catalogue.ground import ground_of
from mapmill.catalogue.images import check_image, check_info, check_pixels, facts
from mapmill.catalogue.items import BASELINE, Asset, Scene
from mapmill.catalogue.partial import held, lock_of
from mapmill.catalogue.ranged import RangedFile
from mapmill.config import Area
from mapmill.errors import CatalogueError
from mapmill.extent import blocks_of
from mapmill.layout import RESOURCES
from mapmill.raster import RasterInfo
from mapmill.raster.cutting import cut

log = logging.getLogger(__name__)
LARGEST = 16 * 2**30
"""Bytes of one file: more are refused, told or untold."""


def fetch(area: Area, listing: Path, scene: Scene, asset: Asset) -> Path:
    """The file in the store, after fetching it if it is not there.

    Parameters
    ----------
    listing : the pinned search, for messages

    Raises
    ------
    CatalogueError
        if the catalogue does not give the file that the search has pinned.
    """
    base = sources.base_of(area)
    ask = _asker(area, base, scene, asset)
    record = {"scene": scene.id, "asset": asset.key, "offset": asset.offset}
    record |= {"baseline": scene.properties.get(BASELINE)}
    if area.download.read == "window":
        return _with_offset(_cut(area, base, ask, scene, asset, record), scene, asset)
    remedy = f"if it stays, delete {listing} and rerun"
    wanted = keep.Wanted(
        asset.href,
        size_of(asset),
        checksum_of(asset),
        remedy,
        sources.RIGHTS[area.source],
        LARGEST,
    )
    kept = RESOURCES / area.source / _digest(asset) / asset.file_name

    def check(part: Path) -> Mapping[str, Any]:
        return check_image(part, scene, asset)

    path = keep.fetch(wanted, kept, ask=ask, check=check, record=record, base=base)
    return _with_offset(path, scene, asset)


def _with_offset(kept: Path, scene: Scene, asset: Asset) -> Path:
    """The file, looked at again if it was kept while another offset was to be added."""
    record = kept.with_name(f"{kept.name}.json")
    told = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    if told.get("offset") != asset.offset:
        check_pixels(kept, scene, asset)
    return kept


def size_of(asset: Asset) -> int | None:
    """Bytes, where the catalogue says."""
    value = asset.fields.get("file:size") or asset.fields.get("bdc:size")
    return value if isinstance(value, int) and value > 0 else None


def checksum_of(asset: Asset) -> str | None:
    """Its multihash, where the catalogue says."""
    value = asset.fields.get("file:checksum") or asset.fields.get("checksum:multihash")
    return value if isinstance(value, str) else None


def _digest(asset: Asset, *more: Any) -> str:
    asked = [asset.href, size_of(asset), checksum_of(asset), *more]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


# ------------------------------------------------------------------------------------ asking
def _asker(area: Area, base: str, scene: Scene, asset: Asset) -> Callable[[bool], keep.Ask]:
    """How the file is asked for: with an account, or a signature that is fetched anew."""

    def ask(again: bool) -> keep.Ask:
        if again:
            log.info("%s: refused; asking with a new signature", asset.href)
        if area.download.sign == "item":
            url = _signed_item(area, base, scene, asset)
        elif area.download.sign == "planetary-computer":
            url = _signed_by_token(base, asset.href)
        else:
            params = sources.account(area.source, asset.href, base)
            return keep.Ask(asset.href, params, tuple(params.values()))
        return keep.Ask(url, {}, (urllib.parse.urlsplit(url).query,))

    return ask


def _signed_item(area: Area, base: str, scene: Scene, asset: Asset) -> str:
    """The address that the catalogue gives now, which holds a signature."""
    collection = str(scene.properties.get("mapmill:collection", ""))
    parts = (urllib.parse.quote(part, safe="") for part in (collection, scene.id))
    url = base + "/collections/{}/items/{}".format(*parts)
    server = stac.Server(base, dict(sources.account(area.source, base, base)))
    found = server.get(url).get("assets")
    told = found.get(asset.key) if isinstance(found, dict) else None
    href = joined(url, str(told["href"])) if isinstance(told, dict) and "href" in told else ""
    if sources.plain(href) != asset.href:
        raise CatalogueError(
            http.shown(url),
            f"asset {asset.key} at {sources.plain(href)}" if href else f"no asset {asset.key}",
            asset.href,
            "delete the pinned search and rerun",
        )
    return href


def _signed_by_token(base: str, href: str) -> str:
    """The address with a token for its container, as Planetary Computer gives it.

    The account is the host's first label; at a bare number, as of an emulator, the path's first
    part.
    """
    parts = urllib.parse.urlsplit(href)
    host, path = parts.hostname or "", parts.path.strip("/").split("/")
    is_number = host.replace(".", "").isdecimal() or ":" in host
    account, container = path[:2] if is_number else (host.partition(".")[0], path[0])
    names = (urllib.parse.quote(part, safe="") for part in (account, container))
    root = urllib.parse.urljoin(base, "/api/sas/v1/token/")
    content = stac.Server(base, {}).get(root + "/".join(names))
    token = content.get("token")
    if not isinstance(token, str) or not token:
        raise CatalogueError(root, "no token", "a token", "check download.sign")
    return f"{href}?{token}"


# ----------------------------------------------------------------------------------- a part of it
def _cut(
    area: Area,
    base: str,
    ask: Callable[[bool], keep.Ask],
    scene: Scene,
    asset: Asset,
    record: dict[str, Any],
) -> Path:
    """The tiles of a remote file that the area's blocks need, as a file of its own."""
    grid, windows = area.the_grid(), [block.window for block in blocks_of(area)]
    asked = [grid.crs, grid.left, grid.top, grid.resolution]
    places = [[w.row, w.col, w.height, w.width] for w in windows]
    kept = RESOURCES / area.source / _digest(asset, asked, places) / f"{asset.key}.tif"
    if keep.there(kept) and not lock_of(kept).exists():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with room_for(kept), held(kept) as part:
        part.clear()  # what a kill has left cannot be gone on with
        if not keep.there(kept):
            try:
                told = _read_part(area, base, ask, scene, asset, part.path)
                write_json(kept.with_name(f"{kept.name}.json"), record | told)
                part.commit(kept)
            finally:
                part.clear()
    return kept


def _read_part(
    area: Area,
    base: str,
    ask: Callable[[bool], keep.Ask],
    scene: Scene,
    asset: Asset,
    part: Path,
) -> dict[str, Any]:
    """Write and check what the area's blocks need; what the record says of it."""
    grid, windows = area.the_grid(), [block.window for block in blocks_of(area)]
    seen: list[RasterInfo] = []

    def check(info: RasterInfo) -> None:
        check_info(info, scene, asset)
        seen.append(info)

    rights, size = sources.RIGHTS[area.source], size_of(asset)
    with RangedFile(ask, where=asset.href, size=size, base=base, rights=rights) as remote:
        made = cut(remote, asset.href, part, grid, windows, check=check)
        if remote.error:
            raise remote.error
    if not made.tiles:
        raise CatalogueError(
            asset.href, "no pixel over the area's blocks", "some", f"exclude {scene.id}"
        )
    ground = ground_of(area)
    footprint = shapely.make_valid(shape(dict(scene.geometry)))
    share = shapely.intersection(ground, footprint).area / ground.area
    check_pixels(part, scene, asset, at_least=share)
    flush(part)
    told = {"url": asset.href, "sha256": _sha256(part), "size": part.stat().st_size}
    return facts(seen[0]) | told


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
