"""The ground that an area's imagery has to cover."""

from typing import Any

import shapely
from shapely.geometry import shape

from mapmill.config import Area
from mapmill.extent import blocks_of
from mapmill.raster import footprint_wgs84


def ground_of(area: Area) -> Any:
    """The blocks that are worked on, as one polygon in degrees."""
    grid = area.the_grid()
    blocks = [shape(footprint_wgs84(grid, block.window)) for block in blocks_of(area)]
    return shapely.union_all(blocks, grid_size=1e-9)
