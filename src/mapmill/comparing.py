"""Runs side by side: which pixels count, and the table with its protocol. Pure functions."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from mapmill import metrics
from mapmill.config import Area
from mapmill.metrics import Matrix
from mapmill.parts import EDGE

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """One model on the test patches."""

    model: str
    run: str
    fold: int | None
    seed: int
    parameters: int
    """Trainable numbers of the net."""
    matrix: Matrix
    """(reference, map) of all test pixels."""

    def scores(self, classes: Sequence[str]) -> dict[str, float]:
        """By name; NaN where undefined."""
        present_K = self.matrix.sum(axis=1) > 0
        iou_K = np.where(present_K, metrics.iou(self.matrix), np.nan).tolist()
        return {
            "overall accuracy": metrics.overall_accuracy(self.matrix),
            "mean IoU": metrics.mean_iou(self.matrix),
            **{f"IoU {name}": value for name, value in zip(classes, iou_K, strict=True)},
        }


def counted_once(place_NX: Integers, size: int) -> Iterator[NDArray[np.bool_]]:
    """Which pixels (y, x) of each patch count, so that each pixel counts once.

    A pixel counts in the patch in which it is farthest from the edge; of several in the first.

    Parameters
    ----------
    place_NX : piece, row and column of each patch
    size : side of a patch
    """
    edge_X = np.minimum(np.arange(size), np.arange(size)[::-1])
    depth_YX = np.minimum.outer(edge_X, edge_X)
    piece, row, col = place_NX.T.astype(float)
    left = col + piece * (col.max(initial=0) + 2 * size)  # pieces side by side, in one tree
    far = size - EDGE
    boxes = shapely.box(left + EDGE, row + EDGE, left + far, row + far)
    tree = shapely.STRtree(boxes)
    for number, (own, box) in enumerate(zip(place_NX, boxes, strict=True)):
        counts_YX = np.ones((size, size), bool)
        for other in np.setdiff1d(tree.query(box, predicate="intersects"), [number]).tolist():
            down, right = (place_NX[other] - own)[1:].tolist()
            here = tuple(slice(max(0, d), size + min(0, d)) for d in (down, right))
            there = tuple(slice(max(0, -d), size + min(0, -d)) for d in (down, right))
            mine, theirs = depth_YX[here], depth_YX[there]
            counts_YX[here] &= (mine >= theirs) if number < other else (mine > theirs)
        yield counts_YX


def differs(changes: dict[str, Any]) -> str:
    """What a run changes in `train`, on one line."""
    told = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in changes.items()
    }
    return "; ".join(f"{key}: {value}" for key, value in told.items()) or "as train"


def by_run(scored: Sequence[Scored], area: Area) -> list[dict[str, Any]]:
    """One row a run: mean and standard deviation over its models, None where undefined."""
    runs = list(dict.fromkeys(each.run for each in scored))
    first = {(s.fold, s.seed): _mean_iou(s) for s in scored if s.run == runs[0]}
    rows = []
    for run in runs:
        own = [each for each in scored if each.run == run]
        folds = {each.fold for each in own} - {None}
        row: dict[str, Any] = {
            "run": run,
            "differs": differs(area.runs[run]),
            "models": len(own),
            "folds": len(folds),
            "seeds": len({each.seed for each in own}),
            "parameters": own[0].parameters,
        }
        columns = [each.scores(area.class_names) for each in own]
        for name in columns[0]:
            row |= _mean_and_sd(name, [column[name] for column in columns])
        pairs = [(_mean_iou(s), first.get((s.fold, s.seed), np.nan)) for s in own]
        apart = [ours - theirs for ours, theirs in pairs] if run != runs[0] else []
        rows.append(row | _mean_and_sd(f"mean IoU minus {runs[0]}", apart))
    return rows


def _mean_iou(scored: Scored) -> float:
    return metrics.mean_iou(scored.matrix)


def _mean_and_sd(name: str, values: list[float]) -> dict[str, float | None]:
    there = [value for value in values if not np.isnan(value)]
    mean = round(float(np.mean(there)), 6) if there else None
    sd = round(float(np.std(there, ddof=1)), 6) if len(there) > 1 else None
    return {name: mean, f"{name} sd": sd}


def by_model(scored: Sequence[Scored], area: Area) -> list[dict[str, Any]]:
    """One row a model: its scores, and its pixels by label and map."""
    names, rows = area.class_names, []
    for each in scored:
        row: dict[str, Any] = {"model": each.model, "run": each.run, "fold": each.fold}
        row |= {"seed": each.seed, "pixels": int(each.matrix.sum())}
        found = each.scores(names)
        row |= {key: None if np.isnan(value) else round(value, 6) for key, value in found.items()}
        for reference, counts in zip(names, each.matrix.tolist(), strict=True):
            row |= {f"{reference} as {name}": n for name, n in zip(names, counts, strict=True)}
        rows.append(row)
    return rows


def protocol(area: Area, name: str, patches: int, size: int) -> list[str]:
    """What was scored and how, line by line."""
    split, chosen = area.split(), area.compare[name]
    if chosen.folds:
        part = (
            f"each of {split.folds} folds in turn ({split.method}); validation on the next one, "
            "training on the others, with statistics of their own"
        )
    else:
        part = f"the test part ({split.method})"
    return [
        f"Comparison {name}: {area.title}",
        f"Scored on {part}: {patches} patches of {size} px.",
        "Each pixel counts once: where patches overlap, in the one in which it is farthest from "
        "the edge. Periods count one by one. Pixels without label or imagery do not count.",
        "Each patch is mapped by itself, each pixel as its most probable class. Beyond a patch's "
        "edge the image is its own mirror, as far as the net sees; a net that sees without end is "
        "shown the patch alone.",
        "The scores of a model are those of one confusion matrix over all its test pixels.",
        "mean IoU: of the classes that occur in the model's test labels, all alike (macro). IoU of "
        "a class: over the models whose test labels hold it.",
        "Values are means over the models of a run, one for each seed"
        f"{' and fold' if chosen.folds else ''}; sd is their standard deviation (n - 1), empty for "
        "one model.",
        f"It is the spread of training{' and of test ground' if chosen.folds else ''}, and no "
        "test of significance: models of one run share pixels for training or test.",
        f"mean IoU minus {chosen.runs[0]}: mean and sd of the differences between models of the "
        f"same seed{' and fold' if chosen.folds else ''}.",
        "differs: what the run changes in `train`. parameters: trainable numbers of the net.",
        *area.attribution,
    ]


def as_csv(rows: Sequence[dict[str, Any]], comments: Sequence[str] = ()) -> str:
    """Rows as a table, after comments; empty where undefined."""
    text = StringIO()
    text.writelines(f"# {line}\n" for line in comments)
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
