"""The models of a map, read and shown its imagery; `predict` and `calibrate` begin so."""

import logging
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mapmill.areafile import models_of
from mapmill.cards import load_fitting
from mapmill.config import Area
from mapmill.ensemble import Ensemble
from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.halo import plan_of
from mapmill.infer import Predictor
from mapmill.mirror import Reader
from mapmill.nets.model import choose_device
from mapmill.pieces import Piece, side_by_side
from mapmill.plan import Plan
from mapmill.raster import Array, valid_pixels

log = logging.getLogger(__name__)


def ensemble_of(area_path: Path, area: Area, map_name: str, pieces: list[Piece]) -> Ensemble:
    """A map's models, shown the pieces of its periods, or one chip."""
    torch.set_num_threads(area.predict.threads)
    models, plan = models_of(area_path, area, map_name), plan_of(area_path, area, map_name)
    predictors = [load_predictor(area, path, plan) for path in models.values()]
    _refuse_mixture(models, predictors)
    for model, predictor in zip(models, predictors, strict=True):
        log.info("%s: %s, on %s", model, predictor.told, predictor.device)
    readers = _readers(area, pieces, next(iter(models.values())), predictors[0].card.periods)
    return Ensemble(predictors, readers, pieces[0].extent)


def next_chip(area: Area, ensemble: Ensemble, chip: Piece) -> Ensemble:
    """The same models, shown another chip."""
    return Ensemble(ensemble.predictors, [_reader(area, chip)], chip.extent)


def _refuse_mixture(models: dict[str, Path], predictors: list[Predictor]) -> None:
    """Models of one run are shown the same; one of before the run was changed is not."""
    first = predictors[0].card.periods
    for path, predictor in zip(models.values(), predictors, strict=True):
        if predictor.card.periods != first:
            found, expected = (", ".join(p) or "none" for p in (predictor.card.periods, first))
            raise ContractError(path, f"joined periods {found}", expected, "train the run again")


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
