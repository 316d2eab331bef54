"""Numba kernels that choose the class of a cell from its label pixels.

Written for machine code that needs nothing of Python or numba when it runs (`mapmill.native`):
one-dimensional arrays, rooms that the caller gives, no errors. Arrays are uint8 classes, 0 for
none, unless a line says otherwise. `base` and `stride` are the first pixel of a strip of cells
and the pixels from one row to the next.
"""

from typing import Any

import numba
import numpy as np

NEAREST, MODE, WEIGHTED = 0, 1, 2
FIRST, LOWEST, NEAR_CENTRE = 0, 1, 2
MOST_PASSES = 24
"""Classes that are counted by one comparison of a whole strip each, before pixels one by one."""
COUNTS, SUMS, KNOWN = 0, 256, 512
"""Where counts, sums of weights, and counts of the strip before begin in the room of int32."""

_compiled = numba.njit(error_model="numpy", nogil=True)


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def reduce_cells(
    label: Any, stride: int, rows: int, cols: int, factor: int, method: int, ties: int,
    min_fraction: float, flat: bool, classes: int, lookup: bool, table: Any, class_weight: Any,
    place: Any, distance: Any, room_8: Any, room_16: Any, room_32: Any, cell: Any, count: Any,
    tally: Any,
) -> int:  # fmt: skip
    """Choose the classes of `rows` x `cols` cells of `factor` x `factor` label pixels.

    Parameters
    ----------
    label : codes; classes where `lookup` is false
    table : class of each of 256 codes
    class_weight : (256,) float64
    place, distance : (factor**2,) weight and squared distance to the centre of each place
    room_8, room_16, room_32 : see `mapmill.majority`
    cell, count : (rows * cols,) to fill: the class, and uint16 label pixels of it
    tally : (4, 256) int64 to add to: label pixels of each class, cells that it got, its label
        pixels in those, and those that hold nothing else

    Returns
    -------
    Label pixels that are no class from 0 to `classes`; with any, the rest is not to be used.
    """
    width, size = cols * factor, factor * factor
    middle, column, order = size, size + width, size + 2 * width
    wide = order + 256
    strip = wide + (0 if flat else factor * width)
    for code in range(classes + 1):
        room_8[order + code] = code
        room_32[KNOWN + code] = 0
    if not flat:
        _repeat_places(place, factor, width, room_8, wide)
    for row in range(rows):
        pixels, base, step = label, row * factor * stride, stride
        if lookup:
            _look_up(label, base, stride, width, factor, table, room_8, strip)
            pixels, base, step = room_8, strip, width
        beyond = _count_classes(
            pixels, base, step, width, factor, classes, room_8, order, column, room_32, tally
        )
        if beyond:
            return beyond
        first = row * cols
        _count_middle(pixels, base, step, cols, factor, room_8, middle, column, count, first)
        if not flat:
            _weigh_middle(pixels, base, step, width, factor, room_8, middle, wide, room_16)
        _choose(
            pixels, base, step, cols, factor, method, ties, min_fraction, flat, classes,
            class_weight, place, distance, room_8, middle, room_16, room_32, first, cell, count,
            tally,
        )  # fmt: skip
    return 0


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _repeat_places(place: Any, factor: int, width: int, room_8: Any, wide: int) -> None:
    """The weights of the places of one cell, repeated along a strip."""
    for y in range(factor):
        for x in range(width):
            room_8[wide + y * width + x] = place[y * factor + x % factor]


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _look_up(
    label: Any, base: int, stride: int, width: int, factor: int, table: Any, room_8: Any, strip: int
) -> None:
    """A strip of codes as classes."""
    for y in range(factor):
        for x in range(width):
            room_8[strip + y * width + x] = table[label[base + y * stride + x]]


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _choose(
    pixels: Any, base: int, stride: int, cols: int, factor: int, method: int, ties: int,
    min_fraction: float, flat: bool, classes: int, class_weight: Any, place: Any, distance: Any,
    room_8: Any, middle: int, room_16: Any, room_32: Any, first: int, cell: Any, count: Any,
    tally: Any,
) -> None:  # fmt: skip
    """Classes of the cells of a strip: the middle pixel's where no other can win, else settled."""
    size = factor * factor
    least, whole, heaviest = int(min_fraction * size + 1e-9), 0, 0.0
    for at in range(size):
        whole += place[at]
    for code in range(1, classes + 1):
        heaviest = max(heaviest, class_weight[code])
    for col in range(cols):
        code, found = room_8[middle + col * factor], count[first + col]
        certain = method == NEAREST or found == size
        if code and not certain:
            weight = found if flat else _sum(room_16, col * factor, factor)
            others = heaviest * (whole - weight)
            certain = found > least and class_weight[code] * weight > others
        if not certain:
            _copy_cell(pixels, base + col * factor, stride, factor, room_8)
            code = _settle(
                room_8, 0, size, place, 0, distance, flat, ties, least, classes, class_weight,
                room_32,
            )  # fmt: skip
            found = room_32[COUNTS + code]
        cell[first + col], count[first + col] = code, found
        tally[256 + code] += 1
        tally[512 + code] += found
        tally[768 + code] += found == size


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _sum(values: Any, start: int, length: int) -> int:
    total = 0
    for at in range(start, start + length):
        total += values[at]
    return total


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _copy_cell(pixels: Any, start: int, stride: int, factor: int, room_8: Any) -> None:
    """The pixels of one cell, row by row, at the beginning of the room."""
    for y in range(factor):
        for x in range(factor):
            room_8[y * factor + x] = pixels[start + y * stride + x]


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _count_classes(
    pixels: Any, base: int, stride: int, width: int, factor: int, classes: int, room_8: Any,
    order: int, column: int, room_32: Any, tally: Any,
) -> int:  # fmt: skip
    """Add the pixels of each class of a strip to `tally`; how many are of none.

    One comparison of the strip for each class, the most frequent of the last strip first, until
    all pixels are found: faster than pixel by pixel for the few classes that one place has.
    """
    left = factor * width
    for turn in range(min(classes + 1, MOST_PASSES)):
        code = room_8[order + turn]
        for x in range(width):
            room_8[column + x] = 0
        for y in range(factor):
            at = base + y * stride
            for x in range(width):
                room_8[column + x] += np.uint8(pixels[at + x] == code)
        found: Any = np.int32(0)
        for x in range(width):
            found += np.int32(room_8[column + x])
        tally[code] += found
        left -= found
        room_32[KNOWN + code] = found
        if turn and found > room_32[KNOWN + room_8[order + turn - 1]]:
            room_8[order + turn] = room_8[order + turn - 1]
            room_8[order + turn - 1] = code
        if left == 0:
            return 0
    for turn in range(min(classes + 1, MOST_PASSES)):  # more classes than passes: start again
        tally[room_8[order + turn]] -= room_32[KNOWN + room_8[order + turn]]
    return _count_singly(pixels, base, stride, width, factor, classes, tally)


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _count_singly(
    pixels: Any, base: int, stride: int, width: int, factor: int, classes: int, tally: Any
) -> int:
    """As `_count_classes`, pixel by pixel."""
    beyond = 0
    for y in range(factor):
        for x in range(width):
            code = pixels[base + y * stride + x]
            tally[code] += 1
            beyond += code > classes
    return beyond


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _count_middle(
    pixels: Any, base: int, stride: int, cols: int, factor: int, room_8: Any, middle: int,
    column: int, count: Any, first: int,
) -> None:  # fmt: skip
    """How many pixels of each cell of a strip are like its middle one, GDAL's nearest."""
    width, half = cols * factor, factor // 2
    for col in range(cols):
        code = pixels[base + half * stride + col * factor + half]
        for x in range(col * factor, col * factor + factor):
            room_8[middle + x] = code
    for x in range(width):
        room_8[column + x] = 0
    for y in range(factor):
        at = base + y * stride
        for x in range(width):
            room_8[column + x] += np.uint8(pixels[at + x] == room_8[middle + x])
    for col in range(cols):
        total = 0
        for x in range(col * factor, col * factor + factor):
            total += room_8[column + x]
        count[first + col] = total


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _weigh_middle(
    pixels: Any, base: int, stride: int, width: int, factor: int, room_8: Any, middle: int,
    wide: int, room_16: Any,
) -> None:  # fmt: skip
    """In each column of a strip the weights of the pixels that are like their cell's middle one."""
    for x in range(width):
        room_16[x] = 0
    for y in range(factor):
        at, weights = base + y * stride, wide + y * width
        for x in range(width):
            same = np.uint16(pixels[at + x] == room_8[middle + x])
            room_16[x] += np.uint16(room_8[weights + x]) * same


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _settle(
    codes: Any, start: int, size: int, place: Any, where: int, distance: Any, flat: bool,
    ties: int, least: int, classes: int, class_weight: Any, room: Any,
) -> int:  # fmt: skip
    """The class of one cell, all of its pixels counted; the counts stay in `room`.

    Parameters
    ----------
    start, where : of the cell's first pixel in `codes`, and in `place` and `distance`
    least : pixels that must be more than this to have a class at all
    """
    _count_cell(codes, start, size, place, where, flat, classes, room)
    if size - room[COUNTS] <= least:
        return 0
    kind = COUNTS if flat else SUMS
    best, most, tied = 0, -1.0, False
    for code in range(1, classes + 1):
        if room[COUNTS + code]:
            score = class_weight[code] * room[kind + code]
            tied = score == most or (tied and score < most)
            if score > most:
                best, most = code, score
    if tied and ties == NEAR_CENTRE:
        return _nearest_of(most, codes, start, size, distance, where, class_weight, room, kind)
    if tied and ties == FIRST:
        return _first_to_reach(codes, start, size, place, where, classes, class_weight, room)
    return best


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _count_cell(
    codes: Any, start: int, size: int, place: Any, where: int, flat: bool, classes: int, room: Any
) -> None:
    """Pixels of each class in a cell, and the sums of their weights unless all are 1."""
    for code in range(classes + 1):
        room[COUNTS + code] = room[SUMS + code] = 0
    for at in range(size):
        room[COUNTS + codes[start + at]] += 1
    if not flat:
        for at in range(size):
            room[SUMS + codes[start + at]] += place[where + at]


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _nearest_of(
    most: float, codes: Any, start: int, size: int, distance: Any, where: int, class_weight: Any,
    room: Any, kind: int,
) -> int:  # fmt: skip
    """Of the classes whose score is `most`, that of the pixel nearest to the cell's centre."""
    best, nearest = 0, np.inf
    for at in range(size):
        code, here = codes[start + at], distance[where + at]
        if code and here < nearest and class_weight[code] * room[kind + code] == most:
            best, nearest = code, here
    return best


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def _first_to_reach(
    codes: Any, start: int, size: int, place: Any, where: int, classes: int, class_weight: Any,
    room: Any,
) -> int:  # fmt: skip
    """The class whose score is the first to reach the largest one, pixel by pixel."""
    for code in range(1, classes + 1):
        room[SUMS + code] = 0
    best = 0
    for at in range(size):
        code = codes[start + at]
        if code:
            room[SUMS + code] += place[where + at]
            score = class_weight[code] * room[SUMS + code]
            if best == 0 or score > class_weight[best] * room[SUMS + best]:
                best = code
    return best


@_compiled  # type: ignore[untyped-decorator, unused-ignore]
def settle_groups(
    codes: Any, starts: Any, cells: int, place: Any, distance: Any, ties: int,
    min_fraction: float, classes: int, class_weight: Any, room_32: Any, cell: Any, count: Any,
) -> int:  # fmt: skip
    """Choose the classes of cells with any number of pixels, which stand cell after cell.

    Parameters
    ----------
    codes : classes; those of cell n are from starts[n] up to starts[n + 1]
    place, distance : uint8 and float64, of each pixel
    count : (cells,) int32 to fill: pixels of the chosen class
    """
    for number in range(cells):
        start, size = starts[number], starts[number + 1] - starts[number]
        code = 0
        if size:
            least = int(min_fraction * size + 1e-9)
            code = _settle(
                codes, start, size, place, start, distance, False, ties, least, classes,
                class_weight, room_32,
            )  # fmt: skip
        cell[number] = code
        count[number] = room_32[COUNTS + code] if size else 0
    return 0
