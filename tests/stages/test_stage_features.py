"""Runs with computed channels and other samplings, from the area file to the map."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from making import simulated_scene, write_tif
from safetensors import safe_open
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

from mapmill.store.reading import ATTRIBUTES_CRC, crc_of

FEATURES = [
    {"formula": "(B04 - B02) / (B04 + B02)", "name": "ratio"},
    "gray",
    {"median": "B04", "size": 5},
    {"gaussian": ["B02", "B03"], "size": 7},
    {"canny": "gray", "grow": 3},
    {"local_min_max": "B03", "size": 9},
]
NAMES = ["ratio", "gray", "median B04 size=5", "gaussian B02 size=7", "gaussian B03 size=7"]
NAMES += ["canny gray grow=3", "local_min_max B03 size=9"]
STRIPS = {"method": "strips", "direction": "west-east", "train": 0.5, "val": 0.2, "test": 0.3}
SECTIONS = {
    "search": {"periods": {PERIOD: {"files": f"data/{PERIOD}/{{scene}}_{{band}}.tif"}}},
    "select": {"size": 32, "stride": 16, "split": STRIPS},
    "train": {
        "steps": 30,
        "learning_rate": 0.01,
        "validate_every": 30,
        "threads": 1,
        "zoom": 1.5,
        "noise": 0.05,
        "drop_band": 0.1,
        "cutmix": 0.5,
        "sampling": "balanced",
        "features": FEATURES,
    },
    "predict": {"mode": "exact", "tile": 64, "threads": 1},
    "runs": {
        "shown": {},
        "plain": {"features": [], "sampling": "random"},
        "percentile": {"normalise": "percentile", "features": []},
        "strata": {"sampling": "strata"},
        "unknown": {"features": ["NoSuchIndex"]},
    },
    "maps": {"landcover": {"run": "shown"}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A packed area with holes in its imagery: its file, and its labels (y, x)."""
    folder, here = tmp_path_factory.mktemp("features"), Path.cwd()
    os.chdir(folder)
    label_YX, image_BYX = simulated_scene()
    image_BYX[:, 50:90, 70:130] = 0
    image_BYX[1, 10:13, 20:40] = 0
    write_tif(Path("data/labels.tif"), label_YX)
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(Path(f"data/{PERIOD}/S1_{band}.tif"), values)
    runs = {name: run for name, run in SECTIONS["runs"].items() if name != "unknown"}
    area = area_with("shown", **SECTIONS | {"runs": runs})
    compose(area)
    downsample(area)
    select(area)
    pack(area)
    train(area, "shown-1")
    yield area, label_YX
    os.chdir(here)


def card_of(area, model):
    with safe_open(f"results/{area}/train/{model}/model.safetensors", "np") as file:
        return json.loads(file.metadata()["mapmill"])


def test_the_model_file_says_how_its_channels_are_made(project):
    """Prediction would need the area's settings, or make other channels than training did."""
    card = card_of("shown", "shown-1")
    assert [each["name"] for each in card["features"] if each["shown"]] == NAMES
    assert len(card["shift"]) == len(card["scale"]) == 3 + len(NAMES)
    assert card["shift"][:3] == card["mean"] and card["scale"][:3] == card["sd"]
    assert (card["shift"][-2:], card["scale"][-2:]) == ([0, 0], [1, 1])  # they lie from 0 to 1
    assert card["features"][0]["sources"] == {"B02": "B02", "B04": "B04"}


def test_a_model_with_channels_maps_without_seams(project):
    """The edges of blocks would show in the map, or the map be no better than chance."""
    area, label_YX = project
    expected = predict(area)
    right = (expected[0] == label_YX)[:, 140:][expected[0, :, 140:] > 0]
    assert right.mean() > 0.9
    other = area_with("tall", **SECTIONS | {"grid": {"block": 256}, "runs": {"shown": {}}})
    compose(other)
    folder = Path("results/tall/train/shown-1")
    folder.mkdir(parents=True)
    shutil.copy("results/shown/train/shown-1/model.safetensors", folder)
    np.testing.assert_array_equal(predict(other), expected)


def test_a_run_may_leave_the_channels_out(project):
    """Runs could not be compared with and without a channel."""
    area, _ = project
    train(area, "plain-1")
    card = card_of("shown", "plain-1")
    assert card["features"] == [] and len(card["shift"]) == 3


def test_a_store_without_percentiles_is_one_line(project, capsys):
    """Training would stop with a traceback, or normalise in another way than was asked for."""
    area, _ = project
    index = Path("results/shown/pack/patches.zarr/zarr.json")
    before = index.read_text()
    content = json.loads(before)
    attributes = content["attributes"]
    attributes["statistics"].pop("percentiles", None)
    attributes.pop(ATTRIBUTES_CRC)
    attributes[ATTRIBUTES_CRC] = crc_of(attributes)
    index.write_text(json.dumps(content))
    outputs = [Path("out") / name for name in ("model.safetensors", "history.csv", "curves.png")]
    line = refused(capsys, "train", area, "percentile-1", *outputs)
    index.write_text(before)
    assert "train.normalise: percentile" in line and "rerun pack" in line


def test_strata_without_folds_are_one_line(project, capsys):
    """Training would draw patches in another way than was asked for."""
    area, _ = project
    outputs = [Path("out") / name for name in ("model.safetensors", "history.csv", "curves.png")]
    line = refused(capsys, "train", area, "strata-1", *outputs)
    assert "train.sampling: strata" in line and "select.split.folds" in line


def test_channels_that_cannot_be_made_are_told_by_check(project, capsys):
    """A missing band would be found after hours of downloads."""
    near = {"shown": {"features": ["NDVI"]}}
    for name, runs, told in (
        ("near", near, "NDVI with N, which no band stands for"),
        ("even", {"shown": {"features": [{"median": "B04", "size": 4}]}}, "even"),
        ("born", {"shown": {}, "later": {"init": "born/shown", "features": []}}, "features ratio"),
    ):
        area = area_with(name, **SECTIONS | {"runs": runs})
        assert told in refused(capsys, "check", area)


def test_an_index_that_is_nowhere_known_is_one_line(project, capsys):
    """A misspelt index would be a traceback in the middle of the night."""
    area, _ = project
    other = area_with("shown", **SECTIONS)
    outputs = [Path("out") / name for name in ("model.safetensors", "history.csv", "curves.png")]
    line = refused(capsys, "train", other, "unknown-1", *outputs)
    assert "NoSuchIndex" in line
    mapmill("check", area_with("shown", **SECTIONS | {"runs": {"shown": {}}}))
    assert other == area
