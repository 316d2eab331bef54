"""assess: how well the map agrees with the labels, on the validation and on the test part.

These are scores of the model on spatially separate labels. They are not the accuracy of the
map, which needs a probability sample.
"""

import csv
import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from mapmill import figures, metrics
from mapmill.areafile import load_area
from mapmill.atomic import whole_file, write_json, write_text
from mapmill.config import Area
from mapmill.forest import PixelForest
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.metrics import Matrix
from mapmill.progress import track
from mapmill.raster import Array, BlockMosaic, valid_pixels
from mapmill.scores import DEFINITIONS, FOREST, by_class, score_part, summary
from mapmill.store import PatchStore
from mapmill.tiles import read_tiles

log = logging.getLogger(__name__)


def run(
    area_path: Path,
    map_name: str,
    output: Path,
    table: Path,
    matrix: Path,
    figure: Path,
    text: Path,
) -> None:
    """Write all scores (JSON), those by class (CSV), the confusion matrix (CSV, PNG), a summary."""
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    blocks = BlockMosaic(area.grid.grid(), partial(layout.predict, map_name), 0)
    forest = (
        PixelForest(PatchStore(layout.patches), area.assess.seed) if area.assess.baseline else None
    )
    parts = {}
    for split in ("val", "test"):
        counted = _count(area, layout, map_name, split, blocks, forest)
        if counted:
            parts[split] = counted
        else:
            log.warning("no labelled pixel in the %s part: no scores for it", split)
    result = {split: score_part(area, counted) for split, counted in parts.items()}
    content = {"map": map_name, "definitions": DEFINITIONS, "parts": result}
    write_json(output, content)
    shown = "test" if "test" in parts else "val"
    pooled = parts[shown]["map"].sum(axis=0) if parts else np.zeros((len(area.classes),) * 2, int)
    _write_classes(table, area, pooled)
    _write_matrix(matrix, area, pooled)
    figures.confusion(figure, area, pooled, f"{area.title}: {map_name}, {shown} part")
    write_text(text, summary(content))
    log.info("%s\n%s", output, summary(content))


def _count(
    area: Area,
    layout: Layout,
    map_name: str,
    split: str,
    blocks: BlockMosaic,
    forest: PixelForest | None,
) -> dict[str, Matrix]:
    """Confusion matrices (spatial block, K, K) of the map, each member and the baseline."""
    bands = blocks.bands()
    layers = {"map": 1} | {n.removeprefix("class by "): i + 1 for i, n in enumerate(bands) if i > 1}
    labels = BlockMosaic(blocks.grid, layout.downsample, 0)
    nodata = area.compose.nodata
    images = [
        BlockMosaic(blocks.grid, partial(layout.compose, period), nodata)
        for period in area.periods_of(map_name)
    ]
    found: dict[str, list[Matrix]] = {}
    cells = list(_cells(area, layout, split))
    for cell, inside_YX in track(cells, f"assess {split}", len(cells), "blocks"):
        label_YX = np.where(inside_YX, labels.read(cell)[0], 0)
        if not label_YX.any():
            continue
        mapped_BYX = blocks.read(cell)
        counted = {name: mapped_BYX[number - 1] for name, number in layers.items()}
        if forest:
            wanted_YX = (label_YX > 0) & (counted["map"] > 0)
            counted[FOREST] = forest.classify(_first_valid(images, cell, nodata), wanted_YX)
        for name, mapped_YX in counted.items():
            matrix = metrics.confusion_matrix(label_YX, mapped_YX, len(area.classes))
            found.setdefault(name, []).append(matrix)
    return {name: np.stack(matrices) for name, matrices in found.items()}


def _first_valid(images: list[BlockMosaic], cell: Window, nodata: float) -> Array:
    """The image (band, y, x) of the first period with data, pixel by pixel."""
    result = images[0].read(cell)
    for image in images[1:]:
        result = np.where(valid_pixels(result, nodata), result, image.read(cell))
    return result


def _cells(area: Area, layout: Layout, split: str) -> Iterator[tuple[Window, Array]]:
    """Spatial blocks that hold pixels of a part, with a mask (y, x) of those pixels."""
    whole, side = area.grid.grid().window, area.assess.block
    touching: dict[tuple[int, int], set[Window]] = {}
    for tile in read_tiles(layout.tiles):
        w = tile.window
        if tile.split == split:
            for row in range(w.row // side, (w.row_end - 1) // side + 1):
                for col in range(w.col // side, (w.col_end - 1) // side + 1):
                    touching.setdefault((row, col), set()).add(w)
    for (row, col), windows in sorted(touching.items()):
        cell = Window(row * side, col * side, side, side).intersect(whole)
        if cell is None:
            continue
        inside_YX = np.zeros((cell.height, cell.width), bool)
        for window in windows:
            part = window.intersect(cell)
            if part:
                inside_YX[part.slices(cell)] = True
        yield cell, inside_YX


def _write_classes(path: Path, area: Area, pooled: Matrix) -> None:
    rows = by_class(area, pooled)
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({k: "absent" if v is None else v for k, v in row.items()})


def _write_matrix(path: Path, area: Area, pooled: Matrix) -> None:
    names = [area.classes[value].name for value in sorted(area.classes)]
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["reference \\ map", *names])
        for name, row in zip(names, pooled, strict=True):
            rows.writerow([name, *row.tolist()])
