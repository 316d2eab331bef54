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
from torch import Tensor, nn

from mapmill.errors import ContractError
from mapmill.losses import Shape, class_weights, loss_of
from mapmill.metrics import confusion_matrix, mean_iou, overall_accuracy
from mapmill.nets.model import Card, Net, State, build, choose_device, normalise

if TYPE_CHECKING:
    from mapmill.sections import Train

Array = NDArray[Any]
Batch = tuple[NDArray[np.float32], NDArray[np.uint8]]


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

    def batch(self, indices: NDArray[np.int64]) -> Batch:
        """Normalised images (N, C, H, W) float32 and labels (N, H, W), 0 where invalid."""
        image_NCHW = self.image.take(indices, axis=0)
        label_NHW = self.label.take(indices, axis=0)
        missing = np.isnan(image_NCHW) if self.nodata is None else image_NCHW == self.nodata
        valid_NHW = ~missing.any(axis=1)
        return normalise(image_NCHW, valid_NHW, self.card), np.where(valid_NHW, label_NHW, 0)


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


def batches(patches: Patches, chosen: "Train", seed: int) -> Iterator[Batch]:
    """Endless augmented batches: every patch once before any twice, in a random order."""
    random = np.random.default_rng(seed)
    order: list[int] = []
    while True:
        while len(order) < chosen.batch:
            order += random.permutation(patches.indices).tolist()
        picked, order = order[: chosen.batch], order[chosen.batch :]
        image_NCHW, label_NHW = patches.batch(np.array(picked))
        yield augment(image_NCHW, label_NHW, chosen.crop, chosen.jitter, random)


def augment(
    image_NCHW: Array,
    label_NHW: Array,
    crop: int | None,
    jitter: float,
    random: np.random.Generator,
) -> Batch:
    """The same random crop, turn and flip for image and label of each patch; jitter per band."""
    size = crop or label_NHW.shape[1]
    images, labels = [], []
    for image_CHW, label_HW in zip(image_NCHW, label_NHW, strict=True):
        row, col = random.integers(0, label_HW.shape[0] - size + 1, 2)
        part = (slice(row, row + size), slice(col, col + size))
        image_CHW, label_HW = image_CHW[:, *part], label_HW[part]
        turns, flip = int(random.integers(4)), bool(random.integers(2))
        image_CHW, label_HW = np.rot90(image_CHW, turns, (1, 2)), np.rot90(label_HW, turns)
        if flip:
            image_CHW, label_HW = image_CHW[:, :, ::-1], label_HW[:, ::-1]
        if jitter:
            gain, offset = random.normal((1, 0), jitter, (len(image_CHW), 2)).T.astype(np.float32)
            moved = image_CHW * gain[:, None, None] + offset[:, None, None]
            image_CHW = np.where((image_CHW == 0).all(axis=0), image_CHW, moved)
        images.append(image_CHW)
        labels.append(label_HW)
    return np.stack(images), np.stack(labels)


def ahead(items: Iterator[Batch]) -> Generator[Batch, None, None]:
    """The same items in the same order, each prepared in a thread while the one before is used.

    What goes wrong in the thread is raised here; closing the generator ends the thread.
    """
    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(next, items, None)
        while (ready := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield ready


def rate_at(step: int, steps: int) -> float:
    """Factor of the learning rate: a linear rise over the first tenth, then half a cosine."""
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def whole_strides(net: Net, image_NCHW: Tensor) -> Tensor:
    """Logits (N, K, H, W) of an image of any size.

    Rows and columns of 0, as invalid pixels have, are added at the bottom and right up to a
    multiple of the net's stride, and their logits are cut off: they count in no loss and no score.
    """
    height, width = image_NCHW.shape[2:]
    padded_NCHW = nn.functional.pad(image_NCHW, (0, -width % net.stride, 0, -height % net.stride))
    logits_NKHW: Tensor = net(padded_NCHW)[:, :, :height, :width]
    return logits_NKHW


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
        with closing(ahead(batches(self.train, self.chosen, self.seed))) as source:
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

    def _step(self, image_NCHW: Array, label_NHW: Array, step: int) -> float:
        self.net.train()
        loss = self._loss(*self._tensors(image_NCHW, label_NHW))[0]
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
            logits_NKHW = whole_strides(self.net, image_NCHW)
        return self.loss(logits_NKHW, label_NHW, self.weight_K), logits_NKHW

    def _tensors(self, image_NCHW: Array, label_NHW: Array) -> tuple[Tensor, Tensor]:
        image = torch.from_numpy(np.ascontiguousarray(image_NCHW)).to(self.device)
        label = torch.from_numpy(np.ascontiguousarray(label_NHW)).to(self.device)
        return image.contiguous(memory_format=torch.channels_last), label

    @torch.inference_mode()
    def _look(self, step: int, train_loss: float) -> Look:
        self.net.eval()
        classes = len(self.weight_K)
        matrix, losses = np.zeros((classes, classes), np.int64), []
        for start in range(0, len(self.val.indices), self.chosen.batch):
            image, label = self.val.batch(self.val.indices[start : start + self.chosen.batch])
            loss, logits_NKHW = self._loss(*self._tensors(image, label))
            if (label > 0).any():
                losses.append(float(loss))
            mapped_NHW = logits_NKHW.argmax(dim=1).cpu().numpy() + 1
            matrix += confusion_matrix(label, mapped_NHW, classes)
        val_loss = float(np.mean(losses)) if losses else math.nan
        rate = self.optimiser.param_groups[0]["lr"]
        return Look(step, train_loss, val_loss, overall_accuracy(matrix), mean_iou(matrix), rate)

    def _state(self) -> State:
        return {k: v.detach().cpu().clone() for k, v in self.net.state_dict().items()}
