"""predict: classes and confidence of one block, with a halo from its neighbours."""

import json
import logging
from pathlib import Path

import numpy as np

from mapmill.areafile import load_area, models_of
from mapmill.assembly import ensemble_of
from mapmill.config import Area
from mapmill.ensemble import Means, bands_of
from mapmill.errors import ContractError
from mapmill.extent import grid_block
from mapmill.flow import flow
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.pieces import Piece, Pieces
from mapmill.progress import track
from mapmill.provenance import file_digest, tags
from mapmill.quantities import names_of
from mapmill.raster import Georeference, write_image

log = logging.getLogger(__name__)


def run(area_path: Path, map_name: str, block_name: str, output: Path) -> None:
    """Write class, confidence (percent), of several models the class map of each, and layers.

    All uint8, 0 where the imagery of every period is missing. A block is a part of the grid,
    or a whole chip with its own georeference.
    """
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    models = models_of(area_path, area, map_name)
    window, place, pieces = _ground(area, layout, map_name, block_name)
    ensemble = ensemble_of(area_path, area, map_name, pieces)
    threshold, temperature, calibration = _chosen(area, layout.calibrate(map_name))
    layers = area.predict.layers
    members = list(models) if area.predict.members and len(models) > 1 else []
    bands = ["class", "confidence", *(f"class by {model}" for model in members)]
    bands += names_of(layers, area.class_names)
    result_BYX = np.zeros((len(bands), window.height, window.width), np.uint8)

    def write(unit: Window, means: Means) -> None:
        found_BYX = bands_of(means, threshold, bool(members), temperature, layers)
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
        bands=bands,
        nodata=0,
        tags=tags(area, "predict", map_name, **digests, **calibration),
    )
    log.info("%s: %d models", output, len(models))


def _chosen(area: Area, path: Path) -> tuple[float, float, dict[str, str]]:
    """Threshold and temperature, as set or as found on validation data; the digest of the latter.

    Raises
    ------
    ContractError
        if the file that `calibrate` wrote is missing or damaged.
    """
    threshold, temperature = area.predict.threshold, area.predict.temperature
    if not area.predict.is_calibrated:
        return float(threshold), float(temperature), {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        threshold = found["threshold"] if threshold == "validation" else threshold
        temperature = found["temperature"] if temperature == "validation" else temperature
        return float(threshold), float(temperature), {"calibrate": file_digest(path)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ContractError(path, repr(error), "what calibrate found", "rerun calibrate") from None


def _megapixels(window: Window) -> float:
    return window.height * window.width / 1e6


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
