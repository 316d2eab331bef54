"""Turned passes and voting heads: exact, and beside the same done by hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from unit.test_infer import CLASSES, PLAN, Scene, assert_bitwise, at_once, in_tiles, predictor

from mapmill.ensemble import Means, bands_of
from mapmill.errors import ContractError
from mapmill.infer import Predictor
from mapmill.nets.heads import Outputs, vote


def softmax_of(net, image, valid):
    """Probabilities (K, y, x) of one image, without our code around the net."""
    card = net.card
    mean, sd = (np.array(v, np.float32)[:, None, None] for v in (card.mean, card.sd))
    ready = np.where(valid, (image - mean) / sd, np.float32(0))
    with torch.inference_mode():
        return net.net(torch.from_numpy(ready[None].copy()))[0].softmax(dim=0).numpy()


@pytest.mark.parametrize(
    ("turns", "design"),
    [(4, {}), (8, {}), (8, {"padding": "valid"}), (8, {"upsample": "bilinear"})],
)
def test_turned_passes_leave_no_trace(turns, design):
    """Otherwise maps made with turns would show seams, and change with the size of tiles."""
    net, scene = predictor(plan=replace(PLAN, turns=turns), **design), Scene(61, 83, invalid=0.1)
    whole = at_once(net, scene)
    assert_bitwise(in_tiles(net, scene, 50, 16), whole)
    plain = at_once(predictor(**design), scene)
    assert abs(whole - plain).max() > 0.01
    np.testing.assert_allclose(whole.sum(axis=0), 1, atol=1e-5)


def test_turned_passes_are_the_mean_of_eight_scenes():
    """Otherwise some way would be laid down wrongly, and the mean be of different ground."""
    net, scene = predictor(plan=replace(PLAN, turns=8)), Scene(64, 64, invalid=0.1)
    side, pad = 64, 32  # of whole strides, beyond what the net reaches
    image = np.pad(scene.image, ((0, 0), (pad, pad), (pad, pad)), "reflect")
    valid = np.pad(scene.valid, pad, "reflect")
    total = np.zeros((CLASSES, side, side))
    for flipped in (False, True):
        for quarters in range(4):
            way = [a[..., ::-1] if flipped else a for a in (image, valid)]
            laid = softmax_of(net, *(np.rot90(a, quarters, (-2, -1)) for a in way))
            back = np.rot90(laid, -quarters, (-2, -1))
            back = back[..., ::-1] if flipped else back
            total += back[:, pad:-pad, pad:-pad] / 8
    np.testing.assert_allclose(at_once(net, scene), total, atol=1e-5)


def test_voting_heads_leave_no_trace_and_are_the_mean_of_three():
    """Otherwise coarse masks would lie beside the fine one, or tiles be seen in the map."""
    scene = Scene(61, 83, invalid=0.1)
    net = predictor(plan=replace(PLAN, vote=True), head="multi-resolution")
    whole = at_once(net, scene)
    assert_bitwise(in_tiles(net, scene, 50, 16), whole)
    assert abs(whole - at_once(predictor(head="multi-resolution"), scene)).max() > 0.01
    random = np.random.default_rng(0)
    mask, half, double = (random.normal(size=(1, 3, 4 * n // 2, 6 * n // 2)) for n in (2, 1, 4))
    found = vote(Outputs(*(torch.from_numpy(a) for a in (mask, half, double)))).exp().numpy()
    soft = [np.exp(a) / np.exp(a).sum(axis=1, keepdims=True) for a in (mask, half, double)]
    for y in range(4):
        for x in range(6):
            fine = soft[2][0, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean(axis=(1, 2))
            expected = (soft[0][0, :, y, x] + soft[1][0, :, y // 2, x // 2] + fine) / 3
            np.testing.assert_allclose(found[0, :, y, x], expected, atol=1e-6)


def test_a_net_of_one_head_cannot_vote():
    """Otherwise a map would be said to be voted on, and was not."""
    net = predictor()
    with pytest.raises(ContractError, match=r"head mask.*multi-resolution"):
        Predictor.of(net.net, net.card, net.device, replace(PLAN, vote=True))


def test_temperature_changes_confidence_and_no_class():
    """Otherwise a calibrated map would be another map."""
    random = np.random.default_rng(0)
    p_KYX = random.dirichlet(np.ones(3), (20, 30)).transpose(2, 0, 1)
    means = Means(p_KYX, (random.random((20, 30)) > 0.1).astype(np.uint8), [])
    plain = bands_of(means, 0.5, False)
    raised = p_KYX ** (1 / 2.5) / (p_KYX ** (1 / 2.5)).sum(axis=0)
    found = bands_of(means, 0.5, False, 2.5, ["margin", "probabilities"])
    np.testing.assert_array_equal(found[0], plain[0])
    there = means.times_YX > 0
    confidence = np.clip(np.rint(100 * raised.max(axis=0)), 1, 100)
    np.testing.assert_array_equal(found[1], np.where(there, confidence, 0))
    np.testing.assert_array_equal(found[3:], np.where(there, np.rint(100 * raised), 0))
    assert found.shape == (6, 20, 30) and not found[:, ~there].any()
