"""The report of a small simulated area of two classes, opened and clicked through in a browser."""

import json
import re
import socket
from pathlib import Path

import numpy as np
import pytest
import yaml
from browser import visited
from making import SMALL_AREA, simulated_scene, write_tif
from running import snakemake

TARGETS = ["results/tiny_landcover.tif", "results/tiny/assess/landcover/metrics.json"]
SHOWN = {
    "Areas: tiny | landcover | areas of classes (CSV)": "file",
    "Imagery: tiny | 2018-04": "picture",
    "Labels: tiny | landcover | classes before and after downsampling": "page",
    "Map: tiny | landcover | map": "picture",
    "Provenance: tiny | landcover | scenes, models, software, settings": "page",
    "Scores: tiny | landcover | all scores as tables": "page",
    "Scores: tiny | landcover | confidence": "picture",
    "Scores: tiny | landcover | confidence before and after its temperature": "picture",
    "Scores: tiny | landcover | confusion matrix": "picture",
    "Scores: tiny | landcover | scores by tile or chip": "picture",
    "Scores: tiny | landcover | where the map errs": "picture",
    "Tiles: tiny | do labels and image agree?": "picture",
    "Tiles: tiny | every tile, with its reason (CSV)": "file",
    "Tiles: tiny | where the tiles are": "picture",
    "Training: tiny | unet-1": "picture",
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The report's path, in the folder of a finished map of one block."""
    folder = tmp_path_factory.mktemp("report")
    content = yaml.safe_load(SMALL_AREA)
    content["grid"]["block"] = 192
    content["classes"] = {1: {"name": "land", "colour": "#e8c95c"}}
    content["classes"][2] = {"name": "lake", "colour": "#2f6fb7"}
    content["labels"] = {"file": str(folder / "data/labels.tif"), "codes": {1: 1, 2: 1, 3: 2}}
    content["search"]["periods"] = {"2018-04": {"files": str(folder / "data/scene.tif")}}
    content["select"]["split"] |= {"train": 0.5, "val": 0.25, "test": 0.25}
    content["predict"] = {"temperature": "validation", "threshold": "validation"}
    (folder / "config/areas").mkdir(parents=True)
    (folder / "config/areas/tiny.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    label_YX, image_BYX = simulated_scene()
    write_tif(folder / "data/labels.tif", label_YX)
    write_tif(folder / "data/scene.tif", image_BYX, bands=["B02", "B03", "B04"])
    path = folder / "report.html"
    for more in ([], ["--report", path]):
        done = snakemake(folder, *more, *TARGETS)
        assert done.returncode == 0, done.stdout
    return path


def entries(report):
    """What the report holds, by path."""
    (results,) = re.findall(r"var results = (\{.*?\});\n", report.read_text(), re.S)
    return json.loads(results)


def test_every_entry_shows_what_it_promises(report, tmp_path):
    """A colleague would click on a figure and see nothing, or the browser would complain."""
    found = visited(report, tmp_path)
    assert found["said"] == []
    assert {key: said.split()[0] for key, said in found["results"].items()} == SHOWN
    assert len(found["names"]) == len(SHOWN)  # none is hidden behind a toggle
    assert found["graph"] and found["charts"]
    assert "Provenance" in found["about"] and "Statistics" in found["about"]


def test_every_entry_says_how_to_read_it(report):
    """A figure without a caption would be left to guessing."""
    for name, entry in entries(report).items():
        caption = re.sub("<[^>]*>", "", entry["caption"]).strip()
        assert len(caption) > 40, name


def test_report_is_small_and_tells_of_no_machine(report):
    """It could not be sent by mail, or would tell where its author works."""
    text = report.read_text()
    assert len(text) < 15_000_000
    assert str(report.parent) not in text and f"{Path.home()}/" not in text
    told = [entry | {"data_uri": ""} for entry in entries(report).values()]
    told += [page.read_text() for page in (report.parent / "results/tiny").rglob("*.html")]
    host = re.compile(rf"\b{re.escape(socket.gethostname())}\b")
    assert len(told) == len(SHOWN) + 3 and not [each for each in told if host.search(str(each))]
    assert not [each for each in told if str(report.parent) in str(each)]


def test_confidence_is_measured_before_and_after(report):
    """Nobody could tell whether the temperature brought the map nearer to the truth."""
    folder = report.parent / "results/tiny"
    found = json.loads((folder / "calibrate/landcover.json").read_text())
    page = (folder / "assess/landcover/scores.html").read_text()
    for split in ("val", "test"):
        for when in ("before", "after"):
            part = found["parts"][split][when]
            assert np.isfinite(part["class-wise error"])
            for key in ("error", "class-wise error", "brier", "negative_log_likelihood"):
                assert f">{part[key]:.4f}<" in page
    assert f"Temperature {found['temperature']:.3f}, fitted on the validation part" in page
