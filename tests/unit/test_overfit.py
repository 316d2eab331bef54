"""Every loss that is meant to be used alone brings a small net to learn eight patches by heart."""

import numpy as np
import pytest

from mapmill.feed import Patches
from mapmill.fit import Fit
from mapmill.losses import TERMS
from mapmill.nets.model import Card
from mapmill.sections import Train

SPECTRA = np.array([[0, 0], [900, 300], [200, 700], [500, 120]])


def eight_patches(card):
    """8 patches of 32 px with squares of three classes, some pixels without a label."""
    random = np.random.default_rng(3)
    label = np.kron(random.integers(1, 4, (8, 4, 4)), np.ones((1, 8, 8), int))
    image = SPECTRA[label].transpose(0, 3, 1, 2) + random.normal(0, 40, (8, 2, 32, 32))
    label[random.random(label.shape) < 0.1] = 0
    image = np.clip(image, 1, None).astype(np.uint16)
    return Patches(image, label.astype(np.uint8), np.arange(8), 0.0, card)


@pytest.mark.parametrize("loss", TERMS)
def test_a_loss_alone_learns_eight_patches(loss):
    """Otherwise its gradient would lead elsewhere than to the labels."""
    card = Card(
        "unet", 8, 2, ["B02", "B03"], ["field", "wood", "lake"], [500.0] * 2, [300.0] * 2, {}
    )
    patches = eight_patches(card)
    fixed = {"width": 8, "depth": 2, "batch": 8, "threads": 1, "device": "cpu"}
    chosen = Train(**fixed, loss=loss, steps=80, validate_every=20, learning_rate=2e-2)
    pixels = [int((patches.label == value).sum()) for value in (1, 2, 3)]
    best = max(look.val_mean_iou for look in Fit(card, chosen, 1, patches, patches, pixels))
    assert best > 0.99
