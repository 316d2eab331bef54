"""Scores of a map from confusion matrices by spatial block, with intervals; and as text.

Pure functions: no files.
"""

from typing import Any

import numpy as np

from mapmill import metrics
from mapmill.config import Area
from mapmill.metrics import Matrix

FOREST = "random forest per pixel"
DEFINITIONS = {
    "overall accuracy": "share of labelled pixels mapped as their label",
    "mean IoU": "mean of the IoU of the classes that occur in the labels of the part (macro)",
    "mean F1": "mean of the F1 (= Dice) of the same classes (macro)",
    "interval": "95 %, bootstrap over spatial blocks of the part",
    "part": "pixels of all its tiles, dropped ones too, each counted once; buffers left out",
}
SCORES = {
    "overall accuracy": metrics.overall_accuracy,
    "mean IoU": metrics.mean_iou,
    "mean F1": metrics.mean_f1,
}


def score_part(area: Area, counted: dict[str, Matrix]) -> dict[str, Any]:
    """Scores of one part of the area.

    Parameters
    ----------
    counted : confusion matrices (spatial block, K, K) of `map`, of each model, of the forest
    """
    draws, seed = area.assess.draws, area.assess.seed
    result: dict[str, Any] = {
        "pixels": int(counted["map"].sum()),
        "spatial_blocks": len(counted["map"]),
        "spatial_block_px": area.assess.block,
        "classes": by_class(area, counted["map"].sum(axis=0)),
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


def by_class(area: Area, pooled: Matrix) -> list[dict[str, Any]]:
    """Pixels, precision, recall, F1 and IoU of each class; None where undefined."""
    functions = (metrics.precision, metrics.recall, metrics.f1, metrics.iou)
    columns = {f.__name__: _rounded(f(pooled)) for f in functions}
    rows = []
    for index, value in enumerate(sorted(area.classes)):
        scores = {name: values[index] for name, values in columns.items()}
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
            if mean is not None:
                lines.append(
                    f"  over seeds: {title} {mean:.3f}, standard deviation {spread or 0:.3f}"
                )
        for title, (low, high) in part.get("map_minus_forest", {}).items():
            if low is not None:
                lines.append(f"  map minus forest: {title} from {low:+.3f} to {high:+.3f} (95 %)")
        lines.append("")
    lines += [f"{name}: {meaning}" for name, meaning in content["definitions"].items()]
    return "\n".join(lines) + "\n"


def _interval(values: list[float | None]) -> str:
    value, low, high = values
    if value is None:
        return "undefined"
    between = "no interval" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return f"{value:.3f} ({between})"
