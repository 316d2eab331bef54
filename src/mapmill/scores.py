"""Scores of a map from confusion matrices by spatial block, with intervals; and as text.

Pure functions: no files.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mapmill import boundary, calibration, few_cells, metrics
from mapmill.config import Area
from mapmill.grid import Window
from mapmill.metrics import Matrix
from mapmill.tile_scores import TileScore

FOREST = "random forest per pixel"
SCORES = {
    "overall accuracy": metrics.overall_accuracy,
    "mean IoU": metrics.mean_iou,
    "mean F1": metrics.mean_f1,
}


@dataclass(frozen=True)
class Counted:
    """Confusion matrices of one part of the area."""

    cells: list[str]
    """Names of the spatial blocks, or of the chips."""
    matrices: dict[str, Matrix]
    """(cell, K, K) of `map`, of each model, of the forest."""
    windows: list[Window]
    """Where the cells are; each chip begins at 0, 0."""
    edges: Matrix
    """(cell, K, 4) of the map; see `boundary.edge_counts`."""
    sure: Matrix
    """(K, 101, 2) of the map as predicted, all cells together; see `calibration.count`."""
    tiles: list[TileScore]
    """Of the map, on a grid; of chips none."""


def definitions(area: Area) -> dict[str, str]:
    """What each score means."""
    cells = "chips" if area.chips else "spatial blocks"
    mean = "of the classes that occur in the labels of the part (macro)"
    return {
        "overall accuracy": "share of labelled pixels mapped as their label",
        "mean IoU": f"mean of the IoU {mean}",
        "mean F1": "mean of the F1 (= Dice) of the same classes (macro)",
        "pooled": "all pixels of the part counted in one confusion matrix",
        "macro": f"mean {mean}; precision of a class that is never mapped counts 0",
        "micro": "all classes counted together: precision, recall and F1 are overall accuracy",
        "boundary F1": "harmonic mean of the shares of map edges and of label edges that have the"
        f" other within {area.assess.tolerance} px; edges are those between labelled pixels, in"
        f" each of the {cells}",
        "calibration": "confidence is the probability of the class that was predicted, before any"
        " filter, in whole per cent; ECE:"
        " mean over 10 bins of |share right - confidence|, by pixels, of all and by mapped class;"
        " Brier: mean of (confidence - right) squared",
        "interval": f"95 %, bootstrap over {cells} of the part; too narrow with fewer than"
        f" {few_cells.FEW} of them; draws without labels of a class have means without it",
        "over seeds": "mean and standard deviation of the models; interval: 95 %, bootstrap over"
        f" models and {cells}",
        "part": "pixels of all its tiles, dropped ones too, each counted once; buffers left out",
    }


def score_part(area: Area, part: Counted) -> dict[str, Any]:
    """Scores of one part of the area: pooled, and of chips one by one too."""
    draws, seed, counted = area.assess.draws, area.assess.seed, part.matrices
    result: dict[str, Any] = {
        "pixels": int(counted["map"].sum()),
        "classes": by_class(area, counted["map"].sum(axis=0), part.edges.sum(axis=0)),
        "absent": _absent(area, counted["map"].sum(axis=0)),
        "in_few": few_cells.by_class(area.class_names, counted["map"]),
        "means": {
            kind: dict(zip(values, _rounded(list(values.values())), strict=True))
            for kind, values in metrics.means(counted["map"].sum(axis=0)).items()
        },
        "calibration": _calibration(area, part.sure),
        "models": {},
    }
    if area.chips:
        result["chips"] = _by_chip(part)
        values = {t: [v[t] for v in result["chips"].values() if v[t] is not None] for t in SCORES}
        result["over_chips"] = {t: _mean_and_spread(v) for t, v in values.items()}
    else:
        result["spatial_blocks"] = len(part.cells)
        result["spatial_block_px"] = area.assess.block
    for name, matrices in counted.items():
        values = {}
        for title, score in SCORES.items():
            low, high = metrics.bootstrap_interval(matrices, score, draws, seed)
            values[title] = _rounded([score(matrices.sum(axis=0)), low, high])
        result["models"][name] = values
    result |= _over_seeds(area, part)
    if FOREST in counted:
        result["map_minus_forest"] = {
            title: _rounded(
                metrics.bootstrap_difference(counted["map"], counted[FOREST], score, draws, seed)
            )
            for title, score in SCORES.items()
        }
    return result


def _over_seeds(area: Area, part: Counted) -> dict[str, Any]:
    """Scores of the models that the map is the mean of, if there are several."""
    draws, seed = area.assess.draws, area.assess.seed
    members = [each for name, each in part.matrices.items() if name not in ("map", FOREST)]
    if not members:
        return {}
    pooled, stacked = [each.sum(axis=0) for each in members], np.stack(members)
    return {
        "over_seeds": {
            title: _mean_and_spread([score(matrix) for matrix in pooled])
            for title, score in SCORES.items()
        },
        "over_seeds_interval": {
            title: _rounded(metrics.bootstrap_seeds(stacked, score, draws, seed))
            for title, score in SCORES.items()
        },
    }


def _by_chip(part: Counted) -> dict[str, dict[str, Any]]:
    """Pixels and scores of the map in each chip; None where undefined."""
    return {
        name: {
            "pixels": int(matrix.sum()),
            **{title: _rounded([score(matrix)])[0] for title, score in SCORES.items()},
        }
        for name, matrix in zip(part.cells, part.matrices["map"], strict=True)
    }


def _mean_and_spread(values: list[float]) -> list[float | None]:
    """Mean and standard deviation; the latter is None for a single value."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return _rounded([float(np.mean(values)) if values else float("nan"), spread])


def _rounded(values: Any) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 6) for value in values]


def _absent(area: Area, pooled: Matrix) -> dict[str, list[str]]:
    """Classes without a pixel."""
    names = np.array(area.class_names, object)
    return {
        "in the labels": names[pooled.sum(axis=1) == 0].tolist(),
        "in the map": names[pooled.sum(axis=0) == 0].tolist(),
    }


def _calibration(area: Area, sure: Matrix) -> dict[str, Any]:
    """Whether the map is right as often as it says; of two classes a precision-recall curve."""
    names = area.class_names
    errors = _rounded([calibration.expected_error(each) for each in sure])
    result: dict[str, Any] = {
        "ECE": _rounded([calibration.expected_error(sure)])[0],
        "ECE by mapped class": dict(zip(names, errors, strict=True)),
        "Brier": _rounded([calibration.brier(sure)])[0],
        "bins": [[n, *_rounded(values)] for n, *values in calibration.bins(sure)],
    }
    if len(names) == 2:
        curve, average = calibration.precision_recall(sure)
        result["precision_recall"] = {
            "class": names[1],
            "average precision": _rounded([average])[0],
            "per cent, precision, recall": [[n, *_rounded(values)] for n, *values in curve],
        }
    return result


def by_class(area: Area, pooled: Matrix, edges: Matrix) -> list[dict[str, Any]]:
    """Pixels, precision, recall, F1, IoU and boundary F1 of each class; None where undefined."""
    functions = (metrics.precision, metrics.recall, metrics.f1, metrics.iou)
    columns = {f.__name__: _rounded(f(pooled)) for f in functions}
    columns["boundary_f1"] = _rounded(boundary.boundary_f1(edges))
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
    if not content["parts"]:
        lines += ["no part is scored: there is no labelled pixel for validation or test", ""]
    for split, part in content["parts"].items():
        if "chips" in part:
            count = len(part["chips"])
            cells = f"{count} chips, pooled" if count > 1 else "1 chip"
        else:
            cells = f"{part['spatial_blocks']} blocks of {part['spatial_block_px']} px"
        lines += [f"{split} part: {part['pixels']:,} labelled pixels in {cells}"]
        for name, values in part["models"].items():
            shown = [f"{t} {interval(v)}" for t, v in values.items()]
            lines.append(f"  {name:24s} {'   '.join(shown)}")
        for what in ("seeds", "chips"):
            for title, (mean, spread) in part.get(f"over_{what}", {}).items():
                if mean is not None and spread is not None:
                    by = f"standard deviation {spread:.3f}"
                    lines.append(f"  over {what}: {title} {mean:.3f}, {by}")
        lines += _more(part) + few_cells.told(part)
        for title, (low, high) in part.get("map_minus_forest", {}).items():
            if low is not None:
                lines.append(f"  map minus forest: {title} from {low:+.3f} to {high:+.3f} (95 %)")
        lines.append("")
    lines += [f"place: {content['labels and image']}", f"distance: {content['distance']}", ""]
    lines += [f"{name}: {meaning}" for name, meaning in content["definitions"].items()]
    return "\n".join(lines) + "\n"


def _more(part: dict[str, Any]) -> list[str]:
    """Calibration, and which classes are missing."""
    found, lines = part["calibration"], []
    if found["ECE"] is not None:
        lines.append(f"  calibration: ECE {found['ECE']:.3f}   Brier {found['Brier']:.3f}")
    curve = found.get("precision_recall")
    if curve and curve["average precision"] is not None:
        lines.append(f"  average precision of {curve['class']}: {curve['average precision']:.3f}")
    for where, names in part["absent"].items():
        if names:
            lines.append(f"  absent {where}: {', '.join(names)}")
    return lines


def interval(values: list[float | None]) -> str:
    """A score and its interval, in words."""
    value, low, high = values
    if value is None:
        return "undefined"
    between = "no interval" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    if low is not None and low == high:  # of blocks that are all alike, such as all right
        between = "no interval: nothing varies"
    return f"{value:.3f} ({between})"
