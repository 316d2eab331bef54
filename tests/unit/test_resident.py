"""Patches that live on the device: the same batches, and when they go there."""

import itertools

import numpy as np
import pytest
import torch
from unit.test_fit import chosen, fit, patches

from mapmill import resident as module
from mapmill.errors import ContractError
from mapmill.feed import CPU, batches
from mapmill.inputs import on_device
from mapmill.resident import Held, lives_there, resident

GB = 10**9


@pytest.mark.parametrize(
    ("wanted", "kind", "need", "free", "expected"),
    [
        ("auto", "cuda", 4 * GB, 8 * GB, True),
        ("auto", "cuda", 4 * GB, 8 * GB - 1, False),
        ("auto", "cpu", 1, 8 * GB, False),
        ("auto", "mps", 1, 8 * GB, False),
        (True, "cpu", 4 * GB, 8 * GB, True),
        (False, "cuda", 1, 8 * GB, False),
    ],
)
def test_patches_go_where_they_fit(wanted, kind, need, free, expected):
    """Otherwise a large area would run out of memory, or a small one wait for the disk."""
    assert lives_there(wanted, kind, need, free) is expected


def test_patches_that_are_wanted_there_and_do_not_fit_are_one_line():
    """Otherwise training would run without what was asked for, or end in a trace."""
    with pytest.raises(ContractError, match=r"train.resident.*5.00 GB, 8.00 GB free") as caught:
        lives_there(True, "cuda", 5 * GB, 8 * GB)
    assert "\n" not in str(caught.value)


def test_what_is_needed_is_counted_in_bytes_as_stored(monkeypatch):
    """Otherwise uint16 patches would be thought twice as large, and stay on the disk."""
    given = patches(5)
    need = given.image.nbytes + given.label.nbytes
    for free, fits in ((2 * need, True), (2 * need - 1, False)):
        monkeypatch.setattr(module, "free_bytes", lambda device, free=free: free)
        if fits:
            assert isinstance(resident(given, True, CPU).image, Held)
        else:
            with pytest.raises(ContractError):
                resident(given, True, CPU)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float32])
def test_batches_are_the_same_to_the_bit(dtype):
    """Otherwise a model would depend on the size of the GPU's memory."""
    given = patches(7, dtype=dtype)
    if dtype == np.uint16:
        given.image[0, 0, 0] = 65_535  # beyond int16, as which torch takes its rows
    given = module.replace(given, indices=np.array([6, 1, 3, 0]))
    there = resident(given, True, CPU)
    assert isinstance(there.image, Held) and there.image.shape == given.image.shape
    settings = chosen(batch=3, jitter=0.1, crop=24)
    both = (itertools.islice(batches(each, settings, 2), 5) for each in (given, there))
    for one, other in zip(*both, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one[:2], other[:2], strict=True))
    assert np.array_equal(there.holds(), given.holds())


def test_training_learns_the_same_from_patches_that_live_there():
    """Otherwise the setting would change the model, or would not be used."""
    looks = [list(fit(resident=wanted)) for wanted in (False, True)]
    assert looks[0] == looks[1]
    assert isinstance(fit(resident=True).train.image, Held)
    assert not isinstance(fit().train.image, Held)  # auto, on a CPU


def test_patches_are_decoded_a_few_at_a_time(monkeypatch):
    """Otherwise there would be a second copy of all of them in memory on the way."""
    monkeypatch.setattr(module, "AT_ONCE", 2)
    asked = []

    class Array:
        shape = (9, 2)

        def take(self, numbers, axis=0):
            asked.append(len(numbers))
            return np.stack([numbers, numbers * 10], axis=1)

    held = Held(Array(), np.array([1, 4, 5, 7, 8]), CPU)
    assert asked == [2, 2, 1]
    assert held.take([8, 1, 1]).tolist() == [[8, 80], [1, 10], [1, 10]]


def test_what_goes_to_cuda_is_pinned(monkeypatch):
    """Otherwise the CPU would wait for each copy."""
    calls = []
    pinned = torch.zeros(2)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: calls.append("pin") or pinned)

    def to(self, device, non_blocking=False):
        calls.append((self is pinned, device, non_blocking))
        return self

    monkeypatch.setattr(torch.Tensor, "to", to)
    on_device(np.zeros(2), torch.device("cuda"))
    assert calls == ["pin", (True, torch.device("cuda"), True)]
