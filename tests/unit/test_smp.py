"""Nets of segmentation-models-pytorch: built by name, or one line that says what is missing."""

import importlib.util
import sys

import pytest
import torch

from mapmill.errors import ContractError
from mapmill.nets.heads import whole_strides
from mapmill.nets.model import Card, build, load_model, save_model, with_reach
from mapmill.nets.probe import GLOBAL
from mapmill.nets.weights import start_from

IS_THERE = importlib.util.find_spec("segmentation_models_pytorch") is not None
needs_smp = pytest.mark.skipif(not IS_THERE, reason="the extra mapmill[smp] is not installed")


def card_of(arch="DeepLabV3Plus", encoder="tu-mobilenetv3_small_050", classes=3, bands=5, **more):
    smp = {"arch": arch, "encoder": encoder, "options": more.pop("options", {})}
    names = {"bands": list("abcdef")[:bands], "classes": list("vwxyz")[:classes]}
    of_bands = {"mean": [500.0] * len(names["bands"]), "sd": [300.0] * len(names["bands"])}
    return Card(net="smp", width=32, depth=4, **names, **of_bands, provenance={}, smp=smp, **more)


def test_a_missing_package_is_one_line(monkeypatch):
    """Otherwise a run would end in a page of Python, and nobody know what to install."""
    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ContractError, match=r"pip install 'mapmill\[smp\]'") as caught:
        build(card_of())
    assert "\n" not in str(caught.value)


def test_a_package_that_does_not_work_is_one_line(monkeypatch):
    """Otherwise a torchvision of another build than torch's would end in a page of Python."""

    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "segmentation_models_pytorch":
                raise RuntimeError("operator torchvision::nms does not exist\nmore of it")

    monkeypatch.delitem(sys.modules, "segmentation_models_pytorch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(ContractError, match=r"nms does not exist\).*same build as torch") as caught:
        build(card_of())
    assert "\n" not in str(caught.value)


@needs_smp
@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(
    ("arch", "encoder", "far"),
    [
        ("DeepLabV3Plus", "tu-mobilenetv3_small_050", GLOBAL),
        ("Segformer", "mit_b0", GLOBAL),
        ("FPN", "tu-efficientnetv2_rw_t", GLOBAL),
        ("Linknet", "mobilenet_v2", 307),
    ],
)
def test_a_net_by_name(tmp_path, arch, encoder, far):
    """Otherwise an architecture could not be trained, kept or predicted with."""
    torch.manual_seed(0)
    card = card_of(arch, encoder)
    net = build(card).train()
    image = torch.randn(2, 5, 70, 64)
    logits = whole_strides(net, image).mask_NKHW
    assert logits.shape == (2, 3, 70, 64)
    logits.square().mean().backward()
    assert sum(p.grad is not None for p in net.parameters()) > 0.9 * len(list(net.parameters()))
    known = with_reach(card)
    assert known.reach == far
    save_model(tmp_path / "model", net.state_dict(), known)
    loaded, found = load_model(tmp_path / "model")
    assert found == known
    with torch.inference_mode():
        assert torch.equal(loaded(image[..., :64, :]), net.eval()(image[..., :64, :]))


@needs_smp
@pytest.mark.usefixtures("operators")
def test_one_logit_and_another_head(tmp_path):
    """Otherwise two classes would be mapped as one, or another area's classes be taken over."""
    card = card_of(classes=2, activation="sigmoid")
    net = build(card).eval()
    with torch.inference_mode():
        logits = net(torch.randn(1, 5, 64, 64))
    assert (logits[:, 0] == 0).all() and (logits[:, 1] != 0).any()
    other = card_of(classes=3)
    save_model(tmp_path / "model", build(other).state_dict(), other)
    fresh = build(card_of(classes=4))
    before = {k: v.clone() for k, v in fresh.state_dict().items()}
    assert not start_from(fresh, card_of(classes=4), tmp_path / "model")[1]
    same = {
        k
        for k, v in fresh.state_dict().items()
        if v.is_floating_point() and torch.equal(v, before[k])
    }
    assert {k for k in before if "segmentation_head" in k} <= same


@needs_smp
@pytest.mark.usefixtures("operators")
@pytest.mark.parametrize(
    "names",
    [
        {"arch": "UNetty"},
        {"encoder": "resnet999"},
        {"options": {"no_such_option": 3}},
        {"arch": "DPT", "encoder": "tu-vit_tiny_patch16_224"},
    ],
    ids=str,
)
def test_a_net_that_cannot_be_is_one_line(names):
    """Otherwise a wrong name would end in a page of Python."""
    with pytest.raises(ContractError, match=r"correct train\.smp") as caught:
        build(card_of(**names))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
