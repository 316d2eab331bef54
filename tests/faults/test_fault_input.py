"""Wrong scenes and labels are one line that names them, and leave nothing behind."""

import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from making import write_tif
from stages.stage_steps import (
    PERIOD,
    area_with,
    compose,
    downsample,
    files,
    mapmill,
    refused,
    refused_cleanly,
    search,
)

OUT = "out"


def spoil_labels(kind):
    path = Path("data/labels.tif")
    whole = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "not a raster":
        path.write_text("class,name\n1,field\n")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "without CRS":
        write_tif(path, np.ones((160, 192), np.uint8), crs=None)


@pytest.mark.parametrize("kind", ["missing", "not a raster", "empty", "truncated", "without CRS"])
def test_label_file(small_area, capsys, kind):
    """A bad label file would be found after hours of composing."""
    spoil_labels(kind)
    line = refused_cleanly(capsys, "download", small_area, "labels.tif", f"{OUT}/labels.tif")
    assert "data/labels.tif" in line


def test_standard_error_holds_the_line_alone(small_area):
    """The line that tells what to do would drown in warnings of libraries."""
    profile = {"driver": "GTiff", "count": 1, "width": 9, "height": 9, "dtype": "uint8"}
    with warnings.catch_warnings(), rasterio.open("data/labels.tif", "w", **profile) as labels:
        warnings.simplefilter("ignore")
        labels.write(np.ones((1, 9, 9), np.uint8))
    arguments = ["download", small_area, "labels.tif", "labels.tif"]
    code = "import sys; from mapmill.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    first, *others = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert re.match(r"mapmill \d\S* download: ", first)
    assert len(others) == 1 and others[0].startswith("mapmill download: data/labels.tif: "), others


def test_polygons_that_are_none(small_area, capsys):
    """A text file named .gpkg would end in a page of Python."""
    Path("data/plots.gpkg").write_text("<html>Sign in</html>")
    labels = {"file": "data/plots.gpkg", "attribute": "kind", "codes": {"field": 1}}
    area = area_with("plots", labels=labels)
    line = refused_cleanly(capsys, "download", area, "labels.gpkg", f"{OUT}/labels.gpkg")
    assert "data/plots.gpkg" in line


def test_labels_of_another_place(small_area, capsys):
    """Labels of another place would go unnoticed until a model has learnt nothing."""
    write_tif(Path("data/labels.tif"), np.ones((160, 192), np.uint8), left=700_000.0)
    line = refused_cleanly(capsys, "download", small_area, "labels.tif", f"{OUT}/labels.tif")
    assert "data/labels.tif" in line and "an overlap with the area" in line


def test_scene_of_another_place(small_area, capsys):
    """A scene without a pixel in the area would be learnt from as darkness."""
    for band in ("B02", "B03", "B04"):
        write_tif(Path(f"data/S1_{band}.tif"), np.ones((9, 9), np.uint16), left=700_000.0)
    line = refused_cleanly(capsys, "search", small_area, PERIOD, f"{OUT}/search.json")
    assert "none of 1 scenes over the area" in line


def test_training_part_too_narrow_for_a_tile(small_area, capsys):
    """Training would start without a single patch."""
    narrow = {"method": "strips", "direction": "west-east", "train": 0.05, "val": 0.45, "test": 0.5}
    area = area_with("narrow", select={"split": narrow})
    compose(area)
    downsample(area)
    line = refused(
        capsys, "select", area, f"{OUT}/tiles.csv", f"{OUT}/tiles.png", f"{OUT}/shift.png"
    )
    assert "select.split.train" in line and "less than a tile's step of 32 px" in line


@pytest.mark.parametrize(
    ("image", "search_section", "said"),
    [
        (np.ones((2, 9, 9), np.uint16), {"bands": ["B02", "B03", "B04"]}, "2 bands and 3 names"),
        (np.ones((3, 9, 9), np.uint16), {}, "3 bands and 0 names"),
        (np.ones((3, 9, 9), np.uint16), {"bands": ["B02", "B03", "B08"]}, "expected B04"),
        (None, {}, "no file like"),
    ],
)
def test_scene_with_other_bands(small_area, capsys, image, search_section, said):
    """Bands would be given other bands' names, or a period be empty without a word."""
    if image is not None:
        write_tif(Path("data/stack/one.tif"), image)
    area = area_with("stack", search={"periods": files("data/stack/*.tif"), **search_section})
    assert said in refused_cleanly(capsys, "search", area, PERIOD, f"{OUT}/search.json")


@pytest.mark.parametrize("dtype", ["float32", "int16", "int32", "complex64"])
def test_scene_of_another_number_type(small_area, capsys, dtype):
    """Numbers that a uint16 image cannot hold would wrap round or be cut."""
    write_tif(Path("data/S1_B03.tif"), np.full((160, 192), -3, dtype))
    search(small_area)
    for band in ("B02", "B03", "B04"):
        file = f"{PERIOD}/S1/{band}.tif"
        mapmill("download", small_area, file, f"results/small/download/{file}")
    line = refused_cleanly(capsys, "compose", small_area, PERIOD, "r000c000", f"{OUT}/b.tif")
    assert "B03.tif" in line


@pytest.mark.parametrize("content", ["", "{}", '{"features": 3}', '{"features": [{"id": "a"}]}'])
def test_search_result_that_is_none(small_area, capsys, content):
    """A search result edited by hand would end in a page of Python."""
    listing = Path(f"results/small/search/{PERIOD}.json")
    listing.parent.mkdir(parents=True)
    listing.write_text(content)
    for command in (
        ["compose", small_area, PERIOD, "r000c000", f"{OUT}/b.tif"],
        ["download", small_area, f"{PERIOD}/S1/B02.tif", f"{OUT}/B02.tif"],
    ):
        assert f"{PERIOD}.json" in refused_cleanly(capsys, *command)


@pytest.mark.parametrize("name", ["../../escape", "/absolute", "a/b", ".hidden", "a\nb"])
def test_search_result_that_names_other_folders(small_area, capsys, name):
    """A catalogue could make the chain write outside the project's folder."""
    item = search(small_area)["features"][0]
    listing = Path(f"results/small/search/{PERIOD}.json")
    listing.write_text(json.dumps({"features": [{**item, "id": name}]}))
    line = refused_cleanly(capsys, "compose", small_area, PERIOD, "r000c000", f"{OUT}/b.tif")
    assert "expected letters" in line


@pytest.mark.parametrize(
    "command",
    [
        ["compose", PERIOD, "r000c000", f"{OUT}/b.tif"],
        ["compose", PERIOD, "r009c000", f"{OUT}/b.tif"],
        ["download", f"{PERIOD}/S1/B02.tif", f"{OUT}/B02.tif"],
        ["downsample", "r000c000", f"{OUT}/b.tif"],
        ["select", f"{OUT}/tiles.csv", f"{OUT}/tiles.png", f"{OUT}/shift.png"],
        ["pack", f"{OUT}/patches.zarr/zarr.json"],
        ["train", "unet-1", f"{OUT}/m.safetensors", f"{OUT}/h.csv", f"{OUT}/c.png"],
        ["predict", "landcover", "r000c000", f"{OUT}/b.tif"],
        [
            "mosaic",
            "landcover",
            *(f"{OUT}/{name}" for name in ("m.tif", "m.json", "c.tif", "m.png")),
        ],
        ["assess", "landcover", f"{OUT}/m.json"],
    ],
    ids=lambda command: "-".join(command[:3]),
)
def test_stage_before_its_turn(small_area, capsys, command):
    """A stage called by hand before the one that feeds it would end in a page of Python."""
    refused_cleanly(capsys, command[0], small_area, *command[1:])
