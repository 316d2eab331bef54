"""What tiles hold: imagery, clouds, snow and classes, from one pass over the blocks."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill.census import Census, mark_seen
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.grid import Block, Window
from mapmill.layout import Layout
from mapmill.pieces import Piece, mosaic_of
from mapmill.progress import track
from mapmill.raster import Array, BlockMosaic, valid_pixels

CLOUD, SNOW = 2, 3
"""States of a pixel in the quality layer, after 0 (nothing seen) and 1 (clear)."""
STATES = 4
STRIP = 512
"""Rows of a chip that are looked at together."""


@dataclass(frozen=True)
class Content:
    """What tiles hold in one piece; one row for each tile, in their order."""

    valid_T: NDArray[np.float64]
    """Share of pixels with data in every band."""
    cloud_T: NDArray[np.float64]
    """Share of pixels under clouds or their shadow."""
    snow_T: NDArray[np.float64]
    """Share of pixels under snow."""
    pixels_TK: NDArray[np.int64]
    """Pixels of class 1 to K."""
    labelled_T: NDArray[np.float64]
    """Share of pixels with a class."""

    def shares(self) -> list[list[float]]:
        """Valid, cloud, snow and labelled share of each tile."""
        columns = self.valid_T, self.cloud_T, self.snow_T, self.labelled_T
        found: list[list[float]] = np.stack(columns, axis=1).tolist()
        return found


class GridSurvey:
    """One pass over the blocks of a grid: the labels once, the quality layer once a period.

    The quality layer stands for the imagery: by its contract a composed pixel has data in every
    band exactly where it counts an observation. So ten bands need not be read.
    """

    def __init__(self, area: Area, layout: Layout, tiles: Sequence[Window], step: int) -> None:
        self._area, self._tiles, self._step = area, tiles, step
        self._labels = mosaic_of(area, layout.downsample, 0)
        self._quality = {p: mosaic_of(area, partial(layout.quality, p), 0) for p in area.periods}
        self._classes = Census(tiles, len(area.classes) + 1)
        self._states = {period: Census(tiles, 2 * STATES) for period in area.periods}
        extent = self._labels.extent
        self.thin_YX = np.zeros((-(-extent.height // step), -(-extent.width // step)), np.uint8)
        """Classes of every `step`-th pixel of the extent, for a picture."""

    def run(self, threads: int) -> dict[str, Content]:
        """What the tiles hold in each period.

        Parameters
        ----------
        threads : blocks worked on at a time

        Raises
        ------
        ContractError
            if a block's labels or quality layer are missing, or hold what they should not.
        """
        blocks = self._labels.blocks
        # each thread's reading of rasters changes the filters for a moment: keep them as they are
        with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
            for _ in track(pool.map(self._add, blocks), "select", len(blocks), "blocks"):
                pass
        pixels_TK = self._classes.counts()[:, 1:]
        return {
            period: _content(self._tiles, census.counts(), pixels_TK)
            for period, census in self._states.items()
        }

    def _add(self, block: Block) -> None:
        """Count the labels and the quality layers of one block."""
        for window, label_BYX in self._labels.parts(block):
            strange = self._classes.add(window, _uint8(label_BYX[0], self._labels, block))
            if strange:
                found = f"others in {strange} pixels"
                expected = f"classes 0 to {len(self._area.classes)}"
                raise _other(self._labels, block, found, expected)
            self._keep_thin(window, label_BYX[0])
        for period, mosaic in self._quality.items():
            for window, quality_BYX in mosaic.parts(block):
                self._states[period].add(window, _codes(quality_BYX, mosaic, block))

    def _keep_thin(self, window: Window, label_YX: Array) -> None:
        step, extent = self._step, self._labels.extent
        top, left = window.row - extent.row, window.col - extent.col
        row, col = -(-top // step), -(-left // step)
        values = label_YX[row * step - top :: step, col * step - left :: step]
        self.thin_YX[row : row + values.shape[0], col : col + values.shape[1]] = values


def survey_chip(area: Area, piece: Piece, tiles: Sequence[Window]) -> Content:
    """What the tiles of a chip hold; nothing is known of its clouds."""
    valid, classes = Census(tiles, 2), Census(tiles, len(area.classes) + 1)
    extent = piece.extent
    for row in range(0, extent.height, STRIP):
        strip = Window(row, 0, min(STRIP, extent.height - row), extent.width)
        valid_YX = valid_pixels(piece.image(strip), area.compose.nodata)
        valid.add(strip, valid_YX.astype(np.uint8))
        classes.add(strip, piece.label(strip))
    seen_TS = np.zeros((len(tiles), 2 * STATES), np.int64)
    seen_TS[:, :2] = valid.counts()
    return _content(tiles, seen_TS, classes.counts()[:, 1:])


def _codes(quality_BYX: Array, mosaic: BlockMosaic, block: Block) -> NDArray[np.uint8]:
    """(y, x) uint8: twice the state, and 1 more where there is an observation."""
    if len(quality_BYX) != 2:
        found = f"{len(quality_BYX)} bands"
        raise _other(mosaic, block, found, "2: observations and state")
    observations_YX, state_YX = _uint8(quality_BYX, mosaic, block)
    largest = mark_seen(state_YX, observations_YX)
    if largest >= STATES:
        raise _other(mosaic, block, f"state {largest}", f"states 0 to {STATES - 1}")
    codes_YX: NDArray[np.uint8] = state_YX
    return codes_YX


def _uint8(array: Array, mosaic: BlockMosaic, block: Block) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        raise _other(mosaic, block, str(array.dtype), "uint8")
    return array


def _other(mosaic: BlockMosaic, block: Block, found: str, expected: str) -> ContractError:
    return ContractError(mosaic.path_of(block.name), found, expected, "delete it and rerun")


def _content(tiles: Sequence[Window], seen_TS: Any, pixels_TK: Any) -> Content:
    """Shares from counts; `seen_TS` counts twice the state, and 1 more where there is data."""
    area_T = np.array([tile.height * tile.width for tile in tiles], float)
    state_TS = seen_TS.reshape(-1, STATES, 2)
    return Content(
        valid_T=state_TS[..., 1].sum(axis=1) / area_T,
        cloud_T=state_TS[:, CLOUD].sum(axis=1) / area_T,
        snow_T=state_TS[:, SNOW].sum(axis=1) / area_T,
        pixels_TK=pixels_TK,
        labelled_T=pixels_TK.sum(axis=1) / area_T,
    )
