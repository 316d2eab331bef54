"""The training loop. Needs torch and numpy alone; it is fed with arrays.

Axes: N patches, C bands, H rows, W columns, K classes.
"""

import math
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapmill.augment import changed, draw
from mapmill.errors import ContractError
from mapmill.inputs import inputs_of, tensor_of, valid_in
from mapmill.losses import Shape, class_weights, loss_of
from mapmill.metrics import confusion_matrix, mean_iou, overall_accuracy
from mapmill.nets.heads import total_loss, whole_strides
from mapmill.nets.model import Card, Net, State, build, choose_device
from mapmill.nets.parts import centre
from mapmill.sampling import balanced, by_strata, drawn

if TYPE_CHECKING:
    from mapmill.sections import Train

Array = NDArray[Any]
Batch = tuple[Tensor, Tensor]
"""image (N, C, H, W) float32 and label (N, H, W) uint8, on one device."""
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Patches:
    """Image and label of one split, decoded when they are taken."""

    image: Any
    """(patch, band, y, x): an array, or anything with its `take(numbers, axis=0)`."""
    label: Any
    """(patch, y, x) uint8, likewise."""
    indices: NDArray[np.int64]
    """Patches of the split."""
    nodata: float | None
    """None is NaN."""
    card: Card
    strata: NDArray[np.int64] | None = None
    """Number of the stratum, or fold, of each patch of `indices`; None where there are none."""

    def batch(self, indices: NDArray[np.int64], device: torch.device = CPU) -> Batch:
        """What the net is shown and labels, both 0 where the image is invalid."""
        image_NCHW, valid_NHW, label_NHW = self.raw(indices, device)
        return inputs_of(image_NCHW, valid_NHW, self.card), label_NHW

    def raw(
        self, indices: NDArray[np.int64], device: torch.device = CPU
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bands as they are in the imagery, where they are valid, and labels, 0 elsewhere."""
        image = tensor_of(self.image.take(indices, axis=0), device)
        label_NHW = self.label.take(indices, axis=0)
        label = torch.from_numpy(np.ascontiguousarray(label_NHW)).to(device)
        valid_NHW = valid_in(image, self.nodata)
        return image, valid_NHW, torch.where(valid_NHW, label, 0)

    def holds(self) -> NDArray[np.bool_]:
        """Whether each patch of `indices` holds a labelled, valid pixel of class 1 to K."""
        result = np.zeros((len(self.indices), len(self.card.classes) + 1), bool)
        for row, index in enumerate(self.indices):
            result[row, np.unique(self.raw(np.array([index]))[2])] = True
        return result[:, 1:]


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


def batches(
    patches: Patches, chosen: "Train", seed: int, device: torch.device = CPU
) -> Iterator[Batch]:
    """Endless augmented batches, in the order that `sampling` says."""
    random = np.random.default_rng(seed)
    for picked in drawn(patches.indices, chosen.batch, random, weights_of(patches, chosen)):
        image_NCHW, label_NHW = patches.batch(picked, device)
        count, channels, height, _ = image_NCHW.shape
        changes = draw(chosen, (count, channels, height), random)
        yield changed(image_NCHW, label_NHW, changes, chosen.crop or label_NHW.shape[1])


def weights_of(patches: Patches, chosen: "Train") -> NDArray[np.float64] | None:
    """How often each patch is drawn; None where each comes once before any comes twice.

    Raises
    ------
    ContractError
        if the patches do not have what `sampling` goes by.
    """
    count, where = len(patches.indices), f"train.sampling: {chosen.sampling}"
    if chosen.sampling == "random":
        return np.ones(count)
    if chosen.sampling == "balanced":
        weights_N = balanced(patches.holds())
        if not weights_N.any():
            raise ContractError(where, "no labelled patch", "labels", "see select")
        return weights_N
    if chosen.sampling == "strata":
        if patches.strata is None or len(np.unique(patches.strata)) < 2:
            raise ContractError(
                where,
                "training patches of one stratum",
                "several folds or strata",
                "set select.split.folds, or another sampling",
            )
        return by_strata(patches.strata)
    return None


def ahead(items: Iterator[Batch]) -> Generator[Batch, None, None]:
    """The same items in the same order, each prepared in a thread while the one before is used.

    What goes wrong in the thread is raised here; closing the generator ends the thread.
    """
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, items, None)
        while (ready := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield ready


def _ready(image_NCHW: Tensor) -> Tensor:
    """An image with its channels last in memory, as convolutions are quickest."""
    return image_NCHW.contiguous(memory_format=torch.channels_last)


def rate_at(step: int, steps: int) -> float:
    """Factor of the learning rate: a linear rise over the first tenth, then half a cosine."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


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
    ) -> None:
        torch.manual_seed(seed)
        torch.set_num_threads(chosen.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        self.chosen, self.seed, self.train, self.val = chosen, seed, train, val
        self.device = choose_device(chosen.device)
        net = build(card)
        if prepare:
            prepare(net)
        self.net: Net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss_of(chosen.loss_terms, Shape(**chosen.loss_shape.as_numbers()))
        self.weight_K = class_weights(
            pixels, chosen.class_weights, chosen.given_weights, chosen.max_class_weight
        ).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(), chosen.learning_rate, weight_decay=chosen.weight_decay
        )
        self.best: State = self._state()

    def __iter__(self) -> Iterator[Look]:
        with closing(ahead(batches(self.train, self.chosen, self.seed, self.device))) as source:
            yield from self._looks(source)

    def _looks(self, source: Iterator[Batch]) -> Iterator[Look]:
        chosen, best, losses = self.chosen, -1.0, []
        for step in range(1, chosen.steps + 1):
            for group in self.optimiser.param_groups:
                group["lr"] = chosen.learning_rate * rate_at(step - 1, chosen.steps)
            losses.append(self._step(*next(source), step))
            if step % chosen.validate_every and step != chosen.steps:
                continue
            look = self._look(step, float(np.mean(losses)))
            losses = []
            if math.isnan(look.val_mean_iou) or look.val_mean_iou > best:
                best, self.best = look.val_mean_iou, self._state()
            yield look

    def _step(self, image_NCHW: Tensor, label_NHW: Tensor, step: int) -> float:
        self.net.train()
        loss = self._loss(_ready(image_NCHW), label_NHW)[0]
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ContractError(
                f"step {step}", f"a loss of {value}", "a number", "lower train.learning_rate"
            )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return value

    def _loss(self, image_NCHW: Tensor, label_NHW: Tensor) -> tuple[Tensor, Tensor]:
        half = self.chosen.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            outputs = whole_strides(self.net, image_NCHW)
        seen_NHW = centre(label_NHW, *outputs.mask_NKHW.shape[2:])
        loss = total_loss(self.loss, outputs, seen_NHW, self.weight_K, self.chosen.label_weight)
        return loss, outputs.mask_NKHW

    @torch.inference_mode()
    def _look(self, step: int, train_loss: float) -> Look:
        self.net.eval()
        classes = len(self.weight_K)
        matrix, losses = np.zeros((classes, classes), np.int64), []
        for start in range(0, len(self.val.indices), self.chosen.batch):
            picked = self.val.indices[start : start + self.chosen.batch]
            image, label = self.val.batch(picked, self.device)
            loss, logits_NKHW = self._loss(_ready(image), label)
            seen_NHW = centre(label, *logits_NKHW.shape[2:])
            if (seen_NHW > 0).any():
                losses.append(float(loss))
            mapped_NHW = logits_NKHW.argmax(dim=1).cpu().numpy() + 1
            matrix += confusion_matrix(seen_NHW.cpu().numpy(), mapped_NHW, classes)
        val_loss = float(np.mean(losses)) if losses else math.nan
        rate = self.optimiser.param_groups[0]["lr"]
        return Look(step, train_loss, val_loss, overall_accuracy(matrix), mean_iou(matrix), rate)

    def _state(self) -> State:
        return {k: v.detach().cpu().clone() for k, v in self.net.state_dict().items()}
