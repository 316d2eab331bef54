"""`mapmill predict --model`: a map of any raster by one model, without an area or a workflow."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mapmill import __version__
from mapmill.chain import VERSION
from mapmill.ensemble import Ensemble, Means, bands_of
from mapmill.errors import ContractError
from mapmill.flow import flow
from mapmill.grid import Grid, Window
from mapmill.infer import Predictor
from mapmill.mirror import Seen
from mapmill.nets.model import Card, choose_device, load_model
from mapmill.outliers import Outliers
from mapmill.progress import track
from mapmill.provenance import file_digest
from mapmill.raster import Image, RasterInfo, metres, opened_image, raster_by_window
from mapmill.sections import Predict

log = logging.getLogger(__name__)
BLOCK = 2048
"""Side of the squares that a large image is worked on in; they change no pixel."""
CACHE = 32 * 2**20
"""Bytes of tiles that GDAL keeps."""
CLOSE = 0.01
"""Share by which the side of a pixel may differ from that of training."""


def run(
    output: Path, model: Path, image: Path, bands: Sequence[str] | None, chosen: Predict
) -> None:
    """Write class and confidence (percent) of an image, both uint8, 0 where it has no data.

    Parameters
    ----------
    bands : names of the file's bands, in its order; by default their descriptions

    Raises
    ------
    ContractError
        if the image is not of the bands and the resolution of the model, has no CRS or no data;
        the model joins periods; or the output is no place for a map.
    """
    _check_output(output, [model, image])
    torch.set_num_threads(chosen.threads)
    net, card = load_model(model)
    if card.periods:
        found = f"a model of joined periods ({', '.join(card.periods)})"
        raise ContractError(model, found, "one of single images", "map an area with it")
    predictor = Predictor.of(net, card, choose_device(chosen.device), chosen.plan, str(model))
    log.info("%s: %s, on %s", model, predictor.told, predictor.device)
    with opened_image(image, card.bands, bands, CACHE) as source:
        _check_output(output, source.files)
        _check_resolution(image, source.info, card)
        if not source.is_masked and all(value is None for value in source.nodata):
            log.info("%s: declares no nodata and no mask: every pixel is mapped", image)
        outliers = Outliers(card)
        _map(output, source, predictor, chosen, outliers, file_digest(model))
    for line in outliers.told():
        log.warning("%s: %s", image, line)
    log.info("%s: %.1f Mpx mapped", output, outliers.pixels / 1e6)


def _map(
    output: Path,
    source: Image,
    predictor: Predictor,
    chosen: Predict,
    outliers: Outliers,
    digest: str,
) -> None:
    grid = _grid(source.info)
    ensemble = Ensemble([predictor], [source.read], grid.window)

    def read(unit: Window) -> list[Seen]:
        seen = ensemble.read(unit)
        place = unit.slices(seen[0].window)
        outliers.add(seen[0].image_BYX[:, *place], seen[0].valid_YX[place])
        return seen

    names = {f"CLASS_{number}": name for number, name in enumerate(predictor.card.classes, 1)}
    with raster_by_window(
        output,
        grid,
        "uint8",
        bands=["class", "confidence"],
        nodata=0,
        tags=_tags(digest) | names,
        cache=CACHE,
    ) as put:

        def write(unit: Window, means: Means) -> None:
            put(unit, bands_of(means, float(chosen.threshold), members=False))

        units = [unit for block in grid.blocks() for unit in ensemble.units(block.window)]
        total = grid.width * grid.height / 1e6
        done = flow(units, read, ensemble.probabilities, write)
        for _ in track(done, f"predict {source.path.name}", total, "Mpx", _megapixels):
            pass
        if not outliers.pixels:
            remedy = "check the file and its declared nodata"
            raise ContractError(source.path, "no pixel with data in every band", "some", remedy)


def _megapixels(window: Window) -> float:
    return window.height * window.width / 1e6


def _grid(info: RasterInfo) -> Grid:
    left, top = info.transform[2], info.transform[5]
    return Grid(info.crs, left, top, info.resolution, info.width, info.height, BLOCK)


def _tags(model: str) -> dict[str, str]:
    return {
        "MAPMILL_STAGE": "predict",
        "MAPMILL_STAGE_VERSION": str(VERSION["predict"]),
        "MAPMILL_VERSION": __version__,
        "MAPMILL_INPUT_MODEL": model,
    }


def _check_output(output: Path, inputs: Sequence[Path]) -> None:
    """The map can lie there, and replaces nothing that it is made from."""
    remedy = "name another file"
    if output.suffix.lower() not in (".tif", ".tiff"):
        raise ContractError(output, f"suffix {output.suffix!r}", ".tif: a GeoTIFF", remedy)
    if output.is_dir():
        raise ContractError(output, "a folder", "a file to write", remedy)
    for each in inputs:
        if output.exists() and each.exists() and output.samefile(each):
            raise ContractError(output, f"{each} itself", "another file than is read", remedy)


def _check_resolution(path: Path, info: RasterInfo, card: Card) -> None:
    """The image's pixels are as large as those that the model learnt from."""
    if card.resolution is None:
        log.info("%s: its model does not tell a resolution: not checked", path)
        return
    side, wanted = metres(info), card.resolution
    if side is None or abs(side / wanted - 1) > CLOSE:
        found = f"pixels of {info.resolution:g} degrees" if side is None else f"{side:g} m pixels"
        remedy = f"warp it: gdalwarp -t_srs EPSG:CODE -tr {wanted:g} {wanted:g} {path.name} new.tif"
        raise ContractError(path, found, f"{wanted:g} m, as the model learnt", remedy)


def settings_from(given: dict[str, Any]) -> Predict:
    """The settings of `predict`, by default those of an area file.

    Raises
    ------
    ContractError
        naming the option, if a value is not allowed.
    """
    from pydantic import ValidationError

    try:
        return Predict(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}"
        raise ContractError(option, str(first["input"]), first["msg"], "correct it") from None
