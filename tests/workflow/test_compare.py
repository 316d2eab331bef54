"""Comparisons as a user asks for them; and those that are shipped, planned."""

import csv
import shutil
from pathlib import Path

import pytest
import yaml
from chip_making import SMALL_CHIPS, simulated_chip, write_chip
from running import ROOT, planned, snakemake

TARGET = "results/small/compare/losses.csv"
RUNS = {"plain": {}, "dice": {"loss": "dice"}}
QUICK = {"steps": 4, "validate_every": 2, "seeds": [1]}
EMPTY = {
    "landslide": ["TrainData/img/image_{}.h5", "TrainData/mask/mask_{}.h5"],
    "luzon": ["image/{}.tif", "mask/{}.tif"],
    "spain": ["{}_S1Hand.tif", "{}_LabelHand.tif"],
    "vaihingen": [
        "top/top_mosaic_09cm_area{}.tif",
        "dsm/dsm_09cm_matching_area{}.tif",
        "gts_for_participants/top_mosaic_09cm_area{}.tif",
    ],
}
"""Files of one chip of the shipped areas; to plan is to look at names alone."""
FOLDERS = {"landslide": "landslide4sense", "spain": "sen1floods11_spain"}


def write_small(folder, **runs):
    """Two simulated chips in four folds, and a comparison of two runs."""
    content = yaml.safe_load(SMALL_CHIPS)
    content["select"] = {"size": 32, "split": {"method": "random", "folds": 4}}
    content["train"] |= QUICK
    content |= {"runs": RUNS | runs, "maps": {"landcover": {"run": "plain"}}}
    content["compare"] = {"losses": {"runs": ["plain", "dice"]}}
    content["compare"]["folds"] = {"runs": ["dice"], "folds": True}
    path = folder / "config/areas/small.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def test_a_comparison_trains_what_is_missing_and_nothing_twice(tmp_path):
    """A user would train all runs again for one that changed, or compare models that are old."""
    for number in range(2):
        code_YX, image_BYX = simulated_chip(96, 96, number)
        write_chip(tmp_path / f"data/image/{number}.tif", image_BYX)
        write_chip(tmp_path / f"data/mask/{number}.tif", code_YX)
    write_small(tmp_path)
    done = snakemake(tmp_path, TARGET, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout
    lines = (tmp_path / TARGET).read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [(row["run"], row["models"]) for row in rows] == [("plain", "1"), ("dice", "1")]
    for name in ("losses.png", "losses.models.csv"):
        assert (tmp_path / TARGET).with_name(name).exists()
    models = [path.parent.name for path in (tmp_path / "results").rglob("*.safetensors")]
    assert sorted(models) == ["dice-1", "plain-1"]
    assert list((tmp_path / "benchmarks/small/train").glob("*.tsv"))  # times go there
    assert planned(tmp_path, TARGET) == {}
    write_small(tmp_path, dice={"loss": "jaccard"})
    assert planned(tmp_path, TARGET) == {"train": 1, "compare": 1}
    folds = TARGET.replace("losses", "folds")
    assert planned(tmp_path, folds) == {"train": 4, "compare": 1}
    wrong = snakemake(tmp_path, "-n", TARGET.replace("losses", "loses"))
    assert wrong.returncode == 1 and "compare loses: found no such name" in wrong.stdout


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """A project with the shipped areas, and empty files in place of the data that users bring."""
    folder = tmp_path_factory.mktemp("shipped")
    shutil.copytree(ROOT / "config", folder / "config")
    for area, patterns in EMPTY.items():
        for pattern in patterns:
            for number in range(5):
                path = folder / "data" / FOLDERS.get(area, area) / pattern.format(number)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
    for name in ("rare/labels.tif", "rare/2018-08.tif", "cerrado/landcover.tif"):
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def comparisons():
    """Every comparison that a shipped area names itself."""
    for path in sorted((ROOT / "config/areas").glob("*.yaml")):
        for name in yaml.safe_load(path.read_text()).get("compare", {}):
            yield Path(path.stem) / "compare" / f"{name}.csv"


def test_shipped_comparisons_can_be_planned(shipped):
    """A comparison that is offered would end in an error after its data had been fetched."""
    found = list(comparisons())
    areas = {path.parts[0].removesuffix("-compare") for path in found}
    assert areas == {
        path.stem for path in (ROOT / "config/areas").glob("*.yaml") if "-" not in path.stem
    }
    kinds = {path.stem for path in found}
    assert kinds >= {"losses", "channels", "heads", "blocks", "optimisers", "tiles"}
    assert kinds >= {"downsampling", "clouds"}
    jobs = planned(shipped, *(f"results/{path}" for path in found))
    assert jobs["compare"] == len(found)
    assert jobs["train"] > 100


def test_the_maps_need_no_comparison(shipped):
    """Everyone who maps the demo would train twenty runs that only a comparison needs."""
    jobs = planned(shipped, "results/demo/assess/landcover/metrics.json")
    assert jobs["train"] == 3 and "compare" not in jobs
