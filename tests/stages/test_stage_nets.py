"""train and predict with nets of other designs: what the model file says, and what is mapped."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from making import SMALL_AREA, simulated_scene, write_area, write_tif
from safetensors import safe_open
from stages.stage_steps import (
    PERIOD,
    compose,
    downsample,
    pack,
    predict,
    refused,
    select,
    train,
)

from mapmill.nets.model import load_model

RUNS = {
    "one-logit": {"preset": "rau-net", "activation": "sigmoid"},
    "unpadded": {"padding": "valid", "depth": 1, "head": "mask+label"},
    "whole": {"attention": "se", "upsample": "bilinear"},
}
SECTIONS = {
    "classes": {1: {"name": "dry", "colour": "#000000"}, 2: {"name": "wet", "colour": "#0000ff"}},
    "labels": {"file": "data/labels.tif", "codes": {"1": 1, "2": 2, "3": 2}},
    "train": {"steps": 30, "learning_rate": 0.01, "validate_every": 15, "threads": 1},
    "predict": {"tile": 64, "threads": 1},
    "runs": RUNS,
    "maps": {name: {"run": name} for name in RUNS},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """An area of two classes with trained models; its labels (y, x)."""
    folder, here = tmp_path_factory.mktemp("nets"), Path.cwd()
    os.chdir(folder)
    label_YX, image_BYX = simulated_scene()
    write_tif(Path("data/labels.tif"), label_YX)
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(Path(f"data/S1_{band}.tif"), values)
    content = yaml.safe_load(SMALL_AREA)
    content["train"] |= SECTIONS["train"]
    area = write_area("nets", yaml.safe_dump(content | SECTIONS | {"train": content["train"]}))
    compose(area, PERIOD)
    downsample(area)
    select(area)
    pack(area)
    for run in RUNS:
        train(area, f"{run}-1")
    yield area, np.where(label_YX > 1, 2, label_YX)
    os.chdir(here)


def model_of(run):
    return Path(f"results/nets/train/{run}-1/model.safetensors")


@pytest.mark.parametrize("run", RUNS)
def test_the_classes_are_mapped(project, run):
    """A design could be trained, and its map be shifted, or be of one class."""
    area, label_YX = project
    found = predict(area, run)
    assert found[0].shape == label_YX.shape and (found[0] > 0).all()
    assert (found[0] == label_YX)[:, 150:].mean() > 0.93
    assert found[1].min() >= 50  # of two classes the more probable one


def test_the_model_file_says_how_the_net_is_built(project):
    """A model could not be built again on another computer."""
    for run, said in (
        ("one-logit", {"block": "residual", "attention": "gate", "activation": "sigmoid"}),
        ("unpadded", {"padding": "valid", "depth": 1, "head": "mask+label"}),
        ("whole", {"attention": "se", "upsample": "bilinear", "reach": "global"}),
    ):
        with safe_open(model_of(run), "np") as file:
            card = json.loads(file.metadata()["mapmill"])
        assert {key: card[key] for key in said} == said
    assert isinstance(load_model(model_of("one-logit"))[1].reach, int)


def test_a_threshold_is_that_of_the_second_class(project):
    """Rare floods could not be mapped more readily than by the larger probability."""
    area, _ = project
    shares = []
    for threshold in (0.02, 0.5, 0.98):
        text = area.read_text().replace("predict:\n", f"predict:\n  threshold: {threshold}\n")
        other = area.with_name(f"t{int(100 * threshold)}.yaml")
        other.write_text(text)
        compose(other, PERIOD)
        path = Path(f"results/{other.stem}/train/one-logit-1/model.safetensors")
        path.parent.mkdir(parents=True)
        path.write_bytes(model_of("one-logit").read_bytes())
        class_YX, percent_YX = predict(other, "one-logit")
        wet_YX = np.where(class_YX == 2, percent_YX, 100.0 - percent_YX)
        clear = abs(wet_YX - 100 * threshold) > 1
        np.testing.assert_array_equal((class_YX == 2)[clear], (wet_YX > 100 * threshold)[clear])
        shares.append((class_YX == 2).mean())
    assert shares == sorted(shares, reverse=True) and shares[0] > shares[2]


def test_the_log_says_how_the_ground_is_cut(project, caplog):
    """Nobody could tell why a map took so long, or what it depends on."""
    area, _ = project
    caplog.set_level("INFO")
    predict(area, "whole")
    said = [r.getMessage() for r in caplog.records if "blend" in r.getMessage()]
    assert said and "whole-1: blend, windows of 32 px every 16 px, hann weights, 4.00" in said[0]
    predict(area, "unpadded")  # it reaches 8 px, four for each level
    told = [r.getMessage() for r in caplog.records if "unpadded-1: exact" in r.getMessage()]
    assert told and "halo" in told[0] and "times the work" in told[0]
    with rasterio.open("results/nets/predict/whole/r000c000.tif") as block:
        assert block.read(1).all()


def test_exact_is_refused_where_it_cannot_be(project, capsys):
    """A map that is asked to be exact would not be."""
    area, _ = project
    other = area.with_name("nexact.yaml")
    other.write_text(area.read_text().replace("predict:\n", "predict:\n  mode: exact\n"))
    compose(other, PERIOD)
    path = Path("results/nexact/train/whole-1/model.safetensors")
    path.parent.mkdir(parents=True)
    path.write_bytes(model_of("whole").read_bytes())
    line = refused(capsys, "predict", other, "whole", "r000c000", "out.tif")
    assert "sees without end" in line and "predict.mode: blend" in line
    assert not Path("out.tif").exists()


def test_blended_blocks_leave_no_trace(project):
    """The edges of blocks would show in a map by a net that looks at the whole image."""
    area, _ = project
    expected = predict(area, "whole")
    other = area.with_name("oneblock.yaml")
    other.write_text(area.read_text().replace("block: 64", "block: 256"))
    compose(other, PERIOD)
    path = Path("results/oneblock/train/whole-1/model.safetensors")
    path.parent.mkdir(parents=True)
    path.write_bytes(model_of("whole").read_bytes())
    np.testing.assert_array_equal(predict(other, "whole"), expected)
