"""Losses, against formulas in float64 loops; what is ignored leaves no trace."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from mapmill.losses import TERMS, Shape, class_weights, loss_of

NAMES = list(TERMS)
SOFT = [name for name in NAMES if name != "lovasz"]
SHAPE = Shape(gamma=1.5, alpha=0.6, beta=0.3, weight=4.0, sigma=1.5)


def case(seed, classes=4, ignored=0.3):
    """logits (2, K, 5, 6), label (2, 5, 6) with zeros, weights (K)."""
    random = np.random.default_rng(seed)
    logits = torch.tensor(random.normal(0, 2, (2, classes, 5, 6)), dtype=torch.float32)
    label = random.integers(1, classes + 1, (2, 5, 6))
    label[random.random(label.shape) < ignored] = 0
    weights = torch.tensor(random.uniform(0.2, 3, classes), dtype=torch.float32)
    return logits, torch.tensor(label, dtype=torch.uint8), weights


class Pixel:
    """p and y of one labelled pixel, by loops over floats."""

    def __init__(self, logits, label, place, weights, pixel, share, line):
        n, row, col = place
        values = [float(v) for v in logits[n, :, row, col]]
        exps = [math.exp(v - max(values)) for v in values]
        self.p = [e / sum(exps) for e in exps]
        self.true = int(label[n, row, col]) - 1
        rest = (1 - share) / (len(values) - 1)
        self.y = [share if k == self.true else rest for k in range(len(values))]
        self.w = pixel
        self.line = line
        self.class_weight = float(weights[self.true])


def distance_to_border(label):
    """Pixels to the nearest border of each image; inf without one."""
    found = np.full(label.shape, np.inf)
    for n, image in enumerate(label.numpy().astype(int)):
        border = np.zeros(image.shape, bool)
        for axis in (0, 1):
            a, b = np.delete(image, -1, axis), np.delete(image, 0, axis)
            edge = (a != b) & (a > 0) & (b > 0)
            pad = [(0, 1) if i == axis else (0, 0) for i in (0, 1)]
            border |= np.pad(edge, pad) | np.pad(edge, [p[::-1] for p in pad])
        if border.any():
            found[n] = ndimage.distance_transform_edt(~border)
    return found


def pixels_of(logits, label, weights, weight=None, share=None):
    """Every labelled pixel."""
    distance = distance_to_border(label)
    return [
        Pixel(
            logits,
            label,
            place,
            weights,
            1.0 if weight is None else float(weight[place]),
            1.0 if share is None else float(share[place]),
            1 + SHAPE.weight * math.exp(-(distance[place] ** 2) / (2 * SHAPE.sigma**2)),
        )
        for place in np.ndindex(*label.shape)
        if label[place]
    ]


def mean(pixels, value, more=lambda pixel: 1.0):
    weights = [x.w * x.class_weight * more(x) for x in pixels]
    return sum(w * value(x) for w, x in zip(weights, pixels, strict=True)) / sum(weights)


def ce(pixel):
    return -sum(y * math.log(p) for y, p in zip(pixel.y, pixel.p, strict=True))


def over_classes(pixels, value):
    found = []
    for k in range(len(pixels[0].p)):
        true = sum(x.w * x.y[k] for x in pixels)
        if true:
            both = sum(x.w * x.p[k] * x.y[k] for x in pixels)
            found.append(value(both, sum(x.w * x.p[k] for x in pixels), true))
    return sum(found) / len(found)


def lovasz_by_hand(pixels):
    """Sum over sorted errors of the error times the growth of 1 - IoU of the wrong pixels."""
    found = []
    for k in range(len(pixels[0].p)):
        true = {i for i, x in enumerate(pixels) if x.true == k}
        if not true:
            continue
        error = [abs((i in true) - x.p[k]) for i, x in enumerate(pixels)]
        total, before, wrong = 0.0, 0.0, set()
        for i in sorted(range(len(pixels)), key=lambda i: -error[i]):
            wrong.add(i)
            mapped = (true - wrong) | (wrong - true)
            now = 1 - len(true & mapped) / len(true | mapped)
            total, before = total + error[i] * (now - before), now
        found.append(total)
    return sum(found) / len(found)


BY_HAND = {
    "cross-entropy": lambda x: mean(x, ce),
    "focal": lambda x: mean(
        x,
        lambda a: (
            -sum(y * (1 - p) ** SHAPE.gamma * math.log(p) for y, p in zip(a.y, a.p, strict=True))
        ),
    ),
    "log-cosh": lambda x: mean(
        x,
        lambda a: sum(math.log(math.cosh(p - y)) for y, p in zip(a.y, a.p, strict=True)) / len(a.p),
    ),
    "boundary": lambda x: mean(x, ce, lambda a: a.line),
    "dice": lambda x: over_classes(x, lambda both, found, true: 1 - 2 * both / (found + true)),
    "jaccard": lambda x: over_classes(
        x, lambda both, found, true: -math.log(both / (found + true - both))
    ),
    "tversky": lambda x: over_classes(
        x,
        lambda both, found, true: (
            -math.log(both / (both + SHAPE.alpha * (true - both) + SHAPE.beta * (found - both)))
        ),
    ),
    "lovasz": lovasz_by_hand,
}


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("seed", range(4))
def test_a_loss_is_its_formula(name, seed):
    """Otherwise a run would learn towards something other than what its settings name."""
    logits, label, weights = case(seed)
    if seed == 3:
        label[label == 2] = 1  # a class that the batch lacks
    found = loss_of({name: 1.0}, SHAPE)(logits, label, weights)
    assert float(found) == pytest.approx(BY_HAND[name](pixels_of(logits, label, weights)), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in BY_HAND if name in SOFT])
def test_soft_labels_and_weights_of_pixels_enter_the_formula(name):
    """Otherwise cells of mixed classes would count like pure ones."""
    logits, label, weights = case(1)
    random = np.random.default_rng(5)
    weight = torch.tensor(random.uniform(0.1, 2, label.shape), dtype=torch.float32)
    share = torch.tensor(random.uniform(0.3, 1, label.shape), dtype=torch.float32)
    found = loss_of({name: 1.0}, SHAPE)(logits, label, weights, weight, share)
    pixels = pixels_of(logits, label, weights, weight, share)
    assert float(found) == pytest.approx(BY_HAND[name](pixels), rel=1e-4)


def test_center_weighs_the_middle_of_objects():
    """Otherwise it would be a cross-entropy like any other.

    Oracle: a bar of five rows, whose centre line is its third.
    """
    label = torch.ones((1, 15, 30), dtype=torch.uint8)
    label[:, 5:10] = 2
    logits = torch.zeros((1, 2, 15, 30))
    logits[:, 1, 7] = 3.0
    right, wrong = math.log(1 + math.exp(-3)), math.log(2)
    loss = loss_of({"center": 1.0}, Shape(weight=9.0, sigma=0.05))
    found = float(loss(logits, label * (label == 2), torch.ones(2)))
    assert found == pytest.approx((30 * right + 120 * wrong) / 150, rel=1e-4)  # no border, no line
    whole = float(loss(logits, label, torch.ones(2)))
    plain = float(loss_of({"cross-entropy": 1.0})(logits, label, torch.ones(2)))
    assert whole < 0.9 * plain  # the row that is right weighs ten times


def test_a_weighted_sum_is_the_sum_of_its_terms():
    """Otherwise `0.7*focal + 0.3*jaccard` would be something else."""
    arguments = case(2)
    parts = {"focal": 0.7, "jaccard": 0.3}
    each = sum(f * float(loss_of({n: 1.0})(*arguments)) for n, f in parts.items())
    assert float(loss_of(parts)(*arguments)) == pytest.approx(each, rel=1e-6)


def test_focal_without_its_exponent_is_cross_entropy():
    """Otherwise gamma would not be what the paper says."""
    arguments = case(0)
    flat = loss_of({"focal": 1.0}, Shape(gamma=0.0))(*arguments)
    assert float(flat) == pytest.approx(float(loss_of({"cross-entropy": 1.0})(*arguments)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_ignored_pixels_have_no_part_in_loss_or_gradient(name, garbage):
    """Otherwise a NaN where there is no label would poison the weights of the whole net."""
    logits, label, weights = case(1)
    loss = loss_of({name: 1.0})
    clean = logits.clone().requires_grad_()
    loss(clean, label, weights).backward()
    ignored = (label == 0)[:, None].expand_as(logits)
    dirty = logits.masked_fill(ignored, garbage).requires_grad_()
    value = loss(dirty, label, weights)
    value.backward()
    assert float(value.detach()) == float(loss(logits, label, weights))
    assert (dirty.grad[ignored] == 0).all()
    assert (clean.grad[~ignored] != 0).any()
    assert torch.equal(dirty.grad, clean.grad)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_labels_teaches_nothing(name):
    """Otherwise one patch without labels would stop the training, or move the weights."""
    logits, label, weights = case(2)
    logits = (logits * math.nan).requires_grad_()
    value = loss_of({name: 1.0})(logits, torch.zeros_like(label), weights)
    value.backward()
    assert float(value.detach()) == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_classes_that_weigh_nothing_gives_a_number(name):
    """Otherwise a class that only the validation part has would turn its loss into NaN."""
    logits, label, weights = case(0)
    label[label > 0] = 2
    weights[1] = 0
    assert math.isfinite(float(loss_of({name: 1.0})(logits, label, weights)))


@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_give_numbers(name):
    """Otherwise a net that is sure and wrong would end its training with NaN."""
    label = torch.tensor([[[1, 2], [2, 1]]], dtype=torch.uint8)
    logits = (torch.nn.functional.one_hot(2 - label.long(), 2).permute(0, 3, 1, 2) * 300.0).float()
    for sign in (1, -1):
        given = (sign * logits).requires_grad_()
        value = loss_of({name: 1.0})(given, label, torch.ones(2))
        value.backward()
        assert math.isfinite(float(value.detach())) and torch.isfinite(given.grad).all()


@pytest.mark.parametrize("name", [n for n in NAMES if n != "lovasz"])
def test_two_processes_that_share_a_batch_find_the_loss_of_the_whole(name):
    """Otherwise unequal numbers of ignored pixels would weigh the two halves wrongly."""
    logits, label, weights = case(3)
    label[1, :3] = 0
    halves: list[list[torch.Tensor]] = [[], []]
    for n in (0, 1):
        loss_of({name: 1.0}, SHAPE, lambda v, n=n: halves[n].append(v) or v)(
            logits[n : n + 1], label[n : n + 1], weights
        )
    both = iter([a + b for a, b in zip(*halves, strict=True)])
    shared = loss_of({name: 1.0}, SHAPE, lambda _: next(both))(logits[:1], label[:1], weights)
    assert float(shared) == pytest.approx(
        float(loss_of({name: 1.0}, SHAPE)(logits, label, weights))
    )


def test_a_perfect_map_has_no_dice_loss_and_a_wrong_one_all():
    """Otherwise the loss would fall while the map gets worse."""
    label = torch.tensor([[[1, 2], [2, 1]]], dtype=torch.uint8)
    right = torch.nn.functional.one_hot(label.long() - 1, 2).permute(0, 3, 1, 2) * 60.0
    dice = loss_of({"dice": 1.0})
    assert float(dice(right, label, torch.ones(2))) == pytest.approx(0, abs=1e-6)
    assert float(dice(right.flip(1), label, torch.ones(2))) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", BY_HAND)
def test_half_precision_logits_are_summed_in_float32(name):
    """Otherwise the sums over many pixels would be rounded to three digits on a GPU."""
    logits, label, weights = case(0)
    halved = logits.bfloat16()
    value = loss_of({name: 1.0}, SHAPE)(halved, label, weights)
    assert value.dtype == torch.float32
    exact = BY_HAND[name](pixels_of(halved.double(), label, weights))
    assert float(value) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "power"), [("none", 0.0), ("sqrt-inverse", 0.5), ("inverse", 1.0)]
)
def test_class_weights_are_their_formula(kind, power):
    """Otherwise rare classes would be favoured more or less than the setting says."""
    pixels = [1_000_000, 0, 400, 25, 1]
    weights = class_weights(pixels, kind)
    assert weights[1] == 0
    assert weights.dtype == torch.float32
    for a in (0, 2, 3):
        ratio = float(weights[4]) / float(weights[a])
        assert ratio == pytest.approx(float(pixels[a]) ** power, rel=1e-5)
    over_pixels = sum(n * float(w) for n, w in zip(pixels, weights, strict=True)) / sum(pixels)
    assert over_pixels == pytest.approx(1, rel=1e-5)


def test_effective_numbers_are_their_formula():
    """Otherwise the weights would not be those of the paper."""
    pixels = [900, 90, 10]
    beta = 1 - 1 / 1000
    by_hand = [(1 - beta) / (1 - beta**n) for n in pixels]
    weights = class_weights(pixels, "effective")
    for a, b in ((0, 1), (1, 2)):
        assert float(weights[a] / weights[b]) == pytest.approx(by_hand[a] / by_hand[b], rel=1e-5)


def test_given_weights_are_taken_and_capped():
    """Otherwise one rare class could drown all others, though a cap was set."""
    weights = class_weights([10, 10, 10], "given", {2: 8.0})
    assert float(weights[1] / weights[0]) == pytest.approx(8)
    capped = class_weights([1_000_000, 1], "inverse", most=50)
    assert float(capped[1] / capped[0]) == pytest.approx(50)


@pytest.mark.parametrize("kind", ["none", "inverse", "sqrt-inverse", "effective", "given"])
def test_no_pixel_of_any_class_gives_weights_of_zero(kind):
    """Otherwise an area without labels would divide by zero before it could say so."""
    assert class_weights([0, 0], kind).tolist() == [0, 0]
