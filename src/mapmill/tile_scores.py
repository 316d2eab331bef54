"""Scores of a map in each tile, though tiles overlap: each pixel is read once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.census import Census
from mapmill.grid import Window

Array = NDArray[Any]


@dataclass(frozen=True)
class TileScore:
    """How well labels and map agree in one tile."""

    window: Window
    pixels: int
    """With a class in both; more than 0."""
    accuracy: float
    mean_iou: float
    """Over the classes that occur in the tile's labels."""


class TileTally:
    """Counts of labels, map and where they agree, in tiles that may overlap.

    Parameters
    ----------
    classes : at most 255
    """

    def __init__(self, windows: Sequence[Window], classes: int) -> None:
        self._windows = list(windows)
        self._label, self._map, self._both = (Census(windows, classes + 1) for _ in range(3))

    def add(self, window: Window, label_YX: Array, map_YX: Array) -> None:
        """Count the pixels of a window that have a class in both; each pixel is to come once."""
        used_YX = (label_YX > 0) & (map_YX > 0)
        for census, value_YX, where_YX in (
            (self._label, label_YX, used_YX),
            (self._map, map_YX, used_YX),
            (self._both, label_YX, used_YX & (label_YX == map_YX)),
        ):
            census.add(window, np.where(where_YX, value_YX, 0).astype(np.uint8))

    def scores(self) -> list[TileScore]:
        """Of each tile with a pixel that counts, in their order."""
        counted = (census.counts()[:, 1:] for census in (self._label, self._map, self._both))
        label_TK, map_TK, both_TK = counted
        found = []
        for number, window in enumerate(self._windows):
            label_K, both_K = label_TK[number], both_TK[number]
            if not label_K.any():
                continue
            there = label_K > 0
            iou_K = both_K[there] / (label_K + map_TK[number] - both_K)[there]
            pixels = int(label_K.sum())
            score = float(both_K.sum() / pixels), float(iou_K.mean())
            found.append(TileScore(window, pixels, *score))
        return found
