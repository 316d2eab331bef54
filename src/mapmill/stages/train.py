"""train: one model of a run, from the patch store to a file that prediction can use alone."""

import csv
import logging
import math
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path

from mapmill import figures
from mapmill.areafile import init_of, load_area, weights_file
from mapmill.atomic import whole_file
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.fit import Fit, Look, Patches
from mapmill.layout import Layout
from mapmill.nets.model import Card, Net, load_model, save_model, with_reach
from mapmill.nets.weights import load_encoder_weights, start_from
from mapmill.pool import PatchPool
from mapmill.progress import track
from mapmill.provenance import tags
from mapmill.sections import Pool, Train

log = logging.getLogger(__name__)


def run(area_path: Path, model: str, output: Path, history_path: Path, figure: Path) -> None:
    """Train `model` (`{run}-{seed}`) and write it, its history and its curves.

    Raises
    ------
    ContractError
        if there is no training patch, a class never occurs, or weights do not fit.
    """
    area = load_area(area_path)
    run_name, seed = area.run_and_seed(model)
    chosen = area.train_of(run_name)
    pools = chosen.train_on or {area_path.stem: Pool()}
    pool = PatchPool(area, area_path.stem, pools)
    _check_classes(area, chosen, pool)
    start = Start(area_path, area, model, chosen)
    card = start.card(_card(area, model, chosen, pool))
    train, val = (
        Patches(pool.images(), pool.labels(), pool.indices(split), pool.nodata, card)
        for split in ("train", "val")
    )
    if not len(train.indices):
        raise ContractError(pool.folders(), "no training patch", "at least one", "see select")
    if not len(val.indices):
        log.warning("no validation patch: the last weights are kept, not the best")
    fit = Fit(
        card, chosen, seed, train, val, pool.class_pixels(), partial(start.prepare, card=card)
    )
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
        save_model(part, fit.best, with_reach(card))
        load_model(part)
    log.info("%s: step %d, validation mean IoU %.3f", output, best.step, best.val_mean_iou)


def _check_classes(area: Area, chosen: Train, pool: PatchPool) -> None:
    """A class without a single training pixel cannot be learnt, nor ever be mapped."""
    pixels = zip(area.class_names, pool.class_pixels(), strict=True)
    absent = [name for name, count in pixels if not count]
    if not absent:
        return
    if chosen.absent_classes == "warn":
        log.warning("no training pixel of %s: the model will never map it", ", ".join(absent))
        return
    raise ContractError(
        pool.folders(),
        f"no training pixel of {', '.join(absent)}",
        "some of every class",
        "merge or remove it, change the split, or set train.absent_classes: warn",
    )


def _card(area: Area, model: str, chosen: Train, pool: PatchPool) -> Card:
    mean, sd = pool.statistics()
    return Card(
        **vars(chosen.design),
        bands=area.bands,
        classes=area.class_names,
        mean=mean,
        sd=sd,
        provenance=tags(area, "train", model, pack=pool.digest()),
        units=area.compose.units,
    )


class Start:
    """Where a net's first weights come from: chance, a file for its encoder, another model."""

    def __init__(self, area_path: Path, area: Area, model: str, chosen: Train) -> None:
        run_name, _ = area.run_and_seed(model)
        file = weights_file(area, run_name)
        self._weights = Layout(area_path.stem).download(file) if file else None
        self._init = init_of(area_path, area, model)
        self._is_resnet = chosen.encoder != "plain"
        self._bands = area.bands

    def card(self, card: Card) -> Card:
        """A model that is fine-tuned keeps the normalisation that it was trained with."""
        if self._init is None:
            return card
        theirs = load_model(self._init)[1]
        if theirs.units and theirs.units != card.units:
            raise ContractError(
                self._init, f"units {theirs.units}", card.units, "correct compose.units"
            )
        return replace(card, mean=theirs.mean, sd=theirs.sd) if theirs.bands == card.bands else card

    def prepare(self, net: Net, card: Card) -> None:
        """Set the first weights of a fresh net."""
        if self._init is not None:
            _, took_head = start_from(net, card, self._init)
            log.info("starts from %s%s", self._init, "" if took_head else ", with a fresh head")
        elif self._weights is not None:
            load_encoder_weights(net, self._weights, self._bands)
            log.info("the encoder starts from %s", self._weights)
        elif self._is_resnet:
            log.info("the encoder starts at random: no train.weights are named")


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
