"""assess: how well the map agrees with the labels, on the validation and on the test part.

These are scores of the model on spatially separate labels. They are not the accuracy of the
map, which needs a probability sample.
"""

import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
from mapmill.raster import Array, BlockMosaic
from mapmill.store import PatchStore
from mapmill.tiles import read_tiles

log = logging.getLogger(__name__)
FOREST = "random forest per pixel"
DEFINITIONS = {
    "overall accuracy": "share of labelled pixels mapped as their label",
    "mean IoU": "mean of the IoU of the classes that occur in the labels of the part (macro)",
    "mean F1": "mean of the F1 (= Dice) of the same classes (macro)",
    "interval": "95 %, bootstrap over spatial blocks of the part",
    "part": "pixels of all tiles of the part, dropped ones too, each counted once; buffers left out",
}
SCORES = {
    "overall accuracy": metrics.overall_accuracy,
    "mean IoU": metrics.mean_iou,
    "mean F1": metrics.mean_f1,
}


def run(
    area_path: Path, map_name: str, output: Path, table: Path, matrix: Path, figure: Path, text: Path
) -> None:
    """Write all scores (JSON), those by class (CSV), the confusion matrix (CSV, PNG), a summary."""
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    blocks = BlockMosaic(area.grid.grid(), lambda block: layout.predict(map_name, block), 0)
    forest = PixelForest(PatchStore(layout.patches), area.assess.seed) if area.assess.baseline else None
    parts = {}
    for split in ("val", "test"):
        counted = _count(area, layout, map_name, split, blocks, forest)
        if counted:
            parts[split] = counted
        else:
            log.warning("no labelled pixel in the %s part: no scores for it", split)
    result = {split: _scores(area, counted) for split, counted in parts.items()}
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
    period = area.periods_of(map_name)[0]
    images = BlockMosaic(blocks.grid, lambda b: layout.compose(period, b), area.compose.nodata)
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
            counted[FOREST] = forest.classify(images.read(cell), wanted_YX)
        for name, mapped_YX in counted.items():
            matrix = metrics.confusion_matrix(label_YX, mapped_YX, len(area.classes))
            found.setdefault(name, []).append(matrix)
    return {name: np.stack(matrices) for name, matrices in found.items()}


def _cells(area: Area, layout: Layout, split: str) -> Iterator[tuple[Window, Array]]:
    """Spatial blocks that hold pixels of a part, with a mask (y, x) of those pixels."""
    windows = {tile.window for tile in read_tiles(layout.tiles) if tile.split == split}
    whole, side = area.grid.grid().window, area.assess.block
    for row in range(0, whole.height, side):
        for col in range(0, whole.width, side):
            cell = Window(row, col, side, side).intersect(whole)
            touching = [p for w in windows if cell and (p := w.intersect(cell))]
            if cell and touching:
                inside_YX = np.zeros((cell.height, cell.width), bool)
                for part in touching:
                    inside_YX[part.slices(cell)] = True
                yield cell, inside_YX


def _scores(area: Area, counted: dict[str, Matrix]) -> dict[str, Any]:
    draws, seed = area.assess.draws, area.assess.seed
    result: dict[str, Any] = {
        "pixels": int(counted["map"].sum()),
        "spatial_blocks": len(counted["map"]),
        "spatial_block_px": area.assess.block,
        "classes": _by_class(area, counted["map"].sum(axis=0)),
        "models": {},
    }
    for name, matrices in counted.items():
        values = {}
        for title, score in SCORES.items():
            low, high = metrics.bootstrap_interval(matrices, score, draws, seed)
            values[title] = _rounded([score(matrices.sum(axis=0)), low, high])
        result["models"][name] = values
    members = [n for n in counted if n not in ("map", FOREST)]
    if members:
        pooled = [counted[name].sum(axis=0) for name in members]
        result["over_seeds"] = {
            title: _rounded([float(np.mean(v)), float(np.std(v, ddof=1))])
            for title, score in SCORES.items()
            for v in [[score(matrix) for matrix in pooled]]
        }
    if FOREST in counted:
        result["map_minus_forest"] = {
            title: _rounded(
                metrics.bootstrap_difference(counted["map"], counted[FOREST], score, draws, seed)
            )
            for title, score in SCORES.items()
        }
    return result


def _rounded(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]


def _by_class(area: Area, pooled: Matrix) -> list[dict[str, Any]]:
    columns = [f(pooled) for f in (metrics.precision, metrics.recall, metrics.f1, metrics.iou)]
    rows = []
    for index, value in enumerate(sorted(area.classes)):
        scores = dict(zip(("precision", "recall", "f1", "iou"), _rounded([c[index] for c in columns]), strict=True))
        rows.append(
            {
                "class": value,
                "name": area.classes[value].name,
                "reference_pixels": int(pooled[index].sum()),
                "mapped_pixels": int(pooled[:, index].sum()),
                **scores,
            }
        )
    return rows


def _write_classes(path: Path, area: Area, pooled: Matrix) -> None:
    rows = _by_class(area, pooled)
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


def summary(content: dict[str, Any]) -> str:
    """The scores as text for people."""
    lines = [f"Scores of the map `{content['map']}` against the labels", ""]
    for split, part in content["parts"].items():
        blocks = f"{part['spatial_blocks']} blocks of {part['spatial_block_px']} px"
        lines += [f"{split} part: {part['pixels']:,} labelled pixels in {blocks}"]
        for name, values in part["models"].items():
            cells = [f"{t} {_interval(v)}" for t, v in values.items()]
            lines.append(f"  {name:24s} {'   '.join(cells)}")
        for title, (mean, spread) in part.get("over_seeds", {}).items():
            lines.append(f"  over seeds: {title} {mean:.3f}, standard deviation {spread or 0:.3f}")
        for title, (low, high) in part.get("map_minus_forest", {}).items():
            lines.append(f"  map minus forest: {title} from {low:+.3f} to {high:+.3f} (95 %)")
        lines.append("")
    lines += [f"{name}: {meaning}" for name, meaning in content["definitions"].items()]
    return "\n".join(lines) + "\n"


def _interval(values: list[float | None]) -> str:
    if None in values:
        return "undefined"
    return "{:.3f} ({:.3f} to {:.3f})".format(*values)
