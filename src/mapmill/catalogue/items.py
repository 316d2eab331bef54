"""The pinned answer of a search: scenes with their assets, read from an item collection.

Plain JSON, so that planning the workflow stays quick. Names that come from a catalogue are
checked here before any of them becomes part of a path.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from mapmill.errors import ContractError
from mapmill.regular import read_json

SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
OFFSET, NEAREST, BASELINE = "mapmill:offset", "mapmill:nearest", "mapmill:baseline"
"""What is pinned for later stages: of a file, the number added to its values where they are not
nodata, and whether they have no middle; of a scene, Sentinel-2's processing baseline."""
SAFE_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,9}")


@dataclass(frozen=True)
class Asset:
    """One file of a scene."""

    key: str
    href: str
    """As in the item collection: a path from its folder; `archive#member` inside an archive."""
    bands: tuple[str, ...]
    """Names of the file's bands, in order."""
    offset: int = 0
    """Added to its values, where they are not nodata."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """What else is pinned of it, such as size, digest and shape."""

    @property
    def is_classes(self) -> bool:
        """Whether its values are classes, which have no middle."""
        return self.fields.get(NEAREST) is True

    @property
    def nodata(self) -> float | None:
        """The value of missing pixels, where the catalogue tells it and the file may not."""
        value = self.fields.get("nodata") if self.is_remote else None
        return float(value) if isinstance(value, int | float) else None

    @property
    def is_remote(self) -> bool:
        """Whether it is at an address of the network."""
        return "://" in self.href

    @property
    def file_name(self) -> str:
        """Key and suffix."""
        name = self.href if self.is_remote else self.href.rpartition("#")[2]
        suffix = PurePosixPath(name).suffix
        return self.key + (suffix if SAFE_SUFFIX.fullmatch(suffix) else "")


@dataclass(frozen=True)
class Scene:
    """One item."""

    id: str
    assets: tuple[Asset, ...]
    properties: Mapping[str, Any] = field(default_factory=dict)
    bbox: tuple[float, ...] = ()
    """west, south, east, north in degrees."""
    geometry: Mapping[str, Any] = field(default_factory=dict)
    """Its footprint, as GeoJSON in degrees."""

    def find(self, band: str) -> tuple[Asset, int] | None:
        """The asset that holds a band, and the band's number in it (from 1)."""
        for asset in self.assets:
            if band in asset.bands:
                return asset, asset.bands.index(band) + 1
        return None


def read_scenes(path: Path) -> list[Scene]:
    """Scenes of an item collection, in its order.

    Raises
    ------
    ContractError
        if the file is no item collection, or a name in it is not fit for a path.
    """
    try:
        features = read_json(path)["features"]
        return [_scene(path, feature) for feature in features]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(
            path, f"no item collection ({error!r})", "a STAC item collection", "delete it and rerun"
        ) from None


def _scene(path: Path, feature: dict[str, Any]) -> Scene:
    listed = feature["assets"]
    if not isinstance(listed, dict):
        raise TypeError("assets is not a mapping")
    assets = []
    for key, asset in listed.items():
        named = asset.get("bands") or asset.get("eo:bands") or [{"name": key}]
        bands = tuple(str(band.get("name", "")) for band in named)
        offset = int(asset.get(OFFSET, 0))
        assets.append(Asset(safe_name(path, key), str(asset["href"]), bands, offset, asset))
    own = {key: feature.get(key) or {} for key in ("properties", "bbox", "geometry")}
    return Scene(
        safe_name(path, str(feature["id"])),
        tuple(assets),
        own["properties"],
        tuple(own["bbox"]),
        own["geometry"],
    )


def safe_name(where: Path | str, name: str) -> str:
    """Return `name` if it can be one part of a path, else raise ContractError."""
    if not SAFE_NAME.fullmatch(name) or ".." in name:
        raise ContractError(
            where, f"the name {name!r}", "letters, digits, '.', '_', '-'", "rename it at its source"
        )
    return name


def wanted_files(period: str, scenes: list[Scene], bands: list[str]) -> Iterator[str]:
    """Downloads of a period that hold any of `bands`: `{period}/{item}/{asset}.*`."""
    for scene in scenes:
        for asset in scene.assets:
            if set(asset.bands) & set(bands):
                yield f"{period}/{scene.id}/{asset.file_name}"
