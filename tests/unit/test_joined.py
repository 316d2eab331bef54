"""Periods as channels: patches of the same place joined, and a missing period exactly 0."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making import SMALL_AREA, write_area

from mapmill.areafile import load_area
from mapmill.errors import MapmillError
from mapmill.feed import Patches, batches
from mapmill.grid import Window
from mapmill.inputs import inputs_of
from mapmill.joined import JoinedPool
from mapmill.nets.model import Card
from mapmill.nets.weights import adapt
from mapmill.pieces import side_by_side
from mapmill.sections import Pool, Train
from mapmill.stages.train import with_inputs
from mapmill.store import Form, StoreWriter
from mapmill.tiles import Tile

SIDE = 8
PERIODS = ["april", "august"]
KEPT = [
    ("april", 0, 8, "train"),
    ("april", 0, 0, "train"),
    ("april", 8, 0, "val"),
    ("august", 0, 0, "train"),
    ("august", 8, 0, "val"),
    ("august", 8, 8, "train"),
]
"""Period, row, column and part of each patch: y0x8 is missing in August, y8x8 in April."""
PLACES = [(0, 0), (0, 8), (8, 0), (8, 8)]
BANDS = ["B02", "B03", "B04"]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def learner():
    content = yaml.safe_load(SMALL_AREA)
    content["search"]["periods"] = {
        name: {"files": f"data/{name}/{{scene}}_{{band}}.tif", "start": start, "end": end}
        for name, start, end in zip(
            PERIODS,
            ("2018-04-01T00:00:00Z", "2018-08-01T00:00:00Z"),
            ("2018-04-30T00:00:00Z", "2018-08-31T00:00:00Z"),
            strict=True,
        )
    }
    return load_area(write_area("here", yaml.safe_dump(content)))


def make(kept=KEPT, periods=PERIODS):
    """Write a store; its images (uint16, 0 is nodata), labels and shares, patch by patch."""
    random = np.random.default_rng(3)
    image = random.integers(1, 5000, (len(kept), 3, SIDE, SIDE), dtype=np.uint16)
    image[0, :, 2:4] = 0
    image[3, 1, :, 5] = 0  # one band is enough
    of_place = random.integers(0, 4, (4, SIDE, SIDE), dtype=np.uint8)
    label = of_place[[PLACES.index(each[1:3]) for each in kept]]
    share = (label * 7 + 1).astype(np.uint8)
    tiles = [
        Tile(
            *(period, "", Window(row, col, SIDE, SIDE), 1.0, 0.0, 0.0, 1.0, part, row, ""),
            tuple(np.bincount(one.ravel(), minlength=4)[1:].tolist()),
        )
        for (period, row, col, part), one in zip(kept, label, strict=True)
    ]
    form = Form(BANDS, "uint16", 3, periods, ["train", "val", "test"], 4, "lz4", True)
    writer = StoreWriter(Path("results/here/pack/patches.zarr"), form, {SIDE: tiles}, SIDE)
    chunks = form.chunks()
    for number, arrays in enumerate(zip(image, label, share, strict=True)):
        named = zip(("image", "label", "fraction"), arrays, strict=True)
        writer.put(SIDE, number, {key: chunks[key].encode(each) for key, each in named})
    attributes = {"bands": BANDS, "units": "digital numbers", "nodata": 0, "pieces": periods}
    attributes |= {"classes": {"1": "field", "2": "wood", "3": "lake"}, "statistics": {}}
    attributes |= {"splits": ["train", "val", "test"], "class_pixels": [0] * 3}
    writer.finish({SIDE: attributes | {"MAPMILL_SETTINGS": "made"}})
    return image, label, share


def by_hand(image):
    """(place, period and band, y, x) float64, NaN where a band of it is missing."""
    whole = np.full((4, 2, 3, SIDE, SIDE), np.nan)
    for number, (period, row, col, _) in enumerate(KEPT):
        values = image[number].astype(float)
        values[image[number] == 0] = np.nan
        whole[PLACES.index((row, col)), PERIODS.index(period)] = values
    return whole.reshape(4, 6, SIDE, SIDE)


def pool_of(area=None):
    return JoinedPool(area or learner(), "here", {"here": Pool()})


def test_patches_of_a_place_stand_side_by_side():
    """Otherwise one place's spring would be learnt with another's summer, or its labels."""
    image, label, share = make()
    pool = pool_of()
    assert (pool.periods, pool.nodata) == (PERIODS, None)
    found = pool.images().take([0, 1, 2, 3])
    assert found.dtype == np.float32 and pool.images().shape == (4, 6, SIDE, SIDE)
    np.testing.assert_array_equal(found, by_hand(image))
    np.testing.assert_array_equal(pool.images().take([3, 1]), by_hand(image)[[3, 1]])
    first = [1, 0, 2, 5]
    np.testing.assert_array_equal(pool.labels().take([3, 0, 1]), label[[5, 1, 0]])
    np.testing.assert_array_equal(pool.fractions().take([0, 1, 2, 3]), share[first])
    assert pool.indices("train").tolist() == [0, 1, 3] and pool.indices("val").tolist() == [2]
    assert pool.strata(np.array([3, 0])).tolist() == [8, 0]
    counted = np.bincount(label[[1, 0, 5]].ravel(), minlength=4)[1:]
    assert pool.class_pixels() == counted.tolist()


def test_each_period_has_its_own_statistics():
    """Otherwise a dark winter and a bright summer would be normalised by their mean."""
    image, *_ = make()
    found, training = pool_of().all_statistics(), by_hand(image)[[0, 1, 3]]
    for number in range(2):
        pixels = training[:, 3 * number : 3 * number + 3].transpose(1, 0, 2, 3).reshape(3, -1)
        pixels = pixels[:, ~np.isnan(pixels).any(axis=0)]
        own = slice(3 * number, 3 * number + 3)
        np.testing.assert_allclose(found.mean[own], pixels.mean(axis=1), rtol=1e-9)
        np.testing.assert_allclose(found.sd[own], pixels.std(axis=1), rtol=1e-9)
        np.testing.assert_array_equal(found.most[own], pixels.max(axis=1))
        np.testing.assert_allclose(found.high[own], np.percentile(pixels, 98, axis=1))


@pytest.mark.parametrize(
    ("kept", "periods", "told"),
    [
        ([*KEPT[:3], ("august", 0, 0, "val"), *KEPT[4:]], PERIODS, "y0x0 in different parts"),
        (KEPT, ["april", "august", "may"], "periods april, august, may"),
        ([*KEPT[:3], KEPT[4]], PERIODS, "period august"),
    ],
)
def test_places_that_cannot_be_joined_are_one_line(kept, periods, told):
    """Otherwise a place would be learnt from and scored, or a period be normalised by nothing."""
    make(kept, periods)
    with pytest.raises(MapmillError, match=told) as caught:
        pool_of().statistics()
    assert "\n" not in str(caught.value)


NAMES = [f"{period}:{name}" for period in PERIODS for name in (*BANDS, "valid")]
CARD = Card("unet", 4, 1, BANDS, ["a", "b", "c"], [0.0] * 6, [1.0] * 6, {}, periods=PERIODS)
CARD = replace(CARD, mean=[1000.0, 2000, 3000, 1500, 2500, 3500], sd=[100.0, 200, 300, 50, 60, 70])


def patches(card=CARD):
    image, *_ = make()
    pool = pool_of()
    given = Patches(pool.images(), pool.labels(), np.arange(4), pool.nodata, card)
    return given, by_hand(image)


def shown_by_hand(whole, card=CARD):
    """What the net is to see: each period normalised, 0 where invalid, and whether it is valid."""
    parts = []
    for number in range(2):
        own = slice(3 * number, 3 * number + 3)
        mean, sd = (np.array(each[own])[:, None, None] for each in (card.mean, card.sd))
        valid = ~np.isnan(whole[:, own]).any(axis=1, keepdims=True)
        parts += [np.where(valid, (whole[:, own] - mean) / sd, 0), valid]
    return np.concatenate(parts, axis=1)


def test_a_net_is_shown_the_periods_and_where_they_are():
    """Otherwise missing imagery would look like a surface, or periods would change places."""
    given, whole = patches()
    image_NCHW, label_NHW = given.batch(np.arange(4))
    expected = shown_by_hand(whole)
    np.testing.assert_allclose(image_NCHW, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(image_NCHW.numpy() == 0, expected == 0)
    assert (
        CARD.inputs == NAMES and (image_NCHW[1, 4:] == 0).all() and (image_NCHW[3, :4] == 0).all()
    )
    seen = expected[:, [3, 7]].any(axis=1)
    labels = given.label.take(np.arange(4))
    np.testing.assert_array_equal(label_NHW, np.where(seen, labels, 0))
    assert not seen.all()


def test_prediction_is_shown_what_training_is():
    """Otherwise a net would be used on other channels than it learnt."""
    given, whole = patches()
    for number in range(4):
        periods = []
        for image_BYX in np.split(whole[number], 2):
            valid_YX = ~np.isnan(image_BYX).any(axis=0)
            kept = np.where(valid_YX, np.nan_to_num(image_BYX), 0).astype(np.uint16)
            periods.append((kept, valid_YX) if valid_YX.any() else None)
        image_BYX, seen_YX = side_by_side(periods, 3)
        tensors = torch.from_numpy(image_BYX)[None], torch.from_numpy(seen_YX)[None]
        trained, _ = given.batch(np.array([number]))
        assert torch.equal(inputs_of(*tensors, CARD), trained)


def drawn(given, **settings):
    chosen = Train(periods="channels", batch=4, sampling="random", **settings)
    return list(itertools.islice(batches(given, chosen, 1), 30))


@pytest.mark.parametrize("zoom", [1.0, 2.0])
def test_augmentation_leaves_a_missing_period_missing(zoom):
    """Otherwise a net would meet in a map what it has never seen: periods that are exactly 0."""
    given, _ = patches()
    more = {"jitter": 0.3, "noise": 0.1, "zoom": zoom, "cutmix": 0.5}
    missing = 0
    for image, label, _ in drawn(given, **more):
        for first in (0, 4):
            bands, valid = image[:, first : first + 3], image[:, first + 3]
            assert set(valid.unique().tolist()) <= {0.0, 1.0}
            assert (bands[(valid == 0)[:, None].expand_as(bands)] == 0).all()
            assert (bands != 0).all(dim=1)[valid == 1].all()
            missing += int((valid == 0).sum())
        assert (label[(image[:, 3] == 0) & (image[:, 7] == 0)] == 0).all()
    assert missing > 1000


@pytest.mark.parametrize("probability", [0.5, 1.0])
def test_whole_periods_are_dropped_but_never_all(probability):
    """Otherwise a map with a missing period would be made by a net that has never met one."""
    given, _ = patches()
    given = replace(given, indices=np.array([0, 2]))  # both periods are there
    count = np.zeros(2)
    total = 0
    for image, label, _ in drawn(given, drop_period=probability):
        there = np.stack([image[:, 3].flatten(1).any(dim=1), image[:, 7].flatten(1).any(dim=1)], 1)
        assert there.any(axis=1).all()
        assert (image[torch.from_numpy(~there[:, 0]), :4] == 0).all()
        assert (label[(image[:, 3] == 0) & (image[:, 7] == 0)] == 0).all()
        count, total = count + there.sum(axis=0), total + len(there)
    # each is kept as the one that always is in half of the patches, else with 1 - probability
    np.testing.assert_allclose(count / total, 0.5 + 0.5 * (1 - probability), atol=0.12)


def test_shares_stay_with_their_labels_where_periods_are_joined():
    """Otherwise a pixel's share would be taken for where a period is valid, or the reverse."""
    given, _ = patches()
    given = replace(given, fraction=pool_of().fractions())
    seen = set()
    for image, label, share in drawn(given, zoom=2.0, cutmix=0.5, drop_period=0.5, fraction="soft"):
        there = label > 0
        torch.testing.assert_close(share[there], (label[there] * 7 + 1) / 100)
        assert set(image[:, [3, 7]].unique().tolist()) <= {0.0, 1.0}
        seen |= set(label.unique().tolist())
    assert seen == {0, 1, 2, 3}


def test_weights_of_colours_go_to_these_bands_of_every_period():
    """Otherwise pretrained weights for red would be used for green, or for none of the periods."""
    kernel = torch.from_numpy(np.random.default_rng(0).normal(0, 1, (5, 3, 7, 7)))
    found, mean = adapt(kernel, 8, NAMES), kernel.mean(dim=1)
    expected = [kernel[:, 2], kernel[:, 1], kernel[:, 0], mean] * 2
    torch.testing.assert_close(found, torch.stack(expected, 1) * 3 / 8)


def test_channels_are_computed_in_each_period():
    """Otherwise an index would mix periods, or be normalised by another one's numbers."""
    given, whole = patches()
    chosen = Train(
        periods="channels",
        features=[{"formula": "B02 - B03", "name": "d"}, {"global_min_max": "B04"}],
    )
    pool = pool_of()
    mean, sd = pool.statistics()
    given = replace(given, indices=pool.indices("train"))
    card = with_inputs(replace(CARD, mean=mean, sd=sd), chosen, pool, given, None)
    assert card.inputs[3:6] == ["april:d", "april:global_min_max B04", "april:valid"]
    image = replace(given, card=card).batch(np.arange(4))[0].numpy().reshape(4, 2, 6, SIDE, SIDE)
    for number, period in enumerate(np.split(whole, 2, axis=1)):
        valid = ~np.isnan(period).any(axis=1)
        training = valid & np.isin(np.arange(4), [0, 1, 3])[:, None, None]
        d, b04 = period[:, 0] - period[:, 1], period[:, 2]
        scaled = (d - d[training].mean()) / d[training].std()
        np.testing.assert_allclose(
            image[:, number, 3], np.where(valid, scaled, 0), rtol=1e-4, atol=1e-5
        )
        least, most = b04[training].min(), b04[training].max()
        cut = np.clip((b04 - least) / (most - least), 0, 1)
        np.testing.assert_allclose(image[:, number, 4], np.where(valid, cut, 0), atol=1e-6)
