"""The whole chain on a real scene with dense labels: the north is learnt, the south is scored.

The labels are themselves a per-pixel classification of the scene, so the scores prove that the
parts fit together pixel for pixel; they do not say how well a map of unseen land would be.
"""

import json

import numpy as np
import pytest
import rasterio
from running import snakemake
from sklearn.metrics import jaccard_score

AREA = """
title: Aberystwyth
attribution: [Contains modified Copernicus Sentinel data 2021, Labels by the RSGISLib tutorial]
grid:
  crs: EPSG:27700
  resolution: 10
  bounds: [257070.59483340546, 276258.7167059921, 266370.59483340546, 285728.7167059921]
  block: 480
classes:
  1: {{name: forest, colour: "#1b6b2f"}}
  2: {{name: grass, colour: "#a8d46f"}}
  3: {{name: urban, colour: "#c0392b"}}
  4: {{name: water, colour: "#2f6fb7"}}
labels: {{file: "{data}/sen2_20210527_aber_cls.tif"}}
search:
  source: files
  periods: {{2021-05: {{files: "{data}/sen2_20210527_aber_mosaic.tif"}}}}
compose:
  bands: [B02, B03, B04, B05, B06, B07, B08, B8A, B11, B12]
select:
  size: 128
  stride: 64
  split: {{method: strips, direction: north-south, train: 0.5, val: 0.15, test: 0.35}}
train:
  width: 16
  depth: 2
  class_weights: none
  crop: 64
  steps: 1200
  learning_rate: 0.005
  validate_every: 200
runs: {{unet: {{}}}}
maps: {{landcover: {{run: unet}}}}
"""


@pytest.fixture(scope="module")
def scored(tmp_path_factory, real_data):
    """A folder with the finished map and its scores, and the folder of its data."""
    data = real_data / "aberystwyth"
    folder = tmp_path_factory.mktemp("aberystwyth")
    (folder / "config/areas").mkdir(parents=True)
    (folder / "config/areas/aberystwyth.yaml").write_text(AREA.format(data=data))
    done = snakemake(folder, "results/aberystwyth/assess/landcover/metrics.json")
    assert done.returncode == 0, done.stdout
    return folder, data


def test_south_is_mapped_well(scored, capsys):
    """Somewhere in the chain images, labels or classes would be shifted or mixed up."""
    folder, _ = scored
    metrics = json.loads((folder / "results/aberystwyth/assess/landcover/metrics.json").read_text())
    scores = metrics["parts"]["test"]["models"]["map"]
    with capsys.disabled():
        print(f"\nAberystwyth, south: {scores}")
    assert scores["overall accuracy"][0] >= 0.93
    assert scores["mean IoU"][0] >= 0.80


def test_labels_read_without_georeferencing_score_clearly_worse(scored, capsys):
    """A reader that ignored the labels' origin, one pixel to the left, would go unnoticed."""
    folder, data = scored
    with rasterio.open(folder / "results/aberystwyth_landcover.tif") as source:
        mapped_YX = source.read(1)
    with rasterio.open(data / "sen2_20210527_aber_cls.tif") as source:
        codes_YX = source.read(1)  # one column more than the map, on its left
    south = slice(640, None)
    found = {}
    for name, label_YX in (("by coordinates", codes_YX[:, 1:]), ("by position", codes_YX[:, :-1])):
        label, mapped = label_YX[south].ravel(), mapped_YX[south].ravel()
        used = (label > 0) & (mapped > 0)
        accuracy = float(np.mean(label[used] == mapped[used]))
        found[name] = accuracy, jaccard_score(label[used], mapped[used], average="macro")
    with capsys.disabled():
        print(f"\nAberystwyth, south, labels read {found}")
    right, wrong = found["by coordinates"], found["by position"]
    assert wrong[0] < right[0] - 0.03 and wrong[1] < right[1] - 0.05


def test_labels_in_place_raise_no_alarm(scored):
    """People would learn to look past the warning of a shift."""
    folder, _ = scored
    shift = json.loads((folder / "results/aberystwyth/select/shift.json").read_text())
    assert not shift["is_wrong"] and abs(shift["east"]) < 0.3 and abs(shift["south"]) < 0.3
    summary = (folder / "results/aberystwyth/assess/landcover/summary.txt").read_text()
    assert "labels and image agree" in summary


def test_labels_read_without_georeferencing_raise_the_alarm(scored, capsys):
    """Labels a pixel off would be learnt from, and the map be blamed."""
    folder, data = scored
    with rasterio.open(data / "sen2_20210527_aber_cls.tif") as source:
        codes_YX = source.read(1)[:, :-1]  # one column more than the image, on its left
    with rasterio.open(data / "sen2_20210527_aber_mosaic.tif") as image:
        place = {"crs": image.crs, "transform": image.transform}
    height, width = codes_YX.shape
    shape = {"height": height, "width": width, "count": 1, "dtype": "uint8"}
    with rasterio.open(folder / "misplaced.tif", "w", driver="GTiff", **shape, **place) as target:
        target.write(codes_YX.astype(np.uint8), 1)
    text = AREA.format(data=data).replace(f"{data}/sen2_20210527_aber_cls.tif", "misplaced.tif")
    (folder / "config/areas/misplaced.yaml").write_text(text)
    done = snakemake(folder, "results/misplaced/select/tiles.csv")
    assert done.returncode == 0, done.stdout
    shift = json.loads((folder / "results/misplaced/select/shift.json").read_text())
    with capsys.disabled():
        print(f"\nAberystwyth, labels read by position: {shift['sentence']}")
    assert shift["is_wrong"] and 0.8 < shift["east"] < 1.2 and abs(shift["south"]) < 0.3
    log = (folder / "logs/misplaced/select/tiles.log").read_text()
    assert "1.0 px east" in log
    report = folder / "report.html"
    target = "results/misplaced/select/tiles.csv"
    done = snakemake(folder, "--report", report, target)
    assert done.returncode == 0, done.stdout
    assert "select/shift.png" in report.read_text()


def test_nodata_of_the_scene_stays_nodata(scored):
    """The map would claim classes where the satellite saw nothing."""
    folder, data = scored
    with rasterio.open(data / "sen2_20210527_aber_mosaic.tif") as source:
        empty_YX = (source.read() == 0).any(axis=0)
    with rasterio.open(folder / "results/aberystwyth_landcover.tif") as source:
        mapped_YX = source.read(1)
    assert empty_YX.any()
    assert np.array_equal(mapped_YX == 0, empty_YX)
