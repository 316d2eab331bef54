"""The U-Net, how far it sees, and the file that carries a model."""

import json
import pickle
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mapmill.design import CHOICES
from mapmill.errors import ContractError
from mapmill.nets.model import (
    Card,
    build,
    choose_device,
    load_model,
    save_model,
    with_reach,
)
from mapmill.nets.probe import reach
from mapmill.nets.unet import UNet

CARD = Card(
    net="unet",
    width=4,
    depth=2,
    bands=["B02", "B08"],
    classes=["field", "wood", "lake"],
    mean=[100.5, 0.25],
    sd=[12.0, 0.125],
    provenance={"MAPMILL_STAGE": "train"},
)


def positive_net(depth, bands=1, width=1):
    """A net in which every path from input to output adds up: no weight cancels another."""
    net = UNet(bands, 2, width, depth).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.abs_().clamp_(min=0.05)
    return net


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_logits_have_the_image_s_size(depth):
    """Otherwise the map would be cut at its edges, or no longer lie on the grid."""
    net = UNet(3, 5, 2, depth)
    assert net.stride == 2**depth
    height, width = 2 * net.stride, 3 * net.stride
    assert net(torch.zeros(2, 3, height, width)).shape == (2, 5, height, width)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_reach_is_the_farthest_pixel_that_matters(depth):
    """Otherwise the halo would be too small, and seams appear, or too large, and time be lost."""
    net = positive_net(depth)
    far = reach(net, 1, net.stride)
    width = -(-2 * (far + net.stride) // net.stride) * net.stride
    base = torch.rand(1, 1, net.stride, width, generator=torch.Generator().manual_seed(0))
    for axis in ("row", "column"):
        farthest = 0
        for phase in range(net.stride):
            place, moved = width // 2 // net.stride * net.stride + phase, base.clone()
            moved[..., place] += 1e6
            turned = (lambda x: x) if axis == "row" else (lambda x: x.transpose(2, 3))
            with torch.inference_mode():
                change = turned(net(turned(moved))) != turned(net(turned(base)))
            columns = change.any(dim=1)[0].any(dim=0).nonzero()
            farthest = max(farthest, int((columns - place).abs().max()))
        assert farthest == far  # at `reach` something changes, beyond it not a bit does


def test_reach_leaves_the_net_as_it_was():
    """Otherwise measuring would change what is trained or predicted next."""
    net = UNet(2, 3, 4, 2).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    reach(net, 2, net.stride)
    assert net.training
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def trained(card=CARD):
    """A net with random weights and statistics, as if trained, in the memory order of training."""
    torch.manual_seed(3)
    net = build(card).to(memory_format=torch.channels_last)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def test_a_model_is_read_as_it_was_written(tmp_path):
    """Otherwise the published map would not be that of the trained model."""
    net, path = trained(), tmp_path / "model.safetensors"
    save_model(path, net.state_dict(), CARD)
    loaded, card = load_model(path)
    assert card == CARD
    assert not loaded.training
    ours, theirs = net.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    image = torch.rand(1, 2, 16, 16)
    assert torch.equal(net(image), loaded.to(memory_format=torch.channels_last)(image))


def test_equal_models_are_equal_bytes(tmp_path):
    """Otherwise a rerun with equal results would make every map again."""
    state = trained().state_dict()
    save_model(tmp_path / "1", state, CARD)
    save_model(tmp_path / "2", dict(reversed(state.items())), replace(CARD))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def foreign_files(folder):
    """Files that are no model: name -> path."""
    save_model(folder / "model", trained().state_dict(), CARD)
    whole = (folder / "model").read_bytes()
    tensors = {"weight": torch.zeros(3)}
    texts = {
        "pickle": pickle.dumps(Bomb()),
        "garbage": bytes(range(256)) * 20,
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "web page": b"<!DOCTYPE html><html></html>",
    }
    for name, content in texts.items():
        (folder / name).write_bytes(content)
    torch.save({"weight": tensors["weight"], "bomb": 1}, folder / "torch checkpoint")
    save_file(tensors, folder / "no card")
    save_file(tensors, folder / "other card", metadata={"mapmill": json.dumps({"net": "unet"})})
    save_file(tensors, folder / "card is no JSON", metadata={"mapmill": "{"})
    save_file(tensors, folder / "card is a list", metadata={"mapmill": "[]"})
    return {path.name: path for path in folder.iterdir() if path.name != "model"}


def test_a_file_that_is_no_model_is_one_line_and_runs_nothing(tmp_path, monkeypatch):
    """Otherwise a model from elsewhere could run code, or a broken one end in a traceback."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    cases = {**foreign_files(tmp_path / "files"), "missing": tmp_path / "missing"}
    assert len(cases) == 11
    for path in cases.values():
        with pytest.raises(ContractError, match="a model of mapmill") as caught:
            load_model(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "other", [{"width": 8}, {"depth": 1}, {"bands": ["B02"]}, {"classes": ["a", "b"]}]
)
def test_weights_that_do_not_fit_their_card_are_refused(tmp_path, other):
    """Otherwise a net with some fresh weights would make a plausible and wrong map."""
    path = tmp_path / "model.safetensors"
    save_model(path, trained().state_dict(), replace(CARD, **other))
    with pytest.raises(ContractError, match="weights that fit the card") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", [{key: "mlp"} for key in CHOICES])
def test_an_unknown_net_is_refused(tmp_path, other):
    """Otherwise the model of a newer version would be built as something else."""
    path = tmp_path / "model.safetensors"
    save_model(path, trained().state_dict(), replace(CARD, **other))
    with pytest.raises(ContractError, match="'mlp'"):
        load_model(path)


def rewritten(path, **changes):
    """A model file whose card has other entries; a value of None takes one out."""
    known = asdict(CARD) | changes
    card = {key: value for key, value in known.items() if value is not None}
    state = {name: tensor.contiguous() for name, tensor in trained().state_dict().items()}
    save_file(state, path, metadata={"mapmill": json.dumps(card)})
    return path


def test_a_model_from_before_there_were_encoders_is_still_read(tmp_path):
    """Otherwise models trained in the past could make no more maps."""
    later = [each.name for each in fields(Card)][8:]
    assert {"encoder", "units", "reach", "padding", "attention", "smp"} <= set(later)
    path = rewritten(tmp_path / "model.safetensors", **dict.fromkeys(later))
    net, card = load_model(path)
    assert isinstance(net, UNet)
    assert card == CARD
    assert (card.encoder, card.units, card.reach) == ("plain", "", None)


def test_a_card_with_an_unknown_entry_is_one_line(tmp_path):
    """Otherwise what a newer version says of its model would be dropped in silence."""
    path = rewritten(tmp_path / "model.safetensors", warp=0.5)
    with pytest.raises(ContractError, match=r"warp.*a model of mapmill") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


def test_the_message_about_weights_that_do_not_fit_is_short(tmp_path):
    """Otherwise the line would hold every tensor of the net, and nobody would read it."""
    path = tmp_path / "model.safetensors"
    save_model(path, {"extra": torch.zeros(2)}, CARD)
    with pytest.raises(ContractError, match=r"no entry\.0\.weight, .* and \d+ more") as caught:
        load_model(path)
    assert len(str(caught.value)) < 400


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    """Otherwise the whole map would be one class, without a word."""
    state = trained().state_dict()
    state["head.bias"][1] = torch.nan
    save_model(tmp_path / "model", state, CARD)
    with pytest.raises(ContractError, match=r"head\.bias with values that are no numbers"):
        load_model(tmp_path / "model")


def test_the_reach_travels_with_the_model(tmp_path):
    """Otherwise prediction would measure it for every block anew."""
    path, card = tmp_path / "model.safetensors", with_reach(CARD)
    save_model(path, trained().state_dict(), card)
    net, found = load_model(path)
    assert found == card == replace(CARD, reach=reach(net, 2, net.stride))


def test_a_device_that_is_not_there_is_an_error(monkeypatch):
    """Otherwise a long training would step down to the CPU without a word."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for wanted in ("cuda", "mps"):
        with pytest.raises(ContractError, match="only cpu") as caught:
            choose_device(wanted)
        assert "\n" not in str(caught.value)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")


def test_auto_takes_the_gpu_that_is_there(monkeypatch):
    """Otherwise `auto` would leave a GPU idle."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")
