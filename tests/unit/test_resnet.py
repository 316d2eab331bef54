"""The U-Net with a ResNet as its encoder, and the weights that it may start from."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from mapmill.design import Design
from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.infer import Predictor
from mapmill.nets.model import Card, build, load_model, save_model
from mapmill.nets.probe import reach
from mapmill.nets.resnet import RESNETS, ResNet, ResNetUNet
from mapmill.nets.weights import adapt, load_encoder_weights, start_from
from mapmill.plan import Plan, tiles_of
from mapmill.reach import reach_bound

CARD = Card(
    net="unet",
    width=4,
    depth=4,
    bands=["B02", "B03", "B04", "B08"],
    classes=["field", "wood", "lake"],
    mean=[10.0, 20.0, 30.0, 40.0],
    sd=[3.0, 5.0, 7.0, 9.0],
    provenance={},
    encoder="resnet18",
)
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


def torchvision_shapes(name, bands=3):
    """Names and shapes of torchvision's tensors, without `fc`, written down by hand."""
    shapes = {"conv1.weight": (64, bands, 7, 7)}

    def norm(key, channels):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{key}.{part}"] = (channels,)
        shapes[f"{key}.num_batches_tracked"] = ()

    norm("bn1", 64)
    inputs = 64
    for layer, count in enumerate(BLOCKS[name]):
        inner = (64, 128, 256, 512)[layer]
        outer = 4 * inner if name == "resnet50" else inner
        for block in range(count):
            key = f"layer{layer + 1}.{block}"
            if name == "resnet50":
                sizes = [(inner, inputs, 1, 1), (inner, inner, 3, 3), (outer, inner, 1, 1)]
            else:
                sizes = [(inner, inputs, 3, 3), (inner, inner, 3, 3)]
            for number, size in enumerate(sizes, 1):
                shapes[f"{key}.conv{number}.weight"] = size
                norm(f"{key}.bn{number}", size[0])
            if block == 0 and (layer > 0 or name == "resnet50"):
                shapes[f"{key}.downsample.0.weight"] = (outer, inputs, 1, 1)
                norm(f"{key}.downsample.1", outer)
            inputs = outer
    return shapes


def foreign_state(name="resnet18", bands=3, seed=5):
    """Random weights with torchvision's names, classifier and all."""
    random, state = torch.Generator().manual_seed(seed), {}
    for key, shape in torchvision_shapes(name, bands).items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
        else:
            state[key] = torch.rand(shape, generator=random) * 0.02 + 0.01
    state["fc.weight"], state["fc.bias"] = torch.zeros(1000, 512), torch.zeros(1000)
    return state


def by_the_paper(state, image_NCHW, name):
    """Features of a ResNet in evaluation, straight from its tensors; of v1.5."""

    def conv(x, key, stride=1):
        weight = state[f"{key}.weight"]
        return functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2)

    def norm(x, key):
        mean, var, gain, offset = (
            state[f"{key}.{part}"][:, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * gain + offset

    features = [norm(conv(image_NCHW, "conv1", 2), "bn1").clamp(min=0)]
    x = functional.max_pool2d(features[0], 3, 2, 1)
    for layer, count in enumerate(BLOCKS[name], 1):
        for block in range(count):
            key, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            strides = (1, stride, 1) if name == "resnet50" else (stride, 1)
            y = x
            for number, step in enumerate(strides, 1):
                y = norm(conv(y, f"{key}.conv{number}", step), f"{key}.bn{number}")
                y = y.clamp(min=0) if number < len(strides) else y
            if f"{key}.downsample.0.weight" in state:
                x = norm(conv(x, f"{key}.downsample.0", stride), f"{key}.downsample.1")
            x = (y + x).clamp(min=0)
        features.append(x)
    return features


@pytest.mark.parametrize(
    ("name", "tensors", "parameters"),
    [("resnet18", 120, 11_176_512), ("resnet34", 216, 21_284_672), ("resnet50", 318, 23_508_032)],
)
def test_the_encoder_has_the_tensors_of_torchvision(name, tensors, parameters):
    """Otherwise published weights would not fit, or fit only in part."""
    net = ResNetUNet(3, 5, name, 4)
    found = {key: tuple(tensor.shape) for key, tensor in net.encoder.state_dict().items()}
    assert found == torchvision_shapes(name)
    assert len(found) == tensors
    assert sum(p.numel() for p in net.encoder.parameters()) == parameters
    assert found["layer4.1.conv2.weight"] == (512, 512, 3, 3)
    whole = net.state_dict()
    assert all(f"encoder.{key}" in whole for key in found)


@pytest.mark.parametrize("name", list(RESNETS))
def test_the_encoder_computes_what_the_paper_says(name):
    """Otherwise published weights would fit, and mean nothing: another stride, ReLU or padding."""
    torch.manual_seed(0)
    encoder = ResNet(3, name).eval().double()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.weight, 0.5, 1)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64)
    with torch.inference_mode():
        found, expected = encoder(image), by_the_paper(encoder.state_dict(), image, name)
    assert [f.shape[2:] for f in found] == [(64 // s, 96 // s) for s in (2, 4, 8, 16, 32)]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", list(RESNETS))
def test_the_logits_have_the_image_s_size(name):
    """Otherwise the map would be cut at its edges, or no longer lie on the grid."""
    net = build(replace(CARD, encoder=name)).eval()
    assert net.stride == 32
    with torch.inference_mode():
        assert net(torch.zeros(2, 4, 64, 96)).shape == (2, 3, 64, 96)


@pytest.mark.parametrize(
    ("name", "pixels"), [("resnet18", 310), ("resnet34", 542), ("resnet50", 306)]
)
def test_the_bound_on_the_reach_holds(name, pixels):
    """Otherwise planning would count on imagery of fewer blocks than prediction reads."""
    assert reach(ResNetUNet(1, 1, name, 1), 1, 32) == pixels
    assert pixels <= reach_bound(Design(encoder=name)) < 1.5 * pixels


def test_planning_the_reach_needs_no_torch():
    """Otherwise every dry run would first wait for torch."""
    code = "import sys, mapmill.reach; assert not {'torch', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def scene(height, width):
    """An image in memory, its grid and a reader of it."""
    random = np.random.default_rng(3)
    image = random.normal(20, 10, (4, height, width)).astype(np.float32)
    valid, grid = random.random((height, width)) < 0.9, Window(0, 0, height, width)

    def read(window):
        rows, cols = window.slices(grid)
        return image[:, rows, cols], valid[rows, cols]

    return grid, read


def test_tiles_leave_no_trace():
    """Otherwise a map by a ResNet would show seams, and change with the size of tiles."""
    torch.manual_seed(0)
    net = build(CARD)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    with torch.no_grad():
        net.train()(torch.randn(2, 4, 128, 128))
    predictor = Predictor.of(net.eval(), CARD, torch.device("cpu"), Plan("exact"))
    grid, read = scene(61, 83)
    whole = predictor.probabilities(grid, grid, read)
    assert len(np.unique(whole.argmax(axis=0))) > 1  # else little could differ
    tiles = list(tiles_of(grid, 64, net.stride))
    assert len(tiles) == 2
    for tile in [*tiles, Window(17, 40, 9, 3)]:
        found = predictor.probabilities(tile, grid, read)
        assert np.array_equal(found, whole[:, *tile.slices(grid)])


def assert_encoder_is(net, state, first=None):
    """Every tensor of the encoder is that of `state`; the first convolution may be given."""
    own = net.encoder.state_dict()
    for key, tensor in own.items():
        if key == "conv1.weight" and first is not None:
            torch.testing.assert_close(tensor, first)
        else:
            assert torch.equal(tensor, state[key]), key


@pytest.mark.parametrize("name", list(RESNETS))
def test_every_tensor_of_a_weights_file_arrives(tmp_path, name):
    """Otherwise part of an encoder would be random while its report says it was pretrained."""
    state, path = foreign_state(name), tmp_path / "weights.pth"
    torch.save(state, path)
    net = build(replace(CARD, encoder=name))
    decoder = {k: v.clone() for k, v in net.state_dict().items() if not k.startswith("encoder.")}
    load_encoder_weights(net, path, CARD.bands)
    red, green, blue = state["conv1.weight"].unbind(dim=1)
    first = torch.stack([blue, green, red, (red + green + blue) / 3], dim=1) * 3 / 4
    assert_encoder_is(net, state, first)
    assert all(torch.equal(net.state_dict()[key], tensor) for key, tensor in decoder.items())


def prefixed(state, prefix):
    return {prefix + key: tensor for key, tensor in state.items()}


FORMS = {
    "state_dict.pth": lambda s, p: torch.save({"epoch": 3, "state_dict": s}, p),
    "model.pt": lambda s, p: torch.save({"model": prefixed(s, "module."), "epoch": 3}, p),
    "old.pth": lambda s, p: torch.save(s, p, _use_new_zipfile_serialization=False),
    "deep.pth": lambda s, p: torch.save(prefixed(s, "module.encoder."), p),
    "backbone.safetensors": lambda s, p: save_file(prefixed(s, "backbone."), p),
    "uncounted.pth": lambda s, p: torch.save(
        {k: v for k, v in s.items() if not k.endswith("num_batches_tracked")}, p
    ),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_weights_come_in_many_forms(tmp_path, form):
    """Otherwise users would have to rewrite the files that others publish."""
    state, path = foreign_state(bands=4), tmp_path / form
    FORMS[form](state, path)
    net = build(CARD)
    load_encoder_weights(net, path, CARD.bands)
    if form == "uncounted.pth":
        state |= {k: torch.tensor(0) for k in state if k.endswith("num_batches_tracked")}
    assert_encoder_is(net, state)


@pytest.mark.parametrize(
    ("bands", "order"),
    [
        (["B04", "B03", "B02"], "012"),
        (["B02", "B03", "B04"], "210"),
        (["Red", "GREEN", "blue"], "012"),
        (["r", "g", "b"], "012"),
        (["B", "R", "G"], "201"),
        (["VV", "VH", "dem"], "012"),
        (["B08", "B04", "B03"], "012"),
        ([], "012"),
        (["B02", "B03", "B04", "B08"], "210m"),
        (["R", "NIR"], "0m"),
        (["pan"], "m"),
        (["VV", "VH", "B02", "B03", "slope"], "mm21m"),
    ],
)
def test_the_first_convolution_finds_its_bands(bands, order):
    """Otherwise what was learnt of red would look at blue."""
    kernel = torch.rand(6, 3, 7, 7)
    planes = {"m": kernel.mean(dim=1)} | {str(i): kernel[:, i] for i in range(3)}
    expected = torch.stack([planes[place] for place in order], dim=1) * 3 / len(order)
    torch.testing.assert_close(adapt(kernel, len(order), bands), expected)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_features_keep_their_magnitude_with_any_number_of_bands(channels):
    """Otherwise the first layer would saturate, and what follows was learnt for nothing."""
    kernel = torch.rand(6, 3, 7, 7)
    torch.testing.assert_close(adapt(kernel, channels).sum(dim=1), kernel.sum(dim=1))


def without(state, *keys):
    return {key: tensor for key, tensor in state.items() if key not in keys}


MISFITS = {
    "missing": (lambda s: without(s, "layer3.0.bn2.bias"), "no layer3.0.bn2.bias"),
    "missing first": (lambda s: without(s, "conv1.weight"), "no conv1.weight"),
    "unexpected": (lambda s: s | {"neck.weight": torch.zeros(2)}, "an unexpected neck.weight"),
    "shape": (
        lambda s: s | {"bn1.bias": torch.zeros(65)},
        "bn1.bias (65,) instead of (64,)",
    ),
    "bands": (
        lambda s: s | {"conv1.weight": torch.zeros(64, 13, 7, 7)},
        "conv1.weight (64, 13, 7, 7) instead of (64, 4, 7, 7)",
    ),
    "whole numbers": (
        lambda s: s | {"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.int64)},
        "conv1.weight",
    ),
    "nan": (lambda s: s | {"bn1.bias": torch.full((64,), torch.nan)}, "no numbers"),
    "resnet34": (lambda s: foreign_state("resnet34"), "more"),
    "resnet50": (lambda s: foreign_state("resnet50"), "more"),
    "twice": (lambda s: s | {"encoder.bn1.bias": torch.zeros(64)}, "bn1.bias twice"),
    "no tensor": (lambda s: s | {"epoch": 3}, "epoch is no dense tensor"),
    "sparse": (lambda s: s | {"bn1.bias": torch.zeros(64).to_sparse()}, "no dense tensor"),
    "a tensor": (lambda s: torch.zeros(3), "a Tensor"),
    "a list": (lambda s: list(s.values()), "a list"),
    "empty dict": (lambda s: {}, "no weights"),
}


@pytest.fixture
def net():
    return build(CARD)


def assert_refused(net, path):
    """One line, and not one weight is touched; the line is returned."""
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(ContractError) as caught:
        load_encoder_weights(net, path, CARD.bands)
    assert all(torch.equal(before[key], tensor) for key, tensor in net.state_dict().items())
    line = str(caught.value)
    assert line.startswith(f"{path}: found ") and "\n" not in line and len(line) < 600
    return line


@pytest.mark.parametrize("case", list(MISFITS))
def test_weights_that_do_not_fit_are_refused(tmp_path, net, case):
    """Otherwise a net with some random weights would be called pretrained."""
    change, said = MISFITS[case]
    torch.save(change(foreign_state()), tmp_path / "weights.pth")
    assert said in assert_refused(net, tmp_path / "weights.pth")


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def zipped(folder):
    torch.save(foreign_state(), folder / "whole")
    return (folder / "whole").read_bytes()


def legacy(folder):
    torch.save(foreign_state(), folder / "whole", _use_new_zipfile_serialization=False)
    return (folder / "whole").read_bytes()


def with_class(folder):
    torch.save(foreign_state() | {"bomb": Bomb()}, folder / "whole")
    return (folder / "whole").read_bytes()


BROKEN = {
    "class.pth": with_class,
    "pickle.pth": lambda _: pickle.dumps(Bomb()),
    "net.pth": lambda folder: (
        torch.save(torch.nn.Linear(2, 2), folder / "n") or (folder / "n").read_bytes()
    ),
    "page.pth": lambda _: b"<!DOCTYPE html><html><body>Not Found</body></html>",
    "page.safetensors": lambda _: b"<!DOCTYPE html><html><body>Not Found</body></html>",
    "empty.pth": lambda _: b"",
    "empty.safetensors": lambda _: b"",
    "garbage.pth": lambda _: bytes(range(256)) * 20,
    "half.pth": lambda folder: zipped(folder)[: 10**7],
    "almost.pth": lambda folder: zipped(folder)[:-1],
    "old half.pth": lambda folder: legacy(folder)[: 10**7],
    "old almost.pth": lambda folder: legacy(folder)[:-1],
    "renamed.safetensors": zipped,
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_file_that_is_broken_is_one_line_and_runs_nothing(tmp_path, monkeypatch, net, name):
    """Otherwise weights from elsewhere could run code, or a bad download end in a traceback."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(BROKEN[name](tmp_path))
    assert "no weights" in assert_refused(net, path)
    assert not Path("exploded").exists()


def test_a_file_that_is_not_there_is_one_line(tmp_path, net):
    """Otherwise a typing mistake would end in a page of Python."""
    for name in ("missing.pth", "missing.safetensors"):
        assert "no weights" in assert_refused(net, tmp_path / name)
    assert "no weights" in assert_refused(net, tmp_path)


def test_a_plain_net_takes_no_encoder_weights(tmp_path):
    """Otherwise a run would be called pretrained that is not."""
    torch.save(foreign_state(), tmp_path / "weights.pth")
    plain = build(replace(CARD, encoder="plain", depth=2))
    assert "plain" in assert_refused(plain, tmp_path / "weights.pth")


def saved(path, card):
    """A model file with random weights, and those."""
    torch.manual_seed(8)
    state = {
        key: torch.rand_like(tensor) if tensor.is_floating_point() else tensor + 5
        for key, tensor in build(card).state_dict().items()
    }
    save_model(path, state, card)
    return state


@pytest.mark.parametrize("encoder", ["plain", "resnet18"])
def test_a_net_starts_from_a_trained_one(tmp_path, encoder):
    """Otherwise fine-tuning would begin with other weights than those of the model it names."""
    card, path = replace(CARD, encoder=encoder, depth=2), tmp_path / "model.safetensors"
    state = saved(path, replace(card, mean=[1.0] * 4, units="dB"))
    net = build(card)
    other, whole = start_from(net, card, path)
    assert whole
    assert (other.mean, other.units) == ([1.0] * 4, "dB")
    assert all(torch.equal(state[key], tensor) for key, tensor in net.state_dict().items())


@pytest.mark.parametrize("classes", [["a", "b"], ["wood", "field", "lake"]])
def test_other_classes_get_a_fresh_head(tmp_path, classes):
    """Otherwise what was learnt of wood would be called field."""
    path = tmp_path / "model.safetensors"
    plain = replace(CARD, encoder="plain", depth=2)
    state, card = saved(path, plain), replace(plain, classes=classes)
    net = build(card)
    fresh = net.state_dict()["head.weight"].clone()
    other, whole = start_from(net, card, path)
    assert not whole and other == plain
    for key, tensor in net.state_dict().items():
        if key == "head.weight":
            assert torch.equal(tensor, fresh)
        elif not key.startswith("head."):
            assert torch.equal(tensor, state[key]), key


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"encoder": "resnet34"}, "encoder resnet18; expected encoder resnet34"),
        ({"encoder": "plain"}, "encoder resnet18; expected encoder plain"),
        ({"width": 8}, "width 4; expected width 8"),
        ({"bands": ["B04", "B03", "B02", "B08"]}, "bands ['B02'"),
        ({"bands": ["B02"]}, "expected bands ['B02']"),
    ],
)
def test_a_model_of_another_kind_is_no_start(tmp_path, changes, said):
    """Otherwise bands would be swapped, or a part of the net stay random."""
    path, card = tmp_path / "model.safetensors", replace(CARD, **changes)
    save_model(path, build(CARD).state_dict(), CARD)
    with pytest.raises(ContractError) as caught:
        start_from(build(card), card, path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_depth_counts_for_plain_nets_alone(tmp_path):
    """Otherwise a setting that a ResNet does not use would forbid to start from it."""
    path, deeper = tmp_path / "model.safetensors", replace(CARD, depth=3)
    save_model(path, build(CARD).state_dict(), CARD)
    assert start_from(build(deeper), deeper, path)[1]
    plain = replace(CARD, encoder="plain", depth=2)
    save_model(path, build(plain).state_dict(), plain)
    deeper = replace(plain, depth=3)
    with pytest.raises(ContractError, match="depth 2; expected depth 3"):
        start_from(build(deeper), deeper, path)


def test_a_model_with_a_resnet_is_read_as_it_was_written(tmp_path):
    """Otherwise the published map would not be that of the trained model."""
    state = saved(tmp_path / "model", CARD)
    net, card = load_model(tmp_path / "model")
    assert card == CARD and isinstance(net, ResNetUNet) and not net.training
    assert all(torch.equal(state[key], tensor) for key, tensor in net.state_dict().items())
