"""Pictures that say where a map fails, from its blocks or chips and from what was counted."""

from functools import partial
from pathlib import Path

import numpy as np

from mapmill import metrics, score_figures
from mapmill.config import Area
from mapmill.extent import extent_of
from mapmill.figures import shown_bands, stretch, thinning
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.pieces import Pieces, mosaic_of
from mapmill.raster import Array, read_bands
from mapmill.score_figures import WorstChip
from mapmill.scored import mask, thinned
from mapmill.scores import Counted
from mapmill.tiles import Tile, read_tiles

WORST = 4
"""Chips that are shown."""


def explain(
    errors: Path, tiles: Path, area: Area, layout: Layout, map_name: str, parts: dict[str, Counted]
) -> None:
    """Draw where the map is wrong, and in which tiles; of chips the worst, and all by score."""
    title = f"{area.title}: {map_name}"
    used = [t for t in read_tiles(layout.tiles) if t.split in parts]
    used = [t for t in used if t.size == area.the_select().size]
    if area.chips:
        worst = _worst(area, layout, map_name, parts, used)
        score_figures.chip_sheet(errors, area, worst, title)
        score_figures.chip_scores(tiles, area, parts, title)
        return
    step, extent = thinning(area), extent_of(area)
    test_YX = mask(extent, [tile.window for tile in used if tile.split == "test"], step)
    mapped_YX = thinned(area, layout, map_name, step)
    label_YX = mosaic_of(area, layout.downsample, 0).thin(step, [1])[0]
    scored_YX = mask(extent, [tile.window for tile in used], step)
    state_YX = _states(np.where(scored_YX, label_YX, 0), mapped_YX)
    blocks = mosaic_of(area, partial(layout.predict, map_name), 0)
    percent_YX = blocks.thin(step, [blocks.bands().index("confidence") + 1])[0]
    score_figures.error_map(errors, area, state_YX, percent_YX, test_YX, title)
    scores = [score for counted in parts.values() for score in counted.tiles]
    score_figures.tile_map(tiles, area, scores, test_YX, title)


def _states(label_YX: Array, mapped_YX: Array) -> Array:
    """0 where not scored, 1 right, 2 wrong."""
    state_YX = np.where(mapped_YX == label_YX, 1, 2)
    state_YX[(label_YX == 0) | (mapped_YX == 0)] = 0
    return state_YX


def _worst(
    area: Area, layout: Layout, map_name: str, parts: dict[str, Counted], tiles: list[Tile]
) -> list[WorstChip]:
    """The chips of the least accuracy, of the test part where there is one."""
    split = "test" if "test" in parts else "val"
    if split not in parts:
        return []
    pairs = zip(parts[split].cells, parts[split].matrices["map"], strict=True)
    ranked = sorted((metrics.overall_accuracy(m), name) for name, m in pairs if m.sum())
    pieces, found = Pieces(area, layout), []
    numbers = [area.bands.index(band) for band in shown_bands(area)]
    for accuracy, name in ranked[:WORST]:
        piece = pieces.open(name)
        inside: list[Window] = [t.window for t in tiles if t.chip == name and t.split == split]
        label_YX = np.where(mask(piece.extent, inside), piece.label(piece.extent), 0)
        mapped_YX = read_bands(layout.predict(map_name, name))[0][0]
        rgb_YX3 = stretch(piece.image(piece.extent)[numbers])
        state_YX = _states(label_YX, mapped_YX)
        found.append(WorstChip(name, accuracy, rgb_YX3, label_YX, mapped_YX, state_YX))
    return found
