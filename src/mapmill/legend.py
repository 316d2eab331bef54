"""Pictures of a map for web pages and slides: its legend, and a quick-look of the map alone."""

from pathlib import Path
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from mapmill.atomic import whole_file
from mapmill.config import Area
from mapmill.figures import Array

QUICKLOOK = 1024
"""Longest side of the pictures of a map, in pixels."""
WIDTH = 60
"""Letters of a line of the legend."""


def legend(path: Path, area: Area) -> None:
    """Write title, colours and names of all classes, and the credits, as a PNG."""
    entries = [area.classes[value] for value in sorted(area.classes)]
    handles = [Patch(facecolor=entry.colour, edgecolor="0.3") for entry in entries]
    names = [fill(entry.name, WIDTH) for entry in entries]
    nothing = [Line2D([], [], linestyle="none")] * len(area.attribution)
    credits = [fill(line, WIDTH) for line in area.attribution]
    figure = plt.figure(figsize=(1, 1))
    box = figure.legend(
        [*handles, *nothing],
        [*names, *credits],
        title=fill(area.title, WIDTH),
        loc="center",
        frameon=False,
        alignment="left",
        handlelength=1.6,
        handleheight=1.1,
    )
    box.get_title().set_fontweight("bold")
    for text in box.get_texts()[len(handles) :]:
        text.set_fontsize(7)
        text.set_color("0.35")
    with whole_file(path) as part:
        figure.savefig(
            part, dpi=130, metadata={"Software": None}, facecolor="white", bbox_inches="tight"
        )
    plt.close(figure)


def quicklook(path: Path, area: Area, class_YX: Array) -> None:
    """Write the map alone as a PNG in its colours, a pixel for each of the array; 0 is clear."""
    table = np.zeros((256, 4), np.uint8)
    for value, entry in area.classes.items():
        table[value] = (*bytes.fromhex(entry.colour[1:]), 255)
    with whole_file(path) as part:
        plt.imsave(part, table[class_YX], metadata={"Software": None})
