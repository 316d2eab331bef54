"""Blended prediction: overlapping windows, the same whatever the blocks, without seams."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from making import simulated_scene

from mapmill import blend
from mapmill.ensemble import Ensemble, bands_of
from mapmill.errors import ContractError
from mapmill.grid import Grid, Window
from mapmill.infer import Predictor
from mapmill.nets.model import Card, build
from mapmill.plan import Plan, lattice_of

CPU = torch.device("cpu")
DESIGNS = {
    "se": {"attention": "se"},
    "cbam": {"attention": "cbam"},
    "self": {"attention": "self"},
    "unpadded": {"padding": "valid", "depth": 1},
}


@pytest.fixture(autouse=True)
def one_thread():
    """Tests may set the number of torch's threads; it is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def scene():
    """Labels (y, x) and image (3, y, x) of a simulated scene of 448 x 480 px."""
    return simulated_scene(448, 480)


@pytest.fixture(scope="module")
def trained(scene):
    """A net with squeeze and excitation that has learnt the scene from patches of 32 px."""
    label_YX, image_BYX = scene
    mean, sd = image_BYX.mean(axis=(1, 2)), image_BYX.std(axis=(1, 2))
    card = Card("unet", 4, 2, list("abc"), list("xyz"), mean.tolist(), sd.tolist(), {}, size=32)
    card = replace(card, attention="se", reach="global")
    torch.manual_seed(0)
    net, random = build(card).train(), np.random.default_rng(0)
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    ready = ((image_BYX - mean[:, None, None]) / sd[:, None, None]).astype(np.float32)
    for _ in range(80):
        places = [(random.integers(0, 416), random.integers(0, 448)) for _ in range(8)]
        x = np.stack([ready[:, r : r + 32, c : c + 32] for r, c in places])
        y = np.stack([label_YX[r : r + 32, c : c + 32].astype(np.int64) - 1 for r, c in places])
        loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(x)), torch.from_numpy(y))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval(), card


def random_net(**design):
    """A net with random weights and batch-norm statistics."""
    numbers = [800.0] * 3, [300.0] * 3, {}
    depth = design.pop("depth", 2)
    card = Card("unet", 4, depth, list("abc"), list("wxyz"), *numbers, size=32, **design)
    torch.manual_seed(1)
    net = build(card)
    with torch.no_grad():
        net.train()(torch.randn(2, 3, net.fits(64), net.fits(64)))
    return net.eval(), card


def reader(image, grid, valid=None):
    """Reads an array that lies at `grid`."""

    def read(window):
        assert window.intersect(grid) == window
        rows, cols = window.slices(grid)
        there = np.ones(image.shape[1:], bool) if valid is None else valid
        return image[:, rows, cols], there[rows, cols]

    return read


def mapped(net, image, grid, block, plan, valid=None):
    """Mean probabilities (class, y, x) of a scene, block by block, as the stage does."""
    predictor = Predictor.of(*net, CPU, plan)
    assert predictor.lattice is not None
    ensemble = Ensemble([predictor], [reader(image, grid, valid)], grid)
    result = np.full((len(net[1].classes), *image.shape[1:]), np.nan, np.float32)
    for each in Grid("EPSG:32631", 0, 0, 10, grid.col_end, grid.row_end, block).blocks():
        window = each.window.intersect(grid)
        for unit in ensemble.units(window) if window else []:
            assert np.isnan(result[:, *unit.slices(grid)]).all()
            result[:, *unit.slices(grid)] = ensemble.probabilities(unit).p_KYX
    return result


def by_hand(net, card, image, weight, side, step):
    """The same in float64, window by window over the scene mirrored far beyond its edges."""
    margin, (height, width) = net.margin, image.shape[1:]
    far = 4 * side
    wide = np.pad(image.astype(float), [(0, 0), (far, far), (far, far)], "reflect")
    mean, sd = (np.array(values)[:, None, None] for values in (card.mean, card.sd))
    total, times = np.zeros((len(card.classes), *wide.shape[1:])), np.zeros(wide.shape[1:])
    for row in range(-side // step * step, height, step):
        for col in range(-side // step * step, width, step):
            top, left = row + far, col + far
            around = (slice(y - margin, y + side + margin) for y in (top, left))
            ready = torch.from_numpy((wide[:, *around] - mean) / sd).float()[None]
            with torch.inference_mode():
                p = net(ready)[0].double().softmax(dim=0).numpy()
            for y in range(side):
                total[:, top + y, left : left + side] += p[:, y] * weight[y] * weight
                times[top + y, left : left + side] += weight[y] * weight
    inner = slice(far, far + height), slice(far, far + width)
    return total[:, *inner] / times[inner]


@pytest.mark.parametrize("kind", ["hann", "gaussian"])
@pytest.mark.parametrize("design", DESIGNS)
def test_windows_are_averaged_with_their_weights(design, kind, scene):
    """Otherwise the map would be another than documented, or shifted, or wrong at its edges."""
    net, image = random_net(**DESIGNS[design]), scene[1][:, :50, :70]
    predictor = Predictor.of(*net, CPU, Plan("blend", weights=kind))
    side, step = predictor.lattice.side, predictor.lattice.step
    places = np.arange(side) - (side - 1) / 2
    weight = np.cos(np.pi * places / side) ** 2
    if kind == "gaussian":
        weight = np.exp(-((8 * places / side) ** 2) / 2)
    found = mapped(net, image, Window(0, 0, 50, 70), 70, Plan("blend", weights=kind))
    expected = by_hand(*net, image, weight, side, step)
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert side == 32 - 2 * net[0].margin and step % net[0].stride == 0


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
@pytest.mark.parametrize("design", DESIGNS)
def test_blocks_leave_no_trace(design, overlap, scene):
    """Otherwise the edges of blocks would show in the map, or it would depend on the computer."""
    net, image = random_net(**DESIGNS[design]), scene[1][:, :90, :110]
    grid, valid = Window(0, 0, 90, 110), np.random.default_rng(2).random((90, 110)) > 0.2
    valid[:50, 60:] = False
    whole = mapped(net, image, grid, 110, Plan("blend", 128, overlap=overlap), valid)
    assert len(np.unique(whole.argmax(axis=0))) > 1
    for block, tile in ((110, 64), (40, 64), (33, 1024)):
        found = mapped(net, image, grid, block, Plan("blend", tile, overlap=overlap), valid)
        differ = found != whole
        assert not differ.any(), f"{differ.sum()} values differ, to {abs(found - whole).max()}"


def test_threads_leave_no_trace(scene):
    """Otherwise the map would depend on the computer, or later work would run in one thread."""
    net, image = random_net(attention="gate"), scene[1][:, :90, :110]
    grid = Window(0, 0, 90, 110)
    before = torch.get_num_threads()
    maps = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            maps.append(mapped(net, image, grid, 110, Plan("blend")))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(maps[0], maps[1])
    np.testing.assert_array_equal(maps[0], maps[2])


def test_any_window_is_as_in_the_whole(scene):
    """Otherwise what comes after (filters, turned images) would see other probabilities."""
    net, image, grid = random_net(attention="se"), scene[1][:, :90, :110], Window(0, 0, 90, 110)
    whole = mapped(net, image, grid, 110, Plan())
    predictor = Predictor.of(*net, CPU)
    for window in (Window(3, 5, 1, 1), Window(80, 100, 10, 10), Window(31, 0, 33, 110)):
        found = predictor.probabilities(window, grid, reader(image, grid))
        np.testing.assert_array_equal(found, whole[:, *window.slices(grid)])


def test_shifted_windows_change_little_and_leave_no_seam(trained, scene, capsys):
    """Otherwise maps by nets that look at the whole image would show where the windows lie."""
    label_YX, image = scene
    maps = []
    for row, col in ((0, 0), (5, 11), (8, 8)):
        grid = Window(row, col, *label_YX.shape)
        maps.append(mapped(trained, image, grid, 512, Plan()))
    classes = [p_KYX.argmax(axis=0) for p_KYX in maps]
    changed = [float((classes[0] != other).mean()) for other in classes[1:]]
    assert (classes[0] + 1 == label_YX).mean() > 0.95
    steps = [np.abs(np.diff(maps[0], axis=axis)).mean(axis=(0, 3 - axis)) for axis in (1, 2)]
    step = Predictor.of(*trained, CPU).lattice.step
    # classes of the scene change every 16 px, where the windows start as well: compare with those
    at = np.concatenate([along[step - 1 :: step] for along in steps])
    shifted = [np.abs(np.diff(maps[2], axis=axis)).mean(axis=(0, 3 - axis)) for axis in (1, 2)]
    same_places = np.concatenate([along[step - 1 :: step] for along in shifted])
    with capsys.disabled():
        print(f"\nchanged by a shift: {changed}; at borders {at.mean():.5f},", end=" ")
        print(f"at the same places within windows {same_places.mean():.5f}")
    assert max(changed) < 0.005
    assert at.mean() <= 1.01 * same_places.mean()


def test_nothing_goes_through_the_net_where_nothing_is_valid(scene):
    """Otherwise the sea, or what lies beyond the swath, would cost as much as the land."""
    image, grid = scene[1][:, :96, :96], Window(0, 0, 96, 96)
    for plan in (Plan("exact", 64), Plan("blend")):
        net, card = random_net() if plan.mode == "exact" else random_net(attention="se")
        count = []
        net.register_forward_hook(lambda module, given, out, count=count: count.append(len(out)))
        predictor = Predictor.of(net, card, CPU, plan)
        count.clear()
        valid = np.zeros((96, 96), bool)
        ensemble = Ensemble([predictor], [reader(image, grid, valid)], grid)
        for unit in ensemble.units(grid):
            means = ensemble.probabilities(unit)
            assert not means.p_KYX.any() and not bands_of(means, 0.5, False).any()
        assert not count
        valid[3, 4] = True
        for unit in ensemble.units(grid):
            ensemble.probabilities(unit)
        assert 0 < len(count) <= 4


def test_batches_are_halved_when_memory_runs_out(scene):
    """Otherwise a map would fail on a smaller card, or lose the windows that did not fit."""
    image, grid, plan = scene[1][:, :200, :200], Window(0, 0, 200, 200), Plan("exact", 64)
    net = random_net()
    expected = mapped_by(net, plan, image, grid)[0]

    class Full(torch.nn.Module):
        """Raises as CUDA does where more than so many windows come at once."""

        def __init__(self, most):
            super().__init__()
            self.net, self.most, self.sizes = net[0], most, []
            self.stride, self.margin, self.fits = net[0].stride, net[0].margin, net[0].fits

        def forward(self, x):
            self.sizes.append(len(x))
            if len(x) > self.most:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.net(x)

    small = Full(2)
    card = replace(net[1], reach=20)
    found, predictor = mapped_by((small, card), plan, image, grid)
    np.testing.assert_array_equal(found, expected)
    sizes = predictor.net.sizes
    assert max(sizes) > 2 and sizes[-1] <= 2
    assert sum(size > 2 for size in sizes) <= 5  # it is not tried again and again
    assert predictor.batch_px < 2**20
    with pytest.raises(ContractError, match=r"no room for one image.*lower predict\.tile"):
        mapped_by((Full(0), card), plan, image, grid)


def mapped_by(net, plan, image, grid):
    """Probabilities of a scene, and what predicted them."""
    predictor = Predictor.of(net[0], replace(net[1], reach=20), CPU, plan)
    return predictor.probabilities(grid, grid, reader(image, grid)), predictor


@pytest.mark.parametrize("kind", ["hann", "gaussian"])
@pytest.mark.parametrize("side", [4, 32, 188, 1024])
def test_weights_are_positive_and_the_same_from_both_sides(kind, side):
    """Otherwise pixels would be lost where windows end, or the map be drawn to one side."""
    weight = blend.weights(kind, side)
    assert weight.dtype == np.float32 and weight.min() > 0
    np.testing.assert_allclose(weight, weight[::-1], rtol=1e-4)
    assert (weight * weight.min()).min() > np.finfo(np.float32).tiny
    if kind == "hann":
        total = blend.sums(weight, lattice_of(side, 2, 0.5), 10, 300)
        np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_bfloat16_maps_almost_the_same(trained, scene):
    """Otherwise what is quicker would be another map."""
    _, image = scene
    grid = Window(0, 0, 64, 96)
    exact, quick = (
        mapped(trained, image[:, :64, :96], grid, 96, Plan(precision=precision))
        for precision in ("float32", "bfloat16")
    )
    assert 0 < np.abs(exact - quick).max() < 0.1
    assert (exact.argmax(axis=0) != quick.argmax(axis=0)).mean() < 0.01
