"""The table of bad input: each row ends in one line that can be acted on, and leaves nothing.

`TABLE` names the test of every row; those that no other file has are here.
"""

import ast
import logging
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
import torch
import yaml
from making import CRS, LEFT, SMALL_AREA, TOP, simulated_scene, write_area, write_tif
from running import snakemake
from stages.stage_steps import (
    PERIOD,
    area_with,
    compose,
    downsample,
    mapmill,
    pack,
    refused,
    refused_cleanly,
    select,
)

from mapmill.nets.model import Card, build, save_model

TESTS = Path(__file__).parents[1]
HERE, INPUT, AREA_FILE = (
    f"faults/test_fault_{name}.py" for name in ("bad_input", "input", "area_file")
)
TABLE = {
    "misspelt key": f"{AREA_FILE}::test_area_file",
    "key of another section": f"{HERE}::test_a_key_in_the_wrong_place",
    "class table with a code twice": f"{HERE}::test_a_class_table",
    "label file missing, no raster, truncated, without CRS": f"{INPUT}::test_label_file",
    "label raster of another place": f"{INPUT}::test_labels_of_another_place",
    "label polygons of another place": f"{HERE}::test_polygons_of_another_place",
    "image with fewer bands": f"{INPUT}::test_scene_with_other_bands",
    "image of another type": f"{INPUT}::test_scene_of_another_number_type",
    "imagery without data": f"{HERE}::test_a_period_without_data",
    "period without scenes": f"{INPUT}::test_scene_with_other_bands",
    "empty training part": f"{INPUT}::test_training_part_too_narrow_for_a_tile",
    "no training tile": "stages/test_stage_select_pack.py::test_no_training_tile_is_one_line",
    "class that never occurs": f"{HERE}::test_a_class_that_never_occurs",
    "tile larger than the area": f"{AREA_FILE}::test_area_file",
    "tile larger than the window": f"{HERE}::test_a_tile_larger_than_the_window",
    "mask of another shape": (
        "stages/test_stage_chips.py::test_a_mask_of_another_shape_stops_select"
    ),
    "model of other bands or classes": "faults/test_fault_model.py::test_model_of_another_area",
    "model of other units": f"{HERE}::test_a_model_of_other_units",
    "borrowed model that does not fit": f"{HERE}::test_a_borrowed_model_that_does_not_fit",
    "weights missing": f"{HERE}::test_weights_that_are_missing",
    "weights missing, the whole chain": f"{HERE}::test_training_waits_for_its_weights",
    "weights of another digest": "unit/test_http.py::test_weights_by_the_command",
    "weights that are a program": f"{HERE}::test_weights_that_are_a_program",
    "no account": "workflow/test_catalonia.py::test_without_an_account_the_run_stops_at_once",
    "outline broken or missing": "unit/test_extent.py::test_a_broken_outline_is_one_line",
    "window outside": "unit/test_extent.py::test_a_window_outside_is_one_line",
    "pooled patches that do not fit": "unit/test_relatives.py::test_patches_that_do_not_fit",
    "bad servers": "unit/test_http.py::test_a_body_that_is_too_short",
}
OUTPUTS = ["out/m.safetensors", "out/h.csv", "out/c.png"]


@pytest.mark.parametrize("row", TABLE)
def test_every_row_of_the_table_has_a_test(row):
    """A kind of bad input would be tested by nobody after a test was renamed."""
    file, _, name = TABLE[row].partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("train:\n", "init: here/unet\ntrain:\n", "'init'.*it belongs under train:"),
        ("train:\n", "loss: dice\ntrain:\n", "'loss'.*it belongs under train:"),
        ("train:\n", "size: 32\ntrain:\n", "'size'.*it belongs under labels: or .*select:"),
        ("train:\n", "direction: west-east\ntrain:\n", "it belongs under select.split:"),
        ("train:\n", "train:\n  window: [0, 0, 1, 1]\n", "under the first level of the file"),
        ("train:\n", "train:\n  codes: {1: 1}\n", "train.codes.*it belongs under labels:"),
        ("unet: {}", "unet: {tile: 64}", "runs.unet.tile.*it belongs under predict:"),
        ("train:\n", "train:\n  stepz: 3\n", "train.stepz.*did you mean 'steps'"),
        ("train:\n", "train:\n  step: 3\n", "train.step.*did you mean 'steps'"),
        ("train:\n", "trains: {}\ntrain:\n", "'trains'.*did you mean 'train'"),
    ],
)
def test_a_key_in_the_wrong_place(small_area, capsys, old, new, said):
    """Someone would look for the spelling of a key that is right, but not where it stands."""
    assert SMALL_AREA.count(old) == 1
    line = refused_cleanly(capsys, "check", write_area("edited", SMALL_AREA.replace(old, new)))
    assert "edited.yaml" in line and re.search(said, line), line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("code,class\n1,1\n2,2\n1,3\n", "code 1 twice"),
        ("code,name\n1,field\n", "columns code and class"),
        (None, "no such file"),
    ],
)
def test_a_class_table(small_area, capsys, text, said):
    """One of two classes of a code would be taken, and nobody know which."""
    if text:
        Path("data/codes.csv").write_text(text)
    area = area_with("table", labels={"table": "data/codes.csv"})
    for command in (["check", area], ["downsample", area, "r000c000", "out/b.tif"]):
        line = refused_cleanly(capsys, *command)
        assert "data/codes.csv: found" in line and said in line


def write_plots(left, top, crs=CRS):
    """A plot, 300 m wide, as a polygon."""
    plot = shapely.box(left, top - 300, left + 300, top)
    pyogrio.raw.write(
        "data/plots.gpkg",
        np.array([shapely.to_wkb(plot)], object),
        [np.array(["field"], object)],
        fields=["kind"],
        crs=crs,
        geometry_type="Polygon",
    )


def test_polygons_of_another_place(small_area, capsys):
    """Plots of another region would burn nothing, and the chain stop hours later without a tile."""
    labels = {"file": "data/plots.gpkg", "attribute": "kind", "codes": {"field": 1}}
    area = area_with("plots", labels=labels)
    command = ["download", area, "labels.gpkg", "out/labels.gpkg"]
    for left, top, crs in ((LEFT + 90_000, TOP, CRS), (LEFT, TOP, "EPSG:32633")):
        write_plots(left, top, crs)
        line = refused_cleanly(capsys, *command)
        assert "data/plots.gpkg: found labels from" in line
        assert "expected an overlap with the area (1.8" in line and "check the file" in line
    write_plots(LEFT + 100, TOP)
    mapmill(*command)
    assert Path("out/labels.gpkg").is_symlink()


def one_block(name, **sections):
    """An area whose grid is one block, so that each stage is one call."""
    return area_with(name, grid={"block": 192}, **sections)


def test_a_period_without_data(small_area, capsys):
    """A season of clouds only would be learnt as darkness, or end in 'no training tile'."""
    for band in ("B02", "B03", "B04"):
        write_tif(Path(f"data/S1_{band}.tif"), np.zeros((160, 192), np.uint16))
    area = one_block("dark")
    compose(area)
    downsample(area)
    line = refused_cleanly(capsys, "select", area, "out/t.csv", "out/t.png", "out/s.png")
    assert f"results/dark/compose/{PERIOD}: found no pixel with data" in line


def packed(name, **sections):
    """An area with its patches."""
    area = one_block(name, **sections)
    compose(area)
    downsample(area)
    select(area)
    pack(area)
    return area


def test_a_class_that_never_occurs(small_area, capsys, caplog):
    """A class would silently never be on the map; or a rare one stop all work."""
    label_YX, _ = simulated_scene()
    write_tif(Path("data/labels.tif"), np.where(label_YX == 3, 1, label_YX))
    area = packed("absent", train={"steps": 2, "validate_every": 1})
    line = refused_cleanly(capsys, "train", area, "unet-1", *OUTPUTS)
    assert "found no training pixel of lake; expected some of every class" in line
    assert "absent_classes: warn" in line
    content = yaml.safe_load(area.read_text())
    content["train"]["absent_classes"] = "warn"
    area.write_text(yaml.safe_dump(content, sort_keys=False))
    with caplog.at_level(logging.WARNING):
        mapmill("train", area, "unet-1", *OUTPUTS)
    assert "no training pixel of lake: the model will never map it" in caplog.text
    assert all(Path(output).exists() for output in OUTPUTS)


def test_a_tile_larger_than_the_window(small_area, capsys):
    """A pilot would be composed to the end before it turns out that no tile fits into it."""
    window = [LEFT + 1, TOP - 9, LEFT + 5, TOP - 5]  # within one block of 64 px
    area = area_with("pilot", window=window, select={"size": 65})
    line = refused_cleanly(capsys, "check", area)
    assert "pilot.yaml: select.size: found 65, larger than the area (64 x 64 pixels)" in line
    mapmill("check", area_with("pilot", window=window, select={"size": 64}))
    mapmill("check", area_with("pilot", select={"size": 65}))


CARD = Card(
    net="unet",
    width=4,
    depth=2,
    bands=["B02", "B03", "B04"],
    classes=["field", "wood", "lake"],
    mean=[0.0] * 3,
    sd=[1.0] * 3,
    provenance={},
    units="dB",
)


def test_a_model_of_other_units(small_area, capsys):
    """A model of decibels would be shown reflectances, and its map look plausible."""
    path = Path("results/small/train/unet-1/model.safetensors")
    path.parent.mkdir(parents=True)
    save_model(path, build(CARD).state_dict(), CARD)
    line = refused_cleanly(capsys, "predict", small_area, "landcover", "r000c000", "out/b.tif")
    assert f"{path}: found units dB; expected digital numbers as in the area" in line


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"compose": {"bands": ["B02", "B04", "B03"]}}, "with bands B02, B03, B04"),
        ({"compose": {"units": "dB"}}, "with compose.units digital numbers"),
        ({"classes": {4: {"name": "sea", "colour": "#000000"}}}, "with classes field, wood, lake;"),
    ],
)
@pytest.mark.parametrize("stage", ["check", "search", "predict"])
def test_a_borrowed_model_that_does_not_fit(small_area, capsys, sections, said, stage):
    """The misfit would be found after a new place was downloaded and composed."""
    borrowed = {"labels": None, "select": None, "runs": None, "model": "small/unet"}
    area = area_with("place", **borrowed, maps={"landcover": {}}, **sections)
    command = {
        "check": ["check", area],
        "search": ["search", area, PERIOD, "out/s.json"],
        "predict": ["predict", area, "landcover", "r000c000", "out/b.tif"],
    }[stage]
    line = refused_cleanly(capsys, *command)
    assert "place.yaml: model: found small/unet " + said in line


RESNET = {"encoder": "resnet18", "steps": 2, "validate_every": 1}


def test_weights_that_are_missing(small_area, capsys):
    """A run would start at random where it was to start from ImageNet."""
    weights = {"file": "data/none.pth"}
    area = area_with("weighed", train=RESNET | {"weights": weights})
    command = ["download", area, "weights-unet.pth", "out/weights-unet.pth"]
    line = refused_cleanly(capsys, *command)
    assert "data/none.pth: found no such file" in line
    line = refused_cleanly(
        capsys, "check", area_with("weighed", train=RESNET | {"weights": {"file": "data/w.onnx"}})
    )
    assert "data/w.onnx, which is no .safetensors, .pth or .pt file" in line


def test_training_waits_for_its_weights(small_area):
    """A download that was refused would leave a net that starts at random, in silence."""
    area = one_block("weighed", train=RESNET | {"weights": {"file": "data/none.pth"}})
    model = "results/weighed/train/unet-1/model.safetensors"
    done = snakemake(Path.cwd(), "--keep-going", model)
    assert done.returncode == 1
    assert re.findall(r"^Error in rule (\w+):", done.stdout, re.M) == ["download"], done.stdout
    (line,) = {x.strip() for x in done.stdout.splitlines() if "mapmill download: " in x}
    assert "data/none.pth: found no such file; expected the file the area names" in line
    assert "Traceback" not in done.stdout
    assert Path("results/weighed/pack/patches.zarr/zarr.json").exists(), area
    assert not list(Path("results/weighed").glob("train/*/*"))
    assert not list(Path("logs").glob("*/train/*"))


class Program:
    """What runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("kind", ["pickle", "torch", "page", "empty"])
def test_weights_that_are_a_program(small_area, capsys, kind):
    """Weights from the network would run their author's code on the user's machine."""
    path = Path("data/w.pth")
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Program(), protocol=2))
    elif kind == "torch":
        torch.save({"state_dict": {"conv1.weight": Program()}}, path)
    else:
        path.write_bytes(b"" if kind == "empty" else b"<html>Sign in</html>")
    area = packed("weighed", train=RESNET | {"weights": {"file": str(path)}})
    link = Path("results/weighed/download/weights-unet.pth")
    mapmill("download", area, link.name, link)
    line = refused_cleanly(capsys, "train", area, "unet-1", *OUTPUTS)
    assert f"{link}: found no weights (" in line and "fetch the file again" in line
    assert not Path("ran").exists()


def test_a_missing_weights_link_is_one_line(small_area, capsys):
    """A run by hand, before the weights are there, would end in a page of Python."""
    area = packed("weighed", train=RESNET | {"weights": {"file": "data/w.pth"}})
    line = refused(capsys, "train", area, "unet-1", *OUTPUTS)
    assert "weights-unet.pth" in line


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"grid": {"bounds": [0, 0, 10**12, 10**12]}},
            "grid.bounds: found left and right",
        ),
        ({"select": {"split": {"method": "blocks", "seed": -1}}}, "select.split.seed: found -1"),
        ({"assess": {"seed": -1}}, "assess.seed: found -1"),
        ({"train": {"seeds": [10**30]}}, "train.seeds.0: found"),
        ({"train": {"jitter": float("inf")}}, "train.jitter: found inf"),
        ({"train": {"width": 10**6}}, "train.width: found 1000000"),
        ({"select": {"size": 10**5}}, "select.size: found 100000"),
        ({"runs": {"unet": {"train_on": [["a"]]}}}, "runs.unet.train_on"),
        ({"title": "one\ntwo"}, "expected one line of text"),
        ({"title": "one\x07two"}, "expected one line of text"),
        ({"downsample": None}, "downsample: found nothing; expected a mapping"),
        ({"labels": {"codes": {"#ff0000": 1}}}, "labels.codes.#ff0000: found a colour"),
    ],
)
def test_values_beyond_all_bounds(small_area, capsys, changes, said):
    """A slip of the keyboard would fill the memory, or stop the chain after the training."""
    content = yaml.safe_load(SMALL_AREA)
    for section, values in changes.items():
        old = content.get(section)
        both = isinstance(values, dict) and isinstance(old, dict)
        content[section] = {**old, **values} if both else values
    area = write_area("beyond", yaml.safe_dump(content, sort_keys=False))
    assert said in refused_cleanly(capsys, "check", area)


def test_an_outline_that_is_no_text(small_area, capsys):
    """The message would hold the whole file."""
    content = yaml.safe_load(SMALL_AREA) | {"aoi": "data/labels.tif"}
    line = refused_cleanly(capsys, "check", write_area("odd", yaml.safe_dump(content)))
    assert "data/labels.tif: found no GeoJSON" in line and len(line) < 400


def test_labels_of_three_bands(small_area, capsys):
    """The first band would be taken for the classes without a word."""
    write_tif(Path("data/labels.tif"), np.ones((3, 160, 192), np.uint8))
    line = refused_cleanly(capsys, "download", small_area, "labels.tif", "out/labels.tif")
    assert "found 3 bands; expected one band of class codes" in line


def test_an_output_below_a_file(small_area, capsys):
    """A wrong path would end in a page of Python after the work was done."""
    line = refused_cleanly(capsys, "simulate", "data/labels.tif/x", "--size", "64")
    assert "Not a directory" in line


def test_a_period_that_is_none(small_area, capsys):
    """A user would be told to delete a file that is not there."""
    command = ["compose", small_area, "2019", "r000c000", "out/b.tif"]
    assert "periods 2019: found no such name; expected one of" in refused_cleanly(capsys, *command)
