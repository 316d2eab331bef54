"""A map in degrees with a legend beside it: north up, lines, labels that keep apart, credits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, radians
from textwrap import fill
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator

from mapmill.figures import Array

NOTHING = Line2D([], [], linestyle="none")
REACH = 1.5
"""How far beyond the area one sees, in lengths of its longer side."""
WIDEST, TALLEST = 3.5, 2.5
"""Shapes of a picture: width to height, height to width."""
POINTS = 500
"""Along the longer side of the picture at which outlines are counted."""
WIDTH, HEIGHT, LEGEND, ROW = 7.6, 7.4, 3.5, 0.19
"""Largest map, width of the legend, height of one of its rows, in inches."""
LEFT, BELOW, ABOVE, GAP, LINE = 0.65, 0.35, 0.15, 0.2, 0.13
"""Margins of the map, its distance from the legend, height of a line of credits, in inches."""
LABEL = 0.9, 0.34
"""Width and height of a label, in inches."""

Box = tuple[float, float, float, float]
"""west, south, east, north."""


def stretch(view: Box) -> float:
    """Degrees of longitude that are as long as one of latitude, in the middle of the view."""
    return 1 / max(cos(radians((view[1] + view[3]) / 2)), 0.02)


def view_of(area: Any, geometries: Sequence[Any]) -> Box:
    """The geometries as far as they can be shown without making the area a dot."""
    box = area.bounds
    wide = stretch(box)
    reach = REACH * max((box[2] - box[0]) / wide, box[3] - box[1])
    whole = shapely.union_all([area, *geometries]).bounds
    west, south = max(whole[0], box[0] - reach * wide), max(whole[1], box[1] - reach)
    east, north = min(whole[2], box[2] + reach * wide), min(whole[3], box[3] + reach)
    width, height = (east - west) / wide, north - south
    more_x = 0.04 * max(width, height) + max(height / TALLEST - width, 0) / 2
    more_y = 0.04 * max(width, height) + max(width / WIDEST - height, 0) / 2
    return west - more_x * wide, south - more_y, east + more_x * wide, north + more_y


@dataclass(frozen=True)
class Paper:
    """The figure and its map, north up and as wide as it is there."""

    figure: Figure
    ax: Axes
    view: Box
    scale: float
    """Inches of a degree of latitude."""
    credits: str

    @staticmethod
    def of(view: Box, rows: int, title: str, credits: Sequence[str]) -> "Paper":
        """Room for the map, for so many rows of the legend, title and credits."""
        width, height = (view[2] - view[0]) / stretch(view), view[3] - view[1]
        scale = min(WIDTH / width, HEIGHT / height)
        across = LEFT + scale * width + GAP + LEGEND
        heading = fill(title, round(across / 0.1))
        told = fill(" · ".join(credits), round(across / 0.058))
        below = BELOW + LINE * (told.count("\n") + 1)
        above = ABOVE + 0.22 * (heading.count("\n") + 1)
        down = max(scale * height, ROW * rows) + below + above
        figure = plt.figure(figsize=(across, down))
        top = 1 - above / down
        corner = LEFT / across, top - scale * height / down
        ax = figure.add_axes((*corner, scale * width / across, scale * height / down))
        figure.text(LEFT / across, top + 0.08 / down, heading, fontsize=12, va="bottom")
        _frame(ax, view)
        return Paper(figure, ax, view, scale, told)


def _frame(ax: Axes, view: Box) -> None:
    """Degrees along the edges."""
    ax.set(xlim=(view[0], view[2]), ylim=(view[1], view[3]))
    for axis, ends in ((ax.xaxis, "EW"), (ax.yaxis, "NS")):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(_degrees(ends)))
    ax.tick_params(labelsize=7, color="0.6", labelcolor="0.3")
    ax.spines[:].set_color("0.6")


def _degrees(ends: str) -> Callable[[float, int], str]:
    """Ticks such as 2.5°E."""

    def text(value: float, _: int) -> str:
        return f"{abs(round(value, 6)):g}°{ends[int(value < 0)] if round(value, 6) else ''}"

    return text


def depth(geometries: Sequence[Any], area: Any, view: Box) -> Array:
    """How many geometries cover each point of the view, (y, x); -1 beside the area."""
    width, height = (view[2] - view[0]) / stretch(view), view[3] - view[1]
    step = max(width, height) / POINTS
    size = max(round(width / step), 1), max(round(height / step), 1)
    x = view[0] + (np.arange(size[0]) + 0.5) / size[0] * (view[2] - view[0])
    y = view[3] - (np.arange(size[1]) + 0.5) / size[1] * (view[3] - view[1])
    x_YX, y_YX = np.meshgrid(x, y)
    inside_YX = _contains(area, x_YX, y_YX)
    depth_YX = np.where(inside_YX, 0, -1)
    for each in geometries:
        depth_YX[inside_YX] += _contains(each, x_YX[inside_YX], y_YX[inside_YX])
    return depth_YX


def _contains(geometry: Any, x: Array, y: Array) -> Array:
    shapely.prepare(geometry)
    return np.asarray(shapely.contains_xy(geometry, x, y))


# ---------------------------------------------------------------------- outlines and labels
def rings(geometries: Sequence[Any]) -> list[Array]:
    """Outer and inner rings of all polygons, (point, 2) each."""
    parts = shapely.get_parts(shapely.get_parts(geometries))
    polygons = parts[shapely.get_type_id(parts) == 3]
    return [shapely.get_coordinates(ring) for ring in shapely.get_rings(polygons)]


def outlines(ax: Axes, geometries: Sequence[Any], colour: str, **more: Any) -> None:
    """Draw the outlines of all polygons."""
    lines = LineCollection(rings(geometries), colors=colour, **more)
    ax.add_collection(lines, autolim=False)


def label(paper: Paper, texts: Sequence[tuple[Any, str, str]]) -> None:
    """Each text within its geometry, and as far from the others as can be.

    Parameters
    ----------
    texts : geometry, text and colour of each
    """
    view, wide = paper.view, stretch(paper.view)
    size = LABEL[0] / paper.scale * wide, LABEL[1] / paper.scale
    x_YX, y_YX = np.meshgrid(
        np.linspace(view[0] + size[0] / 2, view[2] - size[0] / 2, 61),
        np.linspace(view[1] + size[1] / 2, view[3] - size[1] / 2, 61),
    )
    placed: list[tuple[float, float]] = []
    for geometry, text, colour in texts:
        seen = shapely.intersection(geometry, shapely.box(*view))
        inside = _contains(seen, x_YX, y_YX)
        if not inside.any():
            continue
        x, y, middle = x_YX[inside], y_YX[inside], seen.centroid
        score = -0.2 * np.hypot((x - middle.x) / size[0], (y - middle.y) / size[1])
        for there in placed:
            apart = np.maximum(abs(x - there[0]) / size[0], abs(y - there[1]) / size[1])
            score -= 4 * np.clip(1.05 - apart, 0, None)
        best = int(np.argmax(score))
        placed.append((float(x[best]), float(y[best])))
        halo = [withStroke(linewidth=2.5, foreground="white")]
        where: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "fontsize": 7.5,
            "fontweight": "bold",
        }
        paper.ax.text(*placed[-1], text, color=colour, path_effects=halo, **where)


# -------------------------------------------------------------------------------- the legend
Row = tuple[Any, str]
"""What is drawn, and what it means; None for a heading."""


def add_legend(paper: Paper, rows: Sequence[Row]) -> None:
    """Beside the map, from its upper edge."""
    corner = paper.ax.get_position()
    legend = paper.figure.legend(
        [handle or NOTHING for handle, _ in rows],
        [label for _, label in rows],
        loc="upper left",
        bbox_to_anchor=(corner.x1 + GAP / paper.figure.get_figwidth(), corner.y1),
        frameon=False,
        fontsize=8,
        handlelength=1.8,
        borderaxespad=0,
        borderpad=0,
    )
    for (handle, _), text in zip(rows, legend.get_texts(), strict=True):
        text.set_fontweight("normal" if handle else "bold")
