"""Mixed cells: the share of each pixel that its class takes, as a soft label or as a weight."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from mapmill.feed import Patches, batches
from mapmill.fit import Fit
from mapmill.losses import loss_of
from mapmill.nets.heads import Outputs, total_loss
from mapmill.nets.model import Card
from mapmill.sections import Train

CARD = Card("unet", 4, 1, ["share", "noise"], ["a", "b", "c"], [0.0] * 2, [1.0] * 2, {})
CARD = replace(CARD, norm="none")
FIXED = {"width": 4, "depth": 1, "norm": "none", "batch": 4, "threads": 1, "device": "cpu"}
FIXED |= {"steps": 1, "validate_every": 1, "optimiser": "sgd", "momentum": 0.0}
FIXED |= {"weight_decay": 0.0, "schedule": "constant", "class_weights": "inverse"}
FOUND = {"rtol": 2e-5, "atol": 1e-7}


def class_of(percent):
    return percent % 3 + 1


def mixed(count=6, size=24, seed=0):
    """Patches whose first band is the share, from which the class follows; some of it missing."""
    random = np.random.default_rng(seed)
    percent = random.integers(1, 101, (count, size, size)).astype(np.uint8)
    image = np.stack([percent / 50, random.normal(0, 1, percent.shape)], 1).astype(np.float32)
    image[random.random(percent.shape)[:, None].repeat(2, 1) < 0.1] = np.nan
    label = class_of(percent).astype(np.uint8)
    return Patches(image, label, np.arange(count), None, CARD, fraction=percent)


def chosen(**changes):
    return Train(**{**FIXED, **changes})


def fitted(given, prepare=None, **changes):
    pixels = [int((given.label == value).sum()) for value in (1, 2, 3)]
    return Fit(CARD, chosen(**changes), 1, given, given, pixels, prepare)


@pytest.mark.parametrize("zoom", [1.0, 3.0])
def test_shares_stay_with_their_labels(zoom):
    """Otherwise a pixel would be trusted as much as another one, wherever a patch is turned."""
    settings = chosen(crop=16, cutmix=0.7, jitter=0.1, zoom=zoom)
    seen = set()
    for batch in itertools.islice(batches(mixed(), settings, 3), 20):
        percent = np.rint(batch.share_NHW.numpy() * 100).astype(int)
        there = batch.label_NHW.numpy() > 0
        np.testing.assert_array_equal(class_of(percent)[there], batch.label_NHW.numpy()[there])
        seen |= set(percent[there].tolist())
    assert seen == set(range(1, 101))
    assert next(batches(replace(mixed(), fraction=None), settings, 3)).share_NHW is None


def by_hand(logits_NKHW, image_NCHW, fraction, weight_K):
    """Loss and its gradient by the logits, pixel by pixel in float64, all from the image itself."""
    total, weights, gradient = 0.0, 0.0, np.zeros(logits_NKHW.shape)
    for n, y, x in np.ndindex(image_NCHW.shape[0], *image_NCHW.shape[2:]):
        if not image_NCHW[n, :, y, x].any():
            continue
        percent = round(float(image_NCHW[n, 0, y, x]) * 50)
        k, share = class_of(percent) - 1, percent / 100
        z = logits_NKHW[n, :, y, x]
        log_p = z - z.max() - np.log(np.exp(z - z.max()).sum())
        truth = np.eye(3)[k]
        weight = weight_K[k]
        if fraction == "soft":
            truth = np.where(truth == 1, share, (1 - share) / 2)
        else:
            weight *= share
        total, weights = total - weight * (truth * log_p).sum(), weights + weight
        gradient[n, :, y, x] = weight * (np.exp(log_p) - truth)
    return total / weights, gradient / weights


@pytest.mark.parametrize("fraction", ["soft", "weight"])
def test_a_step_is_that_of_a_loop_over_augmented_pixels(fraction):
    """Otherwise mixed cells would count as pure ones, or shares would lie beside their pixels."""
    given, first = mixed(), []
    changes = {"fraction": fraction, "crop": 16, "cutmix": 0.7, "learning_rate": 0.5}
    done = fitted(given, lambda net: first.append(copy.deepcopy(net)), **changes)
    (look,) = done
    batch = next(batches(given, chosen(**changes), 1))
    with torch.no_grad():
        logits_NKHW = first[0].train()(batch.image_NCHW).double().numpy()
    image_NCHW, weight_K = batch.image_NCHW.double().numpy(), done.weight_K.double().numpy()
    loss, gradient_NKHW = by_hand(logits_NKHW, image_NCHW, fraction, weight_K)
    assert look.train_loss == pytest.approx(loss, rel=1e-5)
    step_K = done.net.head.bias.detach().numpy() - first[0].head.bias.detach().numpy()
    np.testing.assert_allclose(step_K, -0.5 * gradient_NKHW.sum(axis=(0, 2, 3)), **FOUND)


def test_pixels_that_weigh_nothing_teach_nothing():
    """Otherwise labels of cells that are mixed to the point of guessing would be learnt."""
    changes = {"fraction": "weight", "class_weights": "none", "steps": 3, "validate_every": 3}
    given = mixed()
    impure = given.fraction < 40
    told = replace(given, fraction=np.where(impure, 0, given.fraction).astype(np.uint8))
    wrong = replace(told, label=np.where(impure, given.label % 3 + 1, given.label).astype(np.uint8))
    ours, theirs = (fitted(each, **changes) for each in (told, wrong))
    unweighted = fitted(replace(wrong, fraction=None), **changes | {"fraction": "none"})
    for each in (ours, theirs, unweighted):
        list(each)
    bias = [each.net.head.bias.detach() for each in (ours, theirs, unweighted)]
    assert torch.equal(bias[0], bias[1]) and not torch.equal(bias[0], bias[2])


def test_scores_stay_on_whole_labels():
    """Otherwise the best weights would be chosen by another measure than the map is scored by."""
    given = mixed()
    changes = {"fraction": "soft", "learning_rate": 1e-9, "class_weights": "none"}
    (soft,), (hard,) = (
        list(fitted(each, **more))
        for each, more in (
            (given, changes),
            (replace(given, fraction=None), changes | {"fraction": "none"}),
        )
    )
    assert soft.val_loss == pytest.approx(hard.val_loss, rel=1e-6)
    assert soft.val_accuracy == hard.val_accuracy
    assert soft.train_loss != pytest.approx(hard.train_loss, rel=1e-4)


@pytest.mark.parametrize("key", ["share_NHW", "weight_NHW"])
def test_masks_of_other_resolutions_have_the_shares_of_their_pixels(key):
    """Otherwise the coarse and the fine mask would learn with the shares of other pixels."""
    random = np.random.default_rng(4)
    label = random.integers(0, 4, (2, 6, 6)).astype(np.uint8)
    share = random.uniform(0.1, 1, label.shape).astype(np.float32)
    sizes = {"mask_NKHW": 6, "half_NKHW": 3, "double_NKHW": 12}
    logits = {
        name: torch.from_numpy(random.normal(0, 1, (2, 3, n, n))) for name, n in sizes.items()
    }
    coarse = np.zeros((2, 2, 3, 3))  # label and share of the first pixel of the commonest class
    for n, y, x in np.ndindex(2, 3, 3):
        four = label[n, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel().tolist()
        best = max(range(4), key=lambda i, four=four: ((four[i] > 0) * four.count(four[i]), -i))
        coarse[:, n, y, x] = four[best], share[n, 2 * y + best // 2, 2 * x + best % 2]
    twice = [np.kron(each, np.ones((1, 2, 2))) for each in (label, share)]
    loss, weight_K = loss_of({"cross-entropy": 1.0}), torch.ones(3)
    parts = [
        loss(
            each,
            torch.from_numpy(np.asarray(a)).to(torch.uint8),
            weight_K,
            **{key: torch.from_numpy(np.asarray(b))},
        )
        for each, (a, b) in zip(logits.values(), ((label, share), coarse, twice), strict=True)
    ]
    given = {key: torch.from_numpy(share)}
    found = total_loss(loss, Outputs(**logits), torch.from_numpy(label), weight_K, 1.0, **given)
    assert float(found) == pytest.approx(float(sum(parts)) / 3, rel=1e-6)


def test_a_share_that_would_do_nothing_is_refused():
    """Otherwise a run would be thought to use shares that its loss does not look at."""
    for fraction in ("soft", "weight"):
        with pytest.raises(ValueError, match="lovasz alone"):
            Train(loss="2*lovasz", fraction=fraction)
        assert Train(loss="lovasz+dice", fraction=fraction).fraction == fraction
