"""The blocks of one stage, read as if they were one raster."""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window as RasterioWindow

from mapmill.errors import ContractError
from mapmill.grid import Block, Grid, Window
from mapmill.raster.opening import Array, opened
from mapmill.raster.seal import check_end

PART = 16 * 2**20
"""Pixels of a band that are read at once, where a block is read in parts."""


@dataclass(frozen=True)
class BlockMosaic:
    """The blocks of one stage, read as if they were one raster."""

    grid: Grid
    blocks: tuple[Block, ...]
    """The blocks that there are; elsewhere everything is nodata."""
    extent: Window
    """The part of the grid that they are in."""
    path_of: Callable[[str], Path]
    """Block name -> path of its file."""
    nodata: float

    def read(self, window: Window, bands: Sequence[int] | None = None) -> Array:
        """Read a window that lies within the grid, over as many blocks as it touches.

        Returns
        -------
        (band, y, x) array; `bands` are numbers from 1, all by default.

        Raises
        ------
        ContractError
            if a block's file is not exactly its part of the grid.
        """
        result: Array | None = None
        for block in self.grid.blocks_touching(window):
            part = window.intersect(block.window)
            if part is None or block not in self._there:
                continue
            with self._block(block) as source:
                rows, cols = part.slices(block.window)
                values = source.read(bands, window=RasterioWindow.from_slices(rows, cols))
            if result is None:
                shape = (values.shape[0], window.height, window.width)
                result = np.full(shape, self.nodata, values.dtype)
            result[(slice(None), *part.slices(window))] = values
        return self._empty(window, bands) if result is None else result

    def parts(self, block: Block) -> Iterator[tuple[Window, Array]]:
        """A whole block in parts of full width: window and (band, y, x) array of each.

        The file is opened once and each of its inner tiles decoded once; memory does not grow
        with the block.

        Raises
        ------
        ContractError
            if the block's file is not exactly its part of the grid.
        """
        window = block.window
        with self._block(block) as source:
            tile = source.block_shapes[0][0]
            step = max(1, PART // (tile * window.width)) * tile
            for top in range(0, window.height, step):
                rows = slice(top, min(top + step, window.height))
                part = RasterioWindow.from_slices(rows, slice(0, window.width))
                here = Window(window.row + top, window.col, rows.stop - top, window.width)
                yield here, source.read(window=part)

    @functools.cached_property
    def _there(self) -> frozenset[Block]:
        return frozenset(self.blocks)

    def _empty(self, window: Window, bands: Sequence[int] | None) -> Array:
        """What is read where no block is."""
        with self._block(self.blocks[0]) as source:
            count, dtype = len(bands or source.indexes), source.dtypes[0]
        return np.full((count, window.height, window.width), self.nodata, dtype)

    def bands(self) -> list[str]:
        """Band names, of the first block."""
        with self._block(self.blocks[0]) as source:
            return [name or "" for name in source.descriptions]

    def tags(self) -> dict[str, str]:
        """Tags of the first block."""
        with self._block(self.blocks[0]) as source:
            return dict(source.tags())

    def thin(self, step: int, bands: Sequence[int]) -> Array:
        """Every `step`-th pixel of the extent, for pictures; one block in memory at a time."""
        rows, cols = -(-self.extent.height // step), -(-self.extent.width // step)
        first = self._empty(Window(0, 0, 1, 1), bands)
        result = np.full((len(bands), rows, cols), self.nodata, first.dtype)
        for block in self.blocks:
            top, left = block.window.row - self.extent.row, block.window.col - self.extent.col
            row, col = -(-top // step), -(-left // step)
            values = self.read(block.window, bands)[
                :, row * step - top :: step, col * step - left :: step
            ]
            result[:, row : row + values.shape[1], col : col + values.shape[2]] = values
        return result

    @contextmanager
    def _block(self, block: Block) -> Iterator[Any]:
        """One block's file, opened and found to be its part of the grid."""
        path = self.path_of(block.name)
        with opened(path) as source:
            self._check(path, source, block.window)
            check_end(path, source.profile.get("compress", "").upper())
            yield source

    def _check(self, path: Path, source: Any, window: Window) -> None:
        expected = (self.grid.transform(window), window.width, window.height)
        found = (tuple(source.transform)[:6], source.width, source.height)
        same_crs = source.crs == rasterio.crs.CRS.from_user_input(self.grid.crs)
        if (
            not same_crs
            or found[1:] != expected[1:]
            or not np.allclose(found[0], expected[0], rtol=0, atol=1e-3 * self.grid.resolution)
        ):
            raise ContractError(
                path, f"{source.crs} {found}", f"{self.grid.crs} {expected}", "delete it and rerun"
            )
