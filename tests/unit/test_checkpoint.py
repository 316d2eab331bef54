"""Checkpoints: a run goes on from one to the same bytes, and from no other's."""

import pickle

import pytest
import torch

from mapmill.checkpoint import Checkpoint, load, optimiser_state, restore, save

OPTIMISERS = {
    "SGD": lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    "SGD without momentum": lambda p: torch.optim.SGD(p, 0.1),
    "Adagrad": torch.optim.Adagrad,
    "RMSprop": torch.optim.RMSprop,
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "NAdam": torch.optim.NAdam,
}


def net_of(seed):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))


def steps(net, optimiser, numbers):
    net.train()
    for number in numbers:
        image = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(number))
        optimiser.zero_grad()
        (net(image) ** 2 * image[:, :1, 1:-1, 1:-1]).mean().backward()
        optimiser.step()


def standing(net, optimiser, step=3):
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    return Checkpoint(step, state, state, optimiser_state(optimiser), [{"step": 2.0}])


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, name):
    """Otherwise a killed training would end with another map than an undisturbed one."""
    whole = net_of(1)
    steps(whole, own := OPTIMISERS[name](whole.parameters()), range(6))
    half = net_of(1)
    steps(half, own := OPTIMISERS[name](half.parameters()), range(3))
    save(tmp_path / "last.safetensors", standing(half, own), "a")
    found = load(tmp_path / "last.safetensors", "a")
    assert (found.step, found.history) == (3, [{"step": 2.0}])
    other = net_of(2)
    restore(other, own := OPTIMISERS[name](other.parameters()), found)
    steps(other, own, range(3, 6))
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[key]), key


def test_a_checkpoint_of_other_settings_is_not_taken(tmp_path, caplog):
    """Otherwise a changed loss would go on from weights that another one had made."""
    net = net_of(1)
    save(tmp_path / "a", standing(net, torch.optim.Adam(net.parameters())), "a")
    assert load(tmp_path / "a", "b") is None
    assert "other settings" in caplog.text


def test_a_damaged_checkpoint_and_a_pickle_start_anew(tmp_path, caplog):
    """Otherwise a file cut short would end every later run, or a pickle execute code."""
    net = net_of(1)
    save(tmp_path / "a", standing(net, torch.optim.Adam(net.parameters())), "a")
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "cut").write_bytes(content[: len(content) // 2])
    (tmp_path / "pickle").write_bytes(pickle.dumps({"step": 3}))
    for name in ("cut", "pickle"):
        assert load(tmp_path / name, "a") is None
    assert caplog.text.count("is damaged") == 2
    assert load(tmp_path / "none", "a") is None
