"""predict: classes and confidence of one block, with a halo from its neighbours."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mapmill.areafile import load_area, models_of
from mapmill.cards import load_fitting
from mapmill.config import Area
from mapmill.ensemble import Ensemble, Means, bands_of
from mapmill.errors import ContractError
from mapmill.extent import grid_block
from mapmill.flow import flow
from mapmill.grid import Window
from mapmill.halo import plan_of
from mapmill.infer import Predictor
from mapmill.layout import Layout
from mapmill.mirror import Reader
from mapmill.nets.model import choose_device
from mapmill.pieces import Piece, Pieces, side_by_side
from mapmill.plan import Plan
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
    models, plan = models_of(area_path, area, map_name), plan_of(area_path, area, map_name)
    predictors = [load_predictor(area, path, plan) for path in models.values()]
    _refuse_mixture(models, predictors)
    for model, predictor in zip(models, predictors, strict=True):
        log.info("%s: %s, on %s", model, predictor.told, predictor.device)
    window, place, pieces = _ground(area, layout, map_name, block_name)
    readers = _readers(area, pieces, next(iter(models.values())), predictors[0].card.periods)
    ensemble = Ensemble(predictors, readers, pieces[0].extent)
    members = list(models) if area.predict.members and len(models) > 1 else []
    result_BYX = np.zeros((2 + len(members), window.height, window.width), np.uint8)

    def write(unit: Window, means: Means) -> None:
        found_BYX = bands_of(means, area.predict.threshold, bool(members))
        result_BYX[:, *unit.slices(window)] = found_BYX

    units = flow(ensemble.units(window), ensemble.read, ensemble.probabilities, write)
    total = window.height * window.width / 1e6
    for _ in track(units, f"predict {block_name}", total, "Mpx", _megapixels):
        pass
    digests = {name.replace("/", "-"): file_digest(path) for name, path in models.items()}
    write_image(
        output,
        result_BYX,
        place,
        bands=["class", "confidence", *(f"class by {model}" for model in members)],
        nodata=0,
        tags=tags(area, "predict", map_name, **digests),
    )
    log.info("%s: %d models", output, len(models))


def _megapixels(window: Window) -> float:
    return window.height * window.width / 1e6


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


def load_predictor(area: Area, path: Path, plan: Plan) -> Predictor:
    """Read a model and check that it fits the area.

    Raises
    ------
    ContractError
        if it was trained on other bands, classes or units, or cannot be used as `plan` says.
    """
    net, card = load_fitting(area, path)
    return Predictor.of(net, card, choose_device(area.predict.device), plan, str(path))


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
