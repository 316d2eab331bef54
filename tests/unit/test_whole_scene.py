"""Exact prediction: bit for bit one pass of the net over the whole scene, done by hand."""

import numpy as np
import pytest
import torch

from mapmill.ensemble import Ensemble, bands_of
from mapmill.flow import flow
from mapmill.grid import Grid, Window
from mapmill.infer import Predictor
from mapmill.nets.model import Card, build, with_reach
from mapmill.pixels import probabilities
from mapmill.plan import Plan

BANDS, CLASSES = 3, 5
NETS = {
    "same, transpose": {"depth": 3},
    "same, bilinear": {"depth": 3, "upsample": "bilinear"},
    "valid, transpose": {"depth": 2, "padding": "valid"},
    "valid, bilinear": {"depth": 2, "padding": "valid", "upsample": "bilinear"},
    "residual": {"depth": 3, "block": "residual"},
    "gates": {"depth": 3, "attention": "gate"},
    "resnet18": {"depth": 4, "encoder": "resnet18"},
}


@pytest.fixture(autouse=True)
def two_threads():
    """Tests set the number of torch's threads; it is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def net_of(**design):
    """A net with random weights and batch-norm statistics that tells several classes apart."""
    names = list("abc"), list("vwxyz"), [10.0, 20, 30], [3.0, 5, 7], {}
    card = Card("unet", 8, design.pop("depth"), *names, **design)
    torch.manual_seed(3)
    net = build(card)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        net.train()(torch.randn(2, BANDS, net.fits(64), net.fits(64)))
    return net.eval(), with_reach(card)


def scene_of(height, width):
    """A noisy image and its validity: a tenth of single pixels and a large corner are missing."""
    random = np.random.default_rng(7)
    image = random.normal(20, 10, (BANDS, height, width)).astype(np.float32)
    valid = random.random((height, width)) >= 0.1
    valid[: height // 3, -(width // 4) :] = False
    return image, valid


def by_hand(net, card, image, valid, halo):
    """Softmax (class, y, x) of one pass over the scene, mirrored by `halo` and to the stride."""
    before = -(-halo // net.stride) * net.stride
    sides = [net.fits(before + side + halo) for side in valid.shape]
    pads = [(before, size - before - side) for size, side in zip(sides, valid.shape, strict=True)]
    wide = np.pad(image, [(0, 0), *pads], "reflect")
    shift, scale = (np.array(v, np.float32)[:, None, None] for v in (card.mean, card.sd))
    ready = np.where(np.pad(valid, pads, "reflect"), (wide - shift) / scale, np.float32(0))
    tensor = torch.from_numpy(ready)[None].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        logits = net(tensor)[0]
    top = before - net.margin
    inner = logits[:, top : top + valid.shape[0], top : top + valid.shape[1]]
    return probabilities(inner.numpy())[0]


def mapped(ensemble, block):
    """Probabilities and classes (y, x), block by block and unit by unit, as the stage does."""
    height, width = ensemble.extent.height, ensemble.extent.width
    p_KYX = np.full((CLASSES, height, width), np.nan, np.float32)
    class_YX = np.zeros((height, width), np.uint8)

    def write(unit, means):
        place = unit.slices(ensemble.extent)
        assert np.isnan(p_KYX[:, *place]).all()
        p_KYX[:, *place] = means.p_KYX
        class_YX[place] = bands_of(means, 0.5, False)[0]

    for each in Grid("EPSG:32631", 0, 0, 10, width, height, block).blocks():
        units = ensemble.units(each.window)
        list(flow(units, ensemble.read, ensemble.probabilities, write))
    return p_KYX, class_YX


def compare(design, shape, tiles, blocks):
    """Probabilities and class map equal those of the one pass, to the last bit."""
    net, card = net_of(**NETS[design])
    image, valid = scene_of(*shape)
    grid = Window(0, 0, *shape)

    def read(window):
        rows, cols = window.slices(grid)
        return image[:, rows, cols], valid[rows, cols]

    first = Predictor.of(net, card, torch.device("cpu"), Plan("exact"))
    whole = by_hand(first.net, card, image, valid, first.halo)
    expected = np.where(valid, whole, 0), np.where(valid, whole.argmax(axis=0) + 1, 0)
    assert len(np.unique(expected[1])) > 2  # else little could differ
    for tile in tiles:
        for block in blocks:
            predictor = Predictor.of(net, card, torch.device("cpu"), Plan("exact", tile))
            found = mapped(Ensemble([predictor], [read], grid), block)
            for one, other in zip(found, expected, strict=True):
                wrong = int((one != other).sum())
                assert not wrong, f"tile {tile}, block {block}: {wrong} of {one.size} differ"


@pytest.mark.parametrize("design", [name for name in NETS if name != "resnet18"])  # it is slow
def test_tiles_equal_one_pass_over_a_small_scene(design):
    """Otherwise the map would show seams, or depend on the size of tiles, batches or blocks."""
    compare(design, (150, 130), [64, 100], [70, 150])


@pytest.mark.full
@pytest.mark.parametrize("design", NETS)
def test_tiles_equal_one_pass_over_a_whole_scene(design):
    """The same with tiles, and a scene, of the sizes that are used."""
    compare(design, (1500, 1300), [256, 512, 1000], [300, 700, 1500])
