"""The polygons that a split names, in pixels of the grid."""

from pathlib import Path
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape

from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.sections import Split
from mapmill.splits import Zone
from mapmill.vector import read_polygons

REMEDIES = (
    "check select.split.polygons and layer",
    "correct select.split.column or strata",
)


def read_zones(split: Split, grid: Grid, extent: Window) -> list[Zone]:
    """Polygons that touch the extent, with their value in the column that the split names.

    Raises
    ------
    ContractError
        if the file cannot be read, none touches the extent, or one has no value.
    """
    if split.polygons is None:
        return []
    path, column = Path(split.polygons), split.column or split.strata or ""
    found = read_polygons(
        path, split.layer, column, grid.crs, grid.bounds(extent), remedies=REMEDIES
    )
    zones = [Zone(_in_pixels(polygon, grid), value) for polygon, value in found]
    zones = [zone for zone in zones if not shapely.is_empty(zone.shape)]
    if not zones:
        raise ContractError(path, "no polygon on the area", "polygons of the area", REMEDIES[0])
    if not all(zone.value for zone in zones):
        raise ContractError(path, f"a polygon without {column}", "a value for each", "fill it in")
    return zones


def _in_pixels(polygon: dict[str, Any], grid: Grid) -> Any:
    """The ground of a polygon: valid, x from the west and y from the north, in pixels."""

    def moved(xy: Any) -> Any:
        x, y = xy.T
        return np.column_stack([x - grid.left, grid.top - y]) / grid.resolution

    parts = shapely.get_parts(shapely.make_valid(shapely.transform(shape(polygon), moved)))
    return shapely.union_all([p for p in parts if p.geom_type in ("Polygon", "MultiPolygon")])
