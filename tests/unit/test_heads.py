"""What a net learns beside its mask: against loops, and with nothing learnt from ignored pixels."""

import numpy as np
import pytest
import torch

from mapmill.errors import ContractError
from mapmill.losses import loss_of
from mapmill.nets.heads import Outputs, label_loss, majority, total_loss, whole_strides
from mapmill.nets.model import Card, build

WEIGHT_K = torch.tensor([1.0, 2.0, 0.5])
CROSS_ENTROPY = loss_of({"cross-entropy": 1.0})


def label_of(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 4, shape, dtype=np.uint8))


def by_hand(logits_NKHW, label_NHW):
    """Weighted cross-entropy over labelled pixels, in loops."""
    total = weights = 0.0
    logits = logits_NKHW.double().numpy()
    for n, y, x in np.ndindex(*label_NHW.shape):
        k = int(label_NHW[n, y, x]) - 1
        if k >= 0:
            z = logits[n, :, y, x]
            total -= float(WEIGHT_K[k]) * (z[k] - np.log(np.exp(z).sum()))
            weights += float(WEIGHT_K[k])
    return total / weights


def halved_by_hand(label_NHW):
    """The most frequent class of each square of 2 x 2, of equals the first; 0 where none is."""
    n, height, width = label_NHW.shape
    half = np.zeros((n, height // 2, width // 2), np.uint8)
    for i, y, x in np.ndindex(*half.shape):
        four = label_NHW[i, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].reshape(-1).tolist()
        classes = [k for k in four if k]
        half[i, y, x] = max(classes, key=classes.count) if classes else 0
    return torch.from_numpy(half)


@pytest.mark.parametrize("shape", [(2, 8, 6), (3, 7, 5), (1, 2, 2)])
def test_masks_of_three_resolutions_weigh_alike(shape):
    """Otherwise a coarse mask would be learnt from labels beside it, or drown the fine one."""
    n, height, width = shape
    label = label_of(shape)
    label[0, :2, :2] = 0
    full = torch.randn(n, 3, height, width)
    half = torch.randn(n, 3, height // 2, width // 2)
    double = torch.randn(n, 3, 2 * height, 2 * width)
    found = total_loss(CROSS_ENTROPY, Outputs(full, half, double), label, WEIGHT_K, 9.0)
    twice = torch.from_numpy(np.kron(label.numpy(), np.ones((1, 2, 2), np.uint8)))
    pairs = [(full, label), (half, halved_by_hand(label)), (double, twice)]
    losses = [by_hand(*pair) if pair[1].any() else 0.0 for pair in pairs]
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_weights_and_shares_follow_their_pixels():
    """Otherwise a pixel's weight would count for another pixel of a coarser or finer mask."""
    label = torch.tensor([[[1, 2, 3, 3], [2, 2, 3, 3]]], dtype=torch.uint8)
    weight = torch.tensor([[[1.0, 5, 0, 0], [1, 1, 0, 0]]])
    share = torch.full_like(weight, 1.0)
    share[0, 0, 1] = 0.6
    outputs = Outputs(torch.randn(1, 3, 2, 4), torch.randn(1, 3, 1, 2), torch.randn(1, 3, 4, 8))
    found = total_loss(CROSS_ENTROPY, outputs, label, WEIGHT_K, 0.0, weight, share)
    kron = np.ones((1, 2, 2), np.float32)
    twice = [
        torch.from_numpy(np.kron(a.numpy(), kron.astype(a.numpy().dtype)))
        for a in (label, weight, share)
    ]
    half = (label[:, :1, 1:3], weight[:, :1, 1:3], share[:, :1, 1:3])  # the first 2, the first 3
    full = (label, weight, share)
    expected = [
        float(CROSS_ENTROPY(logits, here, WEIGHT_K, w, s))
        for logits, (here, w, s) in zip(outputs[:3], (full, half, twice), strict=True)
    ]
    assert float(found) == pytest.approx(np.mean(expected), rel=1e-6)


def test_the_majority_of_four():
    """Otherwise an unlabelled pixel could outvote a class, or equals be settled by chance."""
    squares = {
        (1, 2, 2, 1): 0,
        (1, 2, 2, 2): 1,
        (0, 0, 3, 0): 2,
        (0, 0, 0, 0): 0,
        (0, 2, 1, 1): 2,
        (1, 2, 3, 3): 2,
    }
    for four, first in squares.items():
        label = torch.tensor(four, dtype=torch.uint8).reshape(1, 2, 2)
        assert label.flatten()[majority(label)] == four[first]
        assert int(majority(label)) == first


def test_the_label_of_an_image_is_which_classes_it_holds():
    """Otherwise the net would learn what is in other images, or in images without labels."""
    label = torch.zeros((4, 3, 3), dtype=torch.uint8)
    label[0, 0, 1], label[0, 2, 2], label[1] = 3, 1, 2
    label[3, 1, 1] = 3
    logits = torch.randn(4, 3, dtype=torch.float64)
    truth = {0: (1, 0, 1), 1: (0, 1, 0), 3: (0, 0, 1)}  # image 2 has no labelled pixel
    terms = [
        -np.log(p if there else 1 - p)
        for n, classes in truth.items()
        for there, p in zip(classes, 1 / (1 + np.exp(-logits[n].numpy())), strict=True)
    ]
    assert float(label_loss(logits, label)) == pytest.approx(np.mean(terms), rel=1e-6)
    mask = torch.randn(4, 3, 3, 3)
    total = total_loss(CROSS_ENTROPY, Outputs(mask, label_NK=logits), label, WEIGHT_K, 0.25)
    expected = by_hand(mask, label) + 0.25 * np.mean(terms)
    assert float(total) == pytest.approx(expected, rel=1e-5)


def test_nothing_is_learnt_from_a_batch_without_labels():
    """Otherwise clouds would move the weights, or end the training with NaN."""
    logits = torch.full((2, 3), torch.nan, requires_grad=True)
    loss = label_loss(logits, torch.zeros((2, 4, 4), dtype=torch.uint8))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def net_of(head, **design):
    torch.manual_seed(2)
    card = Card("unet", 4, 2, ["a", "b"], ["x", "y", "z"], [], [], {}, head=head, **design)
    return build(card)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("head", ["mask", "mask+label", "multi-resolution"])
def test_the_heads_are_for_training(head, padding):
    """Otherwise prediction would pay for masks that it does not use, or get several."""
    net, image = net_of(head, padding=padding), torch.randn(3, 2, 76, 92)
    found = whole_strides(net.train(), image)
    height, width = (side - 2 * net.margin for side in (76, 92))
    assert found.mask_NKHW.shape == (3, 3, height, width)
    has = {name for name, tensor in found._asdict().items() if tensor is not None}
    more = {"mask+label": {"label_NK"}, "multi-resolution": {"half_NKHW", "double_NKHW"}}
    assert has == {"mask_NKHW"} | more.get(head, set())
    if head == "multi-resolution":
        assert found.half_NKHW.shape == (3, 3, height // 2, width // 2)
        assert found.double_NKHW.shape == (3, 3, 2 * height, 2 * width)
    assert isinstance(net.eval()(torch.zeros(1, 2, net.fits(64), net.fits(64))), torch.Tensor)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_masks_of_all_resolutions_lie_on_the_same_ground(padding):
    """Otherwise the coarse and the fine mask would be learnt from shifted labels."""
    net = net_of("multi-resolution", padding=padding).train()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    size = net.fits(100)
    row, col = 52, 40  # what lies there is what changes most
    image = torch.zeros(1, 2, size, size)
    moved = image.clone()
    moved[..., row : row + 8, col : col + 8] = 3
    with torch.inference_mode():
        pairs = zip(net(image)[:3], net(moved)[:3], strict=True)
    for (one, other), factor in zip(pairs, (1.0, 0.5, 2.0), strict=True):
        change = (one - other).abs().sum(dim=1)[0].double()
        for axis, start in ((1, row), (0, col)):
            line = change.sum(dim=axis)
            middle = (line * (torch.arange(len(line)) + 0.5)).sum() / line.sum()
            assert float(middle) / factor + net.margin == pytest.approx(start + 4, abs=1.5)


def test_a_patch_smaller_than_the_margins_is_one_line():
    """Otherwise training would end in a page about negative sizes."""
    with pytest.raises(ContractError, match=r"patches of 40 px.*more than 40 px") as caught:
        whole_strides(net_of("mask", padding="valid"), torch.zeros(1, 2, 64, 40))
    assert "\n" not in str(caught.value)
    assert whole_strides(net_of("mask", padding="valid"), torch.zeros(1, 2, 64, 41))


def test_an_unpadded_net_learns_the_middle_of_a_patch():
    """Otherwise a mask would be compared with labels that lie beside it, or with padding."""
    net, image = net_of("mask", padding="valid").eval(), torch.randn(1, 2, 61, 50)
    with torch.inference_mode():
        found = whole_strides(net, image).mask_NKHW
        cut = net(torch.nn.functional.pad(image, (0, net.fits(50) - 50, 0, net.fits(61) - 61)))
    assert found.shape == (1, 3, 21, 10)
    assert torch.equal(found, cut[:, :, :21, :10])
