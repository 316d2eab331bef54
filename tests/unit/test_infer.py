"""Tiled prediction: bit for bit that of the whole scene at once."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.infer import Predictor
from mapmill.mirror import read_reflected
from mapmill.nets.model import Card, build
from mapmill.plan import Plan, tiles_of

BANDS, CLASSES = 3, 4
PLAN = Plan("exact")


def predictor(depth=2, seed=0, width=4, plan=PLAN, **design):
    """A net with random weights and batch-norm statistics that maps noise to several classes."""
    numbers = [10.0, 20, 30], [3.0, 5, 7], {}
    card = Card("unet", width, depth, list("abc"), list("wxyz"), *numbers, **design)
    torch.manual_seed(seed)
    net = build(card)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
    with torch.no_grad():
        net.train()(torch.randn(2, BANDS, net.fits(64), net.fits(64)))
    return Predictor.of(net.eval(), card, torch.device("cpu"), plan)


@pytest.fixture(autouse=True)
def one_thread():
    """Tests may set the number of torch's threads; it is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def assert_bitwise(found, expected):
    """Equal to the last bit; says how many values are not, and by how much."""
    differ = found != expected
    assert not differ.any(), (
        f"{differ.sum()} of {differ.size}, to {abs(found - expected).max():.1e}"
    )


class Scene:
    """An image in memory with some invalid pixels; it counts what is read of it."""

    def __init__(self, height, width, seed=0, invalid=0.0, garbage=0.0):
        random = np.random.default_rng(seed)
        self.image = random.normal(20, 10, (BANDS, height, width)).astype(np.float32)
        self.valid = random.random((height, width)) >= invalid
        self.image[:, ~self.valid] = garbage
        self.grid = Window(0, 0, height, width)

    def read(self, window):
        assert window.intersect(self.grid) == window  # a reader is never asked for more
        rows, cols = window.slices(self.grid)
        return self.image[:, rows, cols], self.valid[rows, cols]


def at_once(net, scene):
    """Softmax (class, y, x) of the whole scene in one pass."""
    return net.probabilities(scene.grid, scene.grid, scene.read)


def by_hand(net, scene):
    """The same in float64, of the image mirrored far beyond its edges."""
    stride, margin = net.net.stride, 8 * net.net.stride
    _, height, width = scene.image.shape
    pads = [(margin, margin + -side % stride) for side in (height, width)]
    image = np.pad(scene.image.astype(float), ((0, 0), *pads), "reflect")
    valid = np.pad(scene.valid, pads, "reflect")
    mean, sd = (np.array(values)[:, None, None] for values in (net.card.mean, net.card.sd))
    ready = np.where(valid, (image - mean) / sd, 0)
    with torch.inference_mode():
        logits_KYX = deepcopy(net.net).double()(torch.from_numpy(ready[None]))[0].numpy()
    exps = np.exp(logits_KYX)[:, margin : margin + height, margin : margin + width]
    return exps / exps.sum(axis=0)


def in_tiles(net, scene, block, tile):
    """The same, block by block and tile by tile, as the chain does."""
    _, height, width = scene.image.shape
    result = np.full((CLASSES, height, width), np.nan, np.float32)
    for each in Grid("EPSG:32631", 0, 0, 10, width, height, block).blocks():
        for part in tiles_of(each.window, tile, net.net.stride):
            rows, cols = part.slices(scene.grid)
            assert np.isnan(result[:, rows, cols]).all()
            result[:, rows, cols] = net.probabilities(part, scene.grid, scene.read)
    return result


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("shape", [(61, 83), (64, 8), (5, 7), (1, 30)])
def test_the_whole_scene_is_what_the_net_says(depth, shape):
    """Otherwise normalisation, mirroring or the halo would spoil the map, at its edges or all."""
    net, scene = predictor(depth), Scene(*shape, invalid=0.1)
    np.testing.assert_allclose(at_once(net, scene), by_hand(net, scene), atol=2e-5)


@pytest.mark.parametrize(("block", "tile"), [(200, 16), (50, 64), (33, 24)])
@pytest.mark.parametrize(
    ("depth", "width", "threads"), [(1, 4, 1), (2, 16, 1), (3, 4, 1), (1, 16, 2)]
)
def test_tiles_and_blocks_leave_no_trace(depth, width, threads, block, tile):
    """Otherwise the map would show seams, and change with the size of tiles or blocks."""
    torch.set_num_threads(threads)
    net, scene = predictor(depth, width=width), Scene(61, 83, invalid=0.1)
    whole = at_once(net, scene)
    assert len(np.unique(whole.argmax(axis=0))) > 1  # else little could differ
    assert_bitwise(in_tiles(net, scene, block, tile), whole)


@pytest.mark.parametrize(
    "design",
    [
        {"padding": "valid"},
        {"padding": "valid", "depth": 3},
        {"upsample": "bilinear"},
        {"norm": "none", "dropout": 0.5},
        {"block": "residual", "attention": "gate", "head": "multi-resolution"},
    ],
    ids=str,
)
def test_local_nets_of_any_design_leave_no_trace(design):
    """Otherwise a choice of the net would bring back the seams, or shift the map by its margin."""
    net, scene = predictor(**design), Scene(61, 83, invalid=0.1)
    assert net.lattice is None
    whole = at_once(net, scene)
    assert len(np.unique(whole.argmax(axis=0))) > 1
    assert_bitwise(in_tiles(net, scene, 50, 16), whole)


@pytest.mark.parametrize("shape", [(61, 83), (5, 7)])
def test_an_unpadded_net_maps_every_pixel(shape):
    """Otherwise its map would be shifted by what its convolutions take, or lack a frame."""
    net, scene = predictor(padding="valid"), Scene(*shape, invalid=0.1)
    stride, first = net.net.stride, 8 * net.net.stride
    height, width = (net.net.fits(side + 2 * first) for side in shape)
    pads = [(first, size - first - side) for size, side in zip((height, width), shape, strict=True)]
    image = np.pad(scene.image.astype(float), ((0, 0), *pads), "reflect")
    mean, sd = (np.array(values)[:, None, None] for values in (net.card.mean, net.card.sd))
    ready = np.where(np.pad(scene.valid, pads, "reflect"), (image - mean) / sd, 0)
    with torch.inference_mode():
        logits_KYX = deepcopy(net.net).double()(torch.from_numpy(ready[None]))[0].numpy()
    low = first - net.net.margin
    exps = np.exp(logits_KYX)[:, low : low + shape[0], low : low + shape[1]]
    assert stride == 4 and exps.shape[1:] == shape
    np.testing.assert_allclose(at_once(net, scene), exps / exps.sum(axis=0), atol=2e-5)


@pytest.mark.parametrize(("far", "exact"), [(99, True), (100, True), (101, False)])
def test_a_net_of_smp_reads_no_more_than_was_planned(far, exact):
    """Otherwise it would ask for blocks that the workflow has not made."""
    net, plan = predictor(), Plan(context=100, window=64)
    for kind, is_exact in (("smp", exact), ("unet", True)):
        card = replace(net.card, net=kind, reach=far)
        found = Predictor.of(net.net, card, net.device, plan)
        assert (found.halo, found.lattice is None) == (far * is_exact, is_exact)


@settings(deadline=None, derandomize=True, max_examples=25)
@given(st.data())
def test_any_window_of_any_scene_is_as_in_the_whole(data):
    """Otherwise small areas, narrow blocks or odd origins would be predicted otherwise."""
    net = predictor(data.draw(st.integers(1, 2)), 1)
    height, width = (data.draw(st.integers(1, 70)) for _ in "yx")
    scene = Scene(height, width, data.draw(st.integers(0, 99)), invalid=0.05)
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    sides = data.draw(st.integers(1, height - top)), data.draw(st.integers(1, width - left))
    window = Window(top, left, *sides)
    found = net.probabilities(window, scene.grid, scene.read)
    assert_bitwise(found, at_once(net, scene)[:, *window.slices(scene.grid)])


@pytest.mark.parametrize("garbage", [np.nan, np.inf, -9999.0, 3e38])
def test_what_stands_in_invalid_pixels_does_not_matter(garbage):
    """Otherwise a cloud's nodata would spread into the map around it."""
    net = predictor()
    clean, dirty = (Scene(40, 48, invalid=0.2, garbage=g) for g in (0.0, garbage))
    with np.errstate(invalid="ignore", over="ignore"):
        found = in_tiles(net, dirty, 32, 16)
    assert np.isfinite(found).all()
    assert_bitwise(found, in_tiles(net, clean, 32, 16))


def test_probabilities_are_a_distribution():
    """Otherwise the confidence in the map would be no probability."""
    net, scene = predictor(), Scene(40, 48)
    found = in_tiles(net, scene, 40, 40)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=0), 1, atol=1e-6)


def test_the_image_is_mirrored_beyond_the_edge_of_the_area():
    """Otherwise a frame of nodata would spoil the map along the area's edges."""
    scene = Scene(6, 5)
    scene.image[:] = np.arange(30).reshape(6, 5)
    _, image_BYX, valid_YX = read_reflected(Window(-2, 2, 5, 5), scene.grid, scene.read)
    rows, cols = [2, 1, 0, 1, 2], [2, 3, 4, 3, 2]
    expected = [[row * 5 + col for col in cols] for row in rows]
    assert all(np.array_equal(band, expected) for band in image_BYX)
    assert valid_YX.shape == (5, 5)


def test_a_window_outside_the_grid_is_an_error():
    """Otherwise a wrong window would be filled with an invented image."""
    scene = Scene(6, 5)
    with pytest.raises(ContractError, match="overlap"):
        read_reflected(Window(6, 0, 4, 4), scene.grid, scene.read)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(*[st.integers(0, 90)] * 2, *[st.integers(1, 60)] * 2, st.integers(1, 40), st.integers(1, 3))
def test_tiles_cover_a_block_once_on_one_lattice(row, col, height, width, size, depth):
    """Otherwise pixels would be predicted twice or not at all, or tiles differ between blocks."""
    stride, block = 2**depth, Window(row, col, height, width)
    count_YX = np.zeros((height, width), int)
    for tile in tiles_of(block, size, stride):
        count_YX[tile.slices(block)] += 1
        for edge, first in ((tile.row, row), (tile.col, col)):
            assert edge == first or edge % stride == 0
        assert max(tile.height, tile.width) < size + stride
    assert (count_YX == 1).all()


@pytest.mark.parametrize("bands", [2, 4])
def test_imagery_of_other_bands_is_refused(bands):
    """A composed block of before the bands were changed would be mapped as if it were right."""
    net, window = predictor(), Window(0, 0, 40, 40)

    def read(part):
        shape = part.height, part.width
        return np.ones((bands, *shape), np.float32), np.ones(shape, bool)

    with pytest.raises(
        ContractError, match=rf"imagery of {bands} bands.*3: a, b, c.*rerun compose"
    ):
        net.probabilities(window, window, read)


def test_a_net_that_overflows_is_an_error():
    """Its map would look like any other."""
    net, scene = predictor(), Scene(40, 40)
    with torch.no_grad():
        net.net.head.bias[1] = torch.inf
    with pytest.raises(ContractError, match="logits are infinite or no numbers"):
        at_once(net, scene)
