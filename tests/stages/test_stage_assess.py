"""assess: the published scores are those of the pixels of the part, each counted once."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from making import simulated_scene, write_tif
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score
from stages.stage_steps import (
    PERIOD,
    area_with,
    mapmill,
    pack,
    select,
    write_blocks,
    write_labels,
    write_quality,
)

from mapmill.areafile import load_area
from mapmill.grid import Window
from mapmill.layout import Layout
from mapmill.raster import cog
from mapmill.scored import mask, thinned

SPLIT = {"method": "strips", "direction": "west-east", "train": 0.5, "val": 0.2, "test": 0.3}


def assessed(name, seed=0, **sections):
    """An area with labels and a noisy map made by two models; labels and map (4, y, x)."""
    chosen = {"size": 32, "stride": 16, "split": SPLIT}
    runs = {"unet": {"seeds": [1, 2]}}
    area = area_with(name, select=chosen, runs=runs, **sections)
    label_YX, image_BYX = simulated_scene()
    random = np.random.default_rng(seed)
    label_YX[random.random(label_YX.shape) < 0.3] = 0
    label_YX[:, 150:156][label_YX[:, 150:156] == 3] = 1
    layers = []
    for wrong in (0.1, 0.2, 0.3):
        noise_YX = random.integers(1, 4, label_YX.shape)
        true_YX = np.where(label_YX > 0, label_YX, noise_YX)
        layers.append(np.where(random.random(label_YX.shape) < wrong, noise_YX, true_YX))
    result_BYX = np.stack([layers[0], np.full(label_YX.shape, 80), *layers[1:]]).astype(np.uint8)
    result_BYX[:, 100:120, 130:180] = 0
    names = ["class", "confidence", "class by unet-1", "class by unet-2"]
    write_blocks(area, "predict/landcover", result_BYX, names)
    write_blocks(area, f"compose/{PERIOD}", image_BYX, ["B02", "B03", "B04"])
    write_quality(area, image_BYX)
    write_labels(area, label_YX)
    select(area)
    return area, label_YX, result_BYX


def assess(area):
    """Score the map; its scores."""
    folder = Path(f"results/{area.stem}/assess/landcover")
    areas = Path(f"results/{area.stem}/mosaic/landcover/areas.csv")
    areas.parent.mkdir(parents=True, exist_ok=True)
    areas.write_text("class,name,predicted_px,area,share\n3,lake,7,700,0.01\n")  # as by mosaic
    mapmill("assess", area, "landcover", folder / "metrics.json")
    return json.loads((folder / "metrics.json").read_text())


def part_of(area, split):
    """(y, x) bool: pixels of the part's tiles."""
    inside_YX = np.zeros((160, 192), bool)
    with Path(f"results/{area.stem}/select/tiles.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["split"] == split:
                top, left, size = (int(row[key]) for key in ("row", "col", "size"))
                inside_YX[top : top + size, left : left + size] = True
    return inside_YX


def test_scores_are_those_of_the_pixels(small_area):
    """Published scores would be wrong, or count the pixels of overlapping tiles several times."""
    area, label_YX, result_BYX = assessed("scores")
    found = assess(area)
    for split in ("val", "test"):
        part = found["parts"][split]
        used = part_of(area, split) & (label_YX > 0) & (result_BYX[0] > 0)
        assert used.any() and part["pixels"] == used.sum()
        truth = label_YX[used]
        for name, band in (("map", 0), ("unet-1", 2), ("unet-2", 3)):
            mapped, scores = result_BYX[band][used], part["models"][name]
            score, low, high = scores["overall accuracy"]
            assert score == pytest.approx(accuracy_score(truth, mapped), abs=1e-6)
            assert low <= score <= high
            iou = jaccard_score(truth, mapped, average="macro")
            assert scores["mean IoU"][0] == pytest.approx(iou, abs=1e-6)
            f1 = f1_score(truth, mapped, average="macro")
            assert scores["mean F1"][0] == pytest.approx(f1, abs=1e-6)
        seeds = [part["models"][name]["overall accuracy"][0] for name in ("unet-1", "unet-2")]
        expected = [np.mean(seeds), np.std(seeds, ddof=1)]
        assert part["over_seeds"]["overall accuracy"] == pytest.approx(expected, abs=2e-6)


def test_a_filtered_map_is_scored_as_it_is_published(small_area, monkeypatch):
    """Otherwise scores and errors would be those of a map that nobody gets, or confidence judged
    beside a class that it is not of."""
    area, label_YX, result_BYX = assessed("sieved", mosaic={"minimum_px": 4})
    published_YX = np.roll(result_BYX[0], 1, axis=0)
    write_tif(Path("results/sieved_landcover.tif"), published_YX, nodata=0)
    part = assess(area)["parts"]["test"]
    for name, mapped_YX in (("map", published_YX), ("unet-2", result_BYX[3])):
        used = part_of(area, "test") & (label_YX > 0) & (mapped_YX > 0)
        score = part["models"][name]["overall accuracy"][0]
        expected = accuracy_score(label_YX[used], mapped_YX[used])
        assert score == pytest.approx(expected, abs=1e-6)
    used = part_of(area, "test") & (label_YX > 0) & (result_BYX[0] > 0)
    right, sure = (label_YX == result_BYX[0])[used], result_BYX[1][used] / 100
    assert part["calibration"]["Brier"] == pytest.approx(((sure - right) ** 2).mean(), abs=1e-6)
    monkeypatch.setattr(cog, "STEP", 50)
    for step in (1, 7):
        seen_YX = thinned(load_area(area), Layout("sieved"), "landcover", step)
        np.testing.assert_array_equal(seen_YX, published_YX[::step, ::step])


def test_confusion_matrix_is_that_of_the_test_part(small_area):
    """The matrix would mix up map and reference, or hold pixels that were learnt from."""
    area, label_YX, result_BYX = assessed("matrix")
    found = assess(area)["parts"]["test"]["classes"]
    used = part_of(area, "test") & (label_YX > 0) & (result_BYX[0] > 0)
    expected = confusion_matrix(label_YX[used], result_BYX[0][used], labels=[1, 2, 3])
    with Path("results/matrix/assess/landcover/confusion.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header[1:] == [row[0] for row in rows] == ["field", "wood", "lake"]
    np.testing.assert_array_equal([[int(cell) for cell in row[1:]] for row in rows], expected)
    assert [row["reference_pixels"] for row in found] == expected.sum(axis=1).tolist()
    assert [row["mapped_pixels"] for row in found] == expected.sum(axis=0).tolist()
    assert [r["recall"] for r in found] == pytest.approx(
        list(np.diag(expected) / expected.sum(axis=1)), abs=1e-6
    )


def test_forest_is_scored_when_asked(small_area):
    """Nobody could tell whether the network is worth more than a forest that sees single pixels."""
    area, *_ = assessed("forest", assess={"baseline": "random-forest", "block": 32})
    pack(area)
    part = assess(area)["parts"]["test"]
    score = part["models"]["random forest per pixel"]["overall accuracy"][0]
    difference = part["map_minus_forest"]["overall accuracy"]
    assert score > 0.95  # the simulated spectra tell the classes apart
    assert difference[0] <= part["models"]["map"]["overall accuracy"][0] - score <= difference[1]
    area, *_ = assessed("plain")
    assert "map_minus_forest" not in assess(area)["parts"]["test"]


def test_part_without_a_map_has_no_scores(small_area):
    """A scene that ends before the test part would end in a page of Python."""
    area, _, result_BYX = assessed("dark")
    result_BYX[:, :, 120:] = 0
    names = ["class", "confidence", "class by unet-1", "class by unet-2"]
    write_blocks(area, "predict/landcover", result_BYX, names)
    part = assess(area)["parts"].get("test")
    assert part is None or part["models"]["map"]["overall accuracy"] == [None] * 3


def test_forest_where_one_date_is_cloudy(small_area):
    """Clouds on the first of two dates would stop the comparison, or make the forest look bad."""
    sections = {
        "compose": {"dtype": "float32"},
        "search": {"periods": {PERIOD: {"files": "a.tif"}, "2018-07": {"files": "b.tif"}}},
        "assess": {"baseline": "random-forest", "block": 32},
    }
    area = area_with("cloudy", select={"size": 32, "stride": 16, "split": SPLIT}, **sections)
    label_YX, image_BYX = simulated_scene()
    write_labels(area, label_YX)
    clear_BYX = image_BYX.astype(np.float32)
    cloudy_BYX = clear_BYX.copy()
    cloudy_BYX[:, 40:120, 130:180] = np.nan
    for period, values in ((PERIOD, cloudy_BYX), ("2018-07", clear_BYX)):
        write_blocks(area, f"compose/{period}", values, ["B02", "B03", "B04"], np.nan)
        write_quality(area, values, period=period)
    map_BYX = np.stack([label_YX, np.full_like(label_YX, 90)])
    write_blocks(area, "predict/landcover", map_BYX, ["class", "confidence"])
    select(area)
    pack(area)
    part = assess(area)["parts"]["test"]
    assert part["models"]["random forest per pixel"]["overall accuracy"][0] > 0.9


def test_calibration_edges_and_absent_classes_are_those_of_the_pixels(small_area):
    """The report would tell the confidence of other pixels, or hide that a class is missing."""
    area, label_YX, result_BYX = assessed("sure")
    random = np.random.default_rng(3)
    result_BYX[1] = random.integers(40, 101, label_YX.shape)
    result_BYX[0][result_BYX[0] == 3] = 2
    names = ["class", "confidence", "class by unet-1", "class by unet-2"]
    write_blocks(area, "predict/landcover", result_BYX, names)
    part = assess(area)["parts"]["test"]
    used = part_of(area, "test") & (label_YX > 0) & (result_BYX[0] > 0)
    right, sure = (label_YX == result_BYX[0])[used], result_BYX[1][used] / 100
    assert part["calibration"]["Brier"] == pytest.approx(((sure - right) ** 2).mean(), abs=1e-6)
    assert sum(pixels for pixels, *_ in part["calibration"]["bins"]) == used.sum()
    assert part["absent"] == {"in the labels": [], "in the map": ["lake"]}
    assert all(1 <= count < 5 for count in part["in_few"].values())
    said = next(Path(f"results/{area.stem}").rglob("summary.txt")).read_text()
    assert f"few blocks ({part['spatial_blocks']}): the intervals are too narrow" in said
    f1 = f1_score(label_YX[used], result_BYX[0][used], average="macro", zero_division=0)
    assert part["means"]["macro"]["F1"] == pytest.approx(f1, abs=1e-6)
    assert part["means"]["micro"]["F1"] == pytest.approx(right.mean(), abs=1e-6)
    edges = [row["boundary_f1"] for row in part["classes"]]
    assert edges[2] == 0 and all(0 < each < 1 for each in edges[:2])
    low, high = part["over_seeds_interval"]["overall accuracy"]
    assert low < part["over_seeds"]["overall accuracy"][0] < high


def test_all_that_explains_the_scores_is_beside_them(small_area):
    """The report would miss a picture or a page, or a second run write other bytes."""
    area, *_ = assessed("beside")
    found = assess(area)
    folder = Path("results/beside/assess/landcover")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    pictures = {f"{name}.png" for name in ("confusion", "calibration", "errors", "tiles")}
    pages = {f"{name}.html" for name in ("scores", "downsampling", "provenance")}
    tables = {"metrics.json", "summary.txt", "classes.csv", "cells.csv", "confusion.csv"}
    assert set(before) == pictures | pages | tables
    shutil.rmtree(folder)
    assess(area)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    page = before["scores.html"].decode()
    for split in ("val", "test"):
        for scores in found["parts"][split]["models"].values():
            value, low, high = scores["mean IoU"]
            assert f">{value:.3f} ({low:.3f} to {high:.3f})<" in page
    assert ">700<" in page  # an area of the map


def test_a_thinned_mask_is_that_of_every_nth_pixel():
    """The picture of errors would be shifted, or take the memory of the whole map."""
    cell = Window(5, 7, 61, 83)
    windows = [Window(0, 0, 21, 30), Window(33, 41, 8, 8), Window(60, 80, 40, 40)]
    whole_YX = mask(cell, windows)
    assert whole_YX.sum() == 16 * 23 + 64 + 6 * 10
    for step in (1, 2, 3, 7, 50):
        np.testing.assert_array_equal(mask(cell, windows, step), whole_YX[::step, ::step])
