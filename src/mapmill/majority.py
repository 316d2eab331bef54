"""How the label pixels of a cell choose its class: what the kernels are told, and what they say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapmill import native

METHODS = ("nearest", "mode", "weighted")
TIES = ("first", "lowest", "nearest-to-centre")
WIDEST = 255
"""Label pixels along one side of a cell, at most, that the kernel of square cells can count."""
HEAVIEST = 255
"""Weight of the place that weighs most; all are whole numbers, so that sums are exact."""
U8, U16, F64 = "CPointer(uint8)", "CPointer(uint16)", "CPointer(float64)"
I32, I64 = "CPointer(int32)", "CPointer(int64)"
CELLS = f"{U8} int64 int64 int64 int64 int64 int64 float64 boolean int64 boolean {U8} {F64}"
CELLS += f" {U8} {F64} {U8} {U16} {I32} {U8} {U16} {I64}"
GROUPS = f"{U8} {I64} int64 {U8} {F64} int64 float64 int64 {F64} {I32} {U8} {I32}"

ClassArray = NDArray[np.uint8]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Choice:
    """The rule by which one class wins."""

    classes: int
    """Classes are 1 to this number; 0 is none."""
    method: str = "mode"
    """One of METHODS."""
    ties: str = "first"
    """One of TIES."""
    min_fraction: float = 0.0
    """A cell whose pixels with a class are no more than this share of it gets none."""
    class_weights: Mapping[int, float] = field(default_factory=dict)
    """For `weighted`: of a class, 1 where not given."""
    sigma: float | None = None
    """For `weighted`: width of the Gaussian weight by distance to the centre, in cells."""

    def weights(self) -> NDArray[np.float64]:
        """(256,) weights of the classes."""
        weight_C = np.ones(256)
        if self.method == "weighted":
            for code, weight in self.class_weights.items():
                weight_C[code] = weight
        return weight_C

    def places(
        self, square: NDArray[np.float64], nearest: NDArray[np.float64] | np.float64
    ) -> ClassArray:
        """Weights of places by their squared distance to the cell's centre, in cell widths.

        Parameters
        ----------
        nearest : the least of these in each place's cell, where the weight is HEAVIEST
        """
        if self.method != "weighted" or self.sigma is None:
            return np.ones(square.shape, np.uint8)
        weight = HEAVIEST * np.exp((nearest - square) / (2 * self.sigma**2))
        whole: ClassArray = np.rint(weight).astype(np.uint8)
        return whole


def square_distances(factor: int) -> NDArray[np.float64]:
    """(factor, factor) squared distances of the places to the cell's centre, in cell widths."""
    # from whole numbers, so that places equally far are equally far in the computer too
    square = (2 * np.arange(factor) + 1 - factor) ** 2
    return (square[:, None] + square[None, :]) / (2.0 * factor) ** 2


class Tally:
    """What became of the label pixels: (4, 256) counts by class.

    Its rows: `before`, label pixels; `after`, cells; `kept`, label pixels in cells of their own
    class; `pure`, cells that hold nothing but their class.
    """

    def __init__(self) -> None:
        self.counts: IntArray = np.zeros((4, 256), np.int64)

    def add(self, other: "Tally") -> None:
        """Take in another part's."""
        self.counts += other.counts


class Reducer:
    """Chooses the classes of square cells, strip by strip; for one thread."""

    def __init__(
        self, choice: Choice, factor: int, cols: int, table: ClassArray | None = None
    ) -> None:
        """Make room for strips of `cols` cells; `table` is the class of each code."""
        if not 1 <= factor <= WIDEST:
            raise ValueError(f"{factor} label pixels a side")
        self.factor, self.tally = factor, Tally()
        square = square_distances(factor)
        places = choice.places(square, square.min()).ravel()
        flat, width = bool((places == 1).all()), cols * factor
        room_8 = factor**2 + 2 * width + 256
        room_8 += (0 if flat else factor * width) + (0 if table is None else factor * width)
        self._head: list[float] = [factor, METHODS.index(choice.method), TIES.index(choice.ties)]
        self._head += [choice.min_fraction, flat, choice.classes, table is not None]
        self._arrays: list[NDArray[Any]] = [
            np.zeros(256, np.uint8) if table is None else np.ascontiguousarray(table, np.uint8),
            choice.weights(),
            places,
            square.ravel(),
            np.empty(room_8, np.uint8),
            np.empty(width, np.uint16),
            np.empty(768, np.int32),
        ]
        self._cols = cols
        self._kernel = native.load("kernels", "reduce_cells", CELLS)

    def __call__(self, code_YX: ClassArray) -> tuple[ClassArray, NDArray[np.uint16], int]:
        """Classes of the cells, label pixels of them, and how many pixels are no class at all.

        Parameters
        ----------
        code_YX : (rows * factor, cols * factor) uint8, its rows contiguous
        """
        rows, cols = code_YX.shape[0] // self.factor, code_YX.shape[1] // self.factor
        if cols > self._cols or code_YX.dtype != np.uint8 or code_YX.strides[1] != 1:
            raise ValueError(f"{code_YX.dtype} {code_YX.shape} in room for {self._cols} cells")
        cell_YX, count_YX = np.empty((rows, cols), np.uint8), np.empty((rows, cols), np.uint16)
        places = (code_YX.ctypes.data, code_YX.strides[0], rows, cols)
        arrays = [*self._arrays, cell_YX, count_YX, self.tally.counts]
        beyond = self._kernel(*places, *self._head, *(array.ctypes.data for array in arrays))
        return cell_YX, count_YX, beyond


def reduce(
    choice: Choice, label_YX: ClassArray, factor: int
) -> tuple[ClassArray, NDArray[np.uint16]]:
    """Classes of all cells of an array of classes, and the label pixels of each that have it."""
    label_YX = np.ascontiguousarray(label_YX)
    reducer = Reducer(choice, factor, label_YX.shape[1] // factor)
    cell_YX, count_YX, beyond = reducer(label_YX)
    if beyond:
        raise ValueError(f"{beyond} pixels are beyond class {choice.classes}")
    return cell_YX, count_YX


def settle(
    choice: Choice, class_N: ClassArray, starts: IntArray, square_N: NDArray[np.float64]
) -> tuple[ClassArray, NDArray[np.int32]]:
    """Classes of cells with any number of pixels, and how many pixels have that class.

    Parameters
    ----------
    class_N : classes of pixels, cell after cell
    starts : where each cell's pixels begin, and where the last one's end
    square_N : squared distance of each pixel to its cell's centre, in cell widths
    """
    cells = len(starts) - 1
    cell_N, count_N = np.zeros(cells, np.uint8), np.zeros(cells, np.int32)
    if not len(class_N):
        return cell_N, count_N
    kernel = native.load("kernels", "settle_groups", GROUPS)
    sizes = np.diff(starts)
    nearest_N = np.repeat(np.minimum.reduceat(square_N, starts[:-1][sizes > 0]), sizes[sizes > 0])
    codes, places = np.ascontiguousarray(class_N), choice.places(square_N, nearest_N)
    square_N = np.ascontiguousarray(square_N, np.float64)
    room = np.empty(768, np.int32)
    weight_C, starts = choice.weights(), np.ascontiguousarray(starts, np.int64)
    kernel(
        codes.ctypes.data, starts.ctypes.data, cells, places.ctypes.data, square_N.ctypes.data,
        TIES.index(choice.ties), choice.min_fraction, choice.classes, weight_C.ctypes.data,
        room.ctypes.data, cell_N.ctypes.data, count_N.ctypes.data,
    )  # fmt: skip
    return cell_N, count_N
