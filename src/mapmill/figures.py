"""Figures for the report. Colours of classes are the map's; every figure carries the credits."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
mpl.rcParams["text.parse_math"] = False  # a name may hold dollars

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from numpy.typing import NDArray

from mapmill.atomic import whole_file
from mapmill.config import Area
from mapmill.extent import extent_of
from mapmill.shift import Shift

Array = NDArray[Any]
SMALL, LARGE = 0.058, 0.1
"""Width of a letter of the credits and of a title, in inches."""
NAME = 28
"""Letters of a line of the map's legend."""
PICTURE = 1400
"""Longest side of a picture of the area, in pixels."""


def thinning(area: Area) -> int:
    """Take every n-th pixel of the extent to make a picture of it."""
    extent = extent_of(area)
    return max(1, -(-max(extent.width, extent.height) // PICTURE))


def save(figure: Figure, path: Path, area: Area) -> None:
    """Write a PNG with the area's credits below; equal figures give equal bytes."""
    save_credited(figure, path, area.attribution)


def save_credited(figure: Figure, path: Path, credits: Sequence[str]) -> None:
    """Likewise, with credits of any kind."""
    told = fill(" · ".join(credits), round(figure.get_figwidth() / SMALL))
    figure.text(0.99, 0.005, told, ha="right", va="bottom", fontsize=7)
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        room_for_credits(figure, told.count("\n") + 1)
    with whole_file(path) as part:
        figure.savefig(part, dpi=130, metadata={"Software": None}, facecolor="white")
    plt.close(figure)


def room_for_credits(figure: Figure, lines: int = 1) -> None:
    """Keep the constrained layout off the last lines of the picture."""
    below = max(0.035, (0.05 + 0.13 * lines) / figure.get_figheight()) if lines > 1 else 0.035
    figure.set_layout_engine("constrained", rect=(0, below, 1, 1 - below))


def headed(figure: Figure, title: str) -> None:
    """Write a title of any length above the figure."""
    figure.suptitle(fill(title, round(figure.get_figwidth() / LARGE)), fontsize=12)


def area_axes(area: Area, panels: int = 1, legend: float = 2.2) -> tuple[Figure, list[Axes]]:
    """One or more panels of the area's shape, side by side if it is tall, else stacked."""
    extent = extent_of(area)
    ratio = extent.height / extent.width
    across = panels if ratio > 1 else 1
    down = panels // across
    width = 8.0 / across
    size = (across * width + legend, down * width * ratio + 0.9)
    figure, axes = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    room_for_credits(figure)
    for ax in axes.flat:
        ax.set_xticks([])
        ax.set_yticks([])
    return figure, list(axes.flat)


def class_colours(area: Area) -> ListedColormap:
    """Colours of 0 (white) and class 1 to K."""
    return ListedColormap(["#ffffff", *(area.classes[v].colour for v in sorted(area.classes))])


def class_legend(area: Area, figure: Figure, shares: Array) -> None:
    """Names and colours of the classes, with their share of the pixels."""
    handles = []
    for value in sorted(area.classes):
        entry = area.classes[value]
        share = f"{100 * shares[value - 1]:.1f}\u00a0%"
        label = fill(f"{entry.name}  {share}", NAME)
        handles.append(Patch(facecolor=entry.colour, edgecolor="0.3", label=label))
    title = "Map (share of mapped pixels)"
    figure.legend(handles=handles, loc="outside right center", title=title, frameon=False)


def map_picture(
    path: Path,
    area: Area,
    map_name: str,
    class_YX: Array,
    counts: Array,
    rgb_YX3: Array,
    title: str,
) -> None:
    """The map with its legend, beside the imagery it was made from.

    Parameters
    ----------
    counts : pixels of class 1 to K on the whole map, of which `class_YX` is a small picture
    """
    figure, (top, bottom) = area_axes(area, panels=2)
    top.imshow(rgb_YX3, interpolation="nearest")
    top.set_title(title, loc="left", fontsize=10)
    # colours looked up here take a quarter of the memory that Matplotlib would
    bottom.imshow(class_colours(area)(class_YX, bytes=True), interpolation="nearest")
    bottom.set_title("Map", loc="left", fontsize=10)
    class_legend(area, figure, counts / max(counts.sum(), 1))
    headed(figure, f"{area.title}: {map_name}")
    save(figure, path, area)


def stretch(image_3YX: Array) -> NDArray[np.uint8]:
    """Red, green and blue (3, y, x) as 8-bit (y, x, 3) between their 2nd and 98th percentiles."""
    result = np.zeros((*image_3YX.shape[1:], 3), np.uint8)
    for channel, band_YX in enumerate(image_3YX.astype(np.float32)):
        valid = band_YX[np.isfinite(band_YX) & (band_YX != 0)]
        low, middle, high = np.percentile(valid, [2, 50, 98]) if valid.size else (0.0, 0.5, 1.0)
        if middle > 0:  # clouds and snow would leave the land all but black
            high = min(high, 3 * middle)
        scaled = np.nan_to_num((band_YX - low) / max(high - low, 1e-9))
        result[..., channel] = (255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return result


COLOURS = (["B04", "B03", "B02"], ["red", "green", "blue"])
"""Bands that look as the eye sees; else the first three are shown."""


def shown_bands(area: Area) -> list[str]:
    """Names of the bands shown as red, green and blue."""
    return next((c for c in COLOURS if set(c) <= set(area.bands)), (area.bands * 3)[:3])


def curves(path: Path, area: Area, model: str, history: dict[str, list[float]], best: int) -> None:
    """Loss and validation scores over the steps; a line marks the model that was kept."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    room_for_credits(figure)
    step, scores = history["step"], history["val_mean_iou"]
    left.plot(step, history["train_loss"], ".-", color="#444444", label="training")
    left.plot(step, history["val_loss"], ".--", color="#1f77b4", label="validation")
    left.set(xlabel="step", ylabel="loss")
    right.plot(step, scores, ".-", color="#1f77b4", label="mean IoU")
    right.plot(step, history["val_accuracy"], ".--", color="#e6a100", label="accuracy")
    right.set(xlabel="step", ylabel="validation score", ylim=(0, 1))
    for ax in (left, right):
        ax.axvline(best, color="0.6", linewidth=1, label=f"kept: step {best}")
        ax.legend(frameon=False, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"{area.title}: training of {model}", fontsize=11)
    save(figure, path, area)


def confusion(path: Path, area: Area, matrix: Array, title: str) -> None:
    """Confusion matrix as shares of each reference class, with the pixels written in."""
    names = [area.classes[value].name for value in sorted(area.classes)]
    total = matrix.sum(axis=1, keepdims=True)
    share = np.divide(matrix, total, out=np.zeros(matrix.shape), where=total > 0)
    side = 2.6 + 0.85 * len(names)
    figure, ax = plt.subplots(figsize=(side + 1, side), layout="constrained")
    room_for_credits(figure)
    picture = ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, col in np.ndindex(*matrix.shape):
        colour = "white" if share[row, col] > 0.55 else "black"
        text = f"{100 * share[row, col]:.0f} %\n{matrix[row, col]:,}"
        ax.text(col, row, text, ha="center", va="center", color=colour, fontsize=7)
    ax.set_xticks(range(len(names)), names, rotation=35, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set(xlabel="map", ylabel="reference (label map)")
    figure.colorbar(picture, ax=ax, label="share of the reference class", shrink=0.8)
    ax.set_title(title, fontsize=10)
    save(figure, path, area)


def shift_figure(path: Path, area: Area, surface_SE: Array, shift: Shift) -> None:
    """How well edges of labels and image agree at every shift, the best one marked.

    Parameters
    ----------
    surface_SE : correlation, (south, east), from -radius to radius pixels
    """
    radius = len(surface_SE) // 2
    figure, ax = plt.subplots(figsize=(6.4, 5.6), layout="constrained")
    room_for_credits(figure)
    reach = radius + 0.5
    box = (-reach, reach, reach, -reach)
    picture = ax.imshow(surface_SE, cmap="Greys", extent=box, interpolation="nearest")
    ax.axhline(0, color="#1f77b4", linewidth=0.8)
    ax.axvline(0, color="#1f77b4", linewidth=0.8, label="no shift")
    if shift.is_clear:
        colour = "#b2182b" if shift.is_wrong else "#1b6b2f"
        ax.scatter(
            shift.east, shift.south, s=170, c="none", edgecolors=colour, linewidths=2, zorder=3
        ).set_label("edges agree best")
    ax.set(xlabel="labels lie east of the image by (pixels)")
    ax.set(ylabel="labels lie south of the image by (pixels)")
    ax.legend(loc="upper right", fontsize=8)
    figure.colorbar(picture, ax=ax, label="correlation of edges", shrink=0.8)
    ax.set_title(fill(shift.sentence(), 62), loc="left", fontsize=10)
    figure.suptitle(f"{area.title}: do labels and image agree?", fontsize=11)
    save(figure, path, area)


ENLARGED = 4
"""Pixels of a picture for each pixel of an image that a person is to interpret."""


def save_chip(path: Path, parts_YX3: Sequence[Array], centre: int, credits: Sequence[str]) -> None:
    """Write the surroundings of a pixel side by side, the pixel framed; credits are in the file.

    Parameters
    ----------
    parts_YX3 : pictures (y, x, 3) of 8 bits
    centre : row and column of the pixel
    """
    shown = []
    first, last = ENLARGED * centre - 2, ENLARGED * (centre + 1) + 2
    for part_YX3 in parts_YX3:
        large = part_YX3.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1)
        frame = np.zeros(large.shape[:2], bool)
        frame[first:last, first:last] = True
        frame[first + 2 : last - 2, first + 2 : last - 2] = False
        large[frame] = (255, 255, 0)
        shown += [large, np.full((len(large), 8, 3), 255, np.uint8)]
    about = {"Software": None, "Copyright": "; ".join(credits)}
    with whole_file(path) as part:
        plt.imsave(part, np.concatenate(shown[:-1], axis=1), metadata=about)
