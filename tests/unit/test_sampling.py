"""The order of patches: all, at random, by rare classes, by strata."""

import itertools

import numpy as np
import pytest

from mapmill.errors import ContractError
from mapmill.feed import Patches, batches, weights_of
from mapmill.nets.model import Card
from mapmill.sampling import balanced, by_strata, drawn
from mapmill.sections import Train

CARD = Card("unet", 4, 1, ["n"], ["a", "b", "c"], [0.0], [1.0], {})


def numbered(label_NHW, strata=None):
    """Patches whose only band is their number from 1 on."""
    count, size = label_NHW.shape[:2]
    image = (
        np.ones((count, 1, size, size), np.float32) * np.arange(1, count + 1)[:, None, None, None]
    )
    return Patches(image, label_NHW, np.arange(count), 0.0, CARD, strata)


def shares(patches, chosen, steps=400):
    """How often each patch is drawn."""
    taken = itertools.islice(batches(patches, chosen, 1), steps)
    flat = np.concatenate([image[:, 0, 0, 0].numpy() for image, *_ in taken]).astype(int)
    return np.bincount(flat - 1, minlength=len(patches.indices)) / len(flat)


def labels(*rows):
    """One patch of 16 px for each row of classes, which share its pixels."""
    return np.stack([np.resize(np.array(row, np.uint8), (16, 16)) for row in rows])


def test_weights_follow_the_rarest_class_of_a_patch():
    """Otherwise patches with the class that matters would be as rare as before."""
    holds = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0], [0, 0, 0]], bool)
    np.testing.assert_allclose(balanced(holds), [1 / 4, 1 / 2, 1, 1 / 4, 0])


def test_balanced_batches_hold_rare_classes_often():
    """Otherwise the setting would have no effect, or draw what has no labels."""
    rows = [[1]] * 12 + [[1, 2]] * 3 + [[2, 3]] + [[0]] * 4
    patches = numbered(labels(*rows))
    weights = np.array([1 / 15] * 12 + [1 / 4] * 3 + [1] + [0] * 4)
    np.testing.assert_allclose(weights_of(patches, Train(sampling="balanced")), weights)
    found = shares(patches, Train(sampling="balanced", batch=10))
    np.testing.assert_allclose(found, weights / weights.sum(), atol=0.025)
    assert (found[-4:] == 0).all()


def test_invalid_pixels_hold_no_class():
    """Otherwise patches would be drawn for a class that lies below clouds or nodata."""
    patches = numbered(labels([1, 2], [1, 2], [1]))
    patches.image[0, 0][patches.label[0] == 2] = 0
    np.testing.assert_array_equal(patches.holds(), [[1, 0, 0], [1, 1, 0], [1, 0, 0]])


def test_random_batches_are_drawn_with_replacement():
    """Otherwise `random` would be `all` by another name."""
    patches = numbered(labels(*[[1]] * 6))
    found = shares(patches, Train(sampling="random", batch=6))
    np.testing.assert_allclose(found, 1 / 6, atol=0.03)
    taken = itertools.islice(drawn(np.arange(6), 6, np.random.default_rng(0), np.ones(6)), 20)
    assert any(len(set(batch.tolist())) < 6 for batch in taken)


def test_strata_count_alike():
    """Otherwise a large stratum would be learnt and the small ones forgotten."""
    strata = np.array([0] * 8 + [1, 1] + [5])
    np.testing.assert_allclose(by_strata(strata), [1 / 8] * 8 + [1 / 2] * 2 + [1])
    patches = numbered(labels(*[[1]] * 11), strata)
    found = shares(patches, Train(sampling="strata", batch=9))
    sums = [found[strata == each].sum() for each in (0, 1, 5)]
    np.testing.assert_allclose(sums, 1 / 3, atol=0.03)


@pytest.mark.parametrize(
    ("sampling", "told"), [("strata", "select.split.folds"), ("balanced", "no labelled patch")]
)
def test_what_sampling_needs_and_is_not_there_is_one_line(sampling, told):
    """Otherwise training would step down to another order in silence."""
    patches = numbered(labels([0], [0]), np.zeros(2, np.int64))
    with pytest.raises(ContractError, match=told) as caught:
        next(batches(patches, Train(sampling=sampling), 0))
    assert "\n" not in str(caught.value)
