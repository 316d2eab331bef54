"""The training loop: what it feeds the net, what it keeps, and when it stops."""

import itertools
import math
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from mapmill.errors import ContractError
from mapmill.feed import CPU, Patches, ahead, batches
from mapmill.fit import Fit
from mapmill.inputs import normalise, tensor_of
from mapmill.nets.heads import whole_strides
from mapmill.nets.model import Card, build
from mapmill.nets.parts import Segmenter
from mapmill.sections import Train

CARD = Card("unet", 8, 2, ["B02", "B03"], ["field", "wood", "lake"], [500.0] * 2, [300.0] * 2, {})
SPECTRA = np.array([[0, 0], [900, 300], [200, 700], [500, 120]])


def patches(count=4, size=32, seed=0, dtype=np.uint16, nodata=0.0):
    """Squares of three classes whose spectra differ, some of the pixels without a label."""
    random = np.random.default_rng(seed)
    coarse = random.integers(1, 4, (count, size // 8, size // 8))
    label = np.kron(coarse, np.ones((1, 8, 8), int))
    image = SPECTRA[label].transpose(0, 3, 1, 2) + random.normal(0, 40, (count, 2, size, size))
    label[random.random(label.shape) < 0.1] = 0
    image = np.clip(image, 1, None).astype(dtype)
    return Patches(image, label.astype(np.uint8), np.arange(count), nodata, CARD)


def pixels(given):
    return [int((given.label == value).sum()) for value in (1, 2, 3)]


def chosen(**changes):
    fixed = {"width": 8, "depth": 2, "batch": 4, "threads": 1, "device": "cpu", "steps": 6}
    return Train(**{**fixed, "validate_every": 3, **changes})


def fit(
    seed=1, train=None, val=None, card=CARD, prepare=None, checkpoint=None, digest="", **changes
):
    train = train or patches()
    given = train, val or train, pixels(train), prepare, checkpoint, digest
    return Fit(card, chosen(**changes), seed, *given)


@pytest.mark.parametrize(("count", "batch"), [(7, 3), (5, 8), (6, 6), (1, 2)])
def test_every_patch_comes_once_before_any_comes_twice(count, batch):
    """Otherwise some patches would be learnt often and others hardly ever."""
    numbered = np.full((count + 2, 1, 16, 16), 1, np.float32)
    numbered += np.arange(count + 2)[:, None, None, None]
    card = Card("unet", 1, 1, ["n"], ["a", "b"], [0.0], [1.0], {})
    label = np.ones((count + 2, 16, 16), np.uint8)
    given = Patches(numbered, label, np.arange(1, count + 1), 0.0, card)
    source = batches(given, chosen(batch=batch), 0)
    drawn = [next(source)[0] for _ in range(4 * count)]
    assert all(image.shape[0] == batch for image in drawn)
    flat = np.concatenate([image[:, 0, 0, 0] for image in drawn]).astype(int) - 1
    rounds = flat[: len(flat) // count * count].reshape(-1, count)
    assert (np.sort(rounds, axis=1) == np.arange(1, count + 1)).all()
    assert count < 5 or len({tuple(each) for each in rounds.tolist()}) > 1


@pytest.mark.parametrize("nodata", [0.0, None])
def test_pixels_without_imagery_are_neither_seen_nor_learnt(nodata):
    """Otherwise the net would learn what nodata looks like."""
    given = patches(nodata=nodata, dtype=np.float32)
    missing = np.nan if nodata is None else nodata
    given.image[0, 1, 4:9, 5] = missing  # one band is enough
    image_NCHW, label_NHW = given.batch(np.array([0, 2]))
    assert (image_NCHW[0, :, 4:9, 5] == 0).all()
    assert (label_NHW[0, 4:9, 5] == 0).all()
    assert np.isfinite(image_NCHW).all()
    assert np.array_equal(label_NHW[1], given.label[2])
    expected = (given.image[2].astype(float) - 500) / 300
    np.testing.assert_allclose(image_NCHW[1], expected, rtol=1e-5, atol=1e-6)


def test_batches_prepared_ahead_are_the_same_in_order():
    """Otherwise results would depend on how quickly a thread reads."""
    assert list(itertools.islice(ahead(iter(range(100))), 50)) == list(range(50))


def test_a_damaged_patch_stops_the_training():
    """Otherwise a failed checksum would be lost in a thread, and training hang or go on."""

    def source():
        yield 1
        raise ValueError("checksum")

    with pytest.raises(ValueError, match="checksum"):
        list(itertools.islice(ahead(source()), 3))


def test_no_thread_is_left_behind():
    """Otherwise a failed or a finished training would go on reading, and never end."""
    before = threading.active_count()
    source = ahead(itertools.count(1))
    assert [next(source), next(source)] == [1, 2]
    source.close()
    assert threading.active_count() == before
    given = patches(dtype=np.float32, nodata=None)
    given.image[:, 0, 3, 3] = np.inf
    with pytest.raises(ContractError):
        list(fit(train=given))
    assert threading.active_count() == before
    assert list(ahead(iter([1, 2, 3]))) == [1, 2, 3]
    list(fit())
    assert threading.active_count() == before


def mean_iou_by_hand(net, given):
    """Mean IoU of a net on patches, with nothing of the metrics module."""
    mapped, true = mapped_by_hand(net, given), given.label
    scores = []
    for value in (1, 2, 3):
        here, there = (true == value), (mapped == value) & (true > 0)
        scores.append((here & there).sum() / (here | there).sum())
    return np.mean(scores)


def logits_by_hand(net, given):
    """Logits (patch, class, y, x), of images that are extended with 0 to whole strides."""
    size, valid = given.label.shape[1], np.ones(given.label.shape, bool)
    more = -size % net.stride
    ready = normalise(tensor_of(given.image, CPU), torch.from_numpy(valid), CARD).numpy()
    image = np.pad(ready, ((0, 0), (0, 0), (0, more), (0, more)))
    with torch.inference_mode():
        return net.eval()(torch.from_numpy(image))[..., :size, :size].numpy()


def mapped_by_hand(net, given):
    """Classes (patch, y, x)."""
    return logits_by_hand(net, given).argmax(axis=1) + 1


def val_loss_by_hand(net, given, part):
    """Cross-entropy over the labelled pixels of some patches, weighted by class."""
    weight = np.array(pixels(given)) ** -0.5
    logits = logits_by_hand(net, given)[part].astype(float)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    label = given.label[part].astype(int)
    there, index = label > 0, np.maximum(label - 1, 0)
    log_true = np.take_along_axis(log_p, index[:, None], 1)[:, 0]
    return -(weight[index] * log_true)[there].sum() / weight[index][there].sum()


def kept_net(done, card=CARD):
    net = build(card)
    net.load_state_dict(done.best)
    return net


def test_four_patches_can_be_learnt_by_heart():
    """Otherwise the loop does not learn at all: a wrong sign, a frozen or a shuffled gradient."""
    done = fit(steps=60, validate_every=20, learning_rate=1e-2)
    looks = list(done)
    assert [look.step for look in looks] == [20, 40, 60]
    assert looks[-1].train_loss < looks[0].train_loss
    assert mean_iou_by_hand(kept_net(done), patches()) > 0.95


RESNET = replace(CARD, encoder="resnet18", width=4)


def test_eight_patches_of_40_px_can_be_learnt_by_heart_with_a_resnet():
    """Otherwise the encoder does not learn, or only sizes that its stride of 32 divides work."""
    given = patches(8, 40)
    done = fit(train=given, card=RESNET, batch=8, steps=25, validate_every=25, learning_rate=1e-2)
    (look,) = done
    labelled = given.label > 0
    mapped = mapped_by_hand(kept_net(done, RESNET), given)
    accuracy = (mapped == given.label)[labelled].mean()
    assert accuracy > 0.95
    assert look.val_accuracy == pytest.approx(accuracy, abs=1e-9)


@pytest.mark.parametrize(("height", "width"), [(40, 33), (32, 64), (7, 31), (300, 32)])
def test_logits_of_any_size_lie_on_their_pixels(height, width):
    """Otherwise the padding would shift the image against its labels, or be scored itself."""

    class Same(Segmenter):
        stride = 32

        def forward(self, image_NCHW):
            assert image_NCHW.shape[2] % 32 == image_NCHW.shape[3] % 32 == 0
            assert image_NCHW[..., height:, :].abs().sum() == 0
            assert image_NCHW[..., width:].abs().sum() == 0
            return image_NCHW

    image = torch.rand(2, 3, height, width) + 1
    assert torch.equal(whole_strides(Same(), image).mask_NKHW, image)


def test_padding_counts_in_no_loss_and_no_score():
    """Otherwise the score would be that of a larger patch, half of which does not exist."""
    given = patches(4, 40, seed=4)
    card = replace(CARD, depth=5)
    done = fit(train=given, card=card, batch=3, steps=4, validate_every=4)
    (look,) = done
    net = kept_net(done, card)
    assert net.stride == 32
    assert look.val_mean_iou == pytest.approx(mean_iou_by_hand(net, given), abs=1e-9)
    by_batch = [val_loss_by_hand(net, given, part) for part in ([0, 1, 2], [3])]
    assert look.val_loss == pytest.approx(np.mean(by_batch), rel=1e-5)


def test_weights_from_elsewhere_are_set_before_the_first_step():
    """Otherwise pretrained weights would be lost, or change what the seed gives to the rest."""
    fresh = fit(seed=7).best

    def prepare(net):
        assert all(torch.equal(fresh[name], tensor) for name, tensor in net.state_dict().items())
        torch.nn.init.constant_(net.head.weight, 0.25)

    done = fit(seed=7, prepare=prepare)
    assert (done.best["head.weight"] == 0.25).all()
    others = [name for name in fresh if name != "head.weight"]
    assert all(torch.equal(fresh[name], done.best[name]) for name in others)
    held = {id(p) for group in done.optimiser.param_groups for p in group["params"]}
    assert held == {id(p) for p in done.net.parameters()}


def test_the_weights_that_are_kept_are_the_best_of_all_looks():
    """Otherwise a run that got worse at its end would publish its worst weights."""
    val = patches(seed=9)
    val.label[val.label > 0] = val.label[val.label > 0] % 3 + 1  # learning makes it worse
    done = fit(val=val, steps=30, validate_every=2, learning_rate=1e-2)
    scores = [look.val_mean_iou for look in done]
    assert scores[-1] < max(scores)
    assert mean_iou_by_hand(kept_net(done), val) == pytest.approx(max(scores), abs=1e-9)


def test_without_a_validation_part_the_last_weights_are_kept():
    """Otherwise a run without validation would publish its untrained weights."""
    none = Patches(np.empty((0, 2, 32, 32)), np.empty((0, 32, 32)), np.arange(0), 0.0, CARD)
    done = fit(val=none)
    looks = list(done)
    assert all(math.isnan(look.val_mean_iou) and math.isnan(look.val_loss) for look in looks)
    last = done.net.state_dict()
    assert all(torch.equal(tensor, last[name]) for name, tensor in done.best.items())


def test_steps_that_do_not_divide_end_with_a_look():
    """Otherwise the last steps would be trained and thrown away."""
    assert [look.step for look in fit(steps=7, validate_every=3)] == [3, 6, 7]


def test_the_seed_alone_decides_the_weights():
    """Otherwise a run could not be repeated, or several seeds would be one."""
    results = []
    for seed in (5, 5, 6):
        torch.rand(3)  # whatever ran before in the process
        done = fit(seed, jitter=0.1, crop=16)
        looks = list(done)
        results.append((looks, done.best))
    (one, ours), (two, theirs), (_, others) = results
    assert one == two
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not torch.equal(ours["head.weight"], others["head.weight"])


def test_a_loss_that_is_no_number_stops_in_one_line():
    """Otherwise hours would be spent on a net whose weights are all NaN."""
    given = patches(dtype=np.float32, nodata=None)
    given.image[:, 0, 3, 3] = np.inf
    with pytest.raises(ContractError, match=r"step 1.*nan.*learning_rate") as caught:
        list(fit(train=given))
    assert "\n" not in str(caught.value)


def test_a_look_that_is_no_number_ends_training():
    """The last step may break the net after its own loss was still a number."""
    with pytest.raises(ContractError, match=r"validation at step 1.*nan.*learning_rate"):
        list(fit(steps=1, optimiser="sgd", schedule="constant", learning_rate=1e38))


def test_weights_that_are_no_numbers_are_no_model():
    """Likewise where there is no validation part to show it."""
    none = Patches(np.empty((0, 2, 32, 32)), np.empty((0, 32, 32)), np.arange(0), 0.0, CARD)
    done = fit(steps=1, val=none)
    done.optimiser.step = lambda: next(done.net.parameters()).data.fill_(math.inf)
    with pytest.raises(ContractError, match=r"weights after step 1"):
        list(done)


@pytest.mark.parametrize("loss", ["dice", "cross-entropy+dice"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_loss_and_precision_learns(loss, precision):
    """Otherwise a setting that the area file allows would not train."""
    looks = list(fit(steps=24, validate_every=12, loss=loss, precision=precision))
    assert looks[-1].train_loss < looks[0].train_loss


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser": "sgd", "schedule": "plateau", "patience": 0, "dropout": 0.2},
        {"optimiser": "nadam", "schedule": "one-cycle", "accumulate": 2, "clip": 1.0},
    ],
)
def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path, changes):
    """Otherwise a map would depend on whether its training was ever killed."""
    settings = {"steps": 9, "validate_every": 2, "jitter": 0.1, "crop": 24, **changes}
    given = patches(6)
    fixed = {"card": card_of(**settings), "train": given}
    whole = fit(**fixed, **settings)
    expected = list(whole)
    path = tmp_path / "checkpoint.safetensors"
    stopped = iter(fit(**fixed, **settings, checkpoint=path, digest="a"))
    for _ in range(2):
        next(stopped)
    stopped.close()
    again = fit(**fixed, **settings, checkpoint=path, digest="a")
    assert list(again) == expected
    assert again.done == 9
    for name, tensor in whole.best.items():
        assert torch.equal(tensor, again.best[name]), name
    other = fit(**fixed, **settings, checkpoint=path, digest="b")
    assert next(iter(other)).step == 2


def test_a_run_that_learns_nothing_more_ends(caplog):
    """Otherwise hours would be spent on steps that change nothing."""
    looks = list(fit(steps=40, validate_every=2, learning_rate=1e-12, stop_after=3))
    best = max(range(len(looks)), key=lambda n: looks[n].val_mean_iou)
    assert len(looks) == best + 4 < 20


def test_gradients_of_several_batches_are_those_of_one_large_batch():
    """Otherwise a batch that does not fit into memory could not be had in parts."""
    settings = {"steps": 1, "validate_every": 1, "optimiser": "sgd", "norm": "none"}
    settings |= {"learning_rate": 0.1, "class_weights": "none"}
    given = full_patches()
    card = card_of(**settings)
    one, parts = (
        fit(card=card, train=given, batch=batch, accumulate=parts, **settings)
        for batch, parts in ((4, 1), (2, 2))
    )
    list(one), list(parts)
    for name, tensor in one.net.state_dict().items():
        torch.testing.assert_close(tensor, parts.net.state_dict()[name], rtol=1e-4, atol=1e-6)


def full_patches():
    """Patches of which every pixel has a label and that look alike however they are turned."""
    given = patches(1)
    image, label = given.image.copy(), given.label.copy()
    image[:], label[:] = image[:, :, :1, :1], 1
    return replace(
        given, image=np.repeat(image, 4, 0), label=np.repeat(label, 4, 0), indices=np.arange(4)
    )


def card_of(dropout=0.0, norm="batch", **_):
    return replace(CARD, dropout=dropout, norm=norm)
