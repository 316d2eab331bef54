"""What tiles are cut from: the grid in one period, or one chip; read in one way."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mapmill.arrays import read_chip, read_mask
from mapmill.chips import chip_named, find_chips
from mapmill.config import Area
from mapmill.extent import blocks_of, extent_of
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.raster import NOWHERE, Array, BlockMosaic, Georeference

Read = Callable[[Window], Array]


@dataclass(frozen=True)
class Piece:
    """An image with its labels, of which any window can be read."""

    name: str
    """The period, or the chip."""
    is_chip: bool
    extent: Window
    """Where there is something to read; of a chip it starts at 0, 0."""
    image: Read
    """(band, y, x) of a window; nodata beyond the extent."""
    label: Read
    """(y, x) uint8 of a window; 0 beyond the extent."""
    place: Georeference = NOWHERE
    """Of a chip."""


def mosaic_of(area: Area, path_of: Callable[[str], Path], nodata: float) -> BlockMosaic:
    """The blocks of one stage as one raster."""
    return BlockMosaic(area.the_grid(), tuple(blocks_of(area)), extent_of(area), path_of, nodata)


class Pieces:
    """All pieces of an area; the one opened last is kept."""

    def __init__(self, area: Area, layout: Layout) -> None:
        self._area, self._layout = area, layout
        self._chips = {c.name: c for c in find_chips(area.chips)} if area.chips else {}
        self.names = list(self._chips) or area.periods
        self._last: Piece | None = None

    @property
    def masked(self) -> list[str]:
        """Names of the chips that have a mask."""
        return [name for name, chip in self._chips.items() if chip.mask]

    def open(self, name: str) -> Piece:
        """The piece called `name`."""
        if self._last is None or self._last.name != name:
            self._last = self._chip(name) if self._area.chips else self._period(name)
        return self._last

    def _period(self, name: str) -> Piece:
        area, layout = self._area, self._layout
        image = mosaic_of(area, partial(layout.compose, name), area.compose.nodata)
        label = mosaic_of(area, layout.downsample, 0)
        return Piece(name, False, image.extent, image.read, lambda window: label.read(window)[0])

    def _chip(self, name: str) -> Piece:
        area = self._area
        chip = chip_named(self._chips.values(), name)
        held = read_chip(area, chip)
        label_YX = read_mask(area, chip, held)
        extent = Window(0, 0, *label_YX.shape)
        return Piece(
            name,
            True,
            extent,
            lambda window: cut(held.image_BYX, window, area.compose.nodata),
            lambda window: cut(label_YX[None], window, 0)[0],
            held.place,
        )


def cut(array_BYX: Array, window: Window, nodata: float) -> Array:
    """A window (band, y, x) of an array; nodata beyond its edges."""
    whole = Window(0, 0, *array_BYX.shape[1:])
    result = np.full((len(array_BYX), window.height, window.width), nodata, array_BYX.dtype)
    part = window.intersect(whole)
    if part:
        result[(slice(None), *part.slices(window))] = array_BYX[(slice(None), *part.slices(whole))]
    return result


def side_by_side(
    images: Sequence[tuple[Array, NDArray[np.bool_]] | None], bands: int
) -> tuple[Array, NDArray[np.bool_]]:
    """Images of one window, a period each, as one; None is a missing period.

    Parameters
    ----------
    images : image (band, y, x) and validity (y, x) of each period; at least one is there

    Returns
    -------
    (period and band, y, x) float32, NaN where a period is invalid; and where any of them is valid
    """
    shape = next(each[1].shape for each in images if each is not None)
    image_PBYX = np.full((len(images), bands, *shape), np.nan, np.float32)
    seen_YX = np.zeros(shape, bool)
    for number, each in enumerate(images):
        if each is not None:
            image_BYX, valid_YX = each
            np.copyto(image_PBYX[number], image_BYX, where=valid_YX, casting="unsafe")
            seen_YX |= valid_YX
    return image_PBYX.reshape(-1, *shape), seen_YX
