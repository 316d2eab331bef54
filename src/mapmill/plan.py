"""How a map is cut into tiles: exact halos or blended windows. Pure Python.

Planning and prediction choose here, so that the blocks that a job waits for are those it reads.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from mapmill.errors import ContractError
from mapmill.grid import Window

MOST_WORK = 2.5
"""Pixels through the net for each pixel mapped, up to which `auto` takes exact halos."""


@dataclass(frozen=True)
class Plan:
    """The settings of `predict` that say how the ground is cut; see there."""

    mode: str = "auto"
    tile: int = 1024
    window: int | None = None
    """Side of the windows that are blended; None where the model's card is to say it."""
    overlap: float = 0.5
    weights: str = "hann"
    context: int = 256
    precision: str = "float32"
    turns: int = 1
    vote: bool = False


@dataclass(frozen=True)
class Lattice:
    """Overlapping windows in one direction: window k takes [k step, k step + side) of the grid."""

    side: int
    step: int

    def touching(self, start: int, stop: int) -> list[int]:
        """First pixels of all windows that share any of [start, stop)."""
        first = (start - self.side) // self.step + 1
        return [k * self.step for k in range(first, (stop - 1) // self.step + 1)]


def work(tile: int, halo: int) -> float:
    """Pixels that go through the net for each pixel that is mapped."""
    return float(((tile + 2 * halo) / tile) ** 2)


def is_exact(plan: Plan, halo: int | None, name: str) -> bool:
    """Whether tiles are shown all that the net reaches.

    Parameters
    ----------
    halo : pixels around a tile that the net and the channels reach; None where there is no end,
        or it is beyond what may be read

    Raises
    ------
    ContractError
        naming the model, if that is asked for and cannot be.
    """
    if plan.mode == "exact" and halo is None:
        remedy = "set predict.mode: blend, or auto (or raise predict.context, for net: smp)"
        raise ContractError(name, "a net that sees without end", "a finite reach", remedy)
    if halo is None or plan.mode == "blend":
        return False
    return plan.mode == "exact" or work(plan.tile, halo) <= MOST_WORK


def lattice_of(side: int, stride: int, overlap: float) -> Lattice:
    """Windows of `side` whose steps are multiples of the stride, so that each is seen alike."""
    step = int(side * (1 - overlap)) // stride * stride
    return Lattice(side, min(side, max(stride, step)))


def tiles_of(block: Window, size: int, stride: int) -> Iterator[Window]:
    """The parts of a block cut by a lattice of `size`, rounded up to a multiple of the stride."""
    step = -(-size // stride) * stride
    for row in range(block.row // step * step, block.row_end, step):
        for col in range(block.col // step * step, block.col_end, step):
            part = Window(row, col, step, step).intersect(block)
            if part:
                yield part
