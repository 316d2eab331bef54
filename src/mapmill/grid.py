"""One immutable grid, its windows and its blocks. Pure values; no raster library.

Rows count from the north, columns from the west; all sizes are in pixels of the grid.
"""

import re
from dataclasses import dataclass

from mapmill.errors import ConfigError

Affine6 = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Window:
    """A rectangle of the grid; it may reach beyond the grid's edge."""

    row: int
    """First row, from the grid's northern edge."""
    col: int
    """First column, from the grid's western edge."""
    height: int
    width: int

    @property
    def row_end(self) -> int:
        """One past the last row."""
        return self.row + self.height

    @property
    def col_end(self) -> int:
        """One past the last column."""
        return self.col + self.width

    def grow(self, margin: int) -> "Window":
        """The window with `margin` pixels more on each side."""
        return Window(
            self.row - margin, self.col - margin, self.height + 2 * margin, self.width + 2 * margin
        )

    def intersect(self, other: "Window") -> "Window | None":
        """The part that both windows share, or None."""
        row, col = max(self.row, other.row), max(self.col, other.col)
        height = min(self.row_end, other.row_end) - row
        width = min(self.col_end, other.col_end) - col
        return Window(row, col, height, width) if height > 0 and width > 0 else None

    def slices(self, within: "Window") -> tuple[slice, slice]:
        """Row and column slices of this window in an array that covers `within`."""
        row, col = self.row - within.row, self.col - within.col
        return slice(row, row + self.height), slice(col, col + self.width)


@dataclass(frozen=True)
class Block:
    """A named rectangle of the grid: the unit of parallel work and of caching."""

    name: str
    window: Window


@dataclass(frozen=True)
class Grid:
    """CRS, origin, resolution and shape shared by every raster of an area."""

    crs: str
    """Authority code or WKT."""
    left: float
    """x of the western edge, in CRS units."""
    top: float
    """y of the northern edge, in CRS units."""
    resolution: float
    """Side of a square pixel, in CRS units."""
    width: int
    height: int
    block: int
    """Side of a block, in pixels; blocks at the eastern and southern edge may be smaller."""

    @property
    def window(self) -> Window:
        """The whole grid."""
        return Window(0, 0, self.height, self.width)

    def transform(self, window: Window | None = None, factor: int = 1) -> Affine6:
        """Affine coefficients (a, b, c, d, e, f) of a window at `factor` times the resolution."""
        row, col = (window.row, window.col) if window else (0, 0)
        step = self.resolution / factor
        return (
            step,
            0.0,
            self.left + col * self.resolution,
            0.0,
            -step,
            self.top - row * self.resolution,
        )

    def bounds(self, window: Window | None = None) -> tuple[float, float, float, float]:
        """(left, bottom, right, top) of a window, in CRS units."""
        part = window or self.window
        left = self.left + part.col * self.resolution
        top = self.top - part.row * self.resolution
        right = left + part.width * self.resolution
        return left, top - part.height * self.resolution, right, top

    def blocks(self) -> list[Block]:
        """All blocks, row by row from the north-west."""
        rows, cols = -(-self.height // self.block), -(-self.width // self.block)
        return [self._block(row, col) for row in range(rows) for col in range(cols)]

    def block_named(self, name: str) -> Block:
        """The block called `name`, such as `r000c001`.

        Raises
        ------
        ConfigError
            if the grid has no such block.
        """
        match = re.fullmatch(r"r(\d{3,})c(\d{3,})", name)
        if match:
            row, col = int(match[1]), int(match[2])
            if row * self.block < self.height and col * self.block < self.width:
                block = self._block(row, col)
                if block.name == name:
                    return block
        last = self.blocks()[-1].name
        raise ConfigError(f"block {name}", "no such block", f"r000c000 to {last}", "check the name")

    def blocks_touching(self, window: Window) -> list[Block]:
        """The blocks that share pixels with `window`, row by row."""
        part = window.intersect(self.window)
        if part is None:
            return []
        rows = range(part.row // self.block, (part.row_end - 1) // self.block + 1)
        cols = range(part.col // self.block, (part.col_end - 1) // self.block + 1)
        return [self._block(row, col) for row in rows for col in cols]

    def _block(self, row: int, col: int) -> Block:
        top, left = row * self.block, col * self.block
        height = min(self.block, self.height - top)
        width = min(self.block, self.width - left)
        return Block(f"r{row:03d}c{col:03d}", Window(top, left, height, width))
