"""Figures of scores: where the map errs, and whether it is right as often as it says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from mapmill import metrics
from mapmill.calibration import bins, brier, expected_error, precision_recall
from mapmill.config import Area
from mapmill.extent import extent_of
from mapmill.figures import area_axes, room_for_credits, save, thinning
from mapmill.scores import Counted

Array = NDArray[Any]
STATES = (("not scored", "#f2f2f2"), ("right", "#9ecae1"), ("wrong", "#b2182b"))
"""Colours that differ in lightness too: the colour-blind can tell them apart."""
BLUE, ORANGE = "#0072b2", "#d55e00"


def error_map(
    path: Path, area: Area, state_YX: Array, parts: dict[str, Counted], title: str
) -> None:
    """Where the map is wrong, and the accuracy of each spatial block.

    Parameters
    ----------
    state_YX : every n-th pixel of the extent; 0 not scored, 1 right, 2 wrong
    """
    figure, (where, blocks) = area_axes(area, panels=2)
    colours = ListedColormap([colour for _, colour in STATES])
    where.imshow(state_YX, cmap=colours, vmin=0, vmax=2, interpolation="nearest")
    where.set_title("Pixels of the validation and test parts", loc="left", fontsize=10)
    extent, step = extent_of(area), thinning(area)
    shade = plt.get_cmap("cividis")
    for counted in parts.values():
        for window, matrix in zip(counted.windows, counted.matrices["map"], strict=True):
            score = metrics.overall_accuracy(matrix)
            corner = (window.col - extent.col) / step - 0.5, (window.row - extent.row) / step - 0.5
            size = window.width / step, window.height / step
            blocks.add_patch(Rectangle(corner, *size, facecolor=shade(np.nan_to_num(score))))
    blocks.set(xlim=where.get_xlim(), ylim=where.get_ylim(), aspect="equal")
    blocks.set_title("Overall accuracy of each spatial block", loc="left", fontsize=10)
    figure.colorbar(plt.cm.ScalarMappable(cmap=shade), ax=blocks, shrink=0.8, label="share right")
    handles = [Patch(facecolor=colour, edgecolor="0.3", label=name) for name, colour in STATES]
    where.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False)
    figure.suptitle(title, fontsize=11)
    save(figure, path, area)


def chip_scores(path: Path, area: Area, parts: dict[str, Counted], title: str) -> None:
    """Overall accuracy of each chip, the worst first."""
    rows = [
        (metrics.overall_accuracy(matrix), f"{name} ({split})")
        for split, counted in parts.items()
        for name, matrix in zip(counted.cells, counted.matrices["map"], strict=True)
        if matrix.sum()
    ]
    rows = sorted(rows)[:40]
    figure, ax = plt.subplots(figsize=(7, 1.6 + 0.22 * len(rows)), layout="constrained")
    room_for_credits(figure)
    places = list(range(len(rows)))
    ax.hlines(places, 0, [score for score, _ in rows], color="0.8")
    ax.plot([score for score, _ in rows], places, "o", color=BLUE)
    ax.set_yticks(places, [name for _, name in rows], fontsize=7)
    ax.set(xlim=(0, 1), xlabel="overall accuracy of the chip")
    ax.invert_yaxis()
    ax.set_title(f"{title}: the {len(rows)} worst chips", fontsize=10, loc="left")
    save(figure, path, area)


def calibration(path: Path, area: Area, counts: Array, title: str) -> None:
    """Reliability diagram with the pixels of each bin; of two classes a precision-recall curve."""
    panels = 2 if len(area.classes) == 2 else 1
    size = (0.6 + 4.6 * panels, 5.2)
    figure, axes = plt.subplots(
        2, panels, figsize=size, layout="constrained", squeeze=False, height_ratios=(3, 1)
    )
    room_for_credits(figure)
    _reliability(axes[0, 0], axes[1, 0], bins(counts))
    said = f"ECE {expected_error(counts):.3f}, Brier {brier(counts):.3f}"
    axes[0, 0].set_title(said if counts.any() else "no pixel", fontsize=10)
    if panels == 2:
        axes[1, 1].set_axis_off()
        curve, average = precision_recall(counts)
        axes[0, 1].step([r for _, _, r in curve], [p for _, p, _ in curve], where="pre", color=BLUE)
        name = area.class_names[1]
        axes[0, 1].set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes[0, 1].set_title(f"{name}: average precision {average:.3f}", fontsize=10)
    figure.suptitle(title, fontsize=11)
    save(figure, path, area)


def _reliability(top: Axes, below: Axes, rows: Sequence[tuple[int, float, float]]) -> None:
    sure, right = [r[1] for r in rows if r[0]], [r[2] for r in rows if r[0]]
    top.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="as often as it says")
    top.plot(sure, right, "o-", color=ORANGE, label="map")
    top.set(xlim=(0, 1), ylim=(0, 1), ylabel="share right")
    top.legend(loc="upper left", frameon=False, fontsize=8)
    below.bar(np.arange(len(rows)) / 10 + 0.05, [r[0] for r in rows], width=0.09, color="0.5")
    below.set(xlim=(0, 1), xlabel="confidence (probability of its class)", ylabel="pixels")
