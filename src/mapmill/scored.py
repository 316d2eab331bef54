"""Pixels of the validation or test part counted: cell by cell, each pixel once."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mapmill import boundary, calibration, metrics
from mapmill.config import Area
from mapmill.forest import PixelForest
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.metrics import Matrix
from mapmill.pieces import Pieces, mosaic_of
from mapmill.progress import track
from mapmill.raster import Array, BlockMosaic, Read, parts_of, read_bands, reading, valid_pixels
from mapmill.scores import FOREST, Counted
from mapmill.tile_scores import TileTally
from mapmill.tiles import Tile, read_tiles


def nothing(area: Area) -> Counted:
    """Of a map that no part scores."""
    count = len(area.classes)
    sure = np.zeros((count, 101, 2), np.int64)
    empty = np.zeros((0, count, count), np.int64)
    return Counted([], {"map": empty}, [], np.zeros((0, count, 4), np.int64), sure, [])


@dataclass(frozen=True)
class Cell:
    """A spatial block, or a chip, with the labels of one part."""

    name: str
    window: Window
    label_YX: Array
    """0 outside the part."""
    map_YX: Array
    """Classes of the map; of a chip as predicted."""
    predicted_BYX: Array
    """Bands of the prediction."""
    bands: list[str]
    image: Callable[[], Array]


def count(
    area: Area, layout: Layout, map_name: str, split: str, forest: PixelForest | None
) -> Counted:
    """Confusion matrices (cell, K, K) of the map, each member and the baseline."""
    size = area.the_select().size  # tiles of further sizes show the same ground again
    tiles = [t for t in read_tiles(layout.tiles) if t.split == split and t.size == size]
    names: list[str] = []
    windows, edges = [], []
    classes, sure = len(area.classes), nothing(area).sure
    found: dict[str, list[Matrix]] = {}
    cells = _chips if area.chips else _blocks
    ground = [] if area.chips else list(dict.fromkeys(tile.window for tile in tiles))
    tally = TileTally(ground, classes)
    for cell in cells(area, layout, map_name, split, tiles):
        if not cell.label_YX.any():
            continue
        number = cell.bands.index("confidence")
        numbers = [n for n, name in enumerate(cell.bands) if name.startswith("class by ")]
        label_YX, map_YX, predicted_BYX = cell.label_YX, cell.map_YX, cell.predicted_BYX
        # confidence is that of the class that was predicted, whatever a filter made of it
        sure = sure + calibration.count(label_YX, predicted_BYX[0], predicted_BYX[number], classes)
        edges.append(boundary.edge_counts(label_YX, map_YX, classes, area.assess.tolerance))
        windows.append(cell.window)
        if not area.chips:
            tally.add(cell.window, label_YX, map_YX)
        alone = {cell.bands[n].removeprefix("class by "): predicted_BYX[n] for n in numbers}
        counted = {"map": map_YX} | alone
        if forest:
            wanted_YX = (cell.label_YX > 0) & (counted["map"] > 0)
            counted[FOREST] = forest.classify(cell.image(), wanted_YX)
        names.append(cell.name)
        for name, mapped_YX in counted.items():
            matrix = metrics.confusion_matrix(cell.label_YX, mapped_YX, classes)
            found.setdefault(name, []).append(matrix)
    if not names:
        return nothing(area)
    matrices = {name: np.stack(each) for name, each in found.items()}
    return Counted(names, matrices, windows, np.stack(edges), sure, tally.scores())


def _chips(
    area: Area, layout: Layout, map_name: str, split: str, tiles: list[Tile]
) -> Iterator[Cell]:
    """Chips that hold pixels of a part."""
    pieces = Pieces(area, layout)
    inside: dict[str, list[Window]] = {}
    for tile in tiles:
        inside.setdefault(tile.chip, []).append(tile.window)
    for name, windows in track(inside.items(), f"assess {split}", len(inside), "chips"):
        piece = pieces.open(name)
        part_YX = mask(piece.extent, windows)
        label_YX = np.where(part_YX, piece.label(piece.extent), 0)
        found_BYX, bands = read_bands(layout.predict(map_name, name))
        image = partial(piece.image, piece.extent)
        yield Cell(name, piece.extent, label_YX, found_BYX[0], found_BYX, bands, image)


def _blocks(
    area: Area, layout: Layout, map_name: str, split: str, tiles: list[Tile]
) -> Iterator[Cell]:
    """Spatial blocks that hold pixels of a part."""
    blocks = mosaic_of(area, partial(layout.predict, map_name), 0)
    labels = mosaic_of(area, layout.downsample, 0)
    nodata, side = area.compose.nodata, area.assess.block
    images = [
        mosaic_of(area, partial(layout.compose, period), nodata)
        for period in area.periods_of(map_name)
    ]

    def image(cell: Window) -> Array:
        """Of the first period with data, pixel by pixel."""
        result = images[0].read(cell)
        for each in images[1:]:
            result = np.where(valid_pixels(result, nodata), result, each.read(cell))
        return result

    touching: dict[tuple[int, int], set[Window]] = {}
    for w in {tile.window for tile in tiles}:
        for row in range(w.row // side, (w.row_end - 1) // side + 1):
            for col in range(w.col // side, (w.col_end - 1) // side + 1):
                touching.setdefault((row, col), set()).add(w)
    cells = track(sorted(touching.items()), f"assess {split}", len(touching), "blocks")
    with _published(area, blocks, layout.map(map_name)) as read:
        for (row, col), windows in cells:
            cell = Window(row * side, col * side, side, side).intersect(blocks.extent)
            if cell:
                label_YX = np.where(mask(cell, windows), labels.read(cell)[0], 0)
                name, found_BYX = f"y{cell.row}x{cell.col}", blocks.read(cell)
                map_YX = read(cell)[0] if read else found_BYX[0]
                shown = partial(image, cell)
                yield Cell(name, cell, label_YX, map_YX, found_BYX, blocks.bands(), shown)


@contextmanager
def _published(area: Area, blocks: BlockMosaic, path: Path) -> Iterator[Read | None]:
    """A function that reads the published map; None where it is as predicted."""
    if not area.mosaic.has_filters:
        yield None
        return
    with reading(path, blocks.extent) as read:
        yield read


def thinned(area: Area, layout: Layout, map_name: str, step: int) -> Array:
    """(y, x) classes of the published map at every `step`-th pixel, for pictures."""
    blocks = mosaic_of(area, partial(layout.predict, map_name), 0)
    extent = blocks.extent
    with _published(area, blocks, layout.map(map_name)) as read:
        if read is None:
            as_predicted_YX: Array = blocks.thin(step, [1])[0]
            return as_predicted_YX
        result_YX = np.zeros((-(-extent.height // step), -(-extent.width // step)), np.uint8)
        for part in parts_of(extent):
            rows, cols = part.slices(extent)
            down, right = -rows.start % step, -cols.start % step
            result_YX[_thin(rows, step), _thin(cols, step)] = read(part)[0, down::step, right::step]
        return result_YX


def mask(cell: Window, windows: Iterable[Window], step: int = 1) -> Array:
    """(y, x) bool: where a window lies in the cell, at every `step`-th pixel."""
    rows, cols = -(-cell.height // step), -(-cell.width // step)
    inside_YX = np.zeros((rows, cols), bool)
    for window in windows:
        part = window.intersect(cell)
        if part:
            inside = part.slices(cell)
            inside_YX[_thin(inside[0], step), _thin(inside[1], step)] = True
    return inside_YX


def _thin(part: slice, step: int) -> slice:
    """Of a span of pixels, those that are multiples of `step`."""
    return slice(-(-part.start // step), -(-part.stop // step))
