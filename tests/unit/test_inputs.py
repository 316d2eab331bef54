"""What a net is shown: normalised bands and channels, 0 where invalid, without seams."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mapmill.channels import reach_of
from mapmill.derive import planned
from mapmill.errors import ContractError
from mapmill.features.settle import settle, shifts_and_scales
from mapmill.grid import Window
from mapmill.infer import Predictor
from mapmill.inputs import inputs_of, normalise, valid_in
from mapmill.nets.model import Card, build, load_model
from mapmill.normal import METHODS, Statistics, shift_and_scale
from mapmill.plan import tiles_of
from mapmill.sections import Train

BANDS = ["B02", "B03", "B04", "B08", "DEM"]
LOCAL = [
    "NDVI",
    {"formula": "(B08 - B02) / (B03 ** 1.5) ** (2 / 3)", "name": "odd"},
    "gray",
    {"gaussian": ["B04", "gray"], "size": 7, "sigma": 1.5},
    {"median": "B04", "size": 5},
    {"sobel": ["B08", "NDVI"]},
    {"sobel": "B08", "direction": "x"},
    {"canny": "B08", "grow": 4, "size": 5, "low": 0.05, "high": 0.1},
    {"local_min_max": ["B02", "B03"], "size": 9},
    {"global_min_max": "B02"},
    {"slope": "DEM", "pixel": 10},
]
CARD = Card(
    net="unet",
    width=4,
    depth=2,
    bands=["B02", "B08"],
    classes=["field", "wood", "lake"],
    mean=[100.5, 0.25],
    sd=[12.0, 0.125],
    provenance={},
)


def scene(height=60, width=70, seed=0, invalid=0.06):
    """Smooth bands with some noise (band, y, x) float32, and where they are valid."""
    random = np.random.default_rng(seed)
    rows, cols = np.mgrid[:height, :width]
    waves = [np.sin(rows / (3 + b)) + np.cos(cols / (4 + b)) for b in range(len(BANDS))]
    image = 300 * np.stack(waves) + 900 + random.normal(0, 40, (len(BANDS), height, width))
    valid = random.random((height, width)) >= invalid
    valid[10:14, 20:30] = False
    return np.clip(image, 1, None).astype(np.float32), valid


def tensors(image_BYX, valid_YX):
    return torch.from_numpy(image_BYX[None].copy()), torch.from_numpy(valid_YX[None].copy())


def card_with(features, image_BYX, valid_YX, method="standard"):
    """A card whose channels are settled on one scene."""
    pixels = image_BYX[:, valid_YX]
    of_bands = Statistics.of_pixels(pixels)
    channels = planned(Train(features=features), BANDS, 10.0)
    sample = [tensors(image_BYX, valid_YX)]
    settled, more = settle(channels, BANDS, of_bands, lambda: sample)
    both = Statistics.joined([of_bands, more])
    shift, scale = shifts_and_scales(*shift_and_scale(method, both), settled)
    numbers = {"shift": shift, "scale": scale, "normalise": method}
    card = replace(CARD, bands=BANDS, mean=of_bands.mean, sd=of_bands.sd, **numbers)
    return replace(card, features=[asdict(channel) for channel in settled])


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_normalise_scales_by_band_and_puts_invalid_pixels_at_zero(dtype):
    """Otherwise nodata would look like a dark surface, or one band be scaled by another's."""
    random = np.random.default_rng(0)
    image = random.integers(1, 65535, (2, 2, 6, 7)).astype(dtype)
    valid = random.random((2, 6, 7)) < 0.7
    if dtype == "float32":
        image[:, 0][~valid] = np.nan
        image[:, 1][~valid] = np.inf
    ready = normalise(torch.from_numpy(image).float(), torch.from_numpy(valid), CARD)
    assert ready.dtype == torch.float32
    found = ready.numpy()
    for n, band, row, col in np.ndindex(*image.shape):
        expected = 0.0
        if valid[n, row, col]:
            expected = (float(image[n, band, row, col]) - CARD.mean[band]) / CARD.sd[band]
        assert found[n, band, row, col] == pytest.approx(expected, rel=1e-5, abs=1e-5)
        assert valid[n, row, col] or found[n, band, row, col] == 0


def test_a_band_that_never_varies_stays_finite():
    """Otherwise one constant band would turn the whole training into NaN."""
    flat = replace(CARD, sd=[0.0, 1.0])
    found = normalise(torch.full((1, 2, 4, 4), 7.0), torch.ones((1, 4, 4), dtype=bool), flat)
    assert found.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_its_formula(method):
    """Otherwise the area file would name one normalisation and the net be shown another."""
    random = np.random.default_rng(1)
    pixels = random.gamma(2, 200, (2, 5000))
    shift, scale = shift_and_scale(method, Statistics.of_pixels(pixels))
    image = torch.from_numpy(pixels.reshape(1, 2, 50, 100)).float()
    card = replace(CARD, shift=shift, scale=scale)
    found = normalise(image, torch.ones((1, 50, 100), dtype=bool), card).numpy().reshape(2, -1)
    for band, values in zip(found, pixels, strict=True):
        low, high = np.percentile(values, (2, 98))
        expected = {
            "standard": (values - values.mean()) / values.std(),
            "mean": (values - values.mean()) / np.ptp(values),
            "min-max": (values - values.min()) / np.ptp(values),
            "percentile": (values - low) / (high - low),
        }[method]
        np.testing.assert_allclose(band, expected, atol=2e-5)


@pytest.mark.parametrize("nodata", [0.0, None])
def test_one_missing_band_makes_a_pixel_invalid(nodata):
    """Otherwise training and prediction would differ in what is missing."""
    image = torch.ones((1, 2, 3, 3))
    image[0, 1, 1, 2] = float("nan") if nodata is None else nodata
    assert valid_in(image, nodata).sum() == 8


def test_channels_are_zero_where_invalid_and_normal_elsewhere():
    """Otherwise missing imagery would have features, or one channel drown the others."""
    image, valid = scene()
    dirty = np.where(valid, image, np.float32(np.nan))
    card = card_with(LOCAL, image, valid)
    found = inputs_of(*tensors(dirty, valid), card)[0].numpy()
    assert len(found) == len(card.inputs) == len(card.shift) == len(card.scale)
    assert card.inputs[:8] == [*BANDS, "NDVI", "odd", "gray"]
    assert (found[:, ~valid] == 0).all() and np.isfinite(found).all()
    bounded = ("canny", "local_min_max", "global_min_max")
    for name, values in zip(card.inputs, found, strict=True):
        if name.startswith(bounded):
            assert 0 <= values.min() < values.max() <= 1
        else:
            assert values[valid].mean() == pytest.approx(0, abs=1e-3)
            assert values[valid].std() == pytest.approx(1, abs=1e-3)


def test_what_stands_in_invalid_pixels_does_not_matter():
    """Otherwise nodata would spread into the channels of the pixels around it."""
    image, valid = scene()
    card = card_with(LOCAL, image, valid)
    clean = inputs_of(*tensors(np.where(valid, image, np.float32(0)), valid), card)
    for garbage in (np.nan, np.inf, -9999.0, 3e38):
        dirty = np.where(valid, image, np.float32(garbage))
        assert torch.equal(inputs_of(*tensors(dirty, valid), card), clean)


def test_a_tile_has_the_channels_of_the_whole_scene():
    """Otherwise the edges of tiles would show in the map: to the last bit, beyond the reach."""
    image, valid = scene(120, 130)
    card = card_with(LOCAL, image, valid)
    whole, halo = inputs_of(*tensors(image, valid), card), reach_of(card.channels)
    for row, col, side in ((0, 0, 61), (33, 41, 57), (50, 60, 70), (17, 3, 80)):
        part = inputs_of(
            *tensors(image[:, row:, col:][:, :side, :side], valid[row:, col:][:side, :side]), card
        )
        first = [0 if edge == 0 else halo for edge in (row, col)]
        last = [
            side if edge + side >= end else side - halo
            for edge, end in zip((row, col), valid.shape, strict=True)
        ]
        inner = (..., slice(first[0], last[0]), slice(first[1], last[1]))
        assert part[inner].numel() > 1000
        rows, cols = slice(row, row + side), slice(col, col + side)
        assert torch.equal(part[inner], whole[..., rows, cols][inner])


@pytest.mark.parametrize("feature", LOCAL, ids=str)
def test_no_channel_sees_beyond_its_reach(feature):
    """Otherwise the halo would be too small and the map have seams; measured by changed pixels."""
    image, valid = scene(48, 48, invalid=0.0)
    card = card_with([feature], image, valid)
    shown = range(len(BANDS), len(card.inputs))
    random, farthest = np.random.default_rng(0), 0
    before = inputs_of(*tensors(image, valid), card)[0]
    for trial in range(24):
        changed, still = image.copy(), valid.copy()
        place = tuple(random.integers(20, 28, 2))
        changed[:, *place] += (-1) ** trial * random.uniform(100, 3000)
        still[place] = trial % 4 != 0
        after = inputs_of(*tensors(changed, still), card)[0]
        rows, cols = ((after != before)[list(shown)].any(dim=0)).nonzero().T.numpy()
        if len(rows):
            farthest = max(farthest, *np.abs(rows - place[0]), *np.abs(cols - place[1]))
    told = reach_of(card.channels)
    assert farthest <= told
    # a followed edge and a median need luck to be changed from their very end
    spare = {"canny": 6, "median": 1}.get(next(iter(feature)), 0)
    assert farthest >= told - spare


@pytest.mark.parametrize(("block", "tile"), [(33, 24), (50, 64)])
def test_prediction_with_channels_leaves_no_trace_of_tiles(block, tile):
    """Otherwise a map made with features would have seams."""
    image, valid = scene(81, 93)
    features = ["NDVI", {"canny": "gray", "grow": 3}, {"median": "B04", "size": 5}]
    card = card_with([*features, {"slope": "DEM"}], image, valid)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = build(card).eval()
    predictor, grid = Predictor.of(net, card, torch.device("cpu")), Window(0, 0, 81, 93)
    told = Predictor.of(net, replace(card, reach=7), torch.device("cpu")).halo
    assert told == 7 + reach_of(card.channels) == 7 + 5 + 2 + 3

    def read(window):
        rows, cols = window.slices(grid)
        return image[:, rows, cols], valid[rows, cols]

    whole = predictor.probabilities(grid, grid, read)
    found = np.full_like(whole, np.nan)
    for top in range(0, 81, block):
        for left in range(0, 93, block):
            part = Window(top, left, block, block).intersect(grid)
            for each in tiles_of(part, tile, net.stride):
                found[:, *each.slices(grid)] = predictor.probabilities(each, grid, read)
    assert np.array_equal(found, whole)


def test_models_of_before_load_and_normalise_as_they_did(tmp_path):
    """Otherwise every model trained so far would be lost, or map other classes than it did."""
    torch.manual_seed(0)
    path, net = tmp_path / "model.safetensors", build(CARD)
    fields = ("net", "width", "depth", "bands", "classes", "mean", "sd", "provenance")
    old = {key: getattr(CARD, key) for key in (*fields, "encoder", "units", "reach")}
    tensors = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    save_file(tensors, path, metadata={"mapmill": json.dumps(old)})
    _, card = load_model(path)
    assert card == CARD and card.inputs == CARD.bands
    image, valid = torch.rand((1, 2, 8, 8)), torch.ones((1, 8, 8), dtype=bool)
    expected = (image[0, 1].numpy() - 0.25) / 0.125
    np.testing.assert_allclose(inputs_of(image, valid, card)[0, 1], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"shift": [1.0]},
        {"features": [{"name": "x", "kind": "exec", "sources": {}}]},
        {"features": [{"name": "x", "kind": "formula", "sources": {}, "formula": "open(1)"}]},
        {"features": [{"name": "x"}]},
    ],
)
def test_a_model_whose_channels_make_no_sense_is_refused(tmp_path, changes):
    """Otherwise a damaged or hostile file would end in a traceback, or in wrong numbers."""
    path = tmp_path / "model.safetensors"
    tensors = {name: tensor.contiguous() for name, tensor in build(CARD).state_dict().items()}
    text = json.dumps(asdict(CARD) | changes)
    save_file(tensors, path, metadata={"mapmill": text})
    with pytest.raises(ContractError, match=r"model\.safetensors") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
