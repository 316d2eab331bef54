"""What downsampling did to the classes of a whole area, and a warning where it took too much."""

import logging

from mapmill.class_areas import ClassAreas, read_areas
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.extent import blocks_of
from mapmill.layout import Layout

log = logging.getLogger(__name__)
LOST = 0.5
"""Share of its area that a class may lose without a warning."""


def totals(area: Area, layout: Layout) -> ClassAreas:
    """The sum of the tables of all blocks of an area."""
    paths = [layout.downsample(block.name).with_suffix(".csv") for block in blocks_of(area)]
    tables = [read_areas(path) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        if len(table.before) != len(area.classes) + 1:
            found, expected = f"{len(table.before)} classes", f"{len(area.classes) + 1}"
            raise ContractError(path, found, expected, "delete it and rerun")
    return sum(tables[1:], tables[0])


def warn_of_losses(area: Area, layout: Layout) -> None:
    """One line for each class of which the cells have less than half of the labels' area."""
    areas = totals(area, layout)
    for number, name in enumerate(area.class_names, 1):
        before, after = areas.before[number], areas.after[number]
        if before > 0 and after < LOST * before:
            log.warning(
                "%s loses %.0f%% of its area to downsampling (%s): %.4g of %.4g are left, in"
                " square units of the CRS; downsample.method: weighted with class_weights keeps"
                " more",
                name,
                100 * (1 - after / before),
                area.downsample.method,
                after,
                before,
            )
