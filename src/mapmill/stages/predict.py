"""predict: classes and confidence of one block, with a halo from its neighbours."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mapmill.areafile import load_area, models_of
from mapmill.cards import load_fitting
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.extent import grid_block
from mapmill.grid import Window
from mapmill.infer import Predictor, Reader, tiles_of
from mapmill.layout import Layout
from mapmill.nets.model import choose_device
from mapmill.pieces import Piece, Pieces, side_by_side
from mapmill.progress import track
from mapmill.provenance import file_digest, tags
from mapmill.raster import Array, Georeference, valid_pixels, write_image

log = logging.getLogger(__name__)


def run(area_path: Path, map_name: str, block_name: str, output: Path) -> None:
    """Write class, confidence (percent) and, of several models, the class map of each.

    All uint8, 0 where the imagery of every period is missing. A block is a part of the grid,
    or a whole chip with its own georeference.
    """
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    torch.set_num_threads(area.predict.threads)
    models = models_of(area_path, area, map_name)
    predictors = [load_predictor(area, path) for path in models.values()]
    _refuse_mixture(models, predictors)
    for model, predictor in zip(models, predictors, strict=True):
        if not predictor.is_exact:
            log.warning(
                "%s looks at more than it is shown: %d px around each tile (predict.context); "
                "the map depends on that and on predict.tile",
                model,
                predictor.halo,
            )
    window, place, pieces = _ground(area, layout, map_name, block_name)
    readers = _readers(area, pieces, next(iter(models.values())), predictors[0].card.periods)
    members = list(models) if area.predict.members and len(models) > 1 else []
    result_BYX = np.zeros((2 + len(members), window.height, window.width), np.uint8)
    stride = max(predictor.net.stride for predictor in predictors)
    tiles = list(tiles_of(window, area.predict.tile, stride))
    for tile in track(tiles, f"predict {block_name}", len(tiles), "tiles"):
        result_BYX[(slice(None), *tile.slices(window))] = predict_tile(
            predictors, readers, tile, pieces[0].extent, bool(members), area.predict.threshold
        )
    digests = {name.replace("/", "-"): file_digest(path) for name, path in models.items()}
    write_image(
        output,
        result_BYX,
        place,
        bands=["class", "confidence", *(f"class by {model}" for model in members)],
        nodata=0,
        tags=tags(area, "predict", map_name, **digests),
    )
    halo = max(predictor.halo for predictor in predictors)
    log.info("%s: %d models, halo %d px, on %s", output, len(models), halo, predictors[0].device)


def _refuse_mixture(models: dict[str, Path], predictors: list[Predictor]) -> None:
    """Models of one run are shown the same; one of before the run was changed is not."""
    first = predictors[0].card.periods
    for path, predictor in zip(models.values(), predictors, strict=True):
        if predictor.card.periods != first:
            found, expected = (", ".join(p) or "none" for p in (predictor.card.periods, first))
            raise ContractError(path, f"joined periods {found}", expected, "train the run again")


def _ground(
    area: Area, layout: Layout, map_name: str, name: str
) -> tuple[Window, Georeference, list[Piece]]:
    """The window to map, where it lies, and what is seen there (in each period)."""
    if area.chips:
        chip = Pieces(area, layout).open(name)
        return chip.extent, chip.place, [chip]
    grid, window = area.the_grid(), grid_block(area, name).window
    pieces = [Pieces(area, layout).open(period) for period in area.periods_of(map_name)]
    return window, Georeference(grid.crs, grid.transform(window)), pieces


def load_predictor(area: Area, path: Path) -> Predictor:
    """Read a model and check that it fits the area.

    Raises
    ------
    ContractError
        if it was trained on other bands, classes or units.
    """
    net, card = load_fitting(area, path)
    device = choose_device(area.predict.device)
    return Predictor.of(net, card, device, area.predict.context)


def _readers(area: Area, pieces: list[Piece], model: Path, periods: list[str]) -> list[Reader]:
    """One for each period; one of all together where the model joins `periods`.

    Raises
    ------
    ContractError
        if there is a chip, or a period that the model does not know, where periods are joined.
    """
    if not periods:
        return [_reader(area, piece) for piece in pieces]
    seen = {piece.name: _reader(area, piece) for piece in pieces}
    unknown = [name for name in seen if name not in periods]
    if unknown:
        found = f"{'a chip' if pieces[0].is_chip else 'period'} {', '.join(unknown)}"
        expected = f"the periods that the model joins: {', '.join(periods)}"
        raise ContractError(model, found, expected, "call the map's periods so, or train again")
    missing = [name for name in periods if name not in seen]
    if missing:
        log.warning("%s: missing in this map, and shown as missing", ", ".join(missing))

    def read(window: Window) -> tuple[Array, NDArray[np.bool_]]:
        found = [seen[name](window) if name in seen else None for name in periods]
        return side_by_side(found, len(area.bands))

    return [read]


def _reader(area: Area, piece: Piece) -> Reader:
    def read(window: Window) -> tuple[Array, NDArray[np.bool_]]:
        image_BYX = piece.image(window)
        return image_BYX, valid_pixels(image_BYX, area.compose.nodata)

    return read


def predict_tile(
    predictors: list[Predictor],
    readers: list[Reader],
    tile: Window,
    grid: Window,
    members: bool,
    threshold: float = 0.5,
) -> NDArray[np.uint8]:
    """(2 + members, y, x): class, confidence, and the class by each model.

    Probabilities are averaged over the models and, pixel by pixel, over the periods with data.
    The confidence is the probability of the class that is mapped.
    """
    seen_YX = np.zeros((tile.height, tile.width), np.int64)
    total = [np.zeros((len(p.card.classes), tile.height, tile.width)) for p in predictors]
    for read in readers:
        valid_YX = read(tile)[1]
        if not valid_YX.any():
            continue
        seen_YX += valid_YX
        for index, predictor in enumerate(predictors):
            p_KYX = predictor.probabilities(tile, grid, read)
            total[index] += np.where(valid_YX, p_KYX, 0)
    times_YX = np.maximum(seen_YX, 1)
    mean_KYX = sum(total) / (len(predictors) * times_YX)
    class_YX = classes_of(mean_KYX, threshold)
    confidence_YX = np.take_along_axis(mean_KYX, class_YX[None] - 1, axis=0)[0]
    bands = [class_YX, np.clip(np.rint(100 * confidence_YX), 1, 100)]
    bands += [classes_of(p_KYX / times_YX, threshold) for p_KYX in total] if members else []
    return np.where(seen_YX > 0, np.stack(bands), 0).astype(np.uint8)


def classes_of(p_KYX: Array, threshold: float = 0.5) -> NDArray[np.int64]:
    """The most probable class, 1 to K; of two the second where it is above the threshold."""
    if len(p_KYX) == 2:
        return np.where((1 - threshold) * p_KYX[1] > threshold * p_KYX[0], 2, 1)
    return np.asarray(p_KYX.argmax(axis=0) + 1)
