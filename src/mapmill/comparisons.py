"""Comparisons and names of runs that agree with the rest of an area file."""

import re

from mapmill.config import Area


def comparisons_fit(area: Area) -> None:
    """Comparisons name runs that exist and have a test part; names of models have one reading."""
    for name in area.runs:
        if re.search(r"-fold\d+$", name):
            raise ValueError(f"runs.{name}: {name}, which is how models for a fold are named")
    for name, chosen in area.compare.items():
        key = f"compare.{name}"
        for run in chosen.runs:
            if run not in area.runs:
                known = ", ".join(area.runs) or "none"
                raise ValueError(f"{key}.runs: {run}, none of the runs ({known})")
            if area.train_of(run).periods == "channels":
                raise ValueError(
                    f"{key}.runs: {run}, which joins periods; patches are scored period by period"
                )
        if not area.has_labels:
            raise ValueError(f"{key}: no labels to score by; add them, or compare elsewhere")
        split = area.split()
        if chosen.folds and not split.folds:
            raise ValueError(f"{key}.folds: true, without select.split.folds")
        if not split.folds and split.method != "column" and not split.test:
            raise ValueError(f"{key}: no test part, since select.split.test is 0")
