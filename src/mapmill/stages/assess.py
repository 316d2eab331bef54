"""assess: how well the map agrees with the labels, on the validation and on the test part.

These are scores of the model on spatially separate labels. They are not the accuracy of the
map, which needs a probability sample.
"""

import csv
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mapmill import figures, metrics
from mapmill.areafile import load_area
from mapmill.atomic import whole_file, write_json, write_text
from mapmill.buffers import reach_of_run
from mapmill.config import Area
from mapmill.errors import ConfigError, ContractError
from mapmill.forest import PixelForest
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.metrics import Matrix
from mapmill.pieces import Pieces, mosaic_of
from mapmill.progress import track
from mapmill.raster import Array, BlockMosaic, Read, read_bands, reading, valid_pixels
from mapmill.scores import FOREST, SCORES, Counted, by_class, definitions, score_part, summary
from mapmill.store import PatchStore
from mapmill.tiles import Tile, read_tiles

log = logging.getLogger(__name__)


def run(
    area_path: Path,
    map_name: str,
    output: Path,
    table: Path,
    cells: Path,
    matrix: Path,
    figure: Path,
    text: Path,
) -> None:
    """Write all scores as JSON and in words, tables (CSV), the confusion matrix as a picture.

    Raises
    ------
    ConfigError
        if the area has no labels.
    """
    area = load_area(area_path)
    area.run_of(map_name)
    if not area.has_labels:
        raise ConfigError(area_path, "no labels", "labels to score by", "add them, or only map")
    layout = Layout(area_path.stem)
    forest = None
    if area.assess.baseline:
        with PatchStore(layout.patches) as store:
            forest = PixelForest(store, area.assess.seed)
    parts: dict[str, Counted] = {}
    for split in ("val", "test"):
        counted = _count(area, layout, map_name, split, forest)
        if counted.cells:
            parts[split] = counted
        else:
            log.warning("no labelled pixel in the %s part: no scores for it", split)
    result = {split: score_part(area, counted) for split, counted in parts.items()}
    content = {
        "map": map_name,
        "definitions": definitions(area),
        "labels and image": _told(layout.shift)["sentence"],
        "distance": _distance(area, layout, map_name),
        "parts": result,
    }
    write_json(output, content)
    shown = "test" if "test" in parts else "val"
    empty = np.zeros((len(area.classes),) * 2, np.int64)
    pooled = parts[shown].matrices["map"].sum(axis=0) if parts else empty
    _write_classes(table, area, pooled)
    _write_cells(cells, area, parts)
    _write_matrix(matrix, area, pooled)
    figures.confusion(figure, area, pooled, f"{area.title}: {map_name}, {shown} part")
    write_text(text, summary(content))
    log.info("%s\n%s", output, summary(content))


def _told(path: Path) -> dict[str, Any]:
    """What `select` found: of a shift, or of the distance between the parts."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"sentence": str(found["sentence"])} | found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError(path, repr(error), "what select found", "rerun select") from None


def _distance(area: Area, layout: Layout, map_name: str) -> str:
    """How far training tiles lie from those that are scored, and how far the net sees."""
    found, run = _told(layout.leak), area.run_of(map_name)
    nearest, sentence = found.get("nearest_px"), str(found["sentence"])
    if run is None or nearest is None:  # a net of another place, or parts that never meet
        return sentence
    reach = reach_of_run(area, run)
    seen = f"{sentence}; the net sees {reach} px on each side"
    return f"{seen}: the scores are optimistic" if 0 < nearest < reach else seen


@dataclass(frozen=True)
class Cell:
    """A spatial block, or a chip, with the labels of one part."""

    name: str
    label_YX: Array
    """0 outside the part."""
    mapped_BYX: Array
    """Bands of the prediction."""
    bands: list[str]
    image: Callable[[], Array]


def _count(
    area: Area, layout: Layout, map_name: str, split: str, forest: PixelForest | None
) -> Counted:
    """Confusion matrices (cell, K, K) of the map, each member and the baseline."""
    size = area.the_select().size  # tiles of further sizes show the same ground again
    tiles = [t for t in read_tiles(layout.tiles) if t.split == split and t.size == size]
    names: list[str] = []
    found: dict[str, list[Matrix]] = {}
    cells = _chips if area.chips else _blocks
    for cell in cells(area, layout, map_name, split, tiles):
        if not cell.label_YX.any():
            continue
        numbers = [n for n, name in enumerate(cell.bands) if name.startswith("class")]
        counted = {_title(cell.bands[n]): cell.mapped_BYX[n] for n in numbers}
        if forest:
            wanted_YX = (cell.label_YX > 0) & (counted["map"] > 0)
            counted[FOREST] = forest.classify(cell.image(), wanted_YX)
        names.append(cell.name)
        for name, mapped_YX in counted.items():
            matrix = metrics.confusion_matrix(cell.label_YX, mapped_YX, len(area.classes))
            found.setdefault(name, []).append(matrix)
    return Counted(names, {name: np.stack(matrices) for name, matrices in found.items()})


def _title(band: str) -> str:
    return "map" if band == "class" else band.removeprefix("class by ")


def _chips(
    area: Area, layout: Layout, map_name: str, split: str, tiles: list[Tile]
) -> Iterator[Cell]:
    """Chips that hold pixels of a part."""
    pieces = Pieces(area, layout)
    inside: dict[str, list[Window]] = {}
    for tile in tiles:
        inside.setdefault(tile.chip, []).append(tile.window)
    for name, windows in track(inside.items(), f"assess {split}", len(inside), "chips"):
        piece = pieces.open(name)
        part_YX = _mask(piece.extent, windows)
        label_YX = np.where(part_YX, piece.label(piece.extent), 0)
        mapped_BYX, bands = read_bands(layout.predict(map_name, name))
        yield Cell(name, label_YX, mapped_BYX, bands, partial(piece.image, piece.extent))


def _blocks(
    area: Area, layout: Layout, map_name: str, split: str, tiles: list[Tile]
) -> Iterator[Cell]:
    """Spatial blocks that hold pixels of a part."""
    blocks = mosaic_of(area, partial(layout.predict, map_name), 0)
    labels = mosaic_of(area, layout.downsample, 0)
    nodata, side = area.compose.nodata, area.assess.block
    images = [
        mosaic_of(area, partial(layout.compose, period), nodata)
        for period in area.periods_of(map_name)
    ]

    def image(cell: Window) -> Array:
        """Of the first period with data, pixel by pixel."""
        result = images[0].read(cell)
        for each in images[1:]:
            result = np.where(valid_pixels(result, nodata), result, each.read(cell))
        return result

    touching: dict[tuple[int, int], set[Window]] = {}
    for w in {tile.window for tile in tiles}:
        for row in range(w.row // side, (w.row_end - 1) // side + 1):
            for col in range(w.col // side, (w.col_end - 1) // side + 1):
                touching.setdefault((row, col), set()).add(w)
    cells = track(sorted(touching.items()), f"assess {split}", len(touching), "blocks")
    with _mapped(area, blocks, layout.map(map_name)) as read:
        for (row, col), windows in cells:
            cell = Window(row * side, col * side, side, side).intersect(blocks.extent)
            if cell:
                label_YX = np.where(_mask(cell, windows), labels.read(cell)[0], 0)
                name = f"y{cell.row}x{cell.col}"
                yield Cell(name, label_YX, read(cell), blocks.bands(), partial(image, cell))


@contextmanager
def _mapped(area: Area, blocks: BlockMosaic, published: Path) -> Iterator[Read]:
    """Bands of the prediction; where the map has filters, its classes are those of the map."""
    if not area.mosaic.has_filters:
        yield blocks.read
        return
    with reading(published, blocks.extent) as classes:
        yield lambda window: np.concatenate([classes(window), blocks.read(window)[1:]])


def _mask(cell: Window, windows: set[Window] | list[Window]) -> Array:
    """(y, x) bool: where a window lies in the cell."""
    inside_YX = np.zeros((cell.height, cell.width), bool)
    for window in windows:
        part = window.intersect(cell)
        if part:
            inside_YX[part.slices(cell)] = True
    return inside_YX


def _write_classes(path: Path, area: Area, pooled: Matrix) -> None:
    rows = by_class(area, pooled)
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({k: "absent" if v is None else v for k, v in row.items()})


def _write_cells(path: Path, area: Area, parts: dict[str, Counted]) -> None:
    """Scores of the map in each chip or spatial block."""
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["part", "chip" if area.chips else "block", "pixels", *SCORES])
        for split, counted in parts.items():
            for name, matrix in zip(counted.cells, counted.matrices["map"], strict=True):
                values = [score(matrix) for score in SCORES.values()]
                shown = ["undefined" if np.isnan(v) else f"{v:.6f}" for v in values]
                rows.writerow([split, name, int(matrix.sum()), *shown])


def _write_matrix(path: Path, area: Area, pooled: Matrix) -> None:
    names = area.class_names
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["reference \\ map", *names])
        for name, row in zip(names, pooled, strict=True):
            rows.writerow([name, *row.tolist()])
