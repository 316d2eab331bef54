"""Training patches as batches on the device, prepared ahead. Needs torch and numpy alone.

Axes: N patches, P joined periods (1 where none are joined), C bands, H rows, W columns, K classes.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapmill.augment import Changes, changed, draw
from mapmill.errors import ContractError
from mapmill.inputs import marked, on_device, shown, tensor_of, valid_in
from mapmill.nets.model import Card
from mapmill.ranks import ALONE, Ranks
from mapmill.sampling import balanced, by_strata, drawn

if TYPE_CHECKING:
    from mapmill.sections import Train

Array = NDArray[Any]
CPU = torch.device("cpu")


class Batch(NamedTuple):
    """Training patches after augmentation, on one device."""

    image_NCHW: Tensor
    """float32, as the net takes it."""
    label_NHW: Tensor
    """uint8, 0 is ignored."""
    share_NHW: Tensor | None = None
    """float32, 0 to 1: share of each pixel that its class takes; None where nobody asks."""


@dataclass(frozen=True)
class Patches:
    """Image and label of one split, decoded when they are taken."""

    image: Any
    """(patch, band, y, x): an array, or anything with its `take(numbers, axis=0)`. Of joined
    periods the bands of each, one after another, float32 with NaN where one is missing."""
    label: Any
    """(patch, y, x) uint8, likewise."""
    indices: NDArray[np.int64]
    """Patches of the split."""
    nodata: float | None
    """None is NaN."""
    card: Card
    strata: NDArray[np.int64] | None = None
    """Number of the stratum, or fold, of each patch of `indices`; None where there are none."""
    fraction: Any = None
    """Share of each pixel that its class takes (patch, y, x) uint8, per cent, likewise; None where
    it is not used."""

    def batch(
        self, indices: NDArray[np.int64], device: torch.device = CPU
    ) -> tuple[Tensor, Tensor]:
        """What the net is shown and labels, both 0 where the image is invalid."""
        image_NCHW, valid_NPHW, label_NHW = self.raw(indices, device)
        return marked(shown(image_NCHW, valid_NPHW, self.card), valid_NPHW, self.card), label_NHW

    def augmented(
        self, indices: NDArray[np.int64], changes: Changes, side: int, device: torch.device = CPU
    ) -> Batch:
        """The same after changes, with the share of each pixel's class where it is used."""
        image_NCHW, valid_NPHW, label_NHW = self.raw(indices, device)
        layers, periods = [label_NHW[:, None]], len(self.card.periods)
        if self.fraction is not None:
            layers.append(on_device(self.fraction.take(indices, axis=0), device)[:, None])
        if periods:
            layers.append(valid_NPHW.to(torch.uint8))
        image_NCHW, layers_NLHW = changed(
            shown(image_NCHW, valid_NPHW, self.card), torch.cat(layers, 1), changes, side, periods
        )
        label_NHW, share_NHW = layers_NLHW[:, 0], None
        if self.fraction is not None:
            share_NHW = layers_NLHW[:, 1].float() / 100
        if periods:  # some may be dropped
            valid_NPHW = layers_NLHW[:, -periods:].bool()
            label_NHW = torch.where(valid_NPHW.any(dim=1), label_NHW, 0)
        return Batch(marked(image_NCHW, valid_NPHW, self.card), label_NHW, share_NHW)

    def raw(
        self, indices: NDArray[np.int64], device: torch.device = CPU
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Bands as they are in the imagery, where they are valid, by period, and labels.

        Labels are 0 where no period is valid.
        """
        image = tensor_of(self.image.take(indices, axis=0), device)
        label = on_device(self.label.take(indices, axis=0), device)
        valid_NPHW = valid_in(image, self.nodata, max(1, len(self.card.periods)))
        return image, valid_NPHW, torch.where(valid_NPHW.any(dim=1), label, 0)

    def holds(self) -> NDArray[np.bool_]:
        """Whether each patch of `indices` holds a labelled, valid pixel of class 1 to K."""
        result = np.zeros((len(self.indices), len(self.card.classes) + 1), bool)
        for row, index in enumerate(self.indices):
            result[row, np.unique(self.raw(np.array([index]))[2])] = True
        return result[:, 1:]


def batches(
    patches: Patches,
    chosen: "Train",
    seed: int,
    device: torch.device = CPU,
    skip: int = 0,
    ranks: Ranks = ALONE,
) -> Iterator[Batch]:
    """Endless augmented batches, in the order that `sampling` says.

    Parameters
    ----------
    skip : batches at the beginning to leave out, drawn without being read
    ranks : which part of each batch to give; all processes draw the whole of it
    """
    random = np.random.default_rng(seed)
    periods, height = len(patches.card.periods), patches.label.shape[1]
    channels = len(patches.card.seen) * max(1, periods)
    order = drawn(patches.indices, chosen.batch, random, weights_of(patches, chosen))
    for number, picked in enumerate(order):
        changes = draw(chosen, (len(picked), channels, height), random, periods)
        if number < skip:
            continue
        own = ranks.part(len(picked))
        if ranks.count > 1:
            changes = changes.part(own)
            picked = picked[changes.places]
        batch = patches.augmented(picked, changes, chosen.crop or height, device)
        yield Batch._make(None if each is None else each[: len(own)] for each in batch)


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


def ahead(items: Iterator[Batch], device: torch.device = CPU) -> Generator[Batch, None, None]:
    """The same items in the same order, each prepared in a thread while the one before is used.

    What goes wrong in the thread is raised here; closing the generator ends the thread. On CUDA
    they are copied and changed in a stream of their own, beside the net's.
    """
    stream = None
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def prepared() -> Batch | None:
        with torch.cuda.stream(stream):
            item = next(items, None)
        if stream:
            stream.synchronize()
        return item

    with ThreadPoolExecutor(1, "ahead") as pool:
        coming = pool.submit(prepared)
        while (ready := coming.result()) is not None:
            coming = pool.submit(prepared)
            if stream:  # their memory is not given away before the net's stream has used them
                for tensor in filter(torch.is_tensor, ready):
                    tensor.record_stream(torch.cuda.current_stream(device))
            yield ready
