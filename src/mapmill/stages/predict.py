"""predict: classes and confidence of one block, with a halo from its neighbours."""

import logging
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mapmill.areafile import load_area
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.infer import Predictor, Reader, tiles_of
from mapmill.layout import Layout
from mapmill.nets.model import choose_device, load_model
from mapmill.progress import track
from mapmill.provenance import file_digest, tags
from mapmill.raster import Array, BlockMosaic, valid_pixels, write_raster

log = logging.getLogger(__name__)


def run(area_path: Path, map_name: str, block_name: str, output: Path) -> None:
    """Write class, confidence (percent) and, of several models, the class map of each.

    All uint8, 0 where the imagery of every period is missing.
    """
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    grid = area.grid.grid()
    window = grid.block_named(block_name).window
    torch.set_num_threads(area.predict.threads)
    models = area.models_of(map_name)
    predictors = [load_predictor(area, layout.model(model)) for model in models]
    readers = [_reader(area, layout, grid, period) for period in area.periods_of(map_name)]
    members = models if area.predict.members and len(models) > 1 else []
    result_BYX = np.zeros((2 + len(members), window.height, window.width), np.uint8)
    stride = max(predictor.net.stride for predictor in predictors)
    tiles = list(tiles_of(window, area.predict.tile, stride))
    for tile in track(tiles, f"predict {block_name}", len(tiles), "tiles"):
        result_BYX[(slice(None), *tile.slices(window))] = predict_tile(
            predictors, readers, tile, grid.window, bool(members)
        )
    digests = {model: file_digest(layout.model(model)) for model in models}
    write_raster(
        output,
        result_BYX,
        grid,
        window,
        bands=["class", "confidence", *(f"class by {model}" for model in members)],
        nodata=0,
        tags=tags(area, "predict", map_name, **digests),
    )
    halo = max(predictor.halo for predictor in predictors)
    log.info("%s: %d models, halo %d px, on %s", output, len(models), halo, predictors[0].device)


def load_predictor(area: Area, path: Path) -> Predictor:
    """Read a model and check that it fits the area.

    Raises
    ------
    ContractError
        if it was trained on other bands or classes.
    """
    net, card = load_model(path)
    names = [area.classes[value].name for value in sorted(area.classes)]
    for what, found, expected in (
        ("bands", card.bands, area.compose.bands),
        ("classes", card.classes, names),
    ):
        if found != expected:
            raise ContractError(
                path,
                f"{what} {', '.join(found)}",
                f"{', '.join(expected)} as in the area",
                "train again or correct the area file",
            )
    return Predictor.of(net, card, choose_device(area.predict.device))


def _reader(area: Area, layout: Layout, grid: Grid, period: str) -> Reader:
    blocks = BlockMosaic(grid, partial(layout.compose, period), area.compose.nodata)

    def read(window: Window) -> tuple[Array, NDArray[np.bool_]]:
        image_BYX = blocks.read(window)
        return image_BYX, valid_pixels(image_BYX, area.compose.nodata)

    return read


def predict_tile(
    predictors: list[Predictor], readers: list[Reader], tile: Window, grid: Window, members: bool
) -> NDArray[np.uint8]:
    """(2 + members, y, x): class, confidence, and the class by each model.

    Probabilities are averaged over the models and, pixel by pixel, over the periods with data.
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
    mean_KYX = sum(total) / (len(predictors) * np.maximum(seen_YX, 1))
    bands = [mean_KYX.argmax(axis=0) + 1, np.clip(np.rint(100 * mean_KYX.max(axis=0)), 1, 100)]
    bands += [p_KYX.argmax(axis=0) + 1 for p_KYX in total] if members else []
    return np.where(seen_YX > 0, np.stack(bands), 0).astype(np.uint8)
