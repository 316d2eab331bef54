"""Which scenes of a search are taken, in which order, and why the others are not."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape

from mapmill.catalogue.baseline import baseline_of
from mapmill.catalogue.stac import Json, Question
from mapmill.errors import CatalogueError
from mapmill.sections import Catalogue

EXCLUDE = "add it to search.catalogue.exclude"
LEAST = 1e-3
"""Share of the area that a scene has to add."""


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
        try:
            value = float(self.item["properties"].get("eo:cloud_cover"))
        except (TypeError, ValueError):
            return None
        return value if 0 <= value <= 100 else None  # some write -1 for what they do not know

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
    # one that is excluded may be no item at all
    found = [_candidate(item, area) for item in items if str(item.get("id")) not in chosen.exclude]
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
    name = " ".join(str(item.get("id")).split())
    if not isinstance(item.get("properties"), dict) or not isinstance(item.get("assets"), dict):
        raise CatalogueError(f"scene {name}", "no properties or no assets", "a STAC item", EXCLUDE)
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
            EXCLUDE,
        )
    return geometry


def _sifted(found: Candidate, chosen: Catalogue, question: Question) -> Candidate:
    """The candidate, left out where the question does not ask for it."""
    own = found.item["properties"]
    start = _instant(own.get("start_datetime") or found.moment)
    end = _instant(own.get("end_datetime") or found.moment)
    why = ""
    if (found.item.get("collection") or question.collections[0]) not in question.collections:
        why = "another collection"
    elif end < _instant(question.start) or start > _instant(question.end):
        why = "another time"
    elif chosen.tiles and found.tile not in chosen.tiles:
        why = "another tile"
    elif found.cloud is not None and found.cloud > question.max_cloud:
        why = "too cloudy"
    elif found.coverage == 0:
        why = "beside the area"
    return replace(found, kept=not why, why=why)


def _instant(text: Any) -> datetime.datetime:
    """A moment in UTC, which is meant where no zone is told; long ago where it is none."""
    try:
        moment = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.datetime.min.replace(tzinfo=datetime.UTC)
    return moment.replace(tzinfo=moment.tzinfo or datetime.UTC)


def _ordered(found: Sequence[Candidate], order: str) -> list[Candidate]:
    """Least cloudy or newest first; scenes that do not tell their clouds come last."""
    named = sorted(found, key=lambda c: c.name)
    latest = sorted(named, key=lambda c: baseline_of(c.item) or 0.0, reverse=True)
    newest = sorted(latest, key=lambda c: c.moment, reverse=True)
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
