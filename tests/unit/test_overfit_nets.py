"""Every choice of a net, one at a time, and every preset learns eight patches by heart."""

import pytest
import torch
from unit.test_overfit import eight_patches

from mapmill.fit import Fit
from mapmill.nets.model import Card
from mapmill.reach import RESNETS
from mapmill.sections import PRESETS, Train

CHANGES = [
    {},
    {"padding": "valid", "depth": 1},
    {"upsample": "bilinear"},
    {"norm": "group"},
    {"norm": "none", "learning_rate": 5e-3, "steps": 160},
    {"dropout": 0.1},
    {"block": "residual"},
    {"attention": "se"},
    {"attention": "cbam"},
    {"attention": "gate"},
    {"attention": "self"},
    {"head": "mask+label"},
    {"head": "multi-resolution"},
    *({"preset": name} for name in PRESETS),
    *(pytest.param({"encoder": name}, marks=pytest.mark.full) for name in RESNETS),
]
"""What is changed in a U-Net of width 8 and depth 2; a ResNet is large, and also in test_fit."""


def fitted(classes=("field", "wood", "lake"), **changes):
    """A run on eight patches that are both parts."""
    fixed = {"width": 8, "depth": 2, "batch": 8, "threads": 1, "device": "cpu"}
    fixed |= {"steps": 60, "validate_every": 15, "learning_rate": 2e-2, "class_weights": "none"}
    chosen = Train(**{**fixed, **changes})
    about = {"bands": ["B02", "B03"], "classes": list(classes), "provenance": {}}
    card = Card(**about, mean=[500.0] * 2, sd=[300.0] * 2, **vars(chosen.design))
    patches = eight_patches(card)
    patches.label[patches.label > len(classes)] = 1
    pixels = [int((patches.label == value).sum()) for value in range(1, len(classes) + 1)]
    return Fit(card, chosen, 1, patches, patches, pixels)


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_net_learns_eight_patches(changes):
    """Otherwise some of its layers would not be trained, or lead elsewhere than to the labels."""
    fit = fitted(**changes)
    before = {name: p.detach().clone() for name, p in fit.net.named_parameters()}
    best = max(look.val_mean_iou for look in fit)
    assert best > 0.99
    still = [n for n, p in fit.net.named_parameters() if torch.equal(before[n], p)]
    assert not still


def test_one_logit_learns_two_classes():
    """Otherwise a sigmoid would map one class alone."""
    fit = fitted(classes=("dry", "flooded"), activation="sigmoid")
    assert fit.net.head.out_channels == 1
    assert max(look.val_mean_iou for look in fit) > 0.99
