"""compare: runs side by side, against scikit-learn on the same pixels."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
import zarr
from making import SMALL_AREA, write_area
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score
from stage_steps import compose, downsample, mapmill, pack, refused, search, select

from mapmill.apart import near_scored
from mapmill.areafile import load_area
from mapmill.folds import Fold, chosen_of
from mapmill.nets.model import load_model
from mapmill.store import store_of

MARGIN = 32
"""Pixels of mirror around a patch: more than a net of two levels sees, and whole strides."""
RUNS = {"plain": {}, "wide": {"width": 6, "loss": "dice"}, "few": {"without": ["B03"]}}
BOTH = {"both": {"runs": ["plain", "wide"]}, "folded": {"runs": ["few"], "folds": True}}
OUTPUTS = [f"out/{name}" for name in ("table.csv", "models.csv", "figure.png")]


def write_small(name="small", **changes):
    """The small area with overlapping tiles in four folds, two runs of two seeds."""
    content = yaml.safe_load(SMALL_AREA) | {"runs": RUNS, "compare": BOTH}
    split = {"method": "blocks", "block": 48, "folds": 4, "fold": 1}
    content["select"] = {"size": 32, "stride": 16, "split": split}
    content["train"] |= {"seeds": [1, 2], "threads": 1, "steps": 6, "validate_every": 3}
    content["maps"] = {"landcover": {"run": "plain"}}
    for section, values in changes.items():
        content[section] = content.get(section, {}) | values
    return write_area(name, yaml.safe_dump(content, sort_keys=False))


def prepare(path):
    """All that comes before training."""
    for step in (search, compose, downsample, select, pack):
        step(path)


def train(path, *models):
    for model in models:
        folder = Path(f"results/{path.stem}/train/{model}")
        files = [folder / name for name in ("model.safetensors", "history.csv", "curves.png")]
        mapmill("train", path, model, *files)


def read_table(name):
    lines = Path(name).read_text().splitlines()
    told = [line for line in lines if line.startswith("#")]
    return told, list(csv.DictReader(lines[len(told) :]))


def by_hand(model, fold):
    """Reference and map of all test pixels, each once, without any of the stage's code."""
    net, card = load_model(Path(f"results/small/train/{model}/model.safetensors"))
    store = zarr.open_group("results/small/pack/patches.zarr", mode="r")
    kept = [card.bands.index(band) for band in card.inputs]
    shift, scale = (np.array(each)[:, None, None] for each in (card.shift, card.scale))
    pixels = {}
    for number in np.flatnonzero(store["fold"][:] == fold):
        image = store["image"][number].astype(np.float64)
        label = np.where((image == 0).any(axis=0), 0, store["label"][number])
        pads = [(0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)]
        shown = np.pad((image[kept] - shift) / scale, pads, "reflect")
        with torch.inference_mode():
            logits = net(torch.from_numpy(shown[None]).float())[0]
        mapped = logits.argmax(dim=0).numpy()[MARGIN:-MARGIN, MARGIN:-MARGIN] + 1
        top, left = int(store["row"][number]), int(store["col"][number])
        for (y, x), reference in np.ndenumerate(label):
            depth = min(y, x, 31 - y, 31 - x)
            known = pixels.get((top + y, left + x), (-1,))
            if depth > known[0]:
                pixels[top + y, left + x] = (depth, reference, mapped[y, x])
    counted = [(r, m) for _, r, m in pixels.values() if r]
    return np.array(counted).T


@pytest.fixture
def compared(small_area):
    """The small area with its models of both runs, compared."""
    path = write_small()
    prepare(path)
    train(path, *(f"{run}-{seed}" for run in ("plain", "wide") for seed in (1, 2)))
    mapmill("compare", path, "both", *OUTPUTS)
    return path


def test_numbers_are_those_of_scikit_learn(compared):
    """A table would hold other numbers than the models' own errors on the test pixels."""
    told, rows = read_table("out/table.csv")
    _, models = read_table("out/models.csv")
    names = ["field", "wood", "lake"]
    found = {row["model"]: row for row in models}
    for model in ("plain-1", "plain-2", "wide-1", "wide-2"):
        reference, mapped = by_hand(model, fold=1)
        matrix = confusion_matrix(reference, mapped, labels=[1, 2, 3])
        row = found[model]
        counts = [[int(row[f"{a} as {b}"]) for b in names] for a in names]
        np.testing.assert_array_equal(counts, matrix)
        iou = jaccard_score(reference, mapped, labels=[1, 2, 3], average=None, zero_division=0)
        assert [float(row[f"IoU {name}"]) for name in names] == pytest.approx(iou, abs=1e-6)
        assert float(row["overall accuracy"]) == pytest.approx(
            accuracy_score(reference, mapped), abs=1e-6
        )
    for row in rows:
        own = [float(found[f"{row['run']}-{seed}"]["mean IoU"]) for seed in (1, 2)]
        assert float(row["mean IoU"]) == pytest.approx(np.mean(own), abs=2e-6)
        assert float(row["mean IoU sd"]) == pytest.approx(np.std(own, ddof=1), abs=2e-6)
        assert (row["models"], row["seeds"], row["folds"]) == ("2", "2", "0")
    assert [row["run"] for row in rows] == ["plain", "wide"]
    assert rows[1]["differs"] == "width: 6; loss: dice"
    net, _ = load_model(Path("results/small/train/wide-1/model.safetensors"))
    assert int(rows[1]["parameters"]) == sum(p.numel() for p in net.parameters())
    assert "the test part (blocks)" in told[1] and "Simulated for the tests" in told[-1]
    assert Path("out/figure.png").read_bytes()[:4] == b"\x89PNG"
    before = {name: Path(name).read_bytes() for name in OUTPUTS}
    mapmill("compare", compared, "both", *OUTPUTS)
    assert before == {name: Path(name).read_bytes() for name in OUTPUTS}


def test_each_fold_is_scored_by_its_own_models(small_area):
    """A model would be scored on patches of another fold, which it has learnt from."""
    path = write_small(train={"seeds": [1]})
    prepare(path)
    models = [f"few-fold{fold}-1" for fold in range(4)]
    train(path, *models)
    mapmill("compare", path, "folded", *OUTPUTS)
    _, found = read_table("out/models.csv")
    store = zarr.open_group("results/small/pack/patches.zarr", mode="r")
    fold_N, image = store["fold"][:], store["image"][:].astype(np.float64)
    for number, (row, model) in enumerate(zip(found, models, strict=True)):
        assert (row["model"], row["fold"]) == (model, str(number))
        reference, mapped = by_hand(model, number)
        assert float(row["overall accuracy"]) == pytest.approx(
            (reference == mapped).mean(), abs=1e-6
        )
        assert int(row["pixels"]) == len(reference)
        _, card = load_model(Path(f"results/small/train/{model}/model.safetensors"))
        learnt = np.isin(fold_N, [(number + 2) % 4, (number + 3) % 4])  # blocks do not overlap
        assert card.mean == pytest.approx(image[learnt].mean(axis=(0, 2, 3)), rel=1e-9)
        assert card.inputs == ["B02", "B04"] and len(card.shift) == 2
    _, (row,) = read_table("out/table.csv")
    assert (row["models"], row["folds"], row["seeds"]) == ("4", "4", "1")


def test_ground_learnt_elsewhere_is_not_scored_here(small_area, capsys):
    """A run that has learnt from the test pixels, in another area, would win every comparison."""
    path = write_small("same", downsample={"method": "nearest"})
    small = write_small(
        runs={**RUNS, "near": {"train_on": ["same"]}},
        compare={"near": {"runs": ["near", "plain"]}},
    )
    prepare(small)
    prepare(path)
    train(small, "near-1", "near-2", "plain-1", "plain-2")
    mapmill("compare", small, "near", *OUTPUTS)
    _, rows = read_table("out/table.csv")
    assert [row["run"] for row in rows] == ["near", "plain"]

    split = {"method": "blocks", "block": 48, "folds": 4, "fold": 3}
    write_small("same", select={"size": 32, "stride": 16, "split": split})
    select(path)
    pack(path)
    line = refused(capsys, "compare", small, "near", *OUTPUTS)
    assert "test patches on ground that run near has learnt from in same" in line


def test_a_comparison_is_made_only_when_asked_for(small_area, capsys):
    """Each `make report` would train the models of all comparisons."""
    mapmill("check", write_small())
    said = capsys.readouterr()
    assert "compare" not in said.out and "results/small/compare/both.csv" in said.err
    assert "results/small_landcover.tif" in said.out


def test_patches_of_other_sizes_and_areas_keep_the_buffer_too(small_area):
    """A run that learns from larger patches, or from another area, would see what is scored."""
    split = {"method": "blocks", "block": 48, "folds": 4, "fold": 1, "buffer": 8}
    sizes = {"size": 16, "stride": 8, "more_sizes": [32], "split": split}
    here = write_small(select=sizes)
    fewer = write_small("fewer", select={**sizes, "min_labelled": 0.9})
    for path in (here, fewer):
        prepare(path)
    area, group = load_area(here), zarr.open_group("results/small/pack/patches.zarr", mode="r")
    places = np.stack([group[key][:] for key in ("row", "col", "fold")], 1).astype(int)
    kept_fewer = []
    for number in range(4):
        fold = Fold.of(area, f"plain-fold{number}-1")
        near = near_scored(here, area, fold)
        tested = places[places[:, 2] == number]
        for name, size in (("small", 32), ("fewer", None)):
            with store_of(Path(f"results/{name}/pack/patches.zarr"), size) as store:
                side, near_N = store.labels.shape[1], near(name, store)
                own = np.stack([store.column(key) for key in ("row", "col")], 1).astype(int)
                parts = chosen_of(store, fold, near_N).parts
            apart = np.array([gap(place, side, tested, 16) for place in own])
            np.testing.assert_array_equal(near_N, apart < 8)
            kept_fewer.append(int(near_N.sum()))
            learnt = np.concatenate([parts["train"], parts["val"]])
            assert (apart[learnt] >= 8).all()
    assert sum(kept_fewer) > 0


def gap(place, side, others, other_side):
    """Fewest pixels between a square and the others, along rows or columns."""
    far = [np.maximum(o - (p + side), p - (o + other_side)) for p, o in zip(place, others.T)]
    return int(np.maximum(far[0], far[1]).min())
