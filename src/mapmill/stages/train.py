"""train: one model of a run, from the patch store to a file that prediction can use alone."""

import csv
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path

from mapmill import figures
from mapmill.areafile import load_area
from mapmill.atomic import whole_file
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.fit import Fit, Look, Patches
from mapmill.layout import Layout
from mapmill.nets.model import Card, load_model, save_model
from mapmill.progress import track
from mapmill.provenance import tags
from mapmill.store import PatchStore

log = logging.getLogger(__name__)


def run(area_path: Path, model: str, output: Path, history_path: Path, figure: Path) -> None:
    """Train `model` (`{run}-{seed}`) and write it, its history and its curves."""
    area = load_area(area_path)
    run_name, seed = area.run_and_seed(model)
    chosen = area.train_of(run_name)
    store = PatchStore(Layout(area_path.stem).patches)
    card = _card(area, model, store)
    train, val = (_patches(store, card, split) for split in ("train", "val"))
    if not len(train.indices):
        raise ContractError(store.folder, "no training patch", "at least one", "see select")
    if not len(val.indices):
        log.warning("no validation patch: the last weights are kept, not the best")
    fit = Fit(card, chosen, seed, train, val, store.attributes["class_pixels"])
    parameters = sum(p.numel() for p in fit.net.parameters())
    log.info(
        "%s: %d parameters, %d patches, on %s", model, parameters, len(train.indices), fit.device
    )
    looks = -(-chosen.steps // chosen.validate_every)
    history = list(track(_logged(fit), f"train {model}", looks, "looks"))
    best = max(
        history, key=lambda look: -1.0 if math.isnan(look.val_mean_iou) else look.val_mean_iou
    )
    _write_history(history_path, history)
    columns = {f.name: [getattr(look, f.name) for look in history] for f in fields(Look)}
    figures.curves(figure, area, model, columns, best.step)
    with whole_file(output) as part:
        save_model(part, fit.best, card)
        load_model(part)
    log.info("%s: step %d, validation mean IoU %.3f", output, best.step, best.val_mean_iou)


def _card(area: Area, model: str, store: PatchStore) -> Card:
    attributes = store.attributes
    names = [area.classes[value].name for value in sorted(area.classes)]
    if attributes["bands"] != area.compose.bands or list(attributes["classes"].values()) != names:
        raise ContractError(
            store.folder,
            f"bands {attributes['bands']} and classes {list(attributes['classes'].values())}",
            "those of the area file",
            "rerun pack",
        )
    chosen = area.train_of(area.run_and_seed(model)[0])
    return Card(
        net=chosen.net,
        width=chosen.width,
        depth=chosen.depth,
        bands=area.compose.bands,
        classes=names,
        mean=attributes["statistics"]["mean"],
        sd=attributes["statistics"]["sd"],
        provenance=tags(area, "train", model, pack=attributes["MAPMILL_SETTINGS"]),
    )


def _patches(store: PatchStore, card: Card, split: str) -> Patches:
    image, label = store.arrays()
    return Patches(image, label, store.indices(split), store.attributes["nodata"], card)


def _logged(fit: Fit) -> Iterator[Look]:
    for look in fit:
        log.info("%s", "  ".join(f"{key} {value:.4g}" for key, value in asdict(look).items()))
        yield look


def _write_history(path: Path, history: list[Look]) -> None:
    with whole_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow([f.name for f in fields(Look)])
        for look in history:
            rows.writerow([f"{value:.8g}" for value in asdict(look).values()])
