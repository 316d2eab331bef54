"""The figure of a comparison: every model a point, every run its mean and standard deviation."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from mapmill.comparing import Scored
from mapmill.config import Area
from mapmill.figures import room_for_credits, save

COLOURS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000"]
"""Of folds; told apart by people of any colour vision (Okabe and Ito 2008)."""
MARKERS = "osD^vPX*<>"
ACROSS = 3
"""Panels side by side."""


def draw(path: Path, area: Area, comparison: str, scored: Sequence[Scored]) -> None:
    """Mean IoU and the IoU of each class, one panel each, runs from top to bottom."""
    runs = list(dict.fromkeys(each.run for each in scored))
    scores = [each.scores(area.class_names) for each in scored]
    titles = [title for title in scores[0] if "IoU" in title]
    across = min(ACROSS, len(titles))
    down = -(-len(titles) // across)
    size = (2.0 + 3.0 * across, 1.3 + down * (0.6 + 0.38 * len(runs)))
    figure, axes = plt.subplots(
        down, across, figsize=size, sharey=True, squeeze=False, layout="constrained"
    )
    room_for_credits(figure)
    for ax, title in zip(axes.flat, titles, strict=False):
        _panel(ax, title, runs, scored, [each[title] for each in scores])
    for ax in axes.flat[len(titles) :]:
        ax.set_visible(False)
    folds = sorted({each.fold for each in scored if each.fold is not None})
    handles = [_point(fold) for fold in folds] or [_point(None)]
    handles.append(Line2D([], [], color="black", marker="|", markersize=11, label="mean ± sd"))
    figure.legend(handles=handles, loc="outside upper right", ncols=6, frameon=False, fontsize=8)
    figure.suptitle(f"{area.title}: {comparison}", x=0.01, ha="left", fontsize=11)
    save(figure, path, area)


def _point(fold: int | None) -> Line2D:
    """How models of a fold are drawn."""
    number = fold or 0
    label = "one seed" if fold is None else f"fold {fold}"
    point = Line2D([], [], linestyle="", markersize=4.5, alpha=0.8, label=label)
    point.set_color(COLOURS[number % len(COLOURS)])
    point.set_marker(MARKERS[number % len(MARKERS)])
    return point


def _panel(
    ax: Axes, title: str, runs: Sequence[str], scored: Sequence[Scored], values: Sequence[float]
) -> None:
    for place, run in enumerate(runs):
        own = [(s, v) for s, v in zip(scored, values, strict=True) if s.run == run]
        offsets = np.linspace(-0.22, 0.22, len(own)) if len(own) > 1 else [0.0]
        for (each, value), offset in zip(own, offsets, strict=True):
            line = _point(each.fold)
            line.set_data([value], [place + 0.12 + offset * 0.9])
            ax.add_line(line)
        there = [value for _, value in own if not np.isnan(value)]
        if there:
            sd = float(np.std(there, ddof=1)) if len(there) > 1 else 0.0
            mean = float(np.mean(there))
            bars = ax.errorbar(mean, place - 0.25, xerr=sd, fmt="|", color="black", capsize=2)
            bars[0].set(markersize=11, markeredgewidth=2)
    ax.set_yticks(range(len(runs)), runs)
    ax.set_ylim(len(runs) - 0.4, -0.6)
    ax.set_xlim(-0.02, 1.02)
    ax.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "0.25", "0.5", "0.75", "1"])
    ax.set_title(title, loc="left", fontsize=9)
    ax.grid(axis="x", color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
