"""Losses, against formulas in float64 loops; what is ignored leaves no trace."""

import math

import numpy as np
import pytest
import torch

from mapmill.losses import class_weights, loss_by_name

NAMES = ["cross-entropy", "dice", "cross-entropy+dice"]


def case(seed, classes=4, ignored=0.3):
    """logits (2, K, 5, 6), label (2, 5, 6) with zeros, weights (K)."""
    random = np.random.default_rng(seed)
    logits = torch.tensor(random.normal(0, 2, (2, classes, 5, 6)), dtype=torch.float32)
    label = random.integers(1, classes + 1, (2, 5, 6))
    label[random.random(label.shape) < ignored] = 0
    weights = torch.tensor(random.uniform(0.2, 3, classes), dtype=torch.float32)
    return logits, torch.tensor(label, dtype=torch.uint8), weights


def labelled_pixels(logits, label):
    """(probabilities, class number from 0) of each labelled pixel, by loops over floats."""
    for n, row, col in np.ndindex(*label.shape):
        if label[n, row, col]:
            values = [float(v) for v in logits[n, :, row, col]]
            exps = [math.exp(v - max(values)) for v in values]
            yield [e / sum(exps) for e in exps], int(label[n, row, col]) - 1


def cross_entropy_by_hand(logits, label, weights):
    total = scale = 0.0
    for p, k in labelled_pixels(logits, label):
        total += -float(weights[k]) * math.log(p[k])
        scale += float(weights[k])
    return total / scale


def dice_by_hand(logits, label, _):
    pixels = list(labelled_pixels(logits, label))
    scores = []
    for k in {k for _, k in pixels}:
        overlap = sum(p[k] for p, true in pixels if true == k)
        mapped, real = sum(p[k] for p, _ in pixels), sum(true == k for _, true in pixels)
        scores.append(2 * overlap / (mapped + real))
    return 1 - sum(scores) / len(scores)


BY_HAND = {
    "cross-entropy": cross_entropy_by_hand,
    "dice": dice_by_hand,
    "cross-entropy+dice": lambda *c: cross_entropy_by_hand(*c) + dice_by_hand(*c),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(4))
def test_a_loss_is_its_formula(name, seed):
    """Otherwise a run would learn towards something other than what its settings name."""
    logits, label, weights = case(seed)
    if seed == 3:
        label[label == 2] = 1  # a class that the batch lacks
    found = loss_by_name(name)(logits, label, weights)
    assert float(found) == pytest.approx(BY_HAND[name](logits, label, weights), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("garbage", [math.nan, math.inf, 1e30])
def test_ignored_pixels_have_no_part_in_loss_or_gradient(name, garbage):
    """Otherwise a NaN where there is no label would poison the weights of the whole net."""
    logits, label, weights = case(1)
    loss = loss_by_name(name)
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
    value = loss_by_name(name)(logits, torch.zeros_like(label), weights)
    value.backward()
    assert float(value.detach()) == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_classes_that_weigh_nothing_gives_a_number(name):
    """Otherwise a class that only the validation part has would turn its loss into NaN."""
    logits, label, weights = case(0)
    label[label > 0] = 2
    weights[1] = 0
    assert math.isfinite(float(loss_by_name(name)(logits, label, weights)))


def test_a_perfect_map_has_no_dice_loss_and_a_wrong_one_all():
    """Otherwise the loss would fall while the map gets worse."""
    label = torch.tensor([[[1, 2], [2, 1]]], dtype=torch.uint8)
    right = torch.nn.functional.one_hot(label.long() - 1, 2).permute(0, 3, 1, 2) * 60.0
    dice = loss_by_name("dice")
    assert float(dice(right, label, torch.ones(2))) == pytest.approx(0, abs=1e-6)
    assert float(dice(right.flip(1), label, torch.ones(2))) == pytest.approx(1, abs=1e-6)


def test_half_precision_logits_are_summed_in_float32():
    """Otherwise the sums over many pixels would be rounded to three digits on a GPU."""
    logits, label, weights = case(0)
    for name in NAMES:
        halved = logits.bfloat16()
        value = loss_by_name(name)(halved, label, weights)
        assert value.dtype == torch.float32
        exact = BY_HAND[name](halved.double(), label, weights)
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


@pytest.mark.parametrize("kind", ["none", "inverse", "sqrt-inverse"])
def test_no_pixel_of_any_class_gives_weights_of_zero(kind):
    """Otherwise an area without labels would divide by zero before it could say so."""
    assert class_weights([0, 0], kind).tolist() == [0, 0]
