"""Do labels lie where the image shows them? Correlate the edges of the two. Numpy alone.

Shifts are (south, east), in pixels: where the labels lie, seen from the image.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

RADIUS = 8
"""Shifts up to this many pixels are tried; one that is as long cannot be told."""
CELL = 32
"""Tiles are cut into cells of about this side, in pixels: they tell chance from agreement."""
MIN_CELLS = 24
"""Fewer cells with edges than this say nothing: each counts as one witness."""
MIN_STRENGTH = 4.5
"""Least standard errors by which the best shift stands above the others.

The best of 289 shifts reaches 3 by chance alone; labels of another place reached 4.1.
"""
MAX_ERROR = 0.3
"""Largest standard error of the shift, in pixels; labels of another place stayed above 0.9."""
WRONG = 0.75
"""Length of a shift that is wrong, in pixels: a whole one is caught, half a one is resampling."""
HARMLESS = 0.5
"""A shift is wrong only if, less two standard errors, it is longer than this, in pixels."""
DRAWS = 200


@dataclass(frozen=True)
class Shift:
    """Where labels lie, seen from the image."""

    south: float
    """In pixels; negative is north."""
    east: float
    """In pixels; negative is west."""
    error: float
    """Standard error of the shift over resampled cells, in pixels; NaN without edges."""
    strength: float
    """Standard errors by which the edges agree better at this shift than at the others."""
    tiles: int
    """Tiles that hold edges of labels over imagery."""

    @property
    def size(self) -> float:
        """Length, in pixels."""
        return float(np.hypot(self.south, self.east))

    @property
    def is_clear(self) -> bool:
        """Whether the edges tell the shift at all."""
        return self.strength >= MIN_STRENGTH and self.error <= MAX_ERROR

    @property
    def is_wrong(self) -> bool:
        """Whether the labels clearly lie a whole pixel, or nearly, off the image."""
        return self.is_clear and self.size >= WRONG and self.size - 2 * self.error > HARMLESS

    def sentence(self) -> str:
        """What was found, for people."""
        if not self.is_clear:
            return "cannot tell whether labels and image agree: too few edges that both show"
        tiles = f"edges of {self.tiles} tile{'s' if self.tiles > 1 else ''}"
        if not self.is_wrong:
            return f"labels and image agree within {max(self.size, 0.1):.1f} px ({tiles})"
        return (
            f"labels lie {self.direction()} of the image ({tiles}): "
            "check the georeference of labels and imagery"
        )

    def direction(self) -> str:
        """Such as `1.0 px east and 0.1 px north`; parts below 0.05 px are left out."""
        parts = (self.east, "east", "west"), (self.south, "south", "north")
        named = [
            f"{abs(value):.1f} px {plus if value > 0 else minus}"
            for value, plus, minus in sorted(parts, key=lambda part: -abs(part[0]))
            if abs(value) >= 0.05
        ]
        return " and ".join(named) or "0.0 px"


class ShiftFinder:
    """Sums of the correlation of edges over tiles, for every whole shift up to `radius`.

    Differences of horizontal neighbours are compared with differences of horizontal neighbours,
    vertical with vertical: both lie on the border of two pixels, so no half pixel comes in.
    The correlation is that of Padfield (2012), Masked Object Registration in the Fourier Domain,
    IEEE Transactions on Image Processing 21(5): the means of what overlaps are taken off, and
    pixels without image or label take no part. Covariances and variances are summed over cells,
    of horizontal and vertical edges alike, before the ratio is drawn.

    Tiles should not overlap: what is seen twice would count as two witnesses. Labels that touch
    nothing but unlabelled pixels have no edges: polygons are often drawn inside what they name.
    """

    def __init__(self, radius: int = RADIUS, cell: int = CELL) -> None:
        self.radius = radius
        self.cell = cell
        self.tiles = 0
        side = 2 * radius + 1
        self._covariances: list[Floats] = []
        """For each tile (cell, south, east)."""
        self._variances = np.zeros((2, side, side))
        """Of the edges of the image and of the labels, summed over all cells."""

    def add(self, image_BYX: Array, valid_YX: Array, label_YX: Array) -> None:
        """Add one tile.

        Parameters
        ----------
        image_BYX : numbers of any kind, of at least one band
        valid_YX : bool, where the image has data
        label_YX : classes, whole numbers; 0 and below are no label
        """
        parts = []
        for axis in (0, 1):
            image = [self._cut(a, self.radius) for a in image_edges(image_BYX, valid_YX, axis)]
            labels = [self._cut(a, 0) for a in label_edges(label_YX, axis)]
            parts.append(_masked_sums(*image, *labels))
        covariance_NSE, *variances = parts[0] + parts[1]
        used_N = np.abs(covariance_NSE).max(axis=(1, 2)) > 1e-9
        if used_N.any():
            self.tiles += 1
            self._covariances.append(covariance_NSE[used_N])
            self._variances += np.sum(variances, axis=1)

    def _cut(self, array_YX: Floats, margin: int) -> Floats:
        """Cells (cell, y, x), with a margin of their neighbours all round; 0 beyond the tile."""
        pads, sides = [], []
        for size in array_YX.shape:
            count = max(1, round(size / self.cell))
            side = -(-size // count)
            pads.append((margin, count * side - size + margin))
            sides.append(side)
        shape = (sides[0] + 2 * margin, sides[1] + 2 * margin)
        windows = sliding_window_view(np.pad(array_YX, pads), shape)
        return windows[:: sides[0], :: sides[1]].reshape(-1, *shape)

    def surface(self) -> Floats:
        """Correlation of the edges, (south, east) from -radius to radius; 0 without any."""
        if not self.tiles:
            return np.zeros(self._variances.shape[1:])
        return self._correlation(np.concatenate(self._covariances).sum(axis=0))

    def _correlation(self, covariance: Floats) -> Floats:
        """Correlation, or parts of it that add up to it; (..., south, east)."""
        norm = np.sqrt(self._variances[0] * self._variances[1])
        return _smooth(covariance / np.maximum(norm, norm.max() * 1e-9))

    def result(self) -> Shift:
        """The shift at which the edges agree best."""
        cells = sum(map(len, self._covariances))
        if cells < MIN_CELLS:
            return Shift(0.0, 0.0, float("nan"), 0.0, self.tiles)
        surface_NSE = self._correlation(np.concatenate(self._covariances))
        south, east = _peak(surface_NSE.sum(axis=0))
        random = np.random.default_rng(0)
        weight_DN = random.multinomial(cells, np.full(cells, 1 / cells), DRAWS)
        drawn = np.array([_peak(s) for s in np.tensordot(weight_DN, surface_NSE, axes=1)])
        error = float(np.sqrt(np.mean((drawn - (south, east)) ** 2, axis=0).sum()))
        return Shift(south, east, error, _strength(surface_NSE, south, east), self.tiles)


def label_edges(label_YX: Array, axis: int) -> tuple[Floats, Floats]:
    """Where neighbours along an axis differ, and where both are labelled; 1 or 0, (y, x).

    The last row or column has no neighbour and counts as not labelled.
    """
    first, second = _neighbours(label_YX, axis)
    known_YX = (first > 0) & (second > 0)
    return _full(known_YX & (first != second), axis), _full(known_YX, axis)


def image_edges(image_BYX: Array, valid_YX: Array, axis: int) -> tuple[Floats, Floats]:
    """Difference of neighbours along an axis, 0 to 1, and where both are valid; (y, x).

    Each band's difference d counts as d / (d + its mean), so that no band, and none of a few
    very strong edges such as those of clouds, decides alone.
    """
    first, second = _neighbours(np.asarray(valid_YX, bool), axis)
    seen_YX = first & second
    total_YX = np.zeros(seen_YX.shape)
    for band_YX in image_BYX:
        first, second = _neighbours(np.where(valid_YX, band_YX, 0).astype(np.float32), axis)
        step_YX = np.abs(second - first) * seen_YX
        mean = step_YX.sum() / max(seen_YX.sum(), 1)
        if mean > 0:
            total_YX += step_YX / (step_YX + mean)
    return _full(total_YX / len(image_BYX), axis), _full(seen_YX, axis)


def _neighbours(array_YX: Array, axis: int) -> tuple[Array, Array]:
    return (array_YX[:-1], array_YX[1:]) if axis == 0 else (array_YX[:, :-1], array_YX[:, 1:])


def _full(array_YX: Array, axis: int) -> Floats:
    return np.pad(array_YX.astype(np.float64), [(0, axis == 0), (0, axis == 1)])


def _masked_sums(
    image_NYX: Floats, seen_NYX: Floats, edge_NYX: Floats, known_NYX: Floats
) -> Floats:
    """Covariance, variance of the image's and of the labels' edges, for every shift of each cell.

    Parameters
    ----------
    image_NYX, edge_NYX : edges; the image's cells are larger by the radius on each side
    seen_NYX, known_NYX : 1 where they are known, else 0; the edges are 0 there

    Returns
    -------
    (3, cell, south, east), each times the number of pixels that overlap.
    """
    radius = (image_NYX.shape[1] - edge_NYX.shape[1]) // 2
    size = image_NYX.shape[1:]
    side = 2 * radius + 1
    one, edge = (np.conj(np.fft.rfft2(a, size)) for a in (known_NYX, edge_NYX))
    seen, image, square = (np.fft.rfft2(a) for a in (seen_NYX, image_NYX, image_NYX**2))
    pairs = (seen, one), (seen, edge), (image, one), (image, edge), (square, one)
    sums = []
    for a, b in pairs:
        rows = np.fft.ifft(a * b, axis=1)[:, :side]  # the only ones that are asked for
        offsets = np.fft.irfft(rows, size[1], axis=2)[:, :, :side]
        # an offset says where the image lies, seen from the labels: turn it round
        sums.append(offsets[:, ::-1, ::-1])
    count = np.maximum(np.rint(sums[0]), 1)
    _, edges, image_sum, both, squares = sums
    covariance = both - image_sum * edges / count
    image_variance = np.maximum(squares - image_sum**2 / count, 0)
    edge_variance = np.maximum(edges - edges**2 / count, 0)  # an edge is 1, and so is its square
    return np.stack([covariance, image_variance, edge_variance])


def _smooth(surface: Floats) -> Floats:
    """Weights 1 4 6 4 1 along the last two axes.

    Image and labels of doubled pixels have edges on every second border only: without it, shifts
    that bring these together would win.
    """
    for axis in (-2, -1):
        pads = [(0, 0)] * surface.ndim
        pads[axis] = (2, 2)
        wide = np.moveaxis(np.pad(surface, pads, mode="edge"), axis, 0)
        near, far = wide[1:-3] + wide[3:-1], wide[:-4] + wide[4:]
        surface = np.moveaxis((6 * wide[2:-2] + 4 * near + far) / 16, 0, axis)
    return surface


def _peak(surface_SE: Floats) -> tuple[float, float]:
    """(south, east) of the highest value, by a parabola through its neighbours on each axis."""
    radius = len(surface_SE) // 2
    row, col = np.unravel_index(np.argmax(surface_SE), surface_SE.shape)
    along_row, along_col = surface_SE[:, col], surface_SE[row]
    return _vertex(along_row, int(row)) - radius, _vertex(along_col, int(col)) - radius


def _vertex(values: Floats, best: int) -> float:
    if not 0 < best < len(values) - 1:
        return float(best)
    before, here, after = values[best - 1 : best + 2]
    bend = before - 2 * here + after
    return best + float(0.5 * (before - after) / bend if bend < 0 else 0)


def _strength(surface_NSE: Floats, south: float, east: float) -> float:
    """Best shift against those more than 2 px from it: sum over cells over its standard error."""
    radius = surface_NSE.shape[1] // 2
    row, col = round(south) + radius, round(east) + radius
    if not (0 < row < 2 * radius and 0 < col < 2 * radius):
        return 0.0
    offset = np.arange(2 * radius + 1)
    far = (np.abs(offset[:, None] - row) > 2) | (np.abs(offset - col) > 2)
    gain_N = surface_NSE[:, row, col] - surface_NSE[:, far].mean(axis=1)
    return float(gain_N.sum() / np.sqrt(np.sum(gain_N**2)))
