"""Nets without batch normalisations, and blocks in strips, beside the nets as they were trained."""

import pytest
import torch

from mapmill.nets import strips
from mapmill.nets.fold import folded
from mapmill.nets.model import Card, build

DESIGNS = {
    "plain": {},
    "bilinear": {"upsample": "bilinear"},
    "residual": {"block": "residual"},
    "gates": {"attention": "gate"},
    "squeeze": {"attention": "se"},
    "groups": {"norm": "group"},
    "bare": {"norm": "none"},
    "valid": {"padding": "valid"},
    "one logit": {"activation": "sigmoid"},
    "resnet18": {"encoder": "resnet18"},
    "resnet50": {"encoder": "resnet50"},
}
LOCAL = [name for name in DESIGNS if name not in ("squeeze", "groups", "valid")]


def net_of(design):
    """A net whose normalisations have seen images, so that each changes what passes."""
    depth = 4 if "encoder" in DESIGNS[design] else 2
    names = ["x", "y"] if design == "one logit" else list("vwxyz")
    card = Card("unet", 8, depth, list("abc"), names, [0.0] * 3, [1.0] * 3, {}, **DESIGNS[design])
    torch.manual_seed(1)
    net = build(card)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
            module.momentum = 1.0
    with torch.no_grad():
        net.train()(torch.randn(2, 3, net.fits(64), net.fits(64)))
    return net.eval()


@pytest.mark.parametrize("design", DESIGNS)
def test_a_folded_net_says_the_same(design):
    """Otherwise a map would be by another net than was trained and scored."""
    net = net_of(design)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = folded(net)
    assert not [m for m in found.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    image = torch.randn(2, 3, net.fits(96), net.fits(96))
    with torch.no_grad():
        torch.testing.assert_close(found(image), net(image), rtol=1e-3, atol=2e-4)
        exact = net.double()(image.double())
        folds = found.double()(image.double())
    # weights were rounded to float32 once; as doubles the two differ by that alone
    assert (folds - exact).abs().max() < 1e-4 * exact.abs().max()
    for name, value in net.float().state_dict().items():
        torch.testing.assert_close(value, before[name], msg=f"{name} of the trained net changed")


@pytest.mark.parametrize("design", DESIGNS)
def test_strips_change_no_bit(design, monkeypatch):
    """Their context would be too small, or a block be no local one."""
    net = folded(net_of(design)).to(memory_format=torch.channels_last)
    image = torch.randn(1, 3, net.fits(416), net.fits(320))
    image = image.contiguous(memory_format=torch.channels_last)
    heights = []
    made = strips.in_strips

    def watched(block, *given):
        result = made(lambda *parts: heights.append(len(parts[0][0, 0])) or block(*parts), *given)
        assert result.is_contiguous(memory_format=torch.channels_last)
        return result

    monkeypatch.setattr("mapmill.nets.decoder.in_strips", watched)
    with torch.inference_mode():
        monkeypatch.setattr(strips, "STRIP_PX", 2**40)
        whole = net(image)
        assert all(height in {416 >> level for level in range(6)} for height in heights)
        monkeypatch.setattr(strips, "STRIP_PX", 2**14)
        heights.clear()
        in_parts = net(image)
    assert torch.equal(in_parts, whole)
    assert (design in LOCAL) == bool(heights)
    assert not heights or min(heights) < 80


def test_training_is_not_in_strips(monkeypatch):
    """Batch normalisation learns from whole images, and gradients need them."""
    monkeypatch.setattr(strips, "STRIP_PX", 64)
    seen = []
    image = torch.randn(1, 3, 64, 64)
    strips.in_strips(lambda x: seen.append(x.shape) or x, image)
    assert seen == [image.shape]
