"""Figures of scores: where the map errs, how sure it is, and in which tiles it fails."""

from collections.abc import Sequence
from math import ceil, floor
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from mapmill import metrics
from mapmill.config import Area
from mapmill.extent import extent_of
from mapmill.figures import area_axes, class_colours, room_for_credits, save, thinning
from mapmill.grid import Window
from mapmill.scores import Counted
from mapmill.tile_scores import TileScore

Array = NDArray[Any]
STATES = (("not scored", "#f2f2f2"), ("right", "#9ecae1"), ("wrong", "#b2182b"))
"""Colours that differ in lightness too: the colour-blind can tell them apart."""
STATE_COLOURS = ListedColormap([colour for _, colour in STATES])
BLUE = "#0072b2"
BELOW: dict[str, Any] = {"location": "bottom", "aspect": 40, "pad": 0.02, "shrink": 0.7}
"""Where the scale of a picture lies."""
OUTLINE = Line2D([], [], color="black", linewidth=1, label="outline of the test part")


def error_map(
    path: Path, area: Area, state_YX: Array, percent_YX: Array, test_YX: Array, title: str
) -> None:
    """Where the map is wrong, and how sure it is everywhere.

    Parameters
    ----------
    state_YX : every n-th pixel of the extent; 0 not scored, 1 right, 2 wrong
    percent_YX : confidence of the same pixels; 0 without data
    test_YX : whether they are in the test part
    """
    figure, (where, sure) = area_axes(area, panels=2, legend=0.4)
    where.imshow(state_YX, cmap=STATE_COLOURS, vmin=0, vmax=2, interpolation="nearest")
    where.set_title("Pixels of the validation and test parts", loc="left", fontsize=10)
    least = 100 / len(area.classes)  # less only where a threshold maps the less likely class
    shown_YX = np.ma.masked_equal(percent_YX, 0)
    picture = sure.imshow(shown_YX, cmap="cividis", vmin=least, vmax=100, interpolation="nearest")
    sure.set_title("Confidence in the mapped class, per cent", loc="left", fontsize=10)
    figure.colorbar(picture, ax=sure, **BELOW)
    handles = [Patch(facecolor=colour, edgecolor="0.3", label=name) for name, colour in STATES]
    look: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (-0.01, -0.01), "frameon": False}
    where.legend(handles=[*handles, OUTLINE], ncols=2, fontsize=9, **look)
    for ax in (where, sure):
        _outline(ax, test_YX)
    figure.suptitle(title, fontsize=11)
    save(figure, path, area)


def tile_map(
    path: Path, area: Area, tiles: Sequence[TileScore], test_YX: Array, title: str
) -> None:
    """Accuracy and mean IoU of each tile as its colour, with the test part outlined.

    Of overlapping tiles the middle is coloured, a square as wide as their stride.

    Parameters
    ----------
    test_YX : every n-th pixel of the extent: whether it is in the test part
    """
    figure, axes = area_axes(area, panels=2, legend=0.4)
    corners = [_middle(area, tile.window) for tile in tiles]
    for ax, name in zip(axes, ("Accuracy", "Mean IoU"), strict=True):
        ax.imshow(np.full((*test_YX.shape, 3), 0xF2, np.uint8))
        values = np.array(
            [tile.accuracy if name == "Accuracy" else tile.mean_iou for tile in tiles]
        )
        squares = PolyCollection(corners, array=values, cmap="cividis")
        if len(values):
            squares.set_clim(floor(10 * values.min()) / 10, max(ceil(10 * values.max()) / 10, 0.1))
        ax.add_collection(squares, autolim=False)
        ax.set_title(
            f"{name} of each tile; the line is around the test part", loc="left", fontsize=10
        )
        figure.colorbar(squares, ax=ax, **BELOW)
        _outline(ax, test_YX)
    figure.suptitle(title, fontsize=11)
    save(figure, path, area)


def _middle(area: Area, window: Window) -> list[tuple[float, float]]:
    """The corners, (x, y) on the picture, of what a tile does not share with its neighbours."""
    step, extent, chosen = thinning(area), extent_of(area), area.the_select()
    shared = max(window.height - (chosen.stride or chosen.size), 0) / 2
    top, bottom = window.row + shared - extent.row, window.row_end - shared - extent.row
    left, right = window.col + shared - extent.col, window.col_end - shared - extent.col
    y0, y1, x0, x1 = (place / step - 0.5 for place in (top, bottom, left, right))
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _outline(ax: Axes, inside_YX: Array) -> None:
    """A line around what is inside, seen on dark and on light ground."""
    if not inside_YX.any():
        return
    limits = ax.get_xlim(), ax.get_ylim()
    height, width = inside_YX.shape
    padded_YX = np.pad(inside_YX, 1).astype(np.uint8)  # or the line would be open at the edge
    place = np.arange(-1, width + 1), np.arange(-1, height + 1)
    for colour, thick in (("white", 2.4), ("black", 1.0)):
        line = ax.contour(*place, padded_YX, [0.5], colors=colour, linewidths=thick)
        line.set_clip_on(False)  # or half of it would be cut at the edge of the picture
    ax.set(xlim=limits[0], ylim=limits[1])


class WorstChip(NamedTuple):
    """A chip of which the map is poor."""

    name: str
    accuracy: float
    rgb_YX3: Array
    label_YX: Array
    """0 outside the part that is scored."""
    mapped_YX: Array
    state_YX: Array
    """0 not scored, 1 right, 2 wrong."""


def chip_sheet(path: Path, area: Area, chips: Sequence[WorstChip], title: str) -> None:
    """Imagery, labels, map and errors of some chips, one in a column."""
    across = max(len(chips), 1)
    size = (2.1 * across + 2.4, 9.2)
    figure, axes = plt.subplots(4, across, figsize=size, layout="constrained", squeeze=False)
    room_for_credits(figure)
    plt.setp(axes, xticks=[], yticks=[])
    shown: list[dict[str, Any]] = [
        {},
        *[{"cmap": class_colours(area), "vmax": len(area.classes)}] * 2,
    ]
    shown.append({"cmap": STATE_COLOURS, "vmax": 2})
    for column, chip in zip(axes.T, chips, strict=False):
        for ax, picture, look in zip(column, chip[2:], shown, strict=True):
            ax.imshow(picture, vmin=0, interpolation="nearest", **look)
        column[0].set_title(f"{chip.name}\naccuracy {chip.accuracy:.2f}", fontsize=8)
    for ax, name in zip(axes[:, 0], ("imagery", "labels", "map", "right or wrong"), strict=True):
        ax.set_ylabel(name)
    classes = [(area.classes[v].colour, area.classes[v].name) for v in sorted(area.classes)]
    handles = [
        Patch(facecolor=colour, edgecolor="0.3", label=name)
        for colour, name in [*classes, *((colour, name) for name, colour in STATES)]
    ]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(f"{title}: chips of the least accuracy", fontsize=11)
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
    ax.set_title(f"{title}: chips, the worst first", fontsize=10, loc="left")
    save(figure, path, area)
