"""Patches that live on the device, as they are stored. Needs torch and numpy alone."""

import logging
import os
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mapmill.errors import ContractError
from mapmill.feed import Patches
from mapmill.inputs import on_device

log = logging.getLogger(__name__)
Wanted = bool | Literal["auto"]
SHARE = 0.5
"""Of the free memory that patches may take; the rest is for what the net computes."""
ARRAYS = ("image", "label", "fraction")
"""Those of `Patches`; the last may not be there."""
AT_ONCE = 64
"""Patches that are decoded at a time."""


class Held:
    """Some patches of an array on a device, in the array's own dtype; taken as from the array.

    Parameters
    ----------
    array : (patch, ...), with its `take(numbers, axis=0)`
    numbers : of the patches to keep, in rising order
    """

    def __init__(self, array: Any, numbers: NDArray[np.int64], device: torch.device) -> None:
        self.shape: tuple[int, ...] = array.shape
        self._numbers = numbers
        parts = [numbers[start : start + AT_ONCE] for start in range(0, len(numbers), AT_ONCE)]
        filled = 0
        for part in parts:
            values = on_device(array.take(part, axis=0), device)
            if not filled:
                self._values = values.new_empty((len(numbers), *values.shape[1:]))
            self._values[filled : filled + len(part)] = values
            filled += len(part)

    def take(self, numbers: ArrayLike, axis: int = 0) -> Tensor:
        """Patches by their numbers, on the device."""
        if axis != 0:
            raise ValueError("patches are taken along axis 0")
        rows = np.searchsorted(self._numbers, np.asarray(numbers, np.int64))
        values, dtype = self._values, self._values.dtype
        if dtype == torch.uint16:  # torch takes no rows of it on every device
            values = values.view(torch.int16)
        return values[on_device(rows, values.device)].view(dtype)


def resident(patches: Patches, wanted: Wanted, device: torch.device) -> Patches:
    """The same patches on the device, where that is wanted or pays, else as they are.

    Raises
    ------
    ContractError
        if they are wanted there and do not fit.
    """
    numbers = np.unique(patches.indices)
    arrays = {name: getattr(patches, name) for name in ARRAYS}
    arrays = {name: array for name, array in arrays.items() if array is not None}
    one = sum(np.asarray(a.take(numbers[:1], axis=0)).nbytes for a in arrays.values())
    if not lives_there(wanted, device.type, one * len(numbers), free_bytes(device)):
        return patches
    log.info("%d patches live on %s: %.2f GB", len(numbers), device, one * len(numbers) / 1e9)
    held: dict[str, Any] = {name: Held(a, numbers, device) for name, a in arrays.items()}
    return replace(patches, **held)


def lives_there(wanted: Wanted, kind: str, need: int, free: int) -> bool:
    """Whether patches of `need` bytes are to live on a device with so many free ones.

    `auto` means a CUDA GPU on which they fit into SHARE of the free memory. On a CPU decoding is
    far quicker than any net, and memory is worth more.

    Raises
    ------
    ContractError
        if they are wanted there and do not fit.
    """
    fits = need <= SHARE * free
    if wanted is True and not fits:
        found = f"patches of {need / 1e9:.2f} GB, {free / 1e9:.2f} GB free on {kind}"
        remedy = "set it to auto or false, or pack fewer tiles"
        raise ContractError("train.resident: true", found, f"{SHARE:.0%} of it or less", remedy)
    return wanted is True or (wanted == "auto" and kind == "cuda" and fits)


def free_bytes(device: torch.device) -> int:
    """Free memory of a device; of a CPU what no process uses, its cache of files not counted."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    known = "SC_AVPHYS_PAGES" in os.sysconf_names  # not on macOS
    return os.sysconf("SC_AVPHYS_PAGES" if known else "SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
