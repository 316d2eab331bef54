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

from mapmill import calibration_figures, figures
from mapmill.areafile import load_area
from mapmill.atomic import whole_file, write_json, write_text
from mapmill.buffers import reach_of_run
from mapmill.config import Area
from mapmill.errors import ConfigError, ContractError
from mapmill.explain import explain
from mapmill.forest import PixelForest
from mapmill.layout import Layout
from mapmill.metrics import Matrix
from mapmill.pages import write_page
from mapmill.provenance_page import provenance_tables
from mapmill.score_pages import area_table, downsampling_table, score_tables
from mapmill.scored import count, nothing
from mapmill.scores import SCORES, Counted, by_class, definitions, score_part, summary
from mapmill.store import PatchStore

log = logging.getLogger(__name__)


def run(area_path: Path, map_name: str, output: Path) -> None:
    """Write all scores as JSON, and beside it tables, pages and pictures of them.

    Tables: classes.csv, cells.csv, confusion.csv. In words: summary.txt; as pages: scores.html,
    downsampling.html, provenance.html. Pictures: confusion.png; calibration.png, whether the map
    is as sure as it is right; errors.png, where it errs; tiles.png, in which tiles.

    Raises
    ------
    ConfigError
        if the area has no labels.
    """
    area = load_area(area_path)
    area.run_of(map_name)
    if not area.has_labels:
        raise ConfigError(area_path, "no labels", "labels to score by", "add them, or only map")
    layout, folder = Layout(area_path.stem), output.parent
    calibrated = _calibrated(area, layout.calibrate(map_name))
    parts = _parts(area, layout, map_name)
    result = {split: score_part(area, counted) for split, counted in parts.items()}
    content = {
        "map": map_name,
        "definitions": definitions(area),
        "labels and image": _told(layout.shift)["sentence"],
        "distance": _distance(area, layout, map_name),
        "parts": result,
    }
    shown = "test" if "test" in parts else "val"
    chosen = parts.get(shown) or nothing(area)
    _write_tables(folder, area, parts, chosen)
    title = f"{area.title}: {map_name}, {shown} part"
    figures.confusion(folder / "confusion.png", area, chosen.matrices["map"].sum(axis=0), title)
    sure, cut = folder / "calibration.png", _threshold(area, calibrated)
    calibration_figures.calibration(sure, area, chosen.sure, title, cut)
    explain(folder / "errors.png", folder / "tiles.png", area, layout, map_name, parts)
    _write_pages(folder, area_path, area, content, calibrated)
    write_text(folder / "summary.txt", summary(content))
    write_json(output, content)
    log.info("%s\n%s", output, summary(content))


def _calibrated(area: Area, path: Path) -> dict[str, Any] | None:
    """What `calibrate` found, where the map was made by it."""
    if not area.predict.is_calibrated:
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {"parts": found["parts"], "temperature": found["temperature"]} | found
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError(path, repr(error), "what calibrate found", "rerun calibrate") from None


def _threshold(area: Area, calibrated: dict[str, Any] | None) -> str:
    """Where the second of two classes is mapped, in words."""
    if calibrated and area.predict.threshold == "validation":
        return f"threshold {calibrated['threshold']:.2f}, chosen on validation"
    return f"threshold {area.predict.threshold}, as set"


def _write_tables(folder: Path, area: Area, parts: dict[str, Counted], chosen: Counted) -> None:
    pooled = chosen.matrices["map"].sum(axis=0)
    _write_classes(folder / "classes.csv", area, pooled, chosen.edges.sum(axis=0))
    _write_cells(folder / "cells.csv", area, parts)
    _write_matrix(folder / "confusion.csv", area, pooled)


def _write_pages(
    folder: Path,
    area_path: Path,
    area: Area,
    content: dict[str, Any],
    calibrated: dict[str, Any] | None,
) -> None:
    """The pages of the report."""
    name, layout = content["map"], Layout(area_path.stem)
    title, credits = f"{area.title}: {name}", area.attribution
    tables = score_tables(content, calibrated)
    if not area.chips:  # they make no mosaic
        tables.insert(-1, area_table(layout.mosaic(name) / "areas.csv"))
    write_page(folder / "scores.html", f"{title}, scores", tables, credits)
    table = downsampling_table(area, layout)
    write_page(folder / "downsampling.html", f"{title}, downsampling", [table], credits)
    tables = provenance_tables(area_path, area, name)
    write_page(folder / "provenance.html", f"{title}, provenance", tables, credits)


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
