"""tabulate: how much of each class the maps show, by unit, and what changed between maps.

Counts of pixels, of which each counts by the part that a unit covers. They hold the maps'
errors; `mapmill areas` corrects for those with a probability sample.
"""

import csv
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mapmill import tables
from mapmill.areafile import load_area
from mapmill.atomic import whole_file
from mapmill.config import Area
from mapmill.draw import ClassMap, plane_remarks
from mapmill.layout import Layout
from mapmill.unit_pixels import grid_of

log = logging.getLogger(__name__)
AREAS = ["unit", "map", "periods", "class", "pixel_count_ha", "pixel_count_km2", "percent"]
CHANGES = ["from_map", "to_map", "from_class", "to_class", "pixels", "pixel_count_ha"]
OUTSIDE = "outside the map"
Rows = list[list[Any]]


def run(area_path: Path, output: Path, changed: Path) -> None:
    """Write the areas of all maps, and the changes from each map to the next (CSV).

    Raises
    ------
    ContractError
        if a map or the file of units is not what it should be.
    """
    area, layout = load_area(area_path), Layout(area_path.stem)
    area.the_grid()
    names = ["no data", *area.class_names]
    maps = {name: ClassMap(layout.map(name), len(area.classes)) for name in area.maps}
    rows: Rows = []
    for name, source in maps.items():
        for warning in plane_remarks(source):
            log.warning("%s: %s", layout.map(name), warning)
        rows += _of_map(area, name, source, names)
    _write(output, AREAS, rows)
    _write(changed, CHANGES, _of_pairs(maps, names))
    log.info("%s: %d rows", output, len(rows))


def _of_map(area: Area, map_name: str, source: ClassMap, names: list[str]) -> Rows:
    """Every class in every unit; per cent of the unit's ground, that off the map too."""
    grid = grid_of(source)
    units = tables.units_on(area.tabulate, grid)
    found, titles = tables.hectares(source, units), names
    if area.tabulate.units:
        found, titles = np.column_stack([found, tables.outside(units, grid)]), [*names, OUTSIDE]
    periods, rows = " ".join(area.periods_of(map_name)), []
    for unit, hectares_K in zip(units, found, strict=True):
        whole = hectares_K.sum()
        for name, hectares in zip(titles, hectares_K, strict=True):
            percent = f"{100 * hectares / whole:.4f}" if whole else ""
            numbers = [f"{hectares:.6f}", f"{hectares / 100:.8f}", percent]
            rows.append([unit, map_name, periods, name, *numbers])
    return rows


def _of_pairs(maps: dict[str, ClassMap], names: list[str]) -> Rows:
    """What each class of a map is in the next one, in the order of the area file."""
    rows = []
    for (first, before), (second, after) in pairwise(maps.items()):
        pixels, hectares = tables.changes(before, after)
        for row, one in enumerate(names):
            for col, other in enumerate(names):
                numbers = [int(pixels[row, col]), f"{hectares[row, col]:.6f}"]
                rows.append([first, second, one, other, *numbers])
    return rows


def _write(path: Path, header: list[str], rows: Rows) -> None:
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
