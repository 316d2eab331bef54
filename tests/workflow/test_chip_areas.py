"""The chip areas that are shipped, as a user runs them, on simulated chips; and one real chip."""

import csv
import json
import shutil
import time

import numpy as np
import pytest
import rasterio
import yaml
from chip_making import write_chip, write_hdf5
from rasterio.transform import Affine
from running import ROOT, planned, snakemake
from sklearn.metrics import confusion_matrix, jaccard_score

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
QUICK = {"width": 8, "depth": 2, "batch": 4, "steps": 16, "validate_every": 8, "threads": 1}
QUICK |= {"learning_rate": 0.005}


def shipped(folder, name, **changes):
    """Put a shipped area into a folder, its training made quick and some sections changed."""
    content = yaml.safe_load((ROOT / f"config/areas/{name}.yaml").read_text())
    for section, values in ({"train": QUICK, "predict": {"threads": 1}} | changes).items():
        content[section] = {**content.get(section, {}), **values}
    path = folder / f"config/areas/{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def run(folder, *targets):
    """Run the workflow, which must work."""
    done = snakemake(folder, *targets, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stdout
    return done.stdout


def metrics_of(folder, area, name):
    """Scores of a map."""
    return json.loads((folder / f"results/{area}/assess/{name}/metrics.json").read_text())


def rows_of(folder, area):
    """The table of tiles as text."""
    with (folder / f"results/{area}/select/tiles.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def first_band(path):
    """The first band of a raster."""
    with rasterio.open(path) as source:
        return source.read(1)


def blobs(random, height, width, classes=2, side=16):
    """Simulated classes 0 to K - 1 (y, x) in squares, every one of them somewhere."""
    coarse = random.integers(0, classes, (-(-height // side), -(-width // side)))
    coarse.flat[random.permutation(coarse.size)[:classes]] = np.arange(classes)
    return np.kron(coarse, np.ones((side, side), int))[:height, :width]


def test_landslide4sense(tmp_path, capsys):
    """HDF5 chips as published could not be learnt from, or be scored by another chip's mask."""
    start, random = time.monotonic(), np.random.default_rng(0)
    root, truth = tmp_path / "data/landslide4sense/TrainData", {}
    for number in range(1, 7):
        mask_YX = truth[str(number)] = blobs(random, 128, 128).astype(np.uint8)
        img_YXB = random.normal(1, 0.2, (128, 128, 14)) + mask_YX[..., None] * 0.8
        write_hdf5(root / f"img/image_{number}.h5", img=img_YXB)
        write_hdf5(root / f"mask/mask_{number}.h5", mask=mask_YX)
    split = {"method": "chip", "folds": 3, "fold": 0}
    shipped(tmp_path, "landslide", select={"split": split})
    target = "results/landslide/assess/landslide/metrics.json"
    run(tmp_path, target)
    assert planned(tmp_path, target) == {}
    parts = metrics_of(tmp_path, "landslide", "landslide")["parts"]
    part_of = {row["chip"]: row["split"] for row in rows_of(tmp_path, "landslide")}
    for split in ("val", "test"):
        names = [name for name, part in part_of.items() if part == split]
        assert len(names) == 2 and set(parts[split]["chips"]) == set(names)
        total = np.zeros((2, 2), int)
        for name in names:
            path = tmp_path / f"results/landslide/predict/landslide/{name}.tif"
            matrix = confusion_matrix(truth[name].ravel() + 1, first_band(path).ravel())
            right = np.trace(matrix) / matrix.sum()
            found = parts[split]["chips"][name]["overall accuracy"]
            assert found == pytest.approx(right, abs=1e-6)
            total += matrix
        pooled = np.diag(total) / (total.sum(axis=0) + total.sum(axis=1) - np.diag(total))
        score = parts[split]["models"]["map"]["mean IoU"][0]
        assert score == pytest.approx(pooled.mean(), abs=1e-6)
    assert score > 0.6  # the simulated bands tell the classes apart
    with capsys.disabled():
        print(f"\nlandslide: {time.monotonic() - start:.0f} s, test mean IoU {score:.3f}")


def test_luzon(tmp_path, capsys):
    """Pixels without radar would be mapped, unknown ones be learnt, or dry land be ignored."""
    start, random = time.monotonic(), np.random.default_rng(1)
    truth, missing = {}, {}
    for number in range(4):
        name, flood_YX = f"scene-{number}", blobs(random, 256, 256, side=32)
        code_YX = np.where(random.random(flood_YX.shape) < 0.1, -1, flood_YX)
        image = np.stack([-9 - 8.0 * flood_YX, -16 - 8.0 * flood_YX])
        image = (image + random.normal(0, 2, image.shape)).astype(np.float32)
        image[:, 30:60, : 40 + number] = np.nan
        image[1, 100:103, 100:103] = np.nan
        place = {"crs": "EPSG:32651", "place": (2560 * number, 0)}
        write_chip(tmp_path / f"data/luzon/image/{name}.tif", image, nodata=np.nan, **place)
        write_chip(tmp_path / f"data/luzon/mask/{name}.tif", code_YX.astype(np.int16), **place)
        truth[name], missing[name] = code_YX, np.isnan(image).any(axis=0)
    shipped(tmp_path, "luzon")
    run(tmp_path, "results/luzon/assess/flood/metrics.json")
    made = {path.stem for path in (tmp_path / "results/luzon/predict/flood").glob("*.tif")}
    assert 0 < len(made) < 4  # chips that only train are mapped when they are asked for
    run(tmp_path, *(f"results/luzon/predict/flood/{name}.tif" for name in truth))
    for number, name in enumerate(truth):
        with rasterio.open(tmp_path / f"results/luzon/predict/flood/{name}.tif") as source:
            assert source.crs.to_epsg() == 32651 and source.nodata == 0
            assert source.transform.c == 400_000 + 2560 * number
            np.testing.assert_array_equal(source.read(1) == 0, missing[name])
    part = metrics_of(tmp_path, "luzon", "flood")["parts"]["test"]
    (name,) = part["chips"]
    mapped_YX = first_band(tmp_path / f"results/luzon/predict/flood/{name}.tif")
    used_YX = (truth[name] >= 0) & ~missing[name]
    assert part["pixels"] == used_YX.sum()
    score = jaccard_score(truth[name][used_YX] + 1, mapped_YX[used_YX], average="macro")
    assert part["chips"][name]["mean IoU"] == pytest.approx(score, abs=1e-6)
    assert score > 0.6
    with capsys.disabled():
        print(f"\nluzon: {time.monotonic() - start:.0f} s, test mean IoU {score:.3f}")


COLOURS = [(255,) * 3, (0, 0, 255), (0, 255, 255), (0, 255, 0), (255, 255, 0), (255, 0, 0)]
AREAS = {1: (150, 110), 3: (90, 200), 5: (128, 128), 7: (140, 100), 11: (100, 140), 30: (130, 90)}
UNLABELLED = {2: (100, 90)}


def write_vaihingen(folder, random):
    """Simulated orthophotos, surface models and colour masks of odd sizes; their classes."""
    data, truth = folder / "data/vaihingen", {}
    palette = np.array([*COLOURS, (0, 0, 0)], np.uint8)
    for number, shape in (AREAS | UNLABELLED).items():
        class_YX = blobs(random, *shape, classes=6)
        level = np.array([[90, 60, 200, 160, 120, 40], [110, 140, 60, 40, 90, 170]])
        level = np.stack([*level, level.sum(axis=0) // 2])[:, class_YX]
        top = np.clip(random.normal(level, 12), 0, 255).astype(np.uint8)
        height = 270 + np.array([0, 9, 0, 6, 1.5, 1])[class_YX] + random.normal(0, 0.3, shape)
        place = Affine(0.09, 0, 496_000 + 100 * number, 0, -0.09, 5_419_000)
        mosaic = f"top_mosaic_09cm_area{number}.tif"
        write_chip(data / "top" / mosaic, top, crs=None, transform=place)
        dsm = data / f"dsm/dsm_09cm_matching_area{number}.tif"
        write_chip(dsm, height.astype(np.float32), crs=None, transform=place)
        if number in AREAS:
            class_YX[40:44] = 6  # an eroded border
            colours = palette[class_YX].transpose(2, 0, 1)
            write_chip(data / "gts_for_participants" / mosaic, colours, crs=None)
            truth[str(number)] = class_YX
    return truth


def test_vaihingen(tmp_path, capsys):
    """One of the three ways of sampling would not run, or mix chips, parts, colours or sizes."""
    start, random = time.monotonic(), np.random.default_rng(2)
    truth = write_vaihingen(tmp_path, random)
    packed = "results/vaihingen/pack/patches.zarr/zarr.json"
    quick = {"train": QUICK | {"steps": 40}}
    path = shipped(tmp_path, "vaihingen", select={"size": 64, "split": {"method": "random"}})
    run(tmp_path, packed)
    parts_of = chips_by_part(rows_of(tmp_path, "vaihingen"))
    assert any(len(parts) > 1 for parts in parts_of.values())

    strata = dict(zip(truth, ["centre", "villas"] * 3, strict=True))
    table = "".join(f"{number},{stratum}\n" for number, stratum in strata.items())
    (tmp_path / "data/vaihingen/tiles.csv").write_text(f"chip,stratum\n{table}")
    content = yaml.safe_load(path.read_text())
    chips = content["chips"] | {"table": "data/vaihingen/tiles.csv"}
    by_stratum = {"method": "chip", "strata": "stratum"}
    shipped(tmp_path, "vaihingen", chips=chips, select={"size": 64, "split": by_stratum})
    run(tmp_path, packed)
    parts_of = chips_by_part(rows_of(tmp_path, "vaihingen"))
    for stratum in ("centre", "villas"):
        parts = [parts_of[chip] for chip in truth if strata[chip] == stratum]
        assert sorted(map(sorted, parts)) == [["test"], ["train"], ["val"]]

    shipped(tmp_path, "vaihingen", select={"size": 64}, **quick)
    unseen = "results/vaihingen/predict/objects/2.tif"
    run(tmp_path, "results/vaihingen/assess/objects/metrics.json", unseen)
    parts_of = chips_by_part(rows_of(tmp_path, "vaihingen"))
    assert "2" not in parts_of and all(len(parts) == 1 for parts in parts_of.values())
    part = metrics_of(tmp_path, "vaihingen", "objects")["parts"]["test"]
    assert set(part["chips"]) == {chip for chip, parts in parts_of.items() if parts == {"test"}}
    for name, chip in part["chips"].items():
        with rasterio.open(tmp_path / f"results/vaihingen/predict/objects/{name}.tif") as source:
            mapped_YX = source.read(1)
            assert source.crs is None and source.transform.c == 496_000 + 100 * int(name)
        used_YX = truth[name] < 6
        assert chip["pixels"] == used_YX.sum()
        right = (truth[name][used_YX] + 1 == mapped_YX[used_YX]).mean()
        assert chip["overall accuracy"] == pytest.approx(right, abs=1e-6)
    assert first_band(tmp_path / unseen).shape == UNLABELLED[2]
    score = part["models"]["map"]["overall accuracy"][0]
    assert score > 0.5
    with capsys.disabled():
        print(f"\nvaihingen: {time.monotonic() - start:.0f} s, test accuracy {score:.3f}")


def chips_by_part(rows):
    """The parts of each chip that has any."""
    found = {}
    for row in rows:
        if row["split"]:
            found.setdefault(row["chip"], set()).add(row["split"])
    return found


SPAIN = """
title: Flood in Spain
attribution: [Contains modified Copernicus Sentinel data, "Labels: Sen1Floods11, Cloud to Street"]
chips:
  images:
    - files: {data}/{{chip}}_S1Hand.tif
      bands: [VV, VH]
  masks: {{files: "{data}/{{chip}}_LabelHand.tif"}}
classes:
  1: {{name: dry, colour: "#d9d4c7"}}
  2: {{name: water, colour: "#2f6fb7"}}
labels:
  codes: {{-1: 0, 0: 1, 1: 2}}
compose: {{bands: [VV, VH], dtype: float32, units: dB}}
select:
  size: 128
  split: {{method: random, train: 0.6, val: 0.15, test: 0.25}}
train: {{width: 8, depth: 3, steps: 90, batch: 4, validate_every: 30, learning_rate: 0.005,
  threads: 1}}
predict: {{threads: 2}}
runs: {{unet: {{}}}}
maps: {{flood: {{run: unet}}}}
"""


def test_a_real_flood(tmp_path, real_data, capsys):
    """A real radar chip with hand-made labels could not be learnt from, or its map be placed."""
    start, data = time.monotonic(), real_data / "sen1floods11_spain"
    path = tmp_path / "config/areas/spain.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(SPAIN.format(data=data))
    run(tmp_path, "results/spain/assess/flood/metrics.json")
    chip = "Spain_7370579"
    with (
        rasterio.open(tmp_path / f"results/spain/predict/flood/{chip}.tif") as mapped,
        rasterio.open(data / f"{chip}_S1Hand.tif") as image,
    ):
        assert mapped.crs == image.crs == rasterio.CRS.from_epsg(4326)
        assert mapped.transform == image.transform and mapped.shape == image.shape
        class_YX = mapped.read(1)
        np.testing.assert_array_equal(class_YX == 0, np.isnan(image.read()).any(axis=0))
    code_YX = first_band(data / f"{chip}_LabelHand.tif")
    tested_YX = np.zeros(code_YX.shape, bool)
    tiles = [row for row in rows_of(tmp_path, "spain") if row["split"] == "test"]
    assert len(tiles) == 4
    for row in tiles:
        top, left = int(row["row"]), int(row["col"])
        tested_YX[top : top + 128, left : left + 128] = True
    used_YX = tested_YX & (code_YX >= 0)
    matrix = confusion_matrix(code_YX[used_YX] + 1, class_YX[used_YX], labels=[1, 2])
    part = metrics_of(tmp_path, "spain", "flood")["parts"]["test"]
    assert part["pixels"] == matrix.sum() and list(part["chips"]) == [chip]
    iou = matrix[1, 1] / (matrix[1].sum() + matrix[:, 1].sum() - matrix[1, 1])
    assert part["classes"][1]["iou"] == pytest.approx(iou, abs=1e-6)
    with rasterio.open(data / f"{chip}_S1Hand.tif") as source:
        dark_YX = source.read(1) < -14.25  # the best threshold of VV in the training tiles
    by_threshold = jaccard_score(code_YX[used_YX], dark_YX[used_YX])
    assert iou > by_threshold + 0.03
    with capsys.disabled():
        scores = part["models"]["map"]
        said = f"test water IoU {iou:.3f}, {by_threshold:.3f} by a threshold; {scores}"
        print(f"\nSpain: {time.monotonic() - start:.0f} s, {said}")


def test_mistakes_are_one_line(tmp_path):
    """A missing file or a broken chip would bury the user under a traceback."""
    random = np.random.default_rng(3)
    target = "results/luzon/assess/flood/metrics.json"
    shipped(tmp_path, "luzon")
    assert "no file like data/luzon/mask/{chip}.tif" in one_line(tmp_path, target)
    for number in range(3):
        image = random.normal(-10, 2, (2, 256, 256)).astype(np.float32)
        write_chip(tmp_path / f"data/luzon/image/{number}.tif", image)
        mask_YX = blobs(random, 256, 256).astype(np.int16)
        write_chip(tmp_path / f"data/luzon/mask/{number}.tif", mask_YX)
    shutil.copy(tmp_path / "data/luzon/mask/2.tif", tmp_path / "data/luzon/mask/9.tif")
    line = one_line(tmp_path, target)
    assert "data/luzon/mask/9.tif: found no counterpart of chip 9" in line
    (tmp_path / "data/luzon/mask/9.tif").unlink()
    assert "expected one of 0, 1, 2" in one_line(tmp_path, "results/luzon/predict/flood/7.tif")
    assert "chips have no blocks and no mosaic" in one_line(tmp_path, "results/luzon_flood.tif")
    (tmp_path / "data/luzon/mask/1.tif").write_text("<html>Please log in</html>")
    assert "data/luzon/mask/1.tif: " in one_line(tmp_path, "results/luzon/select/tiles.csv")
    assert not list((tmp_path / "results").rglob("*.*"))


def one_line(folder, target):
    """What the workflow says where it refuses."""
    done = snakemake(folder, target)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout
    lines = {
        line.strip()
        for line in done.stdout.splitlines()
        if "mapmill" in line and ": found " in line
    }
    assert len(lines) == 1, done.stdout
    return lines.pop()
