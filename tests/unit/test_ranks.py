"""Several processes that share a training find what one alone finds."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from unit.rank_steps import CASES, LABELLED, fitted, patches, run

from mapmill.errors import ContractError
from mapmill.feed import CPU, batches
from mapmill.ranks import ALONE, Ranks, together
from mapmill.sections import Train

HERE = Path(__file__).parent
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def launched(*command, timeout=240):
    """Run a program in two processes, as torchrun does."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *LAUNCH, *command],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes wrote: weights and looks of each case."""
    folder = tmp_path_factory.mktemp("two")
    done = launched(str(HERE / "rank_steps.py"), str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def read(path):
    with safe_open(path, "pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["looks"]), weights


@pytest.mark.parametrize("kind", LABELLED)
@pytest.mark.parametrize("case", CASES)
def test_two_processes_learn_what_one_does(two, case, kind):
    """Otherwise a model would depend on the number of GPUs, most where many pixels are ignored."""
    looks, weights = run(fitted(case, kind, ALONE))
    theirs, found = read(two / f"{case}-{kind}.safetensors")
    fresh = fitted(case, kind, ALONE).best
    moved = max(float((weights[name] - fresh[name]).abs().max()) for name in weights)
    assert moved > 1e-2  # so that the agreement below says something
    for name, tensor in weights.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=2e-5, msg=name)
    for one, other in zip(looks, theirs, strict=True):
        assert other == pytest.approx(one, rel=1e-3, abs=1e-6)


def test_one_of_the_processes_has_no_label_at_all():
    """Otherwise the test above would not try the case where averages over processes are wrong."""
    given = patches("wholly", fitted("dice", "wholly", ALONE).train.card)
    source = batches(given, Train(batch=4), 1)
    for batch in itertools.islice(source, 6):
        label_NHW = batch.label_NHW
        counts = [(label_NHW[part] > 0).sum() for part in (slice(0, 2), slice(2, 4))]
        assert min(counts) == 0 < max(counts)


def test_processes_go_on_from_one_checkpoint_to_the_same_bytes(two):
    """Otherwise a stopped training of several processes would be lost, or end elsewhere."""
    looks, weights = read(two / "dice-nearly.safetensors")
    theirs, found = read(two / "again.safetensors")
    assert theirs == looks
    assert all(torch.equal(found[name], tensor) for name, tensor in weights.items())


def test_processes_end_with_equal_weights_and_statistics(two):
    """Otherwise each would validate another net, and the one that is kept would be any of them."""
    first, second = (json.loads((two / f"sums-{rank}.json").read_text()) for rank in (0, 1))
    assert any("running" in name for name in first)
    assert first == second


@pytest.mark.parametrize("count", [2, 4])
def test_parts_of_a_batch_are_those_of_the_whole(count):
    """Otherwise processes would see other patches, noise or rectangles than one alone."""
    card = fitted("dice", "nearly", ALONE).train.card
    given = patches("nearly", card)
    chosen = Train(batch=8, noise=0.2, cutmix=1.0, crop=24, jitter=0.1, zoom=1.5, drop_band=0.3)
    wholes = itertools.islice(batches(given, chosen, 3), 3)
    parts = [batches(given, chosen, 3, ranks=Ranks(rank, count)) for rank in range(count)]
    for whole in wholes:
        joined = [torch.cat(each) for each in zip(*(next(part)[:2] for part in parts), strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(whole[:2], joined, strict=True))


@pytest.mark.parametrize("items", range(9))
def test_every_item_is_of_one_process(items):
    """Otherwise some patches of validation would be scored twice, or never."""
    parts = [Ranks(rank, 3).part(items) for rank in range(3)]
    assert list(itertools.chain(*parts)) == list(range(items))
    assert np.ptp([len(part) for part in parts]) <= 1


def test_a_batch_that_does_not_divide_is_one_line():
    """Otherwise processes would have unequal parts, or learn from another batch than was said."""
    with pytest.raises(ContractError, match=r"train.batch.*4 for 3 processes") as caught:
        fitted("dice", "nearly", Ranks(0, 3))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"WORLD_SIZE": "2"}, "no RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "many"}, "many"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE"),
    ],
)
def test_an_environment_that_does_not_say_who_is_who_is_one_line(monkeypatch, environment, told):
    """Otherwise training would wait for processes that nobody started."""
    for name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ContractError, match=told) as caught, together(CPU):
        pass
    assert "torchrun" in str(caught.value) and "\n" not in str(caught.value)


def test_more_processes_than_gpus_are_one_line(monkeypatch):
    """Otherwise two would share a GPU, or torch would say something of an invalid ordinal."""
    named = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    refused = pytest.raises(ContractError, match="1 CUDA devices for process 1")
    with refused, together(torch.device("cuda")):
        pass
