"""Periods as channels, and mixed cells: from files on disk to a trained model and its map."""

import copy
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making import write_tif
from stages.stage_steps import (
    area_with,
    block_names,
    compose,
    mapmill,
    pack,
    predict,
    refused,
    select,
    train,
)

from mapmill.cli import main
from mapmill.nets.model import load_model

PERIODS = ["2018-04", "2018-08"]
BANDS = ["B02", "B03"]
SECTIONS = {
    "grid": {"block": 96},
    "search": {
        "periods": {p: {"files": f"data/{p}/{{scene}}_{{band}}.tif"} for p in PERIODS},
    },
    "compose": {"bands": BANDS},
    "downsample": {"fraction": True},
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
        "width": 8,
        "depth": 1,
        "steps": 120,
        "learning_rate": 0.02,
        "validate_every": 40,
        "threads": 1,
        "class_weights": "none",
    },
    "predict": {"tile": 64, "threads": 1},
    "runs": {
        "joined": {"periods": "channels", "drop_period": 0.1},
        "apart": {"steps": 40},
        "soft": {"fraction": "soft", "steps": 2, "validate_every": 2},
        "weighed": {"fraction": "weight", "steps": 2, "validate_every": 2},
    },
    "maps": {
        "joined": {"run": "joined"},
        "apart": {"run": "apart"},
        "spring": {"run": "joined", "periods": PERIODS[:1]},
        "backwards": {"run": "joined", "periods": PERIODS[::-1]},
    },
}


def scene(seed=0):
    """Simulated classes and two images: brightness says nothing, its change from one to the other
    all: it falls, stays, or rises."""
    random = np.random.default_rng(seed)
    coarse = random.integers(1, 4, (10, 12), dtype=np.uint8)
    label_YX = np.kron(coarse, np.ones((16, 16), np.uint8))
    base_YX = np.kron(random.uniform(1500, 3500, (20, 24)), np.ones((8, 8)))
    step_YX = np.array([0, -700, 0, 700])[label_YX]
    images = []
    for sign in (-0.5, 0.5):
        noise = random.normal(0, 30, (2, 160, 192))
        images.append((base_YX + sign * step_YX + noise).astype(np.uint16))
    images[1][:, 30:70, 100:150] = 0
    images[0][:, :40, :40] = 0  # whole tiles are dropped in the first period
    return label_YX, images


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A trained area: its file, its labels (y, x) and its images by period (band, y, x)."""
    folder, here = tmp_path_factory.mktemp("periods"), Path.cwd()
    os.chdir(folder)
    label_YX, images = scene()
    # labels twice as fine as the grid, in part of another class: cells are mixed
    fine = label_YX.repeat(2, 0).repeat(2, 1)
    fine[::4, ::2] = fine[::4, ::2] % 3 + 1
    write_tif(Path("data/labels.tif"), fine, step=5.0)
    for period, image_BYX in zip(PERIODS, images, strict=True):
        for band, values in zip(BANDS, image_BYX, strict=True):
            write_tif(Path(f"data/{period}/S1_{band}.tif"), values)
    area = area_with("periods", **SECTIONS)
    for period in PERIODS:
        compose(area, period)
    mapmill("download", area, "labels.tif", "results/periods/download/labels.tif")
    folder = Path("results/periods/downsample")
    for block in block_names(area):
        outputs = folder / f"{block}.tif", folder / "fraction" / f"{block}.tif"
        mapmill("downsample", area, block, *outputs)
    select(area)
    pack(area)
    for model in ("joined-1", "apart-1"):
        train(area, model)
    yield area, label_YX, images
    os.chdir(here)


def test_what_changes_between_periods_can_be_learnt(project):
    """Otherwise crops that differ in when they are green would never be told apart."""
    area, label_YX, images = project
    both_YX = np.all([image.all(axis=0) for image in images], axis=0)
    joined, apart = (predict(area, name)[0] for name in ("joined", "apart"))
    tested = np.s_[:, 140:]
    scores = [(found == label_YX)[tested][both_YX[tested]].mean() for found in (joined, apart)]
    assert scores[0] > 0.95 and scores[1] < 0.7
    seen_YX = np.any([image.all(axis=0) for image in images], axis=0)
    np.testing.assert_array_equal(joined > 0, seen_YX)
    np.testing.assert_array_equal(predict(area, "backwards")[0], joined)


def by_hand(images, margin=16):
    """Softmax (class, y, x) of the whole scene at once; None is a period that is not shown."""
    net, card = load_model(Path("results/periods/train/joined-1/model.safetensors"))
    assert card.periods == PERIODS and card.bands == BANDS
    parts = []
    for number, image_BYX in enumerate(images):
        own = slice(2 * number, 2 * number + 2)
        mean, sd = (np.array(each[own])[:, None, None] for each in (card.shift, card.scale))
        if image_BYX is None:
            parts += [np.zeros((2, 160, 192)), np.zeros((1, 160, 192))]
            continue
        valid = image_BYX.all(axis=0)[None]
        parts += [np.where(valid, (image_BYX - mean) / sd, 0), valid]
    whole = np.concatenate(parts).astype(np.float32)
    wide = np.pad(whole, ((0, 0), (margin, margin), (margin, margin)), "reflect")
    with torch.inference_mode():
        logits = net(torch.from_numpy(wide)[None]).double()[0, :, margin:-margin, margin:-margin]
    return logits.softmax(dim=0).numpy()


@pytest.mark.parametrize("name", ["joined", "spring"])
def test_a_missing_period_is_shown_as_missing(project, name):
    """Otherwise a map of fewer periods would be made from values that were never measured."""
    area, _, images = project
    shown = images if name == "joined" else [images[0], None]
    found, p_KYX = predict(area, name), by_hand(shown)
    seen_YX = np.any([image.all(axis=0) for image in shown if image is not None], axis=0)
    first, second = np.sort(p_KYX, axis=0)[:-3:-1]
    clear = seen_YX & (first - second > 1e-4)
    np.testing.assert_array_equal(found[0][clear], p_KYX.argmax(axis=0)[clear] + 1)
    np.testing.assert_array_equal(found[0] > 0, seen_YX)
    assert clear.sum() > 0.99 * seen_YX.sum()
    assert np.abs(found[1] - np.where(seen_YX, 100 * p_KYX.max(axis=0), 0)).max() < 0.51


def test_a_map_of_fewer_periods_is_told(project, caplog):
    """Otherwise nobody would know why one map is worse than another."""
    area, *_ = project
    mapmill("predict", area, "joined", "r000c000", "out/joined.tif")
    assert not [each for each in caplog.records if "missing" in each.message]
    mapmill("predict", area, "spring", "r000c000", "out/spring.tif")
    (told,) = [each for each in caplog.records if "missing" in each.message]
    assert told.levelname == "WARNING" and told.message.startswith("2018-08: ")


def test_a_model_that_joins_periods_needs_them(project, capsys):
    """Otherwise periods would be shown in the place of others."""
    area, *_ = project
    content = yaml.safe_load(area.read_text())
    for key in ("labels", "select", "runs"):
        del content[key]
    content |= {"model": "periods/joined", "maps": {"landcover": {}}}
    other = copy.deepcopy(content)
    periods = content["search"]["periods"]
    other["search"]["periods"] = {"2019-04": periods["2018-04"]}
    path = area.with_name("later.yaml")
    path.write_text(yaml.safe_dump(other))
    assert main(["check", str(path)]) == 1
    line = capsys.readouterr().err
    assert "period 2019-04" in line and "2018-04, 2018-08" in line
    # a model file of before the run was changed
    kept = Path("results/periods/train/apart-1/model.safetensors")
    before = kept.read_bytes()
    kept.write_bytes(Path("results/periods/train/joined-1/model.safetensors").read_bytes())
    fewer = yaml.safe_load(area.read_text())
    fewer["search"]["periods"] = {"2019-04": periods["2018-04"]}
    fewer["runs"], fewer["maps"] = {"apart": {}}, {"apart": {"run": "apart"}}
    area.with_name("fewer.yaml").write_text(yaml.safe_dump(fewer))
    Path("results/fewer").mkdir()
    Path("results/fewer/train").symlink_to("../periods/train")
    arguments = area.with_name("fewer.yaml"), "apart", "r000c000", "out/apart.tif"
    assert "period 2019-04" in refused(capsys, "predict", *arguments)
    kept.write_bytes(before)


def test_runs_learn_from_the_shares_that_were_packed(project, capsys):
    """Otherwise the layer would be written and never used."""
    area, *_ = project
    biases = []
    for model in ("soft-1", "weighed-1"):
        biases.append(load_model(train(area, model))[0].state_dict()["head.bias"])
    assert not torch.equal(*biases)
    bare = area_with(
        "bare",
        **SECTIONS
        | {
            "downsample": {"fraction": False},
            "runs": {"apart": {}},
            "maps": {"m": {"run": "apart"}},
        },
    )
    (Path("results/bare/downsample")).parent.mkdir(parents=True)
    for name in ("compose", "downsample", "select"):
        Path(f"results/bare/{name}").symlink_to(Path(f"results/periods/{name}").resolve())
    pack(bare)
    content = yaml.safe_load(bare.read_text())
    content["runs"]["apart"] = {"fraction": "soft"}
    bare.write_text(yaml.safe_dump(content))
    outputs = [f"out/{name}" for name in ("model.safetensors", "history.csv", "curves.png")]
    assert "downsample.fraction: true" in refused(capsys, "train", bare, "apart-1", *outputs)
    content["downsample"]["fraction"] = True  # said, and not packed again
    bare.write_text(yaml.safe_dump(content))
    line = refused(capsys, "train", bare, "apart-1", *outputs)
    assert "no array `fraction`" in line and "rerun pack" in line
