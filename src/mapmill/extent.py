"""Which blocks of its grid an area is worked on: those in its window and its area of interest."""

import functools
from pathlib import Path
from typing import Any

from mapmill.config import Area
from mapmill.consistency import extent_of
from mapmill.errors import ConfigError
from mapmill.grid import Block, Grid, Window
from mapmill.regular import read_json

__all__ = ["blocks_of", "blocks_touching", "extent_of", "grid_block", "skipped_blocks"]
REMEDY = "give a GeoJSON file of polygons in longitude and latitude"
FARTHEST = 1e9
"""Of any coordinate on Earth, in degrees, metres or feet."""
NOT_GEOJSON = (OSError, ValueError, KeyError, TypeError, AttributeError)


def blocks_of(area: Area) -> list[Block]:
    """The blocks that are worked on, row by row from the north-west.

    Raises
    ------
    ConfigError
        if the area of interest cannot be read, or touches no block.
    """
    return list(_blocks(area.the_grid(), extent_of(area), area.aoi))


def blocks_touching(area: Area, window: Window) -> list[Block]:
    """The blocks that are worked on and share pixels with `window`, row by row."""
    used = _used(area)
    return [block for block in area.the_grid().blocks_touching(window) if block in used]


def skipped_blocks(area: Area) -> list[Block]:
    """The blocks of the extent that lie wholly outside the area of interest."""
    used = _used(area)
    return [b for b in area.the_grid().blocks_touching(extent_of(area)) if b not in used]


def grid_block(area: Area, name: str) -> Block:
    """The block called `name`.

    Raises
    ------
    ConfigError
        if the grid has no such block, or it is not worked on.
    """
    block = area.the_grid().block_named(name)
    if block not in _used(area):
        raise ConfigError(
            f"block {name}", "outside window or aoi", "a block that is worked on", "check the name"
        )
    return block


def _used(area: Area) -> frozenset[Block]:
    return _block_set(area.the_grid(), extent_of(area), area.aoi)


@functools.cache
def _block_set(grid: Grid, extent: Window, aoi: str | None) -> frozenset[Block]:
    return frozenset(_blocks(grid, extent, aoi))


@functools.cache
def _blocks(grid: Grid, extent: Window, aoi: str | None) -> tuple[Block, ...]:
    within = grid.blocks_touching(extent)
    if aoi is None:
        return tuple(within)
    import numpy as np  # where there is an area of interest only: planning is to stay quick
    import shapely

    outline = _outline(Path(aoi), grid.crs)
    boxes = shapely.box(*np.array([grid.bounds(block.window) for block in within]).T)
    # a shared edge is no shared ground, as for `window`
    touched = shapely.intersects(outline, boxes) & ~shapely.touches(outline, boxes)
    kept = tuple(block for block, is_in in zip(within, touched, strict=True) if is_in)
    if not kept:
        raise ConfigError(aoi, "no block touched", "an area of interest on the grid", REMEDY)
    return kept


def _outline(path: Path, crs: str) -> Any:
    """The union of a GeoJSON file's polygons, in `crs`."""
    import numpy as np
    import shapely
    from pyproj import CRS, Transformer
    from pyproj.exceptions import ProjError
    from shapely.errors import ShapelyError

    try:
        content = read_json(path, parse_constant=_no_number)
        outline = shapely.union_all(_polygons(content))
        named = (content.get("crs") or {}).get("properties", {}).get("name", "OGC:CRS84")
        to_grid = Transformer.from_crs(CRS.from_user_input(named), crs, always_xy=True)
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "the area of interest", "correct aoi") from None
    except (*NOT_GEOJSON, ShapelyError, ProjError) as error:
        raise ConfigError(path, f"no GeoJSON ({_reason(error)})", "polygons", REMEDY) from None
    if shapely.area(outline) == 0:
        raise ConfigError(path, "no polygon", "the area of interest", REMEDY)
    left, bottom, right, top = outline.bounds
    if max(abs(side) for side in outline.bounds) > FARTHEST:
        found = f"coordinates from {left:g}, {bottom:g} to {right:g}, {top:g}"
        raise ConfigError(path, found, "places on Earth", REMEDY)
    # a straight edge of the file is a curve on the grid: kilometres off in the middle of a long one
    fine = shapely.segmentize(outline, max(right - left, top - bottom) / 500)
    result = shapely.transform(fine, lambda xy: np.column_stack(to_grid.transform(*xy.T)))
    if not np.isfinite(shapely.bounds(result)).all():
        found = f"coordinates from {left:g}, {bottom:g} to {right:g}, {top:g}"
        raise ConfigError(path, found, "longitude and latitude, or the file's crs", REMEDY)
    return shapely.make_valid(result)


def _reason(error: Exception) -> str:
    """What is wrong with a file; of JSON only the kind, since a message may quote all of it."""
    return str(error) if type(error) is OSError else type(error).__name__


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _polygons(content: Any) -> list[Any]:
    """All polygons of a GeoJSON value, each made valid; points and lines have no ground."""
    import shapely
    from shapely.geometry import shape

    features = content["features"] if content["type"] == "FeatureCollection" else [content]
    geometries = [f["geometry"] if f["type"] == "Feature" else f for f in features]
    valid = shapely.make_valid([shape(each) for each in geometries if each is not None])
    parts = shapely.get_parts(shapely.get_parts(valid))  # a collection may hold multipolygons
    return [part for part in parts if part.geom_type == "Polygon"]
