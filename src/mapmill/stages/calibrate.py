"""calibrate: how far a map's confidence can be believed, measured on the validation part."""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mapmill.areafile import load_area
from mapmill.assembly import ensemble_of, next_chip
from mapmill.atomic import write_json
from mapmill.config import Area
from mapmill.ensemble import Ensemble
from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.pieces import Pieces
from mapmill.progress import track
from mapmill.provenance import tags
from mapmill.raster import Array
from mapmill.temperature import (
    best_threshold,
    fit_temperature,
    negative_log_likelihood,
    reliability,
    tempered,
)
from mapmill.tiles import Tile, read_tiles

log = logging.getLogger(__name__)


class Place(NamedTuple):
    """A tile's ground, whatever the period."""

    chip: str
    window: Window


def run(area_path: Path, map_name: str, output: Path) -> None:
    """Write temperature, threshold (of two classes) and reliability before and after, as JSON.

    Probabilities are those of the map: averaged over its models and periods, with their
    surroundings.

    Raises
    ------
    ContractError
        if no pixel of the validation part is labelled and has imagery.
    """
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    places = _places(area, read_tiles(layout.tiles))
    p_KN, truth_N = _sample(area_path, area, layout, map_name, places)
    if not len(truth_N):
        remedy = "raise the part of validation in select.split"
        raise ContractError(layout.tiles, "no labelled validation pixel", "some", remedy)
    result = measured(p_KN, truth_N, area.calibrate.bins)
    about = {"map": map_name, "tiles": len(places), "provenance": tags(area, "calibrate", map_name)}
    write_json(output, result | about)
    log.info(
        "%s: temperature %.3f, calibration error %.4f, then %.4f, of %d pixels",
        output,
        result["temperature"],
        result["before"]["error"],
        result["after"]["error"],
        len(truth_N),
    )


def measured(p_KN: Array, truth_N: Array, bins: int) -> dict[str, Any]:
    """All that the sample says.

    Parameters
    ----------
    p_KN : probabilities of class 1 to K
    truth_N : 0 to K - 1
    """
    temperature = fit_temperature(p_KN, truth_N)
    result: dict[str, Any] = {"temperature": temperature, "pixels": len(truth_N)}
    for name, at_KN in (("before", p_KN), ("after", tempered(p_KN, temperature))):
        result[name] = asdict(reliability(at_KN, truth_N, bins))
        loss = negative_log_likelihood(at_KN, truth_N)
        result[name]["negative_log_likelihood"] = loss
    if len(p_KN) == 2:
        threshold, score = best_threshold(p_KN[1], truth_N)
        result |= {"threshold": threshold, "f1_at_threshold": score}
    return result


def _places(area: Area, tiles: list[Tile]) -> list[Place]:
    """Validation tiles, evenly spread over all of them; each once, whatever the period."""
    size = area.the_select().size
    found = {Place(t.chip, t.window) for t in tiles if t.split == "val" and t.size == size}
    ordered = sorted(found, key=lambda place: (place.chip, place.window.row, place.window.col))
    step = max(1, -(-len(ordered) // area.calibrate.tiles))
    return ordered[::step]


def _sample(
    area_path: Path, area: Area, layout: Layout, map_name: str, places: list[Place]
) -> tuple[Array, Array]:
    """Probabilities (K, N) float64 and truth (N,), 0 to K - 1, of pixels evenly spread."""
    pixels = sum(place.window.height * place.window.width for place in places)
    step = max(1, -(-pixels // area.calibrate.samples))
    probabilities = [np.zeros((len(area.classes), 0))]
    truths = [np.zeros(0, np.int64)]
    start = 0
    seen = _seen(area_path, area, layout, map_name, places)
    for window, label_YX, ensemble in track(seen, f"calibrate {map_name}", len(places), "tiles"):
        picked = np.arange(start, label_YX.size, step)
        start = (start - label_YX.size) % step
        if not label_YX.ravel()[picked].any():
            continue
        means = ensemble.probabilities(window)
        used = picked[((label_YX > 0) & (means.times_YX > 0)).ravel()[picked]]
        probabilities.append(means.p_KYX.reshape(len(area.classes), -1)[:, used].astype(np.float64))
        truths.append(label_YX.ravel()[used].astype(np.int64) - 1)
    return np.concatenate(probabilities, axis=1), np.concatenate(truths)


def _seen(
    area_path: Path, area: Area, layout: Layout, map_name: str, places: list[Place]
) -> Iterator[tuple[Window, Array, Ensemble]]:
    """Each tile's window and labels, and the models with its imagery."""
    if not area.chips:
        pieces = [Pieces(area, layout).open(period) for period in area.periods_of(map_name)]
        models = ensemble_of(area_path, area, map_name, pieces)
        for place in places:
            yield place.window, pieces[0].label(place.window), models
        return
    chips, ensemble = Pieces(area, layout), None
    for place in places:
        chip = chips.open(place.chip)
        if ensemble is None:
            ensemble = ensemble_of(area_path, area, map_name, [chip])
        else:
            ensemble = next_chip(area, ensemble, chip)
        yield place.window, chip.label(place.window), ensemble
