"""A map's filters in their order: opening, closing, sieve; exact whatever parts they work on.

Each step reads the parts of the map with the halo that it needs, and is kept in a file until the
next is made: memory does not grow with the map.
"""

import csv
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mapmill import morphology, sieve
from mapmill.atomic import whole_file
from mapmill.config import Area
from mapmill.grid import Window
from mapmill.mapping_unit import minimum_px
from mapmill.raster import Read, scratch

Classes = NDArray[np.uint8]
Filter = Callable[[Classes], Classes]
Keep = Callable[..., AbstractContextManager[Read]]
"""Keeps what is read in a file, and reads it from there; see `scratch`."""
log = logging.getLogger(__name__)


class Counts:
    """Pixels of class 0 to 255 after each step, in the order of the steps."""

    def __init__(self) -> None:
        self.steps: dict[str, NDArray[np.int64]] = {}

    @property
    def last(self) -> NDArray[np.int64]:
        """After the last step."""
        return list(self.steps.values())[-1]

    def of(self, step: str, read: Read) -> Read:
        """Count what is read for a step; every pixel is to be read once."""
        total = self.steps[step] = np.zeros(256, np.int64)

        def counted(window: Window) -> Classes:
            values: Classes = read(window)
            total[:] += np.bincount(values.ravel(), minlength=256)
            return values

        return counted


@contextmanager
def filtered(area: Area, path: Path, extent: Window, read: Read) -> Iterator[tuple[Read, Counts]]:
    """The map after its filters, to be read once; and pixels of each class after each step.

    Parameters
    ----------
    path : the product, beside which steps are kept
    read : (1, y, x) class of any window within the extent
    """
    counts, chosen, minimum = Counts(), area.mosaic, minimum_px(area)
    keep = partial(scratch, path, area.the_grid(), extent)
    last = "predicted"
    with ExitStack() as stack:
        for step, function, radii in (
            ("opening", morphology.opening, chosen.opening),
            ("closing", morphology.closing, chosen.closing),
        ):
            if radii:
                read = stack.enter_context(keep(counts.of(last, read)))
                halo = sum(map(morphology.halo, radii.values()))
                read, last = _around(read, extent, partial(function, radii=radii), halo), step
        if minimum > 1:
            read = counts.of(last, read)
            read, last = stack.enter_context(sieved(keep, extent, read, minimum)), "sieve"
        yield counts.of(last, read), counts


def _around(read: Read, extent: Window, function: Filter, halo: int) -> Read:
    """A filter of what is read, made of the window and `halo` pixels around it."""

    def wide(window: Window) -> Classes:
        larger = window.grow(halo).intersect(extent)
        assert larger
        found_YX = function(read(larger)[0])
        return found_YX[window.slices(larger)][None]

    return wide


@contextmanager
def sieved(keep: Keep, extent: Window, read: Read, minimum: int) -> Iterator[Read]:
    """The map without patches of fewer than `minimum` pixels: pass after pass, to the last."""
    halo, passes = sieve.halo(minimum), 0
    with ExitStack() as stack:
        read = stack.enter_context(keep(read))
        while True:
            once = _around(read, extent, partial(sieve.sieve_pass, minimum=minimum), halo)
            changed = 0

            def compared(window: Window, before: Read = read, after: Read = once) -> Classes:
                nonlocal changed
                result: Classes = after(window)
                changed += int((result != before(window)).sum())
                return result

            following = stack.enter_context(keep(compared, halo))
            if not changed:
                break
            read, passes = following, passes + 1
        log.info("sieve of %d px: %d passes", minimum, passes)
        yield read


def write_counts(path: Path, area: Area, counts: Counts) -> str:
    """Write pixels of each class after each step, and its area; the same as lines for a log."""
    mapped = max(int(counts.last[1:].sum()), 1)
    header = ["class", "name", *(f"{step}_px" for step in counts.steps), "area", "share"]
    rows: list[list[str]] = []
    for value, entry in sorted(area.classes.items()):
        pixels = [str(total[value]) for total in counts.steps.values()]
        ground = f"{int(pixels[-1]) * area.the_grid().resolution ** 2:.10g}"
        share = f"{int(pixels[-1]) / mapped:.6f}"
        rows.append([str(value), entry.name, *pixels, ground, share])
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return "\n".join("  ".join(row) for row in (header, *rows))
