"""Simulated areas through the chain: one learns, others borrow its model or its patches.

Each area's truth is known, so that a map of a place without labels can be scored.
"""

from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from running import digests, planned, snakemake

from mapmill.cli import main

MODEL = "results/one/train/unet-1/model.safetensors"
QUICK = {"width": 8, "depth": 2, "steps": 200, "learning_rate": 0.005, "validate_every": 50}


def area_file(folder, name, source=None, **sections):
    """The area file of a simulated area, with sections changed; None takes one out."""
    content = yaml.safe_load((folder / f"{source or name}/{source or name}.yaml").read_text())
    for section, values in sections.items():
        if isinstance(values, dict) and isinstance(content.get(section), dict):
            content[section] |= values
        else:
            content[section] = values
    kept = {section: values for section, values in content.items() if values is not None}
    path = folder / f"config/areas/{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(kept, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """A folder with two simulated areas, the model of the first, and a map of each with it."""
    folder = tmp_path_factory.mktemp("places")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for seed, name in enumerate(("one", "two"), 1):
            assert main(["simulate", name, "--size", "384", "--seed", str(seed)]) == 0
    area_file(folder, "one", train=QUICK)
    unlabelled = dict.fromkeys(("labels", "select", "train", "runs", "assess", "downsample"))
    area_file(folder, "two", **unlabelled, model="one/unet", maps={"landcover": {}})
    done = snakemake(folder, "results/one_landcover.tif", "results/two_landcover.tif")
    assert done.returncode == 0, done.stdout
    return folder


def accuracy(folder, name, tif=None):
    """Share of the pixels with a true class that are mapped as it; and mean IoU."""
    with rasterio.open(folder / name / "truth.tif") as truth:
        true_YX = truth.read(1)
    with rasterio.open(folder / (tif or f"results/{name}_landcover.tif")) as source:
        mapped_YX = source.read(1)
        window = rasterio.windows.from_bounds(*source.bounds, truth.transform).toslices()
    true_YX = true_YX[window]
    used = (true_YX > 0) & (mapped_YX > 0)
    assert used.mean() > 0.5
    both = [(true_YX == k) & (mapped_YX == k) & used for k in np.unique(true_YX[used])]
    either = [((true_YX == k) | (mapped_YX == k)) & used for k in np.unique(true_YX[used])]
    iou = np.mean([a.sum() / b.sum() for a, b in zip(both, either, strict=True)])
    return float((true_YX == mapped_YX)[used].mean()), float(iou)


def pixels(path):
    """All bands of a raster."""
    with rasterio.open(path) as source:
        return source.read()


def test_a_place_without_labels_is_mapped_by_another_areas_model(places, capsys):
    """A model could map no other place than the one it learnt, or map it by chance."""
    own, other = accuracy(places, "one"), accuracy(places, "two")
    with capsys.disabled():
        print("\naccuracy and mean IoU of the maps against the simulated truth:")
        print(f"  area one, where the model learnt: {own[0]:.3f} {own[1]:.3f}")
        print(f"  area two, without labels:         {other[0]:.3f} {other[1]:.3f}")
    assert own[0] > 0.7 and other[0] > 0.7
    jobs = planned(places, "results/two_landcover.tif")
    assert jobs == {}
    assert not (places / "results/two/downsample").exists()


def test_a_place_without_labels_has_no_scores(places):
    """The chain would look for labels that are not there, or score against nothing."""
    done = snakemake(places, "results/two/assess/landcover/metrics.json")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("mapmill: ")]
    assert len(lines) == 1 and "no labels" in lines[0]


def test_a_window_makes_the_same_blocks_under_the_same_names(places):
    """A pilot's downloads and blocks would be of no use to the whole area."""
    left, top, side = 400_000, 4_600_000, 960
    window = [left + side, top - 3 * side, left + 3 * side, top - side]
    content = yaml.safe_load((places / "one/one.yaml").read_text())
    grid = content["grid"] | {"block": 96}
    common = {"grid": grid, "train": QUICK | {"steps": 5}, "select": {"size": 32, "stride": 32}}
    loose = common | {"train": QUICK | {"steps": 5, "absent_classes": "warn"}}
    area_file(places, "pilot", "one", **loose, window=window)
    done = snakemake(places, "results/pilot_landcover.tif")
    assert done.returncode == 0, done.stdout
    names = {f"r{row:03d}c{col:03d}.tif" for row in (1, 2) for col in (1, 2)}
    for stage in ("compose/2018-04", "compose/2018-08", "downsample", "predict/landcover"):
        made = {path.name for path in (places / "results/pilot" / stage).glob("*.tif")}
        assert made == names, stage
    with rasterio.open(places / "results/pilot_landcover.tif") as source:
        assert source.bounds == (window[0], window[1], window[2], window[3])
        assert source.shape == (192, 192) and (source.read(1) > 0).all()
    before = digests(places / "results/pilot/compose")
    area_file(places, "pilot", "one", **loose)
    jobs = planned(places, "results/pilot_landcover.tif")
    assert jobs["compose"] == 2 * (16 - 4) and jobs["downsample"] == 16 - 4
    assert "download" not in jobs and "search" not in jobs
    area_file(places, "whole", "one", **loose)
    blocks = [f"results/whole/compose/{p}/r001c002.tif" for p in ("2018-04", "2018-08")]
    done = snakemake(places, *blocks)
    assert done.returncode == 0, done.stdout
    for path in blocks:
        assert np.array_equal(
            pixels(places / path), pixels(places / path.replace("whole", "pilot"))
        )
    assert digests(places / "results/pilot/compose") == before


def test_another_areas_model_is_tuned_and_patches_are_pooled(places, capsys):
    """Fine-tuning would start afresh, or pooled patches would change classes on their way."""
    area_file(
        places,
        "tuned",
        "two",
        train=QUICK,
        runs={
            "tuned": {"init": "one/unet", "steps": 10, "learning_rate": 0.0005},
            "fresh": {"steps": 10, "learning_rate": 0.0005},
            "pooled": {"train_on": ["one", "tuned"], "steps": 60},
        },
        maps={name: {"run": name} for name in ("tuned", "fresh", "pooled")},
    )
    models = {"model": "one/unet", "runs": None, "train": None, "maps": {"landcover": {}}}
    targets = [f"results/tuned_{name}.tif" for name in ("tuned", "fresh", "pooled")]
    done = snakemake(places, *targets)
    assert done.returncode == 0, done.stdout
    found = {
        name: accuracy(places, "two", f"results/tuned_{name}.tif")[0]
        for name in ("tuned", "fresh", "pooled")
    }
    with capsys.disabled():
        print(f"\narea two, by ten steps from area one's model or from chance, pooled: {found}")
    assert found["tuned"] > 0.7 > found["fresh"]
    assert found["pooled"] > found["fresh"]
    area_file(
        places, "scored", "two", **models, select={"split": {"train": 0, "val": 0, "test": 1}}
    )
    done = snakemake(places, "results/scored/assess/landcover/metrics.json")
    assert done.returncode == 0, done.stdout
    text = Path(places / "results/scored/assess/landcover/summary.txt").read_text()
    assert "test part" in text and "val part" not in text


def test_the_model_is_not_touched_by_those_who_borrow_it(places):
    """Mapping another place would train the model anew, and change every map it has made."""
    assert planned(places, MODEL) == {}
