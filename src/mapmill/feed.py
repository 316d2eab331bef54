"""Training patches as batches on the device, prepared ahead. Needs torch and numpy alone.

Axes: N patches, C bands, H rows, W columns, K classes.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapmill.augment import changed, draw
from mapmill.errors import ContractError
from mapmill.inputs import inputs_of, tensor_of, valid_in
from mapmill.nets.model import Card
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


def batches(
    patches: Patches, chosen: "Train", seed: int, device: torch.device = CPU, skip: int = 0
) -> Iterator[Batch]:
    """Endless augmented batches, in the order that `sampling` says.

    Parameters
    ----------
    skip : batches at the beginning to leave out, drawn without being read
    """
    random = np.random.default_rng(seed)
    channels, height = len(patches.card.inputs), patches.label.shape[1]
    order = drawn(patches.indices, chosen.batch, random, weights_of(patches, chosen))
    for number, picked in enumerate(order):
        changes = draw(chosen, (len(picked), channels, height), random)
        if number < skip:
            continue
        image_NCHW, label_NHW = patches.batch(picked, device)
        yield changed(image_NCHW, label_NHW, changes, chosen.crop or height)


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
