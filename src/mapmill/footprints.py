"""The scenes of a search for people: a table, and a picture of where they lie."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from mapmill.figures import Array, save_credited
from mapmill.mapsheet import (
    NOTHING,
    Box,
    Paper,
    Row,
    add_legend,
    depth,
    label,
    outlines,
    rings,
    view_of,
)

SHOWN = 20
"""Scenes left out that a table lists."""
LABELLED = 12
"""Scenes, or days, that are drawn in a colour of their own."""
GREYS = 400
"""Outlines of scenes left out that are drawn."""
COLOURS = ["#0072b2", "#d55e00", "#009e73", "#aa3377", "#b8860b", "#332288"]
"""Of outlines; the colour-blind can tell them apart (after Okabe and Ito, and Tol)."""
SHADES = ["#eaf2f9", "#d3e4f1", "#bad3e8", "#a0c2de", "#86b0d3", "#6d9dc7", "#5689b8"]
FEW, MANY = [1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 4, 6, 11, 21]
"""Least number of scenes of each shade."""
BARE = "#a6611a"
DASH = 4.0
"""Length of a dash, in widths of its line."""


@dataclass(frozen=True)
class Footprint:
    """A scene that was found, and whether it was taken."""

    id: str
    moment: str
    """When it was taken, ISO 8601; '' if that is not known."""
    cloud: float | None
    """Clouds in percent, if the catalogue says."""
    tile: str
    """Name of its tile, '' if it has none."""
    coverage: float
    """Share of the area's blocks that it covers, 0 to 1."""
    geometry: Any
    """Polygon in degrees (shapely)."""
    kept: bool
    why: str
    """Why it was left out; '' if it was not."""

    @property
    def day(self) -> str:
        """Its date."""
        return self.moment[:10]

    @property
    def clouds(self) -> str:
        """Clouds as text."""
        return "-" if self.cloud is None else f"{self.cloud:.0f} %"


# ---------------------------------------------------------------------------------- the table
def table(found: Sequence[Footprint]) -> str:
    """The scenes as text, those taken first; of many left out the first ones only."""
    if not found:
        return "no scene found"
    taken = [each for each in found if each.kept]
    others = [each for each in found if not each.kept]
    rows: list[tuple[str, ...]] = [("date", "cloud", "tile", "coverage", "scene", "")]
    rows += [_row(each) for each in taken + others[:SHOWN]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_aligned(row, widths) for row in rows]
    if len(others) > SHOWN:
        lines.append(f"and {len(others) - SHOWN} more left out")
    return "\n".join(lines)


def _row(each: Footprint) -> tuple[str, ...]:
    return (
        each.moment[:16].replace("T", " ") or "-",
        each.clouds,
        each.tile or "-",
        _percent(each.coverage),
        each.id,
        "taken" if each.kept else each.why or "left out",
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Numbers to the right, texts to the left."""
    cells = (
        cell.rjust(width) if place in (1, 3) else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def _percent(share: float) -> str:
    """A share; neither all nor nothing is said of what is nearly that."""
    value = 100 * share
    if 0 < value < 0.5:
        return "< 1 %"
    return "> 99 %" if 99.5 <= value < 99.95 else f"{value:.0f} %"


# -------------------------------------------------------------------------------- the picture
@dataclass(frozen=True)
class Look:
    """Scenes that are drawn alike, and what the legend says of them."""

    scenes: tuple[Footprint, ...]
    label: str
    colour: str
    style: Any
    """Solid or dashed."""


def draw(
    found: Sequence[Footprint], area: Any, path: Path, title: str, credits: Sequence[str]
) -> None:
    """A picture of where the scenes lie, and how many cover each place of the area.

    Parameters
    ----------
    area : polygon of the area's blocks, in degrees
    """
    taken = [each for each in found if each.kept]
    geometries = [each.geometry for each in taken]
    view = view_of(area, geometries)
    looks, depth_YX = _looks(taken), depth(geometries, area, view)
    depths = FEW if depth_YX.max(initial=0) <= FEW[-1] else MANY
    rows = [*_legend_scenes(found, looks), *_legend_depth(depth_YX, depths, view)]
    paper = Paper.of(view, len(rows), title, credits)
    levels_YX = np.where(depth_YX > 0, np.searchsorted(depths, depth_YX, "right") - 1.0, np.nan)
    levels: dict[str, Any] = {"vmin": -0.5, "vmax": len(SHADES) - 0.5, "interpolation": "nearest"}
    extent = view[0], view[2], view[1], view[3]
    paper.ax.imshow(levels_YX, cmap=ListedColormap(SHADES), extent=extent, aspect="auto", **levels)
    bare = shapely.difference(area, shapely.union_all(geometries))
    for ring in rings([bare]):
        paper.ax.fill(*ring.T, facecolor="none", edgecolor=BARE, hatch="////", linewidth=0)
    outlines(paper.ax, [e.geometry for e in found if not e.kept][:GREYS], "0.7", linewidth=0.6)
    outlines(paper.ax, [area], "black", linewidth=1.4)
    _draw_taken(paper.ax, looks)
    label(paper, _texts(looks))
    add_legend(paper, rows)
    save_credited(paper.figure, path, [paper.credits])


# ------------------------------------------------------------------------------ the outlines
Group = tuple[tuple[Footprint, ...], str]
"""Scenes, and what the legend says of them."""


def _looks(taken: Sequence[Footprint]) -> list[Look]:
    """Each scene in its own colour if they are few, else each day, else all in one."""
    days = sorted({each.day for each in taken})
    if len(taken) <= LABELLED:
        groups: list[Group] = [((each,), _about(each)) for each in taken]
    elif len(days) <= LABELLED:
        by_day = [tuple(each for each in taken if each.day == day) for day in days]
        groups = [
            (group, f"{day or 'date not known'}: {_count(len(group), 'scene')}")
            for day, group in zip(days, by_day, strict=True)
        ]
    else:
        groups = [(tuple(taken), f"{days[0] or 'date not known'} to {days[-1]}")]
    count = len(COLOURS)
    return [
        Look(group, label, COLOURS[number % count], "solid" if number < count else (0, (6, 1.5)))
        for number, (group, label) in enumerate(groups)
    ]


def _about(each: Footprint) -> str:
    named = " ".join(part for part in (each.day, each.tile) if part) or each.id[:24]
    cloud = "" if each.cloud is None else f", {each.clouds} cloud"
    return f"{named}: {_percent(each.coverage)} of the area{cloud}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _draw_taken(ax: Axes, looks: Sequence[Look]) -> None:
    """The outlines; of looks that share an outline each has its turn, dash by dash."""
    many = sum(len(look.scenes) for look in looks) > LABELLED
    width = 1.2 if many else 1.8
    sharing: dict[tuple[float, ...], list[int]] = {}
    for number, look in enumerate(looks):
        for each in look.scenes:
            turns = sharing.setdefault(_place(each), [])
            turns += [] if number in turns else [number]
    for number, look in enumerate(looks):
        for each in look.scenes:
            turns = sharing[_place(each)]
            dash = DASH * turns.index(number), (DASH, DASH * (len(turns) - 1))
            style: Any = look.style if len(turns) == 1 else dash
            halo = [withStroke(linewidth=2 * width, foreground="white", alpha=0.6)]
            more = {"linestyles": [style], "path_effects": halo, "capstyle": "butt"}
            outlines(ax, [each.geometry], look.colour, linewidth=width, **more)


def _place(each: Footprint) -> tuple[float, ...]:
    """Equal for outlines that one cannot tell apart."""
    return tuple(round(value, 2) for value in each.geometry.bounds)


def _texts(looks: Sequence[Look]) -> list[tuple[Any, str, str]]:
    """Geometry, text and colour of the labels: of each scene, or of each tile if they are many."""
    scenes = [(each, look.colour) for look in looks for each in look.scenes]
    if len(scenes) <= LABELLED:
        named = [(e, "\n".join(p for p in (e.day, e.tile) if p) or e.id[:16], c) for e, c in scenes]
        return [(each.geometry, text, colour) for each, text, colour in named]
    tiles = {_place(each): each for each, _ in scenes if each.tile}
    if len(tiles) > 3 * LABELLED:
        return []
    return [(each.geometry, each.tile, "0.25") for each in tiles.values()]


# -------------------------------------------------------------------------------- the legend
def _legend_scenes(found: Sequence[Footprint], looks: Sequence[Look]) -> list[Row]:
    taken = sum(len(look.scenes) for look in looks)
    rows: list[Row] = [(None, f"Scenes taken: {taken} of {len(found)}")]
    rows += [(_line(look.colour, 1.8, look.style), look.label) for look in looks]
    reasons = Counter(each.why or "left out" for each in found if not each.kept)
    if reasons:
        rows.append((_line("0.7", 0.9), f"left out: {reasons.total()}"))
        rows += [(NOTHING, f"  {why}: {number}") for why, number in reasons.most_common(6)]
    rows.append((_line("black", 1.4), "the area's blocks"))
    return rows


def _line(colour: str, width: float, style: Any = "solid") -> Line2D:
    return Line2D([], [], color=colour, linewidth=width, linestyle=style)


def _legend_depth(depth_YX: Array, depths: Sequence[int], view: Box) -> list[Row]:
    """Shares of the area under so many scenes; rows in the north are shorter."""
    y = np.linspace(view[3], view[1], len(depth_YX))
    weight_YX = np.broadcast_to(np.cos(np.radians(y))[:, None], depth_YX.shape)
    whole = weight_YX[depth_YX >= 0].sum()
    rows: list[Row] = [(None, "Share of the area under")]
    ends = [*depths, 0]
    for number, (least, end) in enumerate(zip([0, *depths], ends, strict=True)):
        within = (depth_YX >= least) & ((depth_YX < end) | (end == 0))
        share = weight_YX[within].sum() / max(whole, 1e-9)
        if share > 0:
            rows.append((_patch(number), f"{_scenes(least, end)}: {_percent(share)}"))
    return rows


def _scenes(least: int, end: int) -> str:
    """How many scenes, before `end`; 0: without an end."""
    if least == 0:
        return "no scene"
    if end - least == 1:
        return _count(least, "scene")
    return f"{least} to {end - 1} scenes" if end else f"{least} scenes and more"


def _patch(number: int) -> Patch:
    if number == 0:
        return Patch(facecolor="white", edgecolor=BARE, hatch="////", linewidth=0.5)
    return Patch(facecolor=SHADES[number - 1], edgecolor="0.6", linewidth=0.5)
