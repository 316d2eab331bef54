"""search: what a catalogue holds for a period, pinned as a STAC item collection."""

import logging
from pathlib import Path
from typing import Any

import pystac
import shapely
from shapely.geometry import shape

from mapmill.areafile import load_area
from mapmill.atomic import write_json
from mapmill.catalogue import dgi, local, pin, scenes, sources, stac
from mapmill.catalogue.ground import ground_of
from mapmill.catalogue.scenes import Candidate
from mapmill.config import Area
from mapmill.errors import CatalogueError
from mapmill.extent import extent_of
from mapmill.footprints import Footprint, draw, table
from mapmill.layout import Layout
from mapmill.raster import area_bounds_wgs84
from mapmill.sections import CATALOGUES, Catalogue

log = logging.getLogger(__name__)


def run(
    area_path: Path, period: str, output: Path | None = None, figure: Path | None = None
) -> None:
    """List the scenes of one period; write their item collection, and a picture of where they lie.

    Raises
    ------
    CatalogueError
        if nothing is found, a band that the area composes is nowhere in a scene, or the scenes
        of a catalogue leave a part of the area without imagery.
    """
    area = load_area(area_path)
    ground = ground_of(area)
    if area.source in CATALOGUES:
        found, items = _in_catalogue(area, period, ground)
    else:
        folder = output.parent if output else Path()
        found, items = _at_hand(area, area_path, period, folder, ground)
    _check_bands(items, area)
    log.info("%s", table(found))
    if figure:
        draw(found, ground, figure, f"{area.title}, {period}", area.attribution)
    if output:
        write_json(output, _without_root(pystac.ItemCollection(items).to_dict()))
        log.info("%d scenes in %s", len(items), output)


# --------------------------------------------------------------------------------- a catalogue
def _in_catalogue(
    area: Area, period: str, ground: Any
) -> tuple[list[Footprint], list[pystac.Item]]:
    """What a catalogue answers: all scenes as they are shown, and items of those taken."""
    assert area.search is not None and area.search.catalogue is not None
    chosen, base = area.search.catalogue, sources.base_of(area)
    start, end = area.moments(period)
    question = stac.Question(
        tuple(chosen.collections),
        shapely.bounds(ground).tolist(),
        start,
        end,
        chosen.max_cloud,
        tuple(chosen.exclude),
    )
    if area.source == "dgi":
        answered = dgi.find(base, question)
    else:
        answered = stac.find(base, question, sources.account(area.source, base, base))
    found = scenes.choose(answered, chosen, ground, question)
    _check_coverage(found, chosen, period, ground)
    signed = area.download.sign == "item"
    kept = [each for each in found if each.kept]
    masks = {area.compose.mask.band_name} if area.compose.mask else set()
    items = [pin.pinned(each, area.compose.wanted, chosen, signed, masks) for each in kept]
    _check_scales(items)
    return [_shown(each) for each in found], items


def _check_scales(items: list[pystac.Item]) -> None:
    """Scenes of one period hold the same quantity: 0.25 and 2500 are not mixed in one image."""
    found: dict[str, dict[Any, str]] = {}
    for item in items:
        for asset in item.assets.values():
            told = asset.extra_fields.get("raster:bands")
            first = told[0] if isinstance(told, list) and told else {}
            scale = first.get("scale") if isinstance(first, dict) else None
            for band in asset.extra_fields["bands"]:
                if isinstance(scale, int | float):
                    found.setdefault(band["name"], {}).setdefault(scale, item.id)
    for band, scales in found.items():
        if len(scales) > 1:
            listed = ", ".join(f"{scale} in {name}" for scale, name in scales.items())
            raise CatalogueError(
                f"band {band}", f"scales {listed}", "one", "exclude some, or choose collections"
            )


def _check_coverage(found: list[Candidate], chosen: Catalogue, period: str, ground: Any) -> None:
    """No scenes, or a hole between them, is an error and not a map of zeros."""
    share = scenes.covered(found, ground)
    log.info("%s: %d scenes found, %.1f %% of the area covered", period, len(found), 100 * share)
    kept = sum(each.kept for each in found)
    if kept and share >= chosen.min_coverage:
        return
    log.info("%s", table([_shown(each) for each in found]))
    raise CatalogueError(
        f"period {period}",
        f"{kept} scenes of {len(found)} that fit, over {100 * share:.1f} % of the area",
        f"scenes over {100 * chosen.min_coverage:.1f} %",
        "widen the period, raise max_cloud, or lower min_coverage under search.catalogue",
    )


def _shown(found: Candidate) -> Footprint:
    return Footprint(
        id=found.name,
        moment=found.moment,
        cloud=found.cloud,
        tile=found.tile,
        coverage=found.coverage,
        geometry=found.geometry,
        kept=found.kept,
        why=found.why,
    )


# ------------------------------------------------------------------------------------- at hand
def _at_hand(
    area: Area, area_path: Path, period: str, folder: Path, ground: Any
) -> tuple[list[Footprint], list[pystac.Item]]:
    """Files on disk or in the sample: all as they are shown, and items of those over the area."""
    archive = Layout(area_path.stem).download("sample.whl") if area.source == "sample" else None
    items = local.find(area, period, folder, archive)
    west, south, east, north = area_bounds_wgs84(area.the_grid(), extent_of(area))
    kept, shown = [], []
    for item in items:
        left, bottom, right, top = item.bbox or (0.0, 0.0, 0.0, 0.0)
        over = left < east and right > west and bottom < north and top > south
        kept += [item] if over else []
        shown.append(_shown(_candidate(item, ground, over)))
    if not kept:
        raise CatalogueError(
            f"period {period}",
            f"none of {len(items)} scenes over the area",
            f"scenes of {west:.3f}, {south:.3f} to {east:.3f}, {north:.3f} degrees",
            "check the files, their CRS and grid.bounds",
        )
    return shown, kept


def _candidate(item: pystac.Item, ground: Any, over: bool) -> Candidate:
    geometry = shape(item.geometry)
    share = shapely.intersection(geometry, ground).area / ground.area
    content = {"id": item.id, "properties": dict(item.properties)}
    return Candidate(content, geometry, share, over, "" if over else "beside the area")


def _check_bands(items: list[pystac.Item], area: Area) -> None:
    for item in items:
        held = [b["name"] for asset in item.assets.values() for b in asset.extra_fields["bands"]]
        for band in area.compose.wanted:
            if band not in held:
                measured = band in area.compose.measured
                key = "bands" if band in area.compose.bands else "pansharpen.pan"
                remedy = f"correct compose.{key if measured else 'mask.band'}"
                raise CatalogueError(f"scene {item.id}", f"bands {', '.join(held)}", band, remedy)


def _without_root(collection: dict[str, Any]) -> dict[str, Any]:
    for feature in collection["features"]:
        feature["links"] = []
    return collection
