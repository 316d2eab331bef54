"""Figures of confidence: whether a map is right as often as it says, before and after."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mapmill.calibration import as_mapped, bins, brier, expected_error, precision_recall
from mapmill.config import Area
from mapmill.figures import room_for_credits, save

Array = NDArray[Any]
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "0.45"
BEFORE: dict[str, Any] = {"marker": "s", "linestyle": "--", "color": GREY, "mfc": "white"}
AFTER: dict[str, Any] = {"marker": "o", "linestyle": "-", "color": ORANGE}
"""They differ in marker and line too, for print in grey."""
PARTS = {"val": "Validation part: fitted here", "test": "Test part: held out"}


def calibration(path: Path, area: Area, counts: Array, title: str, threshold: str) -> None:
    """Reliability diagram with the pixels of each bin; of two classes a precision-recall curve.

    Parameters
    ----------
    counts : see `calibration.count`
    threshold : of two classes: where the second is mapped, and whence the number, in words
    """
    panels = 2 if len(area.classes) == 2 else 1
    figure, axes = plt.subplots(
        2,
        panels,
        figsize=(0.6 + 4.6 * panels, 5.4),
        layout="constrained",
        squeeze=False,
        height_ratios=(3, 1),
    )
    room_for_credits(figure)
    rows = [row for row in bins(counts) if row[0]]
    _diagonal(axes[0, 0])
    axes[0, 0].plot([r[1] for r in rows], [r[2] for r in rows], **AFTER, label="map")
    axes[0, 0].legend(loc="upper left", frameon=False, fontsize=8)
    _bars(axes[1, 0], {"map": [row[0] for row in bins(counts)]}, "the mapped class")
    said = f"ECE {expected_error(counts):.3f}, Brier {brier(counts):.3f}"
    axes[0, 0].set_title(said if counts.any() else "no pixel", fontsize=10)
    if panels == 2:
        _precision_recall(axes[0, 1], counts, area.class_names[1], threshold)
        axes[1, 1].set_axis_off()  # room for the legend, which would hide the curve
        handles, _ = axes[0, 1].get_legend_handles_labels()
        axes[1, 1].legend(handles=handles, loc="center left", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11)
    save(figure, path, area)


def _precision_recall(ax: Axes, counts: Array, name: str, threshold: str) -> None:
    """The curve of the second class, the place on it where the map was cut, and its share."""
    curve, average = precision_recall(counts)
    ax.step([r for _, _, r in curve], [p for _, p, _ in curve], where="pre", color=BLUE)
    precision, recall = as_mapped(counts)
    if not np.isnan([precision, recall]).any():
        said = f"the map: {threshold}\n(precision {precision:.2f}, recall {recall:.2f})"
        ax.plot(recall, precision, "D", color=ORANGE, mec="black", ms=8, label=said)
    if counts.any():
        share = (counts[1][:, 1].sum() + counts[0][:, 0].sum()) / counts.sum()
        ax.axhline(share, color="0.6", linestyle=":", label=f"share of {name}: {share:.2f}")
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    ax.set_title(f"{name}: average precision {average:.3f}", fontsize=10)


def before_and_after(
    path: Path, area: Area, parts: dict[str, dict[str, Any]], temperature: float, title: str
) -> None:
    """Reliability of each part before and after the temperature, and the error of each class.

    Parameters
    ----------
    parts : what `calibrate` measured of val and test
    """
    across = len(parts) + 1
    tall = max(5.4, 1.6 + 0.3 * len(area.classes))
    figure, axes = plt.subplots(
        2, across, figsize=(4.3 * across, tall), layout="constrained", height_ratios=(3, 1)
    )
    room_for_credits(figure)
    shown = [split for split in PARTS if split in parts]
    for (top, below), split in zip(axes.T, shown, strict=False):
        part = parts[split]
        _diagonal(top)
        for when, look in (("before", BEFORE), ("after", AFTER)):
            found = part[when]
            rows = zip(found["confidence"], found["accuracy"], found["count"], strict=True)
            points = np.array([row[:2] for row in rows if row[2]])
            top.plot(*points.T, **look, label=when)
        top.legend(loc="upper left", frameon=False, fontsize=8)
        top.set_title(f"{PARTS[split]}\n{_told(part)}", fontsize=9, loc="left")
        counts = {when: part[when]["count"] for when in ("before", "after")}
        _bars(below, counts, "the likeliest class")
    _classes(axes[0, -1], area.class_names, parts[shown[-1]])
    what = "test" if shown[-1] == "test" else "validation"
    axes[0, -1].set_title(f"By class, {what} part", fontsize=9, loc="left")
    axes[1, -1].set_axis_off()
    handles, _ = axes[0, -1].get_legend_handles_labels()
    axes[1, -1].legend(handles=handles, loc="upper left", frameon=False, fontsize=8)
    figure.suptitle(f"{title}: confidence at temperature {temperature:.3f}", fontsize=11)
    save(figure, path, area)


def _told(part: dict[str, Any]) -> str:
    """The numbers of a part, before and after."""
    names = {"ECE": "error", "class-wise ECE": "class-wise error", "Brier": "brier"}
    pairs = (
        f"{name} {part['before'][key]:.3f} → {part['after'][key]:.3f}"
        for name, key in names.items()
    )
    return "\n".join([f"{part['pixels']:,} pixels of {part['tiles']:,} tiles", *pairs])


def _classes(ax: Axes, names: Sequence[str], part: dict[str, Any]) -> None:
    """Error of the probability of each class, mapped or not."""
    places = np.arange(len(names))
    found = [part[when]["error by class"] for when in ("before", "after")]
    ends = [[errors[name] for name in names] for errors in found]
    ax.hlines(places, ends[0], ends[1], color="0.8")
    for values, when, look in zip(ends, ("before", "after"), (BEFORE, AFTER), strict=True):
        ax.plot(values, places, **(look | {"linestyle": "none"}), label=when)
    ax.set_yticks(places, names, fontsize=8)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(0, 1.1 * max(max(values) for values in ends) or 1)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set_xlabel("calibration error of the class's probability")


def _diagonal(ax: Axes) -> None:
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, label="as often as it says")
    ax.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="share right")


def _bars(ax: Axes, counts: dict[str, Sequence[int]], of: str) -> None:
    """Pixels of each bin of confidence, which is the probability `of` a class; side by side."""
    for place, (name, values) in enumerate(counts.items()):
        width = 0.9 / len(values) / len(counts)
        left = np.arange(len(values)) / len(values) + 0.05 / len(values)
        colour = "white" if name == "before" else GREY
        ax.bar(left + place * width, values, width, align="edge", color=colour, edgecolor="0.3")
    ax.set(xlim=(0, 1), xlabel=f"confidence (probability of {of})", ylabel="pixels")
