"""assess: how well the map agrees with the labels, on the validation and on the test part.

These are scores of the model on spatially separate labels. They are not the accuracy of the
map, which needs a probability sample.
"""

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from mapmill import figures, score_figures
from mapmill.areafile import load_area
from mapmill.atomic import whole_file, write_json, write_text
from mapmill.buffers import reach_of_run
from mapmill.config import Area
from mapmill.errors import ConfigError, ContractError
from mapmill.extent import extent_of
from mapmill.forest import PixelForest
from mapmill.layout import Layout
from mapmill.metrics import Matrix
from mapmill.pieces import mosaic_of
from mapmill.scored import count, mask, nothing, thinned
from mapmill.scores import SCORES, Counted, by_class, definitions, score_part, summary
from mapmill.store import PatchStore
from mapmill.tiles import read_tiles

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
    reliability: Path,
    errors: Path,
) -> None:
    """Write all scores as JSON and in words, tables (CSV), and pictures.

    The pictures: the confusion matrix, whether the map is as sure as it is right, where it errs.

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
    parts = _parts(area, layout, map_name)
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
    chosen = parts.get(shown) or nothing(area)
    pooled = chosen.matrices["map"].sum(axis=0)
    _write_classes(table, area, pooled, chosen.edges.sum(axis=0))
    _write_cells(cells, area, parts)
    _write_matrix(matrix, area, pooled)
    title = f"{area.title}: {map_name}, {shown} part"
    figures.confusion(figure, area, pooled, title)
    score_figures.calibration(reliability, area, chosen.sure, title)
    _draw_errors(errors, area, layout, map_name, parts)
    write_text(text, summary(content))
    log.info("%s\n%s", output, summary(content))


def _parts(area: Area, layout: Layout, map_name: str) -> dict[str, Counted]:
    """Validation and test part, each where it has labelled pixels."""
    forest = None
    if area.assess.baseline:
        with PatchStore(layout.patches) as store:
            forest = PixelForest(store, area.assess.seed)
    parts = {}
    for split in ("val", "test"):
        counted = count(area, layout, map_name, split, forest)
        if counted.cells:
            parts[split] = counted
        else:
            log.warning("no labelled pixel in the %s part: no scores for it", split)
    return parts


def _draw_errors(
    path: Path, area: Area, layout: Layout, map_name: str, parts: dict[str, Counted]
) -> None:
    """Where the map errs; of chips, in which."""
    title = f"{area.title}: {map_name}"
    if area.chips:
        score_figures.chip_scores(path, area, parts, title)
        return
    step, extent = figures.thinning(area), extent_of(area)
    mapped_YX = thinned(area, layout, map_name, step)
    label_YX = mosaic_of(area, layout.downsample, 0).thin(step, [1])[0]
    state_YX = np.where(mapped_YX == label_YX, 1, 2)
    size = area.the_select().size
    used = [t for t in read_tiles(layout.tiles) if t.split in parts and t.size == size]
    part_YX = mask(extent, [tile.window for tile in used], step)
    state_YX[~part_YX | (label_YX == 0) | (mapped_YX == 0)] = 0
    score_figures.error_map(path, area, state_YX, parts, title)


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


def _write_classes(path: Path, area: Area, pooled: Matrix, edges: Matrix) -> None:
    rows = by_class(area, pooled, edges)
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
