"""Which pixels of overlapping patches count, and what a comparison's table says."""

import csv
import math
import statistics

import numpy as np
import pytest
import yaml
from making import SMALL_AREA, write_area

from mapmill.areafile import load_area
from mapmill.comparing import Scored, as_csv, by_model, by_run, counted_once, differs, protocol
from mapmill.errors import ConfigError, MapmillError
from mapmill.settings import settings

RUNS = {"unet": {}, "dice": {"loss": "dice"}, "two": {"seeds": [1, 2]}}
BLOCKS = {"method": "blocks", "block": 32, "folds": 4}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def area_file(name="small", **changes):
    """The small area with three runs, its sections changed."""
    content = yaml.safe_load(SMALL_AREA) | {"runs": RUNS}
    for section, values in changes.items():
        content[section] = content.get(section, {}) | values
    return write_area(name, yaml.safe_dump(content))


def area(**changes):
    return load_area(area_file(**changes))


def refused(**changes):
    with pytest.raises(MapmillError) as caught:
        area(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("step", [8, 5, 3])
def test_each_pixel_counts_once_where_it_lies_deepest(step):
    """Pixels under several patches would weigh several times, or be judged at a patch's edge."""
    size = 8
    places = [(piece, row, col) for piece in (0, 3) for row in range(0, 17, step) for col in (4, 9)]
    counted = list(counted_once(np.array(places), size))
    best = {}
    for number, (piece, row, col) in enumerate(places):
        for y in range(size):
            for x in range(size):
                depth = min(y, x, size - 1 - y, size - 1 - x)
                known = best.setdefault((piece, row + y, col + x), (depth, number))
                if depth > known[0]:
                    best[piece, row + y, col + x] = (depth, number)
    for number, (piece, row, col) in enumerate(places):
        expected = [
            [best[piece, row + y, col + x][1] == number for x in range(size)] for y in range(size)
        ]
        np.testing.assert_array_equal(counted[number], expected)


def scored(run, fold, seed, matrix):
    name = f"{run}-{seed}" if fold is None else f"{run}-fold{fold}-{seed}"
    return Scored(name, run, fold, seed, 77, np.array(matrix, np.int64))


def test_the_table_holds_means_and_spreads_of_models():
    """A mean over seeds would hide a model, or an absent class would count as 0 or as 1."""
    one = scored("unet", None, 1, [[8, 2, 0], [1, 9, 0], [0, 0, 0]])  # no lake in the labels
    two = scored("unet", None, 2, [[6, 3, 1], [0, 10, 0], [0, 5, 5]])
    other = scored("dice", None, 2, [[9, 0, 1], [0, 10, 0], [0, 0, 10]])
    unet, dice = by_run([one, two, other], area())
    assert (unet["models"], unet["folds"], unet["seeds"], unet["parameters"]) == (2, 0, 2, 77)
    assert unet["overall accuracy"] == pytest.approx((17 / 20 + 21 / 30) / 2, abs=1e-6)
    first = [8 / 11, 9 / 12]
    second = [6 / 10, 10 / 18, 5 / 11]
    means = [statistics.mean(first), statistics.mean(second)]
    assert unet["mean IoU"] == pytest.approx(statistics.mean(means), abs=1e-6)
    assert unet["mean IoU sd"] == pytest.approx(statistics.stdev(means), abs=1e-6)
    assert unet["IoU field"] == pytest.approx((8 / 11 + 6 / 10) / 2, abs=1e-6)
    assert (unet["IoU lake"], unet["IoU lake sd"]) == (pytest.approx(5 / 11, abs=1e-6), None)
    assert (dice["mean IoU sd"], dice["differs"]) == (None, "loss: dice")
    apart = statistics.mean([9 / 10, 1, 10 / 11]) - means[1]
    assert dice["mean IoU minus unet"] == pytest.approx(apart, abs=1e-6)
    assert unet["mean IoU minus unet"] is None
    rows = by_model([one, two, other], area())
    assert [row["model"] for row in rows] == ["unet-1", "unet-2", "dice-2"]
    assert (rows[0]["IoU lake"], rows[1]["field as lake"], rows[1]["lake as field"]) == (None, 1, 0)


def test_the_protocol_stands_above_the_table():
    """A table that is passed on would not say what was scored, or a reader would not read it."""
    chosen = area(select={"split": BLOCKS}, compare={"losses": {"runs": ["two"], "folds": True}})
    one = scored("two", 1, 2, np.eye(3) * 5)
    text = as_csv(by_run([one], chosen), protocol(chosen, "losses", 12, 32))
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) > 8 and "each of 4 folds in turn (blocks)" in comments[1]
    assert "12 patches of 32 px" in comments[1] and "no test of significance" in text
    (row,) = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    assert (row["run"], row["mean IoU"], row["mean IoU sd"]) == ("two", "1.0", "")
    assert differs({}) == "as train" and math.isclose(float(row["overall accuracy"]), 1)


def test_models_of_folds_have_names_with_one_reading():
    """Two models would share a file, or a name would mean another run, fold or seed."""
    both = {"plain": {"runs": ["unet", "two"]}, "folds": {"runs": ["two"], "folds": True}}
    chosen = area(select={"split": BLOCKS}, compare=both)
    models = ["two-fold0-1", "two-fold0-2", "two-fold1-1", "two-fold1-2"]
    assert chosen.models_of_comparison("folds")["two"][:4] == models
    assert chosen.models_of_comparison("plain") == {"unet": ["unet-1"], "two": ["two-1", "two-2"]}
    assert chosen.run_and_seed("two-fold3-2") == ("two", 2) and chosen.fold_of("two-fold3-2") == 3
    assert chosen.run_and_seed("two-2") == ("two", 2) and chosen.fold_of("two-2") is None
    for wrong in ("two-fold4-1", "two-fold01-1", "two-fold0-3", "none-fold0-1", "two-fold-1"):
        with pytest.raises(ConfigError):
            chosen.run_and_seed(wrong)
    with pytest.raises(ConfigError, match="none, without select"):
        area().run_and_seed("two-fold0-1")
    seen = [settings(chosen, "train", model) for model in ("two-1", "two-fold0-1", "two-fold1-1")]
    assert {key for key in seen[2] if seen[2][key] != seen[1][key]} == {"fold"}
    assert seen[1].keys() - seen[0].keys() == {"fold", "folds", "buffer_px"}


def test_mistakes_are_one_line():
    """A run would be trained for hours before its comparison turned out to be impossible."""
    assert "runs.a-fold2: found a-fold2, which is how" in refused(runs={"a-fold2": {}})
    said = refused(compare={"losses": {"runs": ["unet", "diec"]}})
    assert "compare.losses.runs" in said and "diec, none of the runs (dice, two, unet)" in said
    assert "without select.split.folds" in refused(compare={"x": {"runs": ["unet"], "folds": True}})
    assert "unet" in refused(compare={"x": {"runs": ["unet", "unet"]}})
    assert "at least 1" in refused(compare={"x": {"runs": []}})
    no_test = {"split": {"method": "blocks", "block": 32, "train": 0.5, "val": 0.5, "test": 0}}
    assert "no test part" in refused(select=no_test, compare={"x": {"runs": ["unet"]}})
    said = refused(runs={"unet": {"without": ["B12"]}})
    assert "train.without (run unet)" in said and "none of the bands (B02, B03, B04)" in said
    assert "nothing is left" in refused(runs={"unet": {"without": ["B02", "B03", "B04"]}})
    said = refused(runs={"unet": {"without": ["B02"]}, "dice": {"init": "small/unet"}})
    assert "make them agree" in said


def test_folds_refuse_runs_that_have_seen_other_folds():
    """A model would be scored on ground that the one it starts from was trained on."""
    area_file("other")
    folds = {"select": {"split": BLOCKS}, "compare": {"x": {"runs": ["dice"], "folds": True}}}
    started = refused(**folds, runs={"dice": {"init": "other/unet"}})
    assert "init: other/unet" in started and "start afresh" in started
    assert "no folds on a grid in other" in refused(**folds, runs={"dice": {"train_on": ["other"]}})
    area_file("other", select={"split": BLOCKS})
    assert area(**folds, runs={"dice": {"train_on": ["other"]}})


def test_an_area_is_like_another_but_for_its_own_keys():
    """An area that differs in one key would have to repeat all others, and drift from them."""
    area_file()
    path = write_area("near", "like: small\ntitle: Near\ndownsample: {method: nearest}\n")
    near, small = load_area(path), load_area(path.with_name("small.yaml"))
    changed = {"like": "small", "title": "Near"}
    changed["downsample"] = small.downsample.model_copy(update={"method": "nearest"})
    assert near == small.model_copy(update=changed)
    for text, words in (
        ("like: smal\n", "like: found area smal; expected one of near, small"),
        ("like: near\n", "near, which is itself like small"),
        ("like: small\nselect: {sise: 3}\n", "did you mean 'size'"),
    ):
        with pytest.raises(ConfigError) as caught:
            load_area(write_area("wrong", text))
        assert words in str(caught.value)
