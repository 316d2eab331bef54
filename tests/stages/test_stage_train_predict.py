"""train and predict: a model learns the simulated classes, and maps them without seams."""

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
import yaml
import zarr
from making import simulated_scene, write_tif
from safetensors import safe_open
from sklearn.metrics import brier_score_loss
from stages.stage_steps import (
    PERIOD,
    area_with,
    compose,
    downsample,
    mapmill,
    pack,
    predict,
    refused,
    select,
    train,
)

from mapmill.nets.model import load_model

LATER = "2018-07"
SECTIONS = {
    "search": {
        "periods": {p: {"files": f"data/{p}/{{scene}}_{{band}}.tif"} for p in (PERIOD, LATER)}
    },
    "select": {
        "size": 32,
        "stride": 16,
        "split": {
            "method": "strips",
            "direction": "west-east",
            "train": 0.5,
            "val": 0.2,
            "test": 0.3,
        },
    },
    "train": {
        "steps": 60,
        "learning_rate": 0.01,
        "validate_every": 20,
        "seeds": [1, 2],
        "threads": 1,
    },
    "predict": {"mode": "exact", "tile": 64, "threads": 1},
    "runs": {"unet": {}, "single": {"seeds": [1]}},
    "maps": {
        "landcover": {"run": "unet"},
        "spring": {"run": "unet", "periods": [PERIOD]},
        "single": {"run": "single", "periods": [PERIOD]},
    },
}
MODELS = ["unet-1", "unet-2"]


def model_of(area, model):
    return Path(f"results/{area}/train/{model}/model.safetensors")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A trained area: its file, its labels (y, x) and its images by period (band, y, x)."""
    folder, here = tmp_path_factory.mktemp("trained"), Path.cwd()
    os.chdir(folder)
    label_YX, first = simulated_scene()
    _, second = simulated_scene(seed=0)
    first[:, 50:90, 70:130] = 0
    first[1, 10:13, 20:40] = 0
    second = (second * 0.97).astype(np.uint16)
    second[:, 60:, 100:] = 0
    images = {PERIOD: first, LATER: second}
    write_tif(Path("data/labels.tif"), label_YX)
    for period, image_BYX in images.items():
        for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
            write_tif(Path(f"data/{period}/S1_{band}.tif"), values)
    area = area_with("trained", **SECTIONS)
    for period in images:
        compose(area, period)
    downsample(area)
    select(area)
    pack(area)
    for model in MODELS:
        train(area, model)
    yield area, label_YX, images
    os.chdir(here)


def probabilities(path, image_BYX, margin=64):
    """Softmax (class, y, x) float64 of the whole scene at once, mirrored far beyond its edge."""
    net, card = load_model(path)
    mean, sd = (np.array(values)[:, None, None] for values in (card.mean, card.sd))
    valid_YX = (image_BYX > 0).all(axis=0)
    scaled = np.where(valid_YX, (image_BYX - mean) / sd, 0).astype(np.float32)
    wide = np.pad(scaled, ((0, 0), (margin, margin), (margin, margin)), "reflect")
    with torch.inference_mode():
        logits = net(torch.from_numpy(wide)[None]).double()[0, :, margin:-margin, margin:-margin]
    return logits.softmax(dim=0).numpy(), valid_YX


def assert_class_of(found_YX, p_KYX, valid_YX):
    """The most probable class, where the two first ones are not equal to rounding; 0 if invalid."""
    first, second = np.sort(p_KYX, axis=0)[:-3:-1]
    clear = valid_YX & (first - second > 1e-4)
    np.testing.assert_array_equal(found_YX[clear], p_KYX.argmax(axis=0)[clear] + 1)
    np.testing.assert_array_equal(found_YX == 0, ~valid_YX)
    assert clear.sum() > 0.99 * valid_YX.sum()


def test_model_learns_the_classes(project):
    """Training would run, and its map would still be no better than chance."""
    area, label_YX, _ = project
    class_YX = predict(area)[0]
    right = (class_YX == label_YX)[:, 140:][class_YX[:, 140:] > 0]
    assert right.mean() > 0.95
    with Path("results/trained/train/unet-1/history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["20", "40", "60"]
    assert float(rows[-1]["train_loss"]) < float(rows[0]["train_loss"])


def test_model_file_says_all_that_prediction_needs(project):
    """A model could not be used on another computer, or would normalise with other numbers."""
    attributes = zarr.open_group("results/trained/pack/patches.zarr", mode="r").attrs
    with safe_open(model_of("trained", "unet-1"), "np") as file:
        assert list(file.metadata()) == ["mapmill"]
        card = json.loads(file.metadata()["mapmill"])
        names = list(file.keys())
        assert names and all(np.isfinite(file.get_tensor(name)).all() for name in names)
    assert card["bands"] == ["B02", "B03", "B04"]
    assert card["classes"] == ["field", "wood", "lake"]
    assert (card["mean"], card["sd"]) == tuple(attributes["statistics"][k] for k in ("mean", "sd"))
    assert str(Path.cwd()).encode() not in model_of("trained", "unet-1").read_bytes()


def test_same_seed_same_bytes(project):
    """A run could not be repeated, and every rerun would make everything after it run again."""
    area, *_ = project
    before = [model_of("trained", model).read_bytes() for model in MODELS]
    assert train(area, "unet-1").read_bytes() == before[0]
    assert before[0] != before[1]


@pytest.mark.parametrize(("block", "tile"), [(96, 64), (96, 100), (256, 64), (256, 1024)])
def test_no_seams(project, block, tile):
    """The edges of blocks would show in the map, or a larger computer would make another map."""
    area, *_ = project
    expected = predict(area, "spring")
    other = area_with(
        f"b{block}t{tile}",
        **SECTIONS
        | {"grid": {"block": block}, "predict": {"mode": "exact", "tile": tile, "threads": 1}},
    )
    compose(other, PERIOD)
    for model in MODELS:
        model_of(other.stem, model).parent.mkdir(parents=True)
        shutil.copy(model_of("trained", model), model_of(other.stem, model))
    np.testing.assert_array_equal(predict(other, "spring"), expected)


def test_missing_imagery_stays_missing(project):
    """The map would show classes where the satellite saw nothing."""
    area, _, images = project
    valid = [(image > 0).all(axis=0) for image in images.values()]
    for name, expected in (("spring", valid[0]), ("landcover", valid[0] | valid[1])):
        for band in predict(area, name):
            np.testing.assert_array_equal(band > 0, expected)


def test_one_model(project):
    """The map would not show what the trained model says."""
    area, _, images = project
    model_of("trained", "single-1").parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(model_of("trained", "unet-1"), model_of("trained", "single-1"))
    found = predict(area, "single")
    p_KYX, valid_YX = probabilities(model_of("trained", "unet-1"), images[PERIOD])
    assert len(found) == 2
    assert_class_of(found[0], p_KYX, valid_YX)
    percent = np.where(valid_YX, 100 * p_KYX.max(axis=0), 0)
    assert np.abs(found[1] - percent).max() < 0.51


def test_mean_of_models_and_periods(project):
    """A map of several models and dates would be that of one of them."""
    area, _, images = project
    found = predict(area)
    total, times, members = 0, 0, []
    for model in MODELS:
        of_model = 0
        for image_BYX in images.values():
            p_KYX, valid_YX = probabilities(model_of("trained", model), image_BYX)
            of_model = of_model + p_KYX * valid_YX
            times = times + valid_YX
        total = total + of_model
        members.append(of_model)
    seen_YX = times > 0
    mean_KYX = total / np.maximum(times, 1)
    assert_class_of(found[0], mean_KYX, seen_YX)
    for class_YX, of_model in zip(found[2:], members, strict=True):
        assert_class_of(class_YX, of_model, seen_YX)
    assert np.abs(found[1] - np.where(seen_YX, 100 * mean_KYX.max(axis=0), 0)).max() < 0.51
    with rasterio.open("results/trained/predict/landcover/r000c000.tif") as block:
        assert block.descriptions == ("class", "confidence", *(f"class by {m}" for m in MODELS))
        assert block.nodata == 0


def calibrate(area, name):
    """Measure a map's confidence; what was found."""
    path = Path(f"results/{area.stem}/calibrate/{name}.json")
    mapmill("calibrate", area, name, path, path.with_suffix(".png"))
    return json.loads(path.read_text())


def changed(area, **keys):
    """The area with other keys of `predict`; its text before."""
    text = area.read_text()
    content = yaml.safe_load(text)
    content["predict"] |= keys
    area.write_text(yaml.safe_dump(content, sort_keys=False))
    return text


def test_calibration_is_of_the_map_in_the_parts(project):
    """Otherwise confidence would be measured where the model learnt, or of another map."""
    area, label_YX, images = project
    found = calibrate(area, "spring")
    said_by = [probabilities(model_of("trained", model), images[PERIOD]) for model in MODELS]
    p_KYX, valid_YX = (said_by[0][0] + said_by[1][0]) / 2, said_by[0][1]
    with Path("results/trained/select/tiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for split, part in found["parts"].items():
        truths, said = [], []
        chosen = {(int(row["row"]), int(row["col"])) for row in rows if row["split"] == split}
        for top, left in sorted(chosen):
            inside = (slice(top, top + 32), slice(left, left + 32))
            used = valid_YX[inside] & (label_YX[inside] > 0)
            truths.append(label_YX[inside][used])
            said.append(p_KYX[:, *inside][:, used])
        truth, p_KN = np.concatenate(truths), np.concatenate(said, axis=1)
        assert part["tiles"] == len(chosen)
        assert part["pixels"] == len(truth) == sum(part["before"]["count"]) > 1000
        loss = -np.log(np.take_along_axis(p_KN, truth[None] - 1, axis=0)).mean()
        assert part["before"]["negative_log_likelihood"] == pytest.approx(loss, rel=1e-3)
        squares = [brier_score_loss(truth == k, p_KN[k - 1]) for k in (1, 2, 3)]
        assert part["before"]["brier"] == pytest.approx(sum(squares), rel=1e-3)
    assert set(found["parts"]) == {"val", "test"} and "threshold" not in found
    before = Path("results/trained/calibrate/spring.json").read_bytes()
    assert calibrate(area, "spring") == found
    assert Path("results/trained/calibrate/spring.json").read_bytes() == before


def test_a_temperature_helps_where_it_was_not_fitted(project, capsys):
    """Otherwise the confidence of seeds and periods together would be moved away from the truth.

    The area is simulated, and its test part had no say in the temperature.
    """
    found = calibrate(project[0], "landcover")
    with capsys.disabled():
        print(f"\nsimulated, two seeds and two periods: temperature {found['temperature']:.3f}")
    for split, part in found["parts"].items():
        for key in ("error", "class-wise error", "brier", "negative_log_likelihood"):
            before, after = (part[when][key] for when in ("before", "after"))
            with capsys.disabled():
                print(f"  {split}: {key} {before:.4f}, then {after:.4f}")
            assert after < before
    assert Path("results/trained/calibrate/landcover.png").stat().st_size > 10_000


def test_a_calibrated_map_has_the_same_classes(project, capsys):
    """Otherwise a map would change with how sure it says it is; or not be calibrated at all."""
    area, _, _ = project
    plain = predict(area, "spring")
    temperature = calibrate(area, "spring")["temperature"]
    assert abs(np.log(temperature)) > 0.05
    text = changed(area, temperature="validation", layers=["entropy", "probabilities"])
    try:
        found = predict(area, "spring")
        Path("results/trained/calibrate/spring.json").unlink()
        line = refused(capsys, "predict", area, "spring", "r000c000", "out/r000c000.tif")
        assert "rerun calibrate" in line and "spring.json" in line
        with rasterio.open("results/trained/predict/spring/r000c000.tif") as block:
            names = ["field", "wood", "lake"]
            more = ["entropy", *(f"probability of {n}" for n in names)]
            by = [f"class by {model}" for model in MODELS]
            assert list(block.descriptions) == ["class", "confidence", *by, *more]
            assert "MAPMILL_INPUT_CALIBRATE" in block.tags()
    finally:
        area.write_text(text)
    np.testing.assert_array_equal(found[0], plain[0])
    there = plain[0] > 0
    np.testing.assert_array_equal(found[1][there], np.maximum(found[5:].max(axis=0), 1)[there])
    moved = found[1][there].astype(int) - plain[1][there]
    assert moved.any() and ((moved <= 0).all() if temperature > 1 else (moved >= 0).all())
    predict(area, "spring")


def test_a_threshold_of_three_classes_is_refused(project, capsys):
    """Otherwise a setting would silently do nothing."""
    area, _, _ = project
    text = changed(area, threshold="validation")
    try:
        line = refused(capsys, "predict", area, "spring", "r000c000", "out/r000c000.tif")
        assert "predict.threshold" in line and "two classes" in line
    finally:
        area.write_text(text)
