"""Nets of every design: the size of their logits, and how far they see."""

import itertools

import numpy as np
import pytest
import torch

from mapmill.design import CHOICES, Design
from mapmill.nets.model import Card, build, with_reach
from mapmill.nets.probe import GLOBAL, reach
from mapmill.reach import reach_bound

ONE_AT_A_TIME = [
    {},
    {"padding": "valid"},
    {"upsample": "bilinear"},
    {"norm": "group"},
    {"norm": "none"},
    {"block": "residual"},
    *({"attention": kind} for kind in CHOICES["attention"][1:]),
    *({"head": kind} for kind in CHOICES["head"][1:]),
    {"activation": "sigmoid"},
    {"encoder": "resnet18"},
]


def card_of(bands=2, classes=2, **design):
    names = {"bands": list("abcdefgh")[:bands], "classes": list("vwxyz")[:classes]}
    return Card(
        **{"net": "unet", "width": 2, "depth": 2} | design, **names, mean=[], sd=[], provenance={}
    )


def net_of(**design):
    """A net with random weights and statistics, in double precision, in evaluation."""
    torch.manual_seed(4)
    net = build(card_of(**design)).double()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return net.eval()


def changed(net, side, row, col):
    """Where the logits of an image change when one of its pixels does: rows and columns."""
    image = torch.randn(1, 2, side, side, dtype=torch.float64)
    moved = image.clone()
    moved[..., row, col] += 100
    with torch.inference_mode():
        places = (net(image) != net(moved)).any(dim=1)[0].nonzero().numpy()
    return places + net.margin


@pytest.mark.parametrize("design", ONE_AT_A_TIME, ids=str)
def test_the_logits_lack_the_margin_alone(design):
    """Otherwise the map would be cut at its edges, or no longer lie on the grid."""
    net = net_of(**design)
    for height, width in ((1, 40), (33, 64), (47, 90)):
        height, width = net.fits(height), net.fits(width)
        assert net.fits(height) == height
        found = net(torch.zeros(1, 2, height, width, dtype=torch.float64))
        assert found.shape == (1, 2, height - 2 * net.margin, width - 2 * net.margin)


def test_the_original_net():
    """Otherwise `padding: valid` would not be the published architecture: 572 px give 388."""
    net = build(card_of(width=1, depth=4, padding="valid"))
    assert net.margin == 92 == (572 - 388) // 2
    assert net.fits(572) == 572 and net.fits(573) == 588
    assert net(torch.zeros(1, 2, 572, 572)).shape == (1, 2, 388, 388)
    whole = build(card_of(1, 2, width=64, depth=4, padding="valid", norm="none"))
    convolutions = [m for m in whole.modules() if isinstance(m, torch.nn.Conv2d)]
    widened = [m for m in whole.modules() if isinstance(m, torch.nn.ConvTranspose2d)]
    assert len(convolutions) + len(widened) == 23


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_an_unpadded_net_sees_what_a_padded_one_sees_in_its_middle(depth):
    """Otherwise skips would be cropped off their centre, and the map be shifted."""
    padded, bare = (net_of(depth=depth, padding=p) for p in ("same", "valid"))
    bare.load_state_dict(padded.state_dict())
    far, first = reach_bound(Design(depth=depth)), 2**depth - 2
    side = bare.fits(2 * far + first + 5)
    image = torch.randn(1, 2, side, side, dtype=torch.float64)
    # unpadded convolutions take 2 px at each level before it is pooled: so lie the squares
    from_there = image[..., first:, first:]
    pads = (0, padded.fits(side - first) - (side - first)) * 2
    with torch.inference_mode():
        found = bare(image)
        expected = padded(torch.nn.functional.pad(from_there, pads))
    assert found.shape[2] == side - 2 * bare.margin
    low, high = first + far, side - far
    here = found[
        ..., low - bare.margin : high - bare.margin, low - bare.margin : high - bare.margin
    ]
    assert here.numel() > 0
    torch.testing.assert_close(
        here, expected[..., low - first : high - first, low - first : high - first]
    )


PLAIN = list(
    itertools.product(*(CHOICES[k] for k in ("padding", "upsample", "norm", "block", "attention")))
)
assert len(PLAIN) == 120


def probed(**design):
    """Measured reach and bound."""
    net = build(card_of(bands=1, **design))
    return reach(net, 1, net.stride), reach_bound(Design(**{"width": 2, "depth": 2} | design))


def assert_bounded(measured, bound):
    """Both say that the net sees all, or the bound is no less, and not much more."""
    assert (measured == GLOBAL) == (bound is None)
    assert bound is None or measured <= bound < 1.6 * measured


@pytest.mark.parametrize("upsample", CHOICES["upsample"])
@pytest.mark.parametrize("padding", CHOICES["padding"])
def test_the_bound_on_the_reach_holds_for_every_design(padding, upsample):
    """Otherwise planning would count on imagery of fewer blocks than prediction reads."""
    for values in PLAIN:
        if values[:2] == (padding, upsample):
            keys = ("padding", "upsample", "norm", "block", "attention")
            assert_bounded(*probed(**dict(zip(keys, values, strict=True))))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 6])
def test_the_bound_holds_at_every_depth(depth):
    """Otherwise planning would count on imagery of fewer blocks than prediction reads."""
    for upsample in CHOICES["upsample"]:
        assert_bounded(*probed(width=1, depth=depth, upsample=upsample))


@pytest.mark.parametrize("head", CHOICES["head"])
def test_heads_do_not_see_farther(head):
    """Otherwise what is learnt beside the mask would make the map depend on its tiles."""
    assert probed(head=head) == probed()
    assert probed(head=head, activation="sigmoid") == probed()


def test_a_resnet_s_decoder_counts():
    """Otherwise a ResNet with other up-sampling would be shown too little of its surroundings."""
    measured, bound = probed(encoder="resnet18", upsample="bilinear")
    assert_bounded(measured, bound)
    assert measured > 310  # as with transposed convolutions
    assert reach_bound(Design(encoder="resnet18", attention="self")) is None


LOCAL = [
    {"padding": "valid"},
    {"upsample": "bilinear"},
    {"block": "residual", "norm": "none"},
    {"attention": "gate"},
    {"head": "multi-resolution", "attention": "gate", "block": "residual"},
]


@pytest.mark.parametrize("design", LOCAL, ids=str)
def test_no_pixel_beyond_the_reach_changes_a_bit(design):
    """Otherwise the probe would miss a path, and seams appear in maps whose halo is its reach."""
    net = net_of(**design)
    far = reach(net.float(), 2, net.stride)
    net = net.double()
    middle = (far + net.margin) // net.stride * net.stride + 2 * net.stride
    side, farthest = net.fits(2 * middle + net.stride), 0
    for row, col in itertools.product(range(net.stride), repeat=2):
        place = np.array([middle + row, middle + col])
        distance = np.abs(changed(net, side, *place) - place)
        assert len(distance) > 0
        farthest = max(farthest, distance.max())
    assert far - net.stride <= farthest <= far


@pytest.mark.parametrize(
    "design",
    [{"norm": "group"}, *({"attention": kind} for kind in ("se", "cbam", "self"))],
    ids=str,
)
def test_a_global_net_does_see_all(design):
    """Otherwise nets would be called global for nothing, and their maps be less than exact."""
    net = net_of(**design)
    assert reach(net.float(), 2, net.stride) == GLOBAL == with_reach(card_of(**design)).reach
    places = changed(net.double(), 128, 0, 0)
    assert min(places.max(axis=0)) > 100 > reach_bound(Design(depth=2))


class OneWay(torch.nn.Module):
    """Sees five rows up or columns to the left, and nothing else."""

    stride, margin = 2, 0

    def __init__(self, axis):
        super().__init__()
        self.axis = axis

    def fits(self, size):
        return -(-size // 2) * 2

    def forward(self, image_NCHW):
        return image_NCHW + image_NCHW.roll(5, self.axis)


@pytest.mark.parametrize("axis", [2, 3])
def test_both_axes_are_measured(axis):
    """Otherwise a net that looks farther along columns than along rows would get too few rows."""
    assert reach(OneWay(axis), 1, 2) == 5


def test_a_thin_net_sees_as_far():
    """Otherwise the reach kept with a wide model would be that of another net."""
    for design in ({}, {"attention": "gate", "block": "residual"}, {"norm": "group"}):
        card = card_of(width=12, **design)
        assert with_reach(card).reach == reach(build(card), 2, 4)


LAYERS = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "softmax": lambda x: x.softmax(-1),
    "max_pool2d": lambda x: torch.nn.functional.max_pool2d(x, 2),
    "amax": lambda x: x.amax((2, 3)),
    "hardswish": torch.nn.functional.hardswish,
    "hardsigmoid": torch.nn.functional.hardsigmoid,
    "relu6": torch.nn.functional.relu6,
    "gelu": torch.nn.functional.gelu,
    "silu": torch.nn.functional.silu,
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("width", [2, 64])
def test_a_nan_gets_through_every_kind_of_layer(layer, width):
    """Otherwise the probe would lose its mark on the way, and call a net more local than it is."""
    for place in range(width):
        x = torch.zeros(1, 1, 2, width)
        x[..., place] = torch.nan
        assert LAYERS[layer](x).isnan().any()
