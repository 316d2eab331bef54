"""The training loop. Needs torch and numpy alone; it is fed with arrays.

Axes: N patches, C bands, H rows, W columns, K classes.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mapmill.checkpoint import Checkpoint, load, optimiser_state, restore, save
from mapmill.compiling import compile_net, told, uncompiled
from mapmill.errors import ContractError
from mapmill.feed import Batch, Patches, ahead, batches
from mapmill.losses import Shape, class_weights, loss_of
from mapmill.metrics import confusion_matrix, mean_iou, overall_accuracy
from mapmill.nets.heads import total_loss, whole_strides
from mapmill.nets.model import Card, Net, State, build, choose_device
from mapmill.nets.parts import centre
from mapmill.optimise import optimiser_of
from mapmill.ranks import ALONE, Ranks
from mapmill.rates import looks_without_progress, rate_factor
from mapmill.resident import resident

if TYPE_CHECKING:
    from mapmill.sections import Train

log = logging.getLogger(__name__)
PRIME = 1_000_003
"""Keeps the random numbers of two runs and steps apart."""


@dataclass(frozen=True)
class Look:
    """One row of the history."""

    step: int
    train_loss: float
    """Mean since the look before."""
    val_loss: float
    """NaN without a validation part."""
    val_accuracy: float
    val_mean_iou: float
    learning_rate: float


def _ready(image_NCHW: Tensor) -> Tensor:
    """An image with its channels last in memory, as convolutions are quickest."""
    return image_NCHW.contiguous(memory_format=torch.channels_last)


class Fit:
    """One run of training.

    Iterating gives the history, one `Look` at a time; `best` then holds the weights with the
    highest mean IoU on the validation part (the last weights where there is none).

    Parameters
    ----------
    card : what is trained
    chosen : settings of the run
    seed : of the fresh weights and of the order and augmentation of the patches
    train, val : patches of the two parts
    pixels : training pixels of each class
    prepare : sets weights of the fresh net that come from elsewhere, before the first step
    checkpoint : where the run says at each look how far it is; one of the same `digest` is gone on
        from, to the same bytes on a CPU as if it had never been stopped
    digest : of all that the run depends on
    ranks : this process among those that share the run
    command : which command forced this training, kept in its checkpoints
    """

    def __init__(
        self,
        card: Card,
        chosen: "Train",
        seed: int,
        train: Patches,
        val: Patches,
        pixels: list[int],
        prepare: Callable[[Net], None] | None = None,
        checkpoint: Path | None = None,
        digest: str = "",
        ranks: Ranks = ALONE,
        command: str = "",
    ) -> None:
        ranks.divided(chosen.batch)
        torch.manual_seed(seed)
        torch.set_num_threads(chosen.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.chosen, self.seed, self.val, self.ranks = chosen, seed, val, ranks
        self.device = choose_device(chosen.device)
        net = build(card)
        if prepare:
            prepare(net)
        self.net: Net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if chosen.compile:
            compile_net(self.net)
        shape = Shape(**chosen.loss_shape.as_numbers())
        self.loss = loss_of(chosen.loss_terms, shape, ranks.summed)
        self.weight_K = class_weights(
            pixels, chosen.class_weights, chosen.given_weights, chosen.max_class_weight
        ).to(self.device)
        self.optimiser = optimiser_of(chosen, self.net)
        self.train = resident(train, chosen.resident, self.device)
        self.best: State = self._state()
        self.done = 0
        self.history: list[Look] = []
        self._losses: list[float] = []
        self._checkpoint, self._digest, self._command = checkpoint, digest, command

    def __iter__(self) -> Iterator[Look]:
        self._resume()
        yield from self.history
        skip = self.done * self.chosen.accumulate
        source = batches(self.train, self.chosen, self.seed, self.device, skip, self.ranks)
        with closing(ahead(source, self.device)) as prepared:
            yield from self._looks(prepared)

    def _looks(self, source: Iterator[Batch]) -> Iterator[Look]:
        chosen = self.chosen
        while self.done < chosen.steps and not self._is_stuck():
            scores = [look.val_mean_iou for look in self.history]
            factor = rate_factor(chosen.schedule, self.done, chosen.steps, scores, chosen.patience)
            for group in self.optimiser.param_groups:
                group["lr"] = chosen.learning_rate * factor
            self.done += 1
            with told():
                self._losses.append(self._step(source))
            if self.done % chosen.validate_every and self.done != chosen.steps:
                continue
            look = self._look(self.done, float(np.mean(self._losses)))
            self._keep(look)
            yield look

    def _is_stuck(self) -> bool:
        """Whether as many looks as `stop_after` says brought no better score."""
        since = looks_without_progress([look.val_mean_iou for look in self.history])
        stuck = self.chosen.stop_after is not None and since >= self.chosen.stop_after
        if stuck:
            log.info("no progress in %d looks: training ends at step %d", since, self.done)
        return stuck

    def _keep(self, look: Look) -> None:
        """Remember a look, the weights if they are the best, and how far the run is."""
        weights = self._state().values()
        if not all(bool(tensor.isfinite().all()) for tensor in weights):
            _refuse_no_number(f"the weights after step {self.done}", math.nan)
        before = [old.val_mean_iou for old in self.history]
        if math.isnan(look.val_mean_iou) or all(not look.val_mean_iou <= old for old in before):
            self.best = self._state()
        self.history.append(look)
        self._losses = []
        if self._checkpoint and self.done < self.chosen.steps and self.ranks.is_first:
            rows = [asdict(each) for each in self.history]
            tensors = self._state(), self.best, optimiser_state(self.optimiser)
            standing = Checkpoint(self.done, *tensors, rows)
            save(self._checkpoint, standing, self._digest, self._command)

    def _resume(self) -> None:
        """Go on from the checkpoint of this very run, if there is one."""
        found = load(self._checkpoint, self._digest) if self._checkpoint else None
        self.ranks.agree("steps done by the checkpoints", found.step if found else 0)
        if found is None:
            return
        restore(self.net, self.optimiser, found)
        self.best, self.done = found.best, found.step
        self.history = [Look(int(row.pop("step")), **row) for row in found.history]
        log.info("goes on from step %d, by %s", self.done, self._checkpoint)

    def _step(self, source: Iterator[Batch]) -> float:
        """One step of the optimiser, over `accumulate` batches; the mean loss."""
        self.net.train()
        # Of drop-out, other channels in each process: no state to be kept.
        torch.manual_seed((self.seed * PRIME + self.done) * self.ranks.count + self.ranks.rank)
        self.optimiser.zero_grad()
        values = [self._add_gradient(next(source)) for _ in range(self.chosen.accumulate)]
        self.ranks.add_gradients(self.net)
        if self.chosen.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.chosen.clip)
        self.optimiser.step()
        return float(np.mean(values))

    def _add_gradient(self, batch: Batch) -> float:
        loss = self._loss(_ready(batch.image_NCHW), batch.label_NHW, batch.share_NHW)[0]
        value = float(loss.detach())
        _refuse_no_number(f"the batch of step {self.done}", value)
        (loss / self.chosen.accumulate).backward()  # type: ignore[no-untyped-call]
        return value

    def _loss(
        self, image_NCHW: Tensor, label_NHW: Tensor, share_NHW: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        half = self.chosen.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            outputs = whole_strides(self.net, image_NCHW)
        seen_NHW = centre(label_NHW, *outputs.mask_NKHW.shape[2:])
        shares = {}
        if share_NHW is not None:
            key = "share_NHW" if self.chosen.fraction == "soft" else "weight_NHW"
            shares[key] = centre(share_NHW, *outputs.mask_NKHW.shape[2:])
        factor, summed = self.chosen.label_weight, self.ranks.summed
        loss = total_loss(
            self.loss, outputs, seen_NHW, self.weight_K, factor, **shares, summed=summed
        )
        return loss, outputs.mask_NKHW

    @torch.inference_mode()
    def _look(self, step: int, train_loss: float) -> Look:
        self.net.eval()
        self.ranks.average_buffers(self.net)
        classes = len(self.weight_K)
        matrix, losses = np.zeros((classes, classes), np.int64), []
        for start in range(0, len(self.val.indices), self.chosen.batch):
            image, label = self._val_batch(start)
            with uncompiled() if self.chosen.compile else nullcontext():
                loss, logits_NKHW = self._loss(_ready(image), label)
            seen_NHW = centre(label, *logits_NKHW.shape[2:])
            if self.ranks.total((seen_NHW > 0).sum()):
                _refuse_no_number(f"validation at step {step}", float(loss))
                losses.append(float(loss))
            mapped_NHW = logits_NKHW.argmax(dim=1).cpu().numpy() + 1
            matrix += confusion_matrix(seen_NHW.cpu().numpy(), mapped_NHW, classes)
        matrix = self.ranks.total(torch.from_numpy(matrix).to(self.device)).cpu().numpy()
        val_loss = float(np.mean(losses)) if losses else math.nan
        rate = self.optimiser.param_groups[0]["lr"]
        return Look(step, train_loss, val_loss, overall_accuracy(matrix), mean_iou(matrix), rate)

    def _val_batch(self, start: int) -> tuple[Tensor, Tensor]:
        """The part of a batch of validation; where there is none, a patch without labels."""
        whole = self.val.indices[start : start + self.chosen.batch]
        own = self.ranks.part(len(whole))
        image, label = self.val.batch(
            whole[own.start : own.stop] if own else whole[:1], self.device
        )
        return image, label if own else torch.zeros_like(label)

    def _state(self) -> State:
        return {k: v.detach().cpu().clone() for k, v in self.net.state_dict().items()}


def _refuse_no_number(where: str, value: float) -> None:
    """Stop a training that has diverged, before it is taken for a model."""
    if not math.isfinite(value):
        remedy = "lower train.learning_rate or set train.clip: training then starts anew"
        raise ContractError(where, f"a loss of {value}", "a number", remedy)
