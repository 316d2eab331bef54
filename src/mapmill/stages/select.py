"""select: every candidate tile, with what it holds, its part and why it was dropped."""

import logging
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mapmill import figures, tile_figures
from mapmill.areafile import load_area
from mapmill.areas import warn_of_losses
from mapmill.atomic import write_json
from mapmill.buffers import buffer_of, buffer_warning
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.extent import extent_of
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.leak import Leak, find_leak
from mapmill.parts import Place
from mapmill.pieces import Piece, Pieces
from mapmill.progress import track
from mapmill.raster import Array, valid_pixels
from mapmill.sections import Select
from mapmill.shift import Shift, ShiftFinder
from mapmill.survey import Content, GridSurvey, survey_chip
from mapmill.tiles import Tile, write_tiles
from mapmill.tiling import candidates, places_in_chips, places_on_grid

log = logging.getLogger(__name__)
SHIFT_TILES = 200
"""Tiles on which labels and image are compared, at most."""
SHIFT_PIXELS = 4_000_000
"""Pixels of these tiles, about: thousands of cells, where two dozen are enough."""


def run(area_path: Path, output: Path, figure: Path, shift: Path, threads: int = 1) -> None:
    """Write the table of tiles, a picture of it, and a picture of how labels fit the image.

    Beside the table, `leak.json` says how far what is learnt from lies from what is scored.

    Parameters
    ----------
    threads : blocks counted at a time

    Raises
    ------
    ContractError
        if a period has no imagery at all, no training tile is left, or one is within the buffer
        of a tile that is scored.
    """
    area, layout = load_area(area_path), Layout(area_path.stem)
    pieces = Pieces(area, layout)
    table = make_table(area_path, threads)
    shifted, surface = _agreement(area, layout, pieces, table.tiles)
    write_table(output, area, table)
    figures.shift_figure(shift, area, surface, shifted)
    write_json(shift.with_suffix(".json"), _as_json(shifted))
    if not area.chips:
        warn_of_losses(area, Layout(area_path.stem))
    log.log(logging.WARNING if shifted.is_wrong else logging.INFO, shifted.sentence())
    if table.label_YX is None:
        tile_figures.chip_sheet(figure, area, table.tiles, pieces)
    else:
        told = table.leak.sentence()
        tile_figures.tile_map(figure, area, table.tiles, table.label_YX, told)
    _report(output, table.tiles)


class Table(NamedTuple):
    """What was found in one pass."""

    tiles: list[Tile]
    leak: Leak
    label_YX: Array | None
    """Classes of every few pixels of a grid, for a picture."""


def make_table(area_path: Path, threads: int) -> Table:
    """Count what all tiles hold, deal out the parts, and prove that they lie apart."""
    area, layout = load_area(area_path), Layout(area_path.stem)
    label_YX: Array | None = None
    if area.chips:
        tiles = _tiles_of_chips(area, Pieces(area, layout))
    else:
        tiles, label_YX = _tiles_of_grid(area, layout, threads)
    _refuse_without_training(area_path, area, tiles)
    leak = find_leak(tiles, buffer_of(area))
    _tell_leak(area_path, area, leak)
    return Table(tiles, leak, label_YX)


def write_table(output: Path, area: Area, table: Table) -> None:
    """Write the tiles and, beside them, how far the parts lie apart."""
    write_tiles(output, table.tiles, len(area.classes))
    write_json(output.with_name("leak.json"), table.leak.as_json())


def _tiles_of_grid(area: Area, layout: Layout, threads: int) -> tuple[list[Tile], Array]:
    """All tiles in each period, and thinned labels."""
    extent = extent_of(area)
    windows = candidates(area.the_select(), extent, False)
    places = places_on_grid(area, extent, windows)
    survey = GridSurvey(area, layout, windows, figures.thinning(area))
    tiles: list[Tile] = []
    for period, content in survey.run(threads).items():
        if not content.valid_T.any():
            raise ContractError(
                layout.compose(period, "").parent,
                "no pixel with data",
                "imagery of the area",
                "check the period's scenes",
            )
        tiles += _tiles(area.the_select(), (period, ""), windows, places, content)
    return tiles, survey.thin_YX


def _tiles_of_chips(area: Area, pieces: Pieces) -> list[Tile]:
    """All tiles, chip by chip."""
    tiles: list[Tile] = []
    found = places_in_chips(area, pieces)
    for name, (windows, places) in track(found.items(), "select", len(found), "chips"):
        content = survey_chip(area, pieces.open(name), windows)
        tiles += _tiles(area.the_select(), ("", name), windows, places, content)
    return tiles


def _tiles(
    chosen: Select,
    names: tuple[str, str],
    windows: list[Window],
    places: list[Place],
    content: Content,
) -> list[Tile]:
    """Tiles of one piece; `names` are its period and its chip."""
    rows = zip(
        windows,
        np.stack(
            [content.valid_T, content.cloud_T, content.snow_T, content.labelled_T], 1
        ).tolist(),
        places,
        reasons(chosen, content),
        content.pixels_TK.tolist(),
        strict=True,
    )
    period, chip = names
    return [
        Tile(
            period,
            chip,
            window,
            *(valid, cloud, snow, labelled),
            part,
            fold,
            near or why,
            tuple(pixels),
        )
        for window, (valid, cloud, snow, labelled), (part, fold, near), why, pixels in rows
    ]


def reasons(chosen: Select, content: Content) -> list[str]:
    """Why each tile's content makes it useless, or ''."""
    kept_K = np.ones(content.pixels_TK.shape[1], bool)
    kept_K[[value - 1 for value in chosen.drop_only]] = False
    useless = {
        "too much cloud": content.cloud_T > chosen.max_cloud,
        "too much snow": content.snow_T > chosen.max_snow,
        "no imagery": content.valid_T == 0,
        "too little imagery": content.valid_T < chosen.min_valid,
        "no labels": content.labelled_T == 0,
        "only dropped classes": ~content.pixels_TK[:, kept_K].any(axis=1),
        "too few labels": content.labelled_T < chosen.min_labelled,
    }
    found: list[str] = np.select(list(useless.values()), list(useless), "").tolist()
    return found


def _agreement(
    area: Area, layout: Layout, pieces: Pieces, tiles: list[Tile]
) -> tuple[Shift, Array]:
    """How labels lie on the image in some tiles, and the correlation at every shift."""
    finder, chosen = ShiftFinder(), area.the_select()
    wanted = min(SHIFT_TILES, -(-SHIFT_PIXELS // chosen.size**2))
    names = pieces.names if area.chips else pieces.names[:1]  # others show the same edges again
    own: dict[str, list[Tile]] = {name: [] for name in names}
    for tile in tiles:
        if tile.piece in own and tile.size == chosen.size:
            own[tile.piece].append(tile)
    each = wanted // len(names) + 1 if area.chips else wanted
    for name in track(names, "shift", len(names), "pieces"):
        _compare(area, layout, pieces.open(name), own[name], each, finder)
    return finder.result(), finder.surface()


def _compare(
    area: Area, layout: Layout, piece: Piece, tiles: list[Tile], wanted: int, finder: ShiftFinder
) -> None:
    """Add the edges of some tiles, spread over the piece, to those looked at for a shift."""
    step = area.the_select().step
    every = -(-area.the_select().size // step) * step  # tiles that overlap would count twice
    full = [
        tile
        for tile in tiles
        if tile.labelled and tile.valid
        if tile.window.row % every < step and tile.window.col % every < step
    ]
    for tile in full[:: -(-len(full) // wanted) or 1]:
        image_BYX = piece.image(tile.window)
        valid_YX = valid_pixels(image_BYX, area.compose.nodata)
        if abs(valid_YX.mean() - tile.valid) > 1e-9:
            raise ContractError(
                layout.quality(tile.period, "").parent,
                f"observations in {tile.valid:.4%} of tile {tile.name}",
                f"in {valid_YX.mean():.4%}, where the image has data",
                "delete both of the period and rerun",
            )
        finder.add(image_BYX, valid_YX, piece.label(tile.window))


def _as_json(shift: Shift) -> dict[str, Any]:
    """The shift as JSON values."""
    numbers = {key: round(value, 4) for key, value in asdict(shift).items() if value == value}
    return numbers | {"is_wrong": shift.is_wrong, "sentence": shift.sentence()}


def _refuse_without_training(area_path: Path, area: Area, tiles: list[Tile]) -> None:
    """Nothing can be learnt where every tile is dropped or serves another part."""
    kept = {(tile.split, tile.window.height) for tile in tiles if not tile.dropped}
    split, sizes = area.split(), {size for part, size in kept if part == "train"}
    runs = [area.train_of(run) for run in area.runs]
    wanted = {run.size or area.the_select().size for run in runs if not run.train_on} or sizes
    for part in ("val", "test"):
        asked = split.method != "column" and (split.folds or getattr(split, part))
        if runs and asked and part not in {name for name, _ in kept}:
            log.warning("no tile is left for %s: the column `dropped` says why", part)
    if not runs or (sizes and wanted <= sizes):
        return
    counted = Counter(tile.dropped or tile.split for tile in tiles).most_common()
    told = ", ".join(f"{number} {why}" for why, number in counted) or "none at all"
    raise ContractError(
        f"{area_path}: select",
        f"no training tile among {len(tiles)} ({told})",
        "at least one",
        "lower select.min_valid, min_labelled, size or split.buffer, or check labels and imagery",
    )


def _tell_leak(area_path: Path, area: Area, leak: Leak) -> None:
    """Log the distance between the parts; refuse a table that breaks its own buffer."""
    if not leak.is_proven:
        gaps = ", ".join(f"{a} to {b} {gap} px" for (a, b), gap in leak.gaps.items())
        raise ContractError(
            f"{area_path}: select.split",
            f"tiles nearer to another part than allowed ({gaps})",
            f"at least {leak.buffer} px between them",
            "this is a fault of mapmill: please report the area file",
        )
    touching = leak.nearest is not None and leak.nearest <= 0
    log.log(logging.WARNING if touching else logging.INFO, leak.sentence())
    warning = buffer_warning(area)
    if warning:
        log.warning(warning)


def _report(output: Path, tiles: list[Tile]) -> None:
    kept = Counter(tile.split for tile in tiles if not tile.dropped)
    log.info("%s: kept %s", output, ", ".join(f"{n} {s}" for s, n in sorted(kept.items())))
    for why, number in Counter(t.dropped for t in tiles if t.dropped).most_common():
        log.info("dropped %d tiles: %s", number, why)
