"""The candidate tiles of an area, and what each serves."""

from mapmill.buffers import buffer_of
from mapmill.chips import column_of
from mapmill.config import Area
from mapmill.dealing import chip_parts, deal
from mapmill.grid import Window
from mapmill.parts import Place, find_parts
from mapmill.pieces import Pieces
from mapmill.sections import Select, Split
from mapmill.split_layer import read_zones
from mapmill.splits import Region, regions, subtiles

EVERYWHERE = Window(0, 0, 2**31, 2**31)


def candidates(chosen: Select, extent: Window, beyond: bool) -> list[Window]:
    """Square windows of each size, on a lattice from the grid's (or chip's) north-western corner.

    Parameters
    ----------
    beyond : take in the last tiles that reach beyond the edge, instead of leaving pixels out
    """
    return [
        window
        for size, step in chosen.sizes.items()
        for window in _of_size(size, step, extent, beyond)
    ]


def _of_size(size: int, step: int, extent: Window, beyond: bool) -> list[Window]:
    over = 0 if beyond else size - 1
    rows = range(-(-extent.row // step) * step, extent.row_end - over, step)
    cols = range(-(-extent.col // step) * step, extent.col_end - over, step)
    return [Window(row, col, size, size) for row in rows for col in cols]


def places_on_grid(area: Area, extent: Window, tiles: list[Window]) -> list[Place]:
    """What each tile of a grid serves.

    Raises
    ------
    ConfigError, ContractError
        if the area cannot be split as asked, or the polygons for it cannot be read.
    """
    split, chosen = area.split(), area.the_select()
    zones = read_zones(split, area.the_grid(), extent)
    own = [tile for tile in tiles if tile.height == chosen.size]
    parts = regions(split, extent, own, chosen.step, zones)
    return find_parts(parts, tiles, buffer_of(area))


def places_in_chips(area: Area, pieces: Pieces) -> dict[str, tuple[list[Window], list[Place]]]:
    """The tiles of each chip, and what each serves; a chip without a mask serves nothing."""
    chosen, found = area.the_select(), {}
    tiles = {name: candidates(chosen, pieces.open(name).extent, True) for name in pieces.names}
    parts = _parts_in_chips(area, {name: tiles[name] for name in pieces.masked})
    for name, own in tiles.items():
        if name in parts:
            found[name] = own, find_parts(parts[name], own, buffer_of(area))
        else:
            found[name] = own, [Place("", None, "no mask")] * len(own)
    return found


def _parts_in_chips(area: Area, tiles: dict[str, list[Window]]) -> dict[str, list[Region]]:
    """Parts within each chip: one of a whole chip, one of each piece of it, or one of each tile."""
    split, names = area.split(), list(tiles)
    assert area.chips is not None
    if split.method == "random":
        side = area.the_select().size
        own = {name: [w for w in tiles[name] if w.height == side] for name in names}
        dealt = iter(deal(split, sum(len(windows) for windows in own.values())))
        return {name: [Region(w, *next(dealt)) for w in windows] for name, windows in own.items()}
    if split.method == "subtiles":
        return {name: _cut_chip(area, split, tiles[name], n) for n, name in enumerate(names)}
    columns = {c: column_of(area.chips, c, names) for c in (split.column, split.strata) if c}
    given = chip_parts(split, names, columns)
    return {name: [Region(EVERYWHERE, *given[name])] for name in names}


def _cut_chip(area: Area, split: Split, tiles: list[Window], number: int) -> list[Region]:
    """The pieces of a chip, and of what its last tiles reach beyond it."""
    height, width = max(tile.row_end for tile in tiles), max(tile.col_end for tile in tiles)
    return subtiles(split, Window(0, 0, height, width), area.the_select().step, number)
