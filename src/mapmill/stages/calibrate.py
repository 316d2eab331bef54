"""calibrate: how far a map's confidence can be believed, and what brings it nearer.

Temperature and threshold are chosen on the validation part alone. The test part is measured
beside it, so that one can see whether they help where they were not chosen.
"""

import logging
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mapmill.areafile import load_area
from mapmill.assembly import ensemble_of, next_chip
from mapmill.atomic import write_json
from mapmill.calibration_figures import before_and_after
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
    brier,
    classwise_errors,
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


def run(area_path: Path, map_name: str, output: Path, figure: Path | None = None) -> None:
    """Write temperature, threshold (of two classes) and reliability before and after, as JSON.

    Probabilities are those of the map: averaged over its models and periods, with their
    surroundings. The figure shows both parts.

    Raises
    ------
    ContractError
        if no pixel of the validation part is labelled and has imagery.
    """
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    tiles = read_tiles(layout.tiles)
    parts = {split: _places(area, tiles, split) for split in ("val", "test")}
    samples = {
        split: _sample(area_path, area, layout, map_name, places) for split, places in parts.items()
    }
    p_KN, truth_N = samples["val"]
    if not len(truth_N):
        remedy = "raise the part of validation in select.split"
        raise ContractError(layout.tiles, "no labelled validation pixel", "some", remedy)
    result = chosen(p_KN, truth_N)
    found = {
        split: measured(area, *sample, result["temperature"], len(parts[split]))
        for split, sample in samples.items()
        if len(sample[1])
    }
    about = {"map": map_name, "provenance": tags(area, "calibrate", map_name)}
    write_json(output, result | {"parts": found} | about)
    if figure:
        title = f"{area.title}: {map_name}"
        before_and_after(figure, area, found, result["temperature"], title)
    log.info("%s: temperature %.3f", output, result["temperature"])
    for split, part in found.items():
        errors = [part[when]["error"] for when in ("before", "after")]
        log.info("%s: calibration error %.4f, then %.4f", split, *errors)


def chosen(p_KN: Array, truth_N: Array) -> dict[str, float]:
    """The temperature; of two classes the threshold too.

    Parameters
    ----------
    p_KN : probabilities of class 1 to K
    truth_N : 0 to K - 1
    """
    result = {"temperature": fit_temperature(p_KN, truth_N)}
    if len(p_KN) == 2:
        threshold, score = best_threshold(p_KN[1], truth_N)
        result |= {"threshold": threshold, "f1_at_threshold": score}
    return result


def measured(
    area: Area, p_KN: Array, truth_N: Array, temperature: float, tiles: int
) -> dict[str, Any]:
    """How far the probabilities of one part can be believed, as they are and at a temperature."""
    result: dict[str, Any] = {"pixels": len(truth_N), "tiles": tiles}
    for when, at_KN in (("before", p_KN), ("after", tempered(p_KN, temperature))):
        by_class = classwise_errors(at_KN, truth_N, area.calibrate.bins)
        result[when] = asdict(reliability(at_KN, truth_N, area.calibrate.bins)) | {
            "error by class": dict(zip(area.class_names, by_class, strict=True)),
            "class-wise error": float(np.mean(by_class)),
            "brier": brier(at_KN, truth_N),
            "negative_log_likelihood": negative_log_likelihood(at_KN, truth_N),
        }
    return result


def _places(area: Area, tiles: list[Tile], split: str) -> list[Place]:
    """Tiles of a part, evenly spread over all of them; each once, whatever the period."""
    size = area.the_select().size
    found = {Place(t.chip, t.window) for t in tiles if t.split == split and t.size == size}
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
