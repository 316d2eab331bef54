"""Which blocks of its grid an area is worked on: those in its window and its area of interest."""

import functools
import json
from pathlib import Path
from typing import Any

from mapmill.config import Area
from mapmill.consistency import extent_of
from mapmill.errors import ConfigError
from mapmill.grid import Block, Grid, Window

__all__ = ["blocks_of", "extent_of", "grid_block", "skipped_blocks"]
REMEDY = "give a GeoJSON file of polygons in longitude and latitude"


def blocks_of(area: Area) -> list[Block]:
    """The blocks that are worked on, row by row from the north-west.

    Raises
    ------
    ConfigError
        if the area of interest cannot be read, or touches no block.
    """
    return list(_blocks(area.the_grid(), extent_of(area), area.aoi))


def skipped_blocks(area: Area) -> list[Block]:
    """The blocks of the extent that lie wholly outside the area of interest."""
    used = set(blocks_of(area))
    return [b for b in area.the_grid().blocks_touching(extent_of(area)) if b not in used]


def grid_block(area: Area, name: str) -> Block:
    """The block called `name`.

    Raises
    ------
    ConfigError
        if the grid has no such block, or it is not worked on.
    """
    block = area.the_grid().block_named(name)
    if block not in blocks_of(area):
        raise ConfigError(
            f"block {name}", "outside window or aoi", "a block that is worked on", "check the name"
        )
    return block


@functools.cache
def _blocks(grid: Grid, extent: Window, aoi: str | None) -> tuple[Block, ...]:
    within = grid.blocks_touching(extent)
    if aoi is None:
        return tuple(within)
    import numpy as np  # where there is an area of interest only: planning is to stay quick
    import shapely

    outline = _outline(Path(aoi), grid.crs)
    boxes = shapely.box(*np.array([grid.bounds(block.window) for block in within]).T)
    touched = shapely.intersects(outline, boxes)
    kept = tuple(block for block, is_in in zip(within, touched, strict=True) if is_in)
    if not kept:
        raise ConfigError(aoi, "no block touched", "an area of interest on the grid", REMEDY)
    return kept


def _outline(path: Path, crs: str) -> Any:
    """The union of a GeoJSON file's polygons, in `crs`."""
    import numpy as np
    import shapely
    from pyproj import CRS, Transformer
    from shapely.geometry import shape

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        features = content["features"] if content["type"] == "FeatureCollection" else [content]
        shapes = [shape(each.get("geometry", each)) for each in features]
        outline = shapely.make_valid(shapely.union_all(shapes))
    except FileNotFoundError:
        raise ConfigError(path, "no such file", "the area of interest", "correct aoi") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(path, f"no GeoJSON ({error!r})", "polygons", REMEDY) from None
    if outline.is_empty or shapely.area(outline) == 0:
        raise ConfigError(path, "no polygon", "the area of interest", REMEDY)
    named = content.get("crs") or {}
    source = named.get("properties", {}).get("name", "OGC:CRS84")
    to_grid = Transformer.from_crs(CRS.from_user_input(source), crs, always_xy=True)
    return shapely.transform(outline, lambda xy: np.column_stack(to_grid.transform(*xy.T)))
