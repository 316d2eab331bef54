"""Losses against those of segmentation-models-pytorch, where both mean the same."""

import importlib.util

import numpy as np
import pytest
import torch

from mapmill.losses import Shape, loss_of

IS_THERE = importlib.util.find_spec("segmentation_models_pytorch") is not None
pytestmark = pytest.mark.skipif(not IS_THERE, reason="the extra mapmill[smp] is not installed")
ALPHA, BETA, GAMMA, IGNORED = 0.6, 0.3, 1.5, 255


def case(seed, classes):
    """logits (3, K, 8, 8); label (3, 8, 8), 0 to K, every class there; theirs, from 0."""
    random = np.random.default_rng(seed)
    logits = torch.tensor(random.normal(0, 2, (3, classes, 8, 8)), dtype=torch.float32)
    label = torch.tensor(random.integers(0, classes + 1, (3, 8, 8)), dtype=torch.uint8)
    assert set(label.unique().tolist()) == set(range(classes + 1))
    theirs = torch.where(label > 0, label.long() - 1, IGNORED)
    return logits.requires_grad_(), label, theirs


def their_loss(name):
    """Their alpha weighs what is wrongly found, ours what is missed."""
    from segmentation_models_pytorch import losses

    shared = {"mode": "multiclass", "ignore_index": IGNORED}
    return {
        "cross-entropy": lambda: torch.nn.CrossEntropyLoss(ignore_index=IGNORED),
        "dice": lambda: losses.DiceLoss(**shared),
        "tversky": lambda: losses.TverskyLoss(**shared, log_loss=True, alpha=BETA, beta=ALPHA),
        "lovasz": lambda: losses.LovaszLoss(**shared),
    }[name]()


def compared(ours, theirs, logits):
    """Value and gradient of both."""
    (here,) = torch.autograd.grad(ours, logits, retain_graph=True)
    (there,) = torch.autograd.grad(theirs, logits)
    np.testing.assert_allclose(float(ours.detach()), float(theirs.detach()), rtol=1e-5)
    np.testing.assert_allclose(here.numpy(), there.numpy(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("name", ["cross-entropy", "dice", "tversky", "lovasz"])
def test_equal_where_pixels_are_ignored(operators, name, classes):
    """A loss would be another one than people know by its name."""
    logits, label, target = case(0, classes)
    ours = loss_of({name: 1.0}, Shape(alpha=ALPHA, beta=BETA))(logits, label, torch.ones(classes))
    compared(ours, their_loss(name)(logits, target), logits)


def test_jaccard(operators):
    """Theirs has no `ignore`: the same without ignored pixels."""
    from segmentation_models_pytorch.losses import JaccardLoss

    logits, label, _ = case(1, 4)
    label = label.clamp(min=1)
    ours = loss_of({"jaccard": 1.0})(logits, label, torch.ones(4))
    compared(ours, JaccardLoss("multiclass", log_loss=True)(logits, label.long() - 1), logits)


def test_focal_of_two_classes(operators):
    """Theirs of many classes takes a sigmoid of each: only of two is it the paper's and ours."""
    from segmentation_models_pytorch.losses import FocalLoss

    logits, label, target = case(2, 2)
    ours = loss_of({"focal": 1.0}, Shape(gamma=GAMMA))(logits, label, torch.ones(2))
    margin = logits[:, 1] - logits[:, 0]
    kept = label > 0
    theirs = FocalLoss("binary", gamma=GAMMA)(margin[kept], target[kept].float())
    compared(ours, theirs, logits)
