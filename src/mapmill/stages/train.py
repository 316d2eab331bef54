"""train: one model of a run, from the patch store to a file that prediction can use alone."""

import csv
import hashlib
import json
import logging
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mapmill import figures
from mapmill.apart import near_scored
from mapmill.areafile import init_of, load_area, weights_file
from mapmill.atomic import whole_file
from mapmill.channels import told, without_end
from mapmill.checkpoint import command_of
from mapmill.config import Area
from mapmill.derive import metres_of, planned
from mapmill.errors import ContractError
from mapmill.features.settle import sampled, settle, shifts_and_scales
from mapmill.feed import Patches
from mapmill.fit import Fit, Look
from mapmill.folds import Fold
from mapmill.joined import JoinedPool
from mapmill.layout import Layout
from mapmill.nets.model import Card, Net, choose_device, load_model, save_model, with_reach
from mapmill.nets.weights import load_encoder_weights, start_from
from mapmill.normal import Statistics, shift_and_scale
from mapmill.pool import PatchPool
from mapmill.progress import track
from mapmill.provenance import file_digest, tags
from mapmill.ranks import Ranks, together
from mapmill.sections import Pool, Train

log = logging.getLogger(__name__)


def run(area_path: Path, model: str, output: Path, history_path: Path, figure: Path) -> None:
    """Train `model` (`{run}-{seed}`, or `{run}-fold{k}-{seed}`); write it, its history and curves.

    Beside the model stands a checkpoint until it is finished: a run that was stopped goes on from
    it. Where MAPMILL_AFRESH names a command, only what that command has begun is gone on with. Of
    several processes the first one writes.

    Raises
    ------
    ContractError
        if there is no training patch, a class never occurs, weights do not fit, or processes that
        share the run do not meet.
    """
    area = load_area(area_path)
    run_name, seed = area.run_and_seed(model)
    chosen = area.train_of(run_name)
    pools = chosen.train_on or {area_path.stem: Pool()}
    checkpoint = output.with_name("checkpoint.safetensors")
    source = (area, area_path.stem, pools, chosen.size, chosen.threads)
    fold = Fold.of(area, model)
    near = near_scored(area_path, area, fold) if fold else None
    with (
        together(choose_device(chosen.device)) as ranks,
        closing(
            JoinedPool(*source) if chosen.periods == "channels" else PatchPool(*source, fold, near)
        ) as pool,
    ):
        command = os.environ.get("MAPMILL_AFRESH", "")
        _clear(checkpoint, command, ranks)
        _check_parts(model, fold, pool)
        _check_classes(area, chosen, pool)
        start = Start(area_path, area, model, chosen)
        card = _card(area, model, chosen, pool)
        fit = _fit(card, chosen, seed, pool, start, metres_of(area), checkpoint, ranks, command)
        history = _history(fit, model)
    if not ranks.is_first:
        return
    scored = [look for look in history if not math.isnan(look.val_mean_iou)]
    best = max(scored, key=lambda look: look.val_mean_iou) if scored else history[-1]
    _write_history(history_path, history)
    columns = {f.name: [getattr(look, f.name) for look in history] for f in fields(Look)}
    figures.curves(figure, area, model, columns, best.step)
    with whole_file(output) as part:
        save_model(part, fit.best, with_reach(fit.train.card))
        load_model(part)
    checkpoint.unlink(missing_ok=True)
    log.info("%s: step %d, validation mean IoU %.3f", output, best.step, best.val_mean_iou)


def _clear(checkpoint: Path, command: str, ranks: Ranks) -> None:
    """Take a checkpoint away that the command which forces this training has not left.

    Before any process looks for it. A name and no time: clocks may be set back, or differ.
    """
    if command and ranks.is_first and command_of(checkpoint) != command:
        checkpoint.unlink(missing_ok=True)
    ranks.agree("MAPMILL_AFRESH (as CRC-32)", zlib.crc32(command.encode()))


def _history(fit: Fit, model: str) -> list[Look]:
    """Train; the first process tells how far it is."""
    chosen, parameters = fit.chosen, sum(p.numel() for p in fit.net.parameters())
    patches, among = len(fit.train.indices), ""
    if fit.ranks.count > 1:
        among = f", in {fit.ranks.count} processes"
    log.info(
        "%s: %d parameters, %d patches, on %s%s", model, parameters, patches, fit.device, among
    )
    if not fit.ranks.is_first:
        return list(fit)
    looks = -(-chosen.steps // chosen.validate_every)
    return list(track(_logged(fit), f"train {model}", looks, "looks"))


def _fit(
    card: Card,
    chosen: Train,
    seed: int,
    pool: PatchPool,
    start: "Start",
    pixel: float | None,
    checkpoint: Path,
    ranks: Ranks,
    command: str,
) -> Fit:
    """What is to be trained, on which patches, and where it says how far it is."""
    train, val = (
        Patches(pool.images(), pool.labels(), pool.indices(split), pool.nodata, card)
        for split in ("train", "val")
    )
    card = start.card(with_inputs(card, chosen, pool, train, pixel))
    train, val = (replace(part, card=card) for part in (train, val))
    shares = pool.fractions() if chosen.fraction != "none" else None
    train = replace(train, strata=pool.strata(train.indices), fraction=shares)
    if not len(val.indices):
        log.warning("no validation patch: the last weights are kept, not the best")
    prepare = partial(start.prepare, card=card)
    digest = _digest(card, chosen, pool, start)
    pixels = pool.class_pixels()
    return Fit(card, chosen, seed, train, val, pixels, prepare, checkpoint, digest, ranks, command)


def _digest(card: Card, chosen: Train, pool: PatchPool, start: "Start") -> str:
    """Of all that a run depends on: a checkpoint of another is never gone on from."""
    stores = [file_digest(member.store.folder / "zarr.json") for member in pool.members]
    content = [
        asdict(card),
        chosen.model_dump(mode="json", exclude={"resident"}),
        stores,
        start.digests(),
        torch.__version__,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _check_parts(model: str, fold: Fold | None, pool: PatchPool) -> None:
    """Without training patches nothing is learnt; a fold without test patches is never scored."""
    if not len(pool.indices("train")):
        found = f"no training patch for {model}"
        raise ContractError(pool.folders(), found, "at least one", "see select")
    if fold and not (len(pool.indices("test")) and len(pool.indices("val"))):
        found = f"no test or no validation patch for {model}"
        remedy = "lower select.split.folds or select.split.buffer"
        raise ContractError(pool.folders(), found, "some of both", remedy)


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
    found = pool.all_statistics()
    return Card(
        **vars(chosen.design),
        bands=area.bands,
        classes=area.class_names,
        mean=found.mean,
        sd=found.sd,
        provenance=tags(area, "train", model, pack=pool.digest()),
        units=area.compose.units,
        periods=list(pool.periods),
        size=chosen.crop or pool.side,
        resolution=metres_of(area),
        least=found.least or [],
        most=found.most or [],
    )


def with_inputs(
    card: Card, chosen: Train, pool: PatchPool, train: Patches, pixel: float | None
) -> Card:
    """The card with the channels that are computed, and how all are normalised.

    Raises
    ------
    ContractError
        if a channel cannot be made, or the store lacks the statistics of the normalisation.
    """
    method, of_bands = chosen.normalise, pool.all_statistics()
    if of_bands.lacks(method):
        found = f"a store without {of_bands.lacks(method)} of training pixels"
        remedy = "rerun pack (pooled areas have no percentiles), or set it to standard"
        raise ContractError(f"train.normalise: {method}", found, "all of them", remedy)
    try:
        channels = planned(chosen, card.bands, pixel)
    except ValueError as error:
        raise ContractError("train", str(error), "channels of its bands", "correct it") from None
    features: list[dict[str, Any]] = []
    shift: list[float] = []
    scale: list[float] = []
    parts = of_bands.parts(max(1, len(card.periods)))
    for number, known in enumerate(parts):
        sample = partial(_sample, train, number, len(parts))
        settled, of_channels = settle(channels, card.bands, known, sample)
        both = Statistics.joined([known, of_channels]) if of_channels.mean else known
        numbers = shifts_and_scales(*shift_and_scale(method, both), settled)
        kept = [band not in chosen.without for band in card.bands]
        kept += [True] * (len(numbers[0]) - len(kept))
        shifts, scales = (list(compress(each, kept)) for each in numbers)
        shift, scale = shift + shifts, scale + scales
        features += [asdict(channel) for channel in settled]
        where = f" in {card.periods[number]}" if card.periods else ""
        for channel in settled:
            log.info("channel %s%s: %s", channel.name, where, told(channel))
    if without_end(channels):
        log.warning("%s: tiles leave traces in the map", ", ".join(without_end(channels)))
    card = replace(card, features=features, without=chosen.without)
    return replace(card, normalise=method, shift=shift, scale=scale)


def _sample(train: Patches, number: int, periods: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Bands and validity of some training patches, in one of the joined periods."""
    for index in sampled(train.indices):
        image_NCHW, valid_NPHW, _ = train.raw(index)
        yield image_NCHW.chunk(periods, dim=1)[number], valid_NPHW[:, number]


class Start:
    """Where a net's first weights come from: chance, a file for its encoder, another model."""

    def __init__(self, area_path: Path, area: Area, model: str, chosen: Train) -> None:
        run_name, _ = area.run_and_seed(model)
        file = weights_file(area, run_name)
        self._weights = Layout(area_path.stem).download(file) if file else None
        self._init = init_of(area_path, area, model)
        self._is_resnet = chosen.encoder != "plain"

    def card(self, card: Card) -> Card:
        """A model that is fine-tuned keeps the normalisation that it was trained with."""
        if self._init is None:
            return card
        theirs = load_model(self._init)[1]
        if theirs.units and theirs.units != card.units:
            raise ContractError(
                self._init, f"units {theirs.units}", card.units, "correct compose.units"
            )
        if (theirs.inputs, theirs.bands) != (card.inputs, card.bands):
            return card  # start_from says what differs
        kept = ("mean", "sd", "least", "most", "features", "normalise", "shift", "scale")
        return replace(card, **{key: getattr(theirs, key) for key in kept})

    def digests(self) -> list[str]:
        """Of the files that the first weights come from; `prepare` says which is missing."""
        paths = [path for path in (self._init, self._weights) if path]
        return [file_digest(path) for path in paths if path.exists()]

    def prepare(self, net: Net, card: Card) -> None:
        """Set the first weights of a fresh net."""
        if self._init is not None:
            _, took_head = start_from(net, card, self._init)
            log.info("starts from %s%s", self._init, "" if took_head else ", with a fresh head")
        elif self._weights is not None:
            load_encoder_weights(net, self._weights, card.inputs)
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
