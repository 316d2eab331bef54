"""sample: points at which people say what is there, drawn at random within each class of a map."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer

from mapmill import vector
from mapmill.allocation import allocate, sample_size
from mapmill.areafile import load_area
from mapmill.config import Area
from mapmill.draw import ClassMap, Counted, draw
from mapmill.errors import ContractError
from mapmill.figures import save_chip, shown_bands, stretch
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.pieces import mosaic_of
from mapmill.progress import track
from mapmill.provenance import file_digest
from mapmill.raster import Array
from mapmill.sample_files import DESIGN, Design, write_design, write_points

log = logging.getLogger(__name__)


def run(area_path: Path, map_name: str) -> None:
    """Draw a sample of a map and write it, with a picture of each point's surroundings.

    Raises
    ------
    ContractError
        if there is a sample already: people may have worked on it.
    """
    area, layout = load_area(area_path), Layout(area_path.stem)
    area.run_of(map_name)
    area.the_grid()
    folder, path = layout.sample(map_name), layout.map(map_name)
    if (folder / DESIGN).exists():
        remedy = "rename the folder if another one is wanted"
        raise ContractError(folder, "a sample that may be in work", "no sample", remedy)
    source = ClassMap(path, len(area.classes))
    counted = source.count()
    wanted = wanted_of(area, counted, path)
    points = draw(source, wanted, area.sample.seed)
    xy = source.centres(points.row, points.col)
    crs = source.info.crs
    if area.sample.chip:
        _chips(folder / "chips", area, layout, map_name, xy)
    lonlat = np.column_stack(
        Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(*xy.T)
    )
    columns = {"point": np.arange(1, len(xy) + 1), "reference": np.full(len(xy), "", object)}
    columns["comment"] = columns["reference"]
    vector.write_points(folder / "points.gpkg", xy, columns, crs)
    write_points(folder / "points.csv", xy, lonlat)
    units, hectares = counted.units, counted.hectares
    names = area.class_names
    design = Design(map_name, file_digest(path), crs, names, units, hectares, points.stratum, xy)
    write_design(folder / DESIGN, design, area.sample.seed)
    _tell(area, folder, counted, wanted)


def wanted_of(area: Area, counted: Counted, path: Path) -> NDArray[np.int64]:
    """(K + 1,) points of each class of the map.

    Raises
    ------
    ContractError
        if the map is empty.
    """
    there = counted.units > 0
    there[0] = False
    if not there.any():
        raise ContractError(path, "no pixel with a class", "a map", "look at the map")
    chosen = area.sample
    units, hectares = counted.units[there], counted.hectares[there]
    values = np.flatnonzero(there)
    expected = np.array([chosen.accuracies.get(int(v), chosen.accuracy) for v in values])
    size = chosen.size or sample_size(hectares, units, expected, chosen.standard_error)
    wanted = np.zeros(len(counted.units), np.int64)
    wanted[there] = allocate(size, hectares, units, chosen.least)
    return wanted


def _tell(area: Area, folder: Path, counted: Counted, wanted: NDArray[np.int64]) -> None:
    """What was drawn, and what to do next."""
    for value, name in enumerate(area.class_names, 1):
        ground = f"{counted.hectares[value]:,.1f} ha mapped"
        log.info("%-28s %6d points   %s", name, wanted[value], ground)
    log.info("%s: %d points in random order", folder / "points.csv", wanted.sum())
    log.info("fill in `reference` (a class's name or number), there or in points.gpkg; leave it")
    log.info("empty where nobody can tell; then: mapmill areas AREA MAP TABLE")


def _chips(folder: Path, area: Area, layout: Layout, map_name: str, xy: Array) -> None:
    """A picture of each point: all periods of the map side by side, the pixel framed."""
    grid, side = area.the_grid(), area.sample.chip
    nodata = area.compose.nodata
    images = [
        mosaic_of(area, partial(layout.compose, period), nodata)
        for period in area.periods_of(map_name)
    ]
    bands = [area.bands.index(band) + 1 for band in shown_bands(area)]
    width = len(str(len(xy)))
    for number, (x, y) in enumerate(track(xy, "chips", len(xy), "points"), 1):
        row = int((grid.top - y) // grid.resolution) - side // 2
        col = int((x - grid.left) // grid.resolution) - side // 2
        window = Window(row, col, side, side)
        parts = [stretch(image.read(window, bands)) for image in images]
        save_chip(folder / f"{number:0{width}d}.png", parts, side // 2, area.attribution)
