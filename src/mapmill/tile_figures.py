"""Pictures of the tiles: what each serves, and why some serve nothing."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Patch
from numpy.typing import NDArray

from mapmill.config import Area
from mapmill.extent import extent_of
from mapmill.figures import (
    area_axes,
    class_colours,
    room_for_credits,
    save,
    shown_bands,
    stretch,
    thinning,
)
from mapmill.grid import Window
from mapmill.pieces import Pieces
from mapmill.tiles import Tile

Array = NDArray[Any]
SPLIT_COLOURS = {"train": "#1f77b4", "val": "#e6a100", "test": "#b2182b"}
HATCHES = ("", "..", "///", "xx")
"""Of train, val, test and of what is dropped: colours alone are alike in grey."""
REASON_COLOURS = {
    "no imagery": "#202020",
    "too little imagery": "#6b6b6b",
    "too much cloud": "#a3a3a3",
    "too much snow": "#8fdcf2",
    "no labels": "#d9d2c3",
    "too few labels": "#b5a98c",
    "only dropped classes": "#7aa6a1",
    "within": "#e7b7dd",
    "across": "#9467bd",
    "outside": "#f2efe9",
    "partly outside": "#dcd6ca",
}
"""By the first words of a reason."""
OUTLINED = 9.0
"""Least side of a tile whose outline is drawn, in pixels of the picture."""


def tile_map(path: Path, area: Area, tiles: Sequence[Tile], label_YX: Array, told: str) -> None:
    """Where the tiles of the first period lie, what part each serves, and why some were dropped.

    Where tiles overlap, those that are packed lie above the others.

    Parameters
    ----------
    label_YX : classes of every `thinning`-th pixel
    told : what was found of the distance between the parts
    """
    first = tiles[0]
    shown = [t for t in tiles if t.period == first.period and t.size == first.size]
    dropped = Counter(t.dropped for t in shown if t.dropped)
    figure, (ax,) = area_axes(area, legend=3.2)
    ax.imshow(
        label_YX,
        cmap=class_colours(area),
        vmin=0,
        vmax=len(area.classes),
        alpha=0.5,
        interpolation="nearest",
    )
    painted_YX4, kind_YX = _painted(area, shown, label_YX.shape)
    ax.imshow(painted_YX4, interpolation="nearest")
    _hatch(ax, kind_YX)
    _outline(ax, area, shown)
    handles = _split_handles(shown) + [
        Patch(
            facecolor=_colour_of(why), edgecolor="0.4", hatch=HATCHES[-1], label=f"{why}: {count:,}"
        )
        for why, count in dropped.most_common()
    ]
    title = f"Tiles of {first.size} px (below: dropped)"
    figure.legend(handles=handles, loc="outside right upper", title=title, frameon=False)
    figure.suptitle(f"{area.title}: tiles, {first.period}", fontsize=12)
    ax.set_xlabel(told, fontsize=8)
    with mpl.rc_context({"hatch.linewidth": 0.4}):  # looked at when it is drawn
        save(figure, path, area)


def _colour_of(why: str) -> str:
    known = [colour for start, colour in REASON_COLOURS.items() if why.startswith(start)]
    return known[0] if known else "#ffffff"


def _painted(
    area: Area, tiles: Iterable[Tile], shape: tuple[int, ...]
) -> tuple[Array, NDArray[np.uint8]]:
    """Colours (y, x, 4) of the tiles on the picture of the area, kept ones above; and their kind.

    Kinds (y, x): 0 where there is no tile, else 1 more than the place in HATCHES.
    """
    result, kind_YX = np.zeros((*shape, 4), np.float32), np.zeros(shape, np.uint8)
    step, extent = thinning(area), extent_of(area)
    for tile in sorted(tiles, key=lambda t: not t.dropped):
        rows, cols = (
            slice(round(s.start / step), max(round(s.stop / step), round(s.start / step) + 1))
            for s in tile.window.slices(extent)
        )
        if tile.dropped:
            result[rows, cols] = to_rgba(_colour_of(tile.dropped), 0.85)
            kind_YX[rows, cols] = len(HATCHES)
        else:
            result[rows, cols] = to_rgba(SPLIT_COLOURS[tile.split], 0.5)
            kind_YX[rows, cols] = 1 + list(SPLIT_COLOURS).index(tile.split)
    return result, kind_YX


def _hatch(ax: Any, kind_YX: NDArray[np.uint8]) -> None:
    """Patterns over the tiles, for print in grey and for the colour-blind."""
    for kind, hatch in enumerate(HATCHES, 1):
        inside_YX = np.pad(kind_YX == kind, 1)  # or the edge of the picture would stay bare
        if hatch and inside_YX.any():
            place = np.arange(-1, kind_YX.shape[1] + 1), np.arange(-1, kind_YX.shape[0] + 1)
            ax.contourf(*place, inside_YX, [0.5, 1.5], hatches=[hatch], colors="none")
    ax.set(xlim=(-0.5, kind_YX.shape[1] - 0.5), ylim=(kind_YX.shape[0] - 0.5, -0.5))


def _outline(ax: Any, area: Area, tiles: Sequence[Tile]) -> None:
    """Edges of the tiles, where they are large enough to be told apart."""
    step, extent = thinning(area), extent_of(area)
    if tiles[0].size / step < OUTLINED:
        return
    for is_kept in (False, True):
        chosen = [t for t in tiles if is_kept != bool(t.dropped)]
        squares = [_corners(t.window, step, extent) for t in chosen]
        colours = [SPLIT_COLOURS[t.split] if is_kept else "0.5" for t in chosen]
        width = min(1.0, tiles[0].size / step / 25) * (1.0 if is_kept else 0.5)
        ax.add_collection(
            PolyCollection(squares, facecolors="none", edgecolors=colours, linewidths=width)
        )


def _corners(w: Window, step: int, extent: Window) -> list[tuple[float, float]]:
    """The four corners of a window in the picture, (x, y) from the corner of its first pixel."""
    top, bottom = ((row - extent.row) / step - 0.5 for row in (w.row, w.row_end))
    left, right = ((col - extent.col) / step - 0.5 for col in (w.col, w.col_end))
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _split_handles(tiles: Sequence[Tile]) -> list[Patch]:
    kept = Counter(tile.split for tile in tiles if not tile.dropped)
    return [
        Patch(
            facecolor=to_rgba(colour, 0.5),
            edgecolor="0.3",
            hatch=hatch,
            label=f"{name}: {kept[name]:,}",
        )
        for (name, colour), hatch in zip(SPLIT_COLOURS.items(), HATCHES, strict=False)
    ]


CHIPS_SHOWN = 8


def chip_sheet(path: Path, area: Area, tiles: Sequence[Tile], pieces: Pieces) -> None:
    """Some chips with their masks, framed by the part they serve; and how many tiles each has."""
    names = pieces.names[:: -(-len(pieces.names) // CHIPS_SHOWN)]
    figure, axes = plt.subplots(
        2, len(names), figsize=(2.1 * len(names) + 2.4, 4.9), layout="constrained", squeeze=False
    )
    room_for_credits(figure)
    numbers = [area.bands.index(band) for band in shown_bands(area)]
    for (top, bottom), name in zip(axes.T, names, strict=True):
        piece = pieces.open(name)
        top.imshow(stretch(piece.image(piece.extent)[numbers]))
        bottom.imshow(
            piece.label(piece.extent),
            cmap=class_colours(area),
            vmin=0,
            vmax=len(area.classes),
            interpolation="nearest",
        )
        parts = {tile.split for tile in tiles if tile.chip == name and tile.split}
        colour = SPLIT_COLOURS[min(parts)] if len(parts) == 1 else "0.4"
        serves = ", ".join(sorted(parts)) or ("no part" if name in pieces.masked else "no mask")
        top.set_title(f"{name}\n{serves}", fontsize=8, color=colour)
        for ax in (top, bottom):
            ax.set(xticks=[], yticks=[])
            plt.setp(list(ax.spines.values()), color=colour, linewidth=2)
    entries = [(area.classes[v].colour, area.classes[v].name) for v in sorted(area.classes)]
    handles = _split_handles(tiles) + [
        Patch(facecolor=colour, edgecolor="0.3", label=name)
        for colour, name in [*entries, ("#ffffff", "no label")]
    ]
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(f"{area.title}: {len(names)} of {len(pieces.names)} chips", fontsize=12)
    save(figure, path, area)
