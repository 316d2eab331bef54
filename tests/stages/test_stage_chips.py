"""The stages on simulated chips of several sizes: parts, patches, predictions and scores."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from chip_making import chip_area, simulated_chip, write_chip, write_hdf5
from rasterio.transform import Affine
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score
from stages.stage_steps import mapmill, pack, read, refused, select, train

from mapmill.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
SIZE = 64
SHAPES = {"a1": (96, 128), "a2": (128, 128), "a10": (70, 90), "b1": (64, 64), "b2": (128, 64)}
OBLIQUE = Affine(0.08, 0.03, 496_000, 0.03, -0.08, 5_419_000)
PLACES = {
    "a1": ("EPSG:32631", Affine(10, 0, 400_000, 0, -10, 4_600_000)),
    "a2": ("EPSG:4326", Affine(9e-5, 0, -0.78, 0, -6e-5, 38.1)),
    "a10": ("EPSG:25832", OBLIQUE),
    "b1": (None, None),
    "b2": (None, Affine(10, 0, 7_000, 0, -10, 9_000)),
}


@pytest.fixture
def chips(tmp_path, monkeypatch):
    """A project folder with five chips; their codes (y, x) and images (band, y, x)."""
    monkeypatch.chdir(tmp_path)
    made = {}
    for seed, (name, shape) in enumerate(SHAPES.items()):
        code_YX, image_BYX = simulated_chip(*shape, seed)
        code_YX[20:30, 20:30] = -1
        image_BYX[:, 2:6, 3:9] = np.nan
        image_BYX[1, 40:44, 50:53] = np.nan  # one band is enough
        crs, transform = PLACES[name]
        write_chip(f"data/image/{name}.tif", image_BYX, crs=crs, transform=transform)
        write_chip(f"data/mask/{name}.tif", code_YX, crs=crs, transform=transform)
        made[name] = code_YX, image_BYX
    return made


def rows_of(area):
    """The table of tiles as text."""
    with Path(f"results/{area.stem}/select/tiles.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def padded(array, row, col, fill):
    """A tile of an array that may end before the tile does."""
    tile = array[..., row : row + SIZE, col : col + SIZE]
    pads = [(0, 0)] * (array.ndim - 2) + [(0, SIZE - n) for n in tile.shape[-2:]]
    return np.pad(tile, pads, constant_values=fill)


def predict(area, *names, map_name="landcover"):
    """Predict chips."""
    for name in names:
        output = Path(f"results/{area.stem}/predict/{map_name}/{name}.tif")
        mapmill("predict", area, map_name, name, output)


def assess(area):
    """Score the map; its scores."""
    folder = Path(f"results/{area.stem}/assess/landcover")
    mapmill("assess", area, "landcover", folder / "metrics.json")
    return json.loads((folder / "metrics.json").read_text())


def invented_prediction(area, chips, wrong=0.2):
    """Write maps that are wrong on a share of the pixels, in the place of predictions."""
    random, made = np.random.default_rng(5), {}
    for name, (code_YX, image_BYX) in chips.items():
        right_YX = np.where(code_YX < 0, 1, code_YX + 1)
        flip_YX = random.random(code_YX.shape) < wrong
        mapped_YX = np.where(flip_YX, 3 - right_YX, right_YX)
        mapped_YX[np.isnan(image_BYX).any(axis=0)] = 0
        made[name] = mapped_YX.astype(np.uint8)
        path = Path(f"results/{area.stem}/predict/landcover/{name}.tif")
        write_chip(path, np.stack([made[name], np.full_like(made[name], 80)]), crs=None)
        with rasterio.open(path, "r+") as target:
            target.set_band_description(1, "class")
            target.set_band_description(2, "confidence")
    return made


def test_every_pixel_is_in_one_tile_and_its_shares_are_right(chips):
    """Pixels at the edges of chips would be left out, or padding be counted as imagery."""
    area = chip_area("tiles")
    select(area)
    rows = rows_of(area)
    counted = Counter(row["chip"] for row in rows)
    assert counted == {"a1": 4, "a2": 4, "a10": 4, "b1": 1, "b2": 2}
    assert list(dict.fromkeys(row["chip"] for row in rows)) == ["a1", "a2", "a10", "b1", "b2"]
    for row in rows:
        code_YX, image_BYX = chips[row["chip"]]
        top, left = int(row["row"]), int(row["col"])
        assert row["tile"] == f"{row['chip']}-y{top}x{left}" and row["period"] == ""
        there_YX = ~np.isnan(padded(image_BYX, top, left, np.nan)).any(axis=0)
        codes_YX = padded(code_YX, top, left, -1)
        assert float(row["valid"]) == pytest.approx(there_YX.mean(), abs=1e-6)
        assert float(row["labelled"]) == pytest.approx((codes_YX >= 0).mean(), abs=1e-6)
        found = [int(row[f"class_{value}"]) for value in (1, 2)]
        assert found == [(codes_YX == 0).sum(), (codes_YX == 1).sum()]
        assert (row["dropped"] == "too little imagery") == (there_YX.mean() < 0.3)
    assert [r["tile"] for r in rows if r["dropped"]] == ["a10-y64x0", "a10-y64x64"]


def test_a_chip_has_one_part_and_one_fold(chips):
    """A chip's pixels would be learnt from and scored, or two folds share one."""
    area = chip_area("whole", select={"size": SIZE, "split": {"method": "chip"}})
    select(area)
    parts = {(row["chip"], row["split"], row["fold"]) for row in rows_of(area)}
    assert len(parts) == 5 and {part for _, part, _ in parts} == {"train", "val", "test"}
    assert {fold for _, _, fold in parts} == {""}
    split = {"method": "chip", "folds": 5, "fold": 3}
    select(chip_area("folds", select={"size": SIZE, "split": split}))
    folds = {row["chip"]: (row["fold"], row["split"]) for row in rows_of(Path("folds.yaml"))}
    expected = {"3": "test", "4": "val", "0": "train", "1": "train", "2": "train"}
    assert dict(folds.values()) == expected


def test_groups_and_published_parts_come_from_the_table(chips):
    """An event would be on both sides of the split, or a published split not be followed."""
    lines = ["chip,event,part", "a1,A,train", "a2,A,val", "a10,A,test", "b1,B,val", "b2,C,train"]
    Path("data/chips.csv").write_text("\n".join(lines) + "\n")
    base = {
        "images": [{"files": "data/image/{chip}.tif", "bands": ["B03", "B04", "B08"]}],
        "masks": {"files": "data/mask/{chip}.tif"},
        "table": "data/chips.csv",
    }
    chosen = {"size": SIZE, "min_valid": 0.1, "split": {"method": "column", "column": "part"}}
    select(chip_area("published", chips=base, select=chosen))
    found = {row["chip"]: row["split"] for row in rows_of(Path("published.yaml"))}
    assert found == {"a1": "train", "a2": "val", "a10": "test", "b1": "val", "b2": "train"}
    chosen = {"size": SIZE, "split": {"method": "column", "column": "event"}}
    select(chip_area("events", chips=base, select=chosen))
    found = {row["chip"]: row["split"] for row in rows_of(Path("events.yaml"))}
    assert found["a1"] == found["a2"] == found["a10"]
    assert {found["a1"], found["b1"], found["b2"]} == {"train", "val", "test"}


def test_patches_are_the_pixels_of_their_chips(chips):
    """The net would learn shifted images, or the padding beyond a chip's edge as land."""
    area = chip_area("patches", select={"size": SIZE, "min_valid": 0.0, "min_labelled": 0.0})
    select(area)
    store = zarr.open_group(pack(area), mode="r")
    kept = [row for row in rows_of(area) if not row["dropped"]]
    assert store["image"].shape == (len(kept), 3, SIZE, SIZE) and len(kept) == 15
    for index, row in enumerate(kept):
        code_YX, image_BYX = chips[row["chip"]]
        top, left = int(row["row"]), int(row["col"])
        np.testing.assert_array_equal(store["image"][index], padded(image_BYX, top, left, np.nan))
        expected_YX = padded(code_YX + 1, top, left, 0)
        np.testing.assert_array_equal(store["label"][index], expected_YX)
        assert store.attrs["pieces"][store["piece"][index]] == row["chip"]
        assert store.attrs["splits"][store["split"][index]] == row["split"]
    learnt = [i for i, row in enumerate(kept) if row["split"] == "train"]
    pixels = store["image"][:][learnt].transpose(1, 0, 2, 3)
    valid = ~np.isnan(pixels).any(axis=0)
    statistics = store.attrs["statistics"]
    assert statistics["pixels"] == [valid.sum()]
    assert statistics["mean"] == pytest.approx(pixels[:, valid].mean(axis=1, dtype=float))
    assert statistics["sd"] == pytest.approx(pixels[:, valid].std(axis=1, dtype=float))


def test_patches_of_whole_numbers_are_padded_with_0(chips):
    """uint16 chips would be padded with noise, or their padding taken for dark land."""
    for name, (_, image_BYX) in chips.items():
        whole_BYX = np.nan_to_num(image_BYX * 100).clip(0).astype(np.uint16)
        write_chip(f"data/image/{name}.tif", whole_BYX, crs=None)
        write_chip(f"data/mask/{name}.tif", chips[name][0], crs=None)
    area = chip_area("whole", compose={"dtype": "uint16"}, select={"size": SIZE, "min_valid": 0.0})
    select(area)
    store = zarr.open_group(pack(area), mode="r")
    names = [f"{r['chip']} {r['row']} {r['col']}" for r in rows_of(area) if not r["dropped"]]
    image_BYX = store["image"][names.index("a10 64 0")]
    assert image_BYX.dtype == np.uint16
    assert image_BYX[:, :6].all() and not image_BYX[:, 6:].any()
    assert not store["label"][names.index("a10 64 0")][6:].any()


def test_predictions_lie_where_their_chips_lie(chips):
    """A map would be moved, warped or given a place that nobody knows; holes be filled in."""
    area = chip_area("mapped")
    select(area)
    pack(area)
    train(area, "unet-1")
    predict(area, *chips)
    for name, (_, image_BYX) in chips.items():
        with rasterio.open(f"results/mapped/predict/landcover/{name}.tif") as source:
            crs, transform = PLACES[name]
            assert source.crs == (rasterio.CRS.from_string(crs) if crs else None)
            assert source.transform == (transform or Affine.identity())
            assert (source.nodata, source.descriptions) == (0, ("class", "confidence"))
            class_YX, confidence_YX = source.read()
        missing_YX = np.isnan(image_BYX).any(axis=0)
        np.testing.assert_array_equal(class_YX == 0, missing_YX)
        np.testing.assert_array_equal(confidence_YX == 0, missing_YX)
        assert set(np.unique(class_YX[~missing_YX])) <= {1, 2}
    assert assess(area)["parts"]["test"]["pixels"] > 0


def test_a_threshold_from_validation_chips_makes_the_map(chips):
    """A rare class would be missed though the validation part shows where to cut."""
    area = chip_area("cut", train={"steps": 6}, predict={"threshold": "validation"})
    select(area)
    pack(area)
    train(area, "unet-1")
    mapmill("calibrate", area, "landcover", "results/cut/calibrate/landcover.json")
    found = json.loads(Path("results/cut/calibrate/landcover.json").read_text())
    names = {row["chip"] for row in rows_of(area) if row["split"] == "val"}
    labelled = sum(
        ((chips[name][0] >= 0) & ~np.isnan(chips[name][1]).any(axis=0)).sum() for name in names
    )
    assert 0 < found["parts"]["val"]["pixels"] <= labelled
    predict(area, "b1")
    after = read("results/cut/predict/landcover/b1.tif")[0]
    text = Path("config/areas/cut.yaml").read_text()
    numbered = text.replace("threshold: validation", f"threshold: {found['threshold']}")
    Path("config/areas/cut.yaml").write_text(numbered)
    assert numbered != text
    predict(area, "b1")
    np.testing.assert_array_equal(read("results/cut/predict/landcover/b1.tif")[0], after)


def test_holes_do_not_leak_into_their_surroundings(chips):
    """What stands in for a missing value would change the map around it."""
    area = chip_area("leak")
    select(area)
    pack(area)
    train(area, "unet-1")
    results = []
    for number, hidden in enumerate((0.0, 1e9)):
        _, image_BYX = chips["b1"]
        other_BYX = np.where(np.isnan(image_BYX).any(axis=0), hidden, image_BYX)
        other_BYX[1, 2:6, 3:9] = np.nan  # of one pixel one band is missing, others vary
        other_BYX[0, 40:44, 50:53] = np.nan
        write_chip("data/image/b1.tif", other_BYX.astype(np.float32), crs=None)
        output = Path(f"out{number}.tif")
        mapmill("predict", area, "landcover", "b1", output)
        results.append(read(output))
    np.testing.assert_array_equal(*results)
    assert results[0][0].any()


def part_mask(area, name, split, shape):
    """(y, x) bool: pixels of a chip in the part's tiles, dropped ones too."""
    inside_YX = np.zeros(shape, bool)
    for row in rows_of(area):
        if (row["chip"], row["split"]) == (name, split):
            top, left = int(row["row"]), int(row["col"])
            inside_YX[top : top + SIZE, left : left + SIZE] = True
    return inside_YX


@pytest.mark.parametrize("method", ["chip", "random"])
def test_scores_are_those_of_each_chip_and_of_all(chips, method):
    """Published scores would be wrong, or hold pixels of tiles that were learnt from."""
    area = chip_area("scores", select={"size": SIZE, "split": {"method": method}})
    select(area)
    mapped = invented_prediction(area, chips)
    found = assess(area)
    with Path("results/scores/assess/landcover/cells.csv").open(newline="") as file:
        cells = {(row["part"], row["chip"]): row for row in csv.DictReader(file)}
    for split in ("val", "test"):
        truths, maps, total = [], [], np.zeros((2, 2), int)
        for name, (code_YX, _) in chips.items():
            used_YX = part_mask(area, name, split, code_YX.shape)
            used_YX &= (code_YX >= 0) & (mapped[name] > 0)
            if not used_YX.any():
                assert name not in found["parts"][split]["chips"]
                continue
            truth, made = code_YX[used_YX] + 1, mapped[name][used_YX]
            chip = found["parts"][split]["chips"][name]
            assert chip["pixels"] == used_YX.sum()
            assert chip["overall accuracy"] == pytest.approx(accuracy_score(truth, made), abs=1e-6)
            iou = jaccard_score(truth, made, average="macro")
            assert chip["mean IoU"] == pytest.approx(iou, abs=1e-6)
            f1 = f1_score(truth, made, average="macro")
            assert chip["mean F1"] == pytest.approx(f1, abs=1e-6)
            assert float(cells[split, name]["mean F1"]) == chip["mean F1"]
            assert int(cells[split, name]["pixels"]) == chip["pixels"]
            total += confusion_matrix(truth, made, labels=[1, 2])
            truths.append(truth)
            maps.append(made)
        part = found["parts"][split]
        assert len(part["chips"]) == len(truths) > 0
        assert part["pixels"] == total.sum()
        assert [row["reference_pixels"] for row in part["classes"]] == total.sum(axis=1).tolist()
        assert [row["mapped_pixels"] for row in part["classes"]] == total.sum(axis=0).tolist()
        pooled = part["models"]["map"]["mean IoU"][0]
        expected = jaccard_score(np.concatenate(truths), np.concatenate(maps), average="macro")
        assert pooled == pytest.approx(expected, abs=1e-6)
        over = [chip["mean IoU"] for chip in part["chips"].values()]
        spread = np.std(over, ddof=1) if len(over) > 1 else None
        assert part["over_chips"]["mean IoU"][0] == pytest.approx(np.mean(over), abs=2e-6)
        assert part["over_chips"]["mean IoU"][1] == (spread and pytest.approx(spread, abs=2e-6))
    with Path("results/scores/assess/landcover/confusion.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    np.testing.assert_array_equal([[int(cell) for cell in row[1:]] for row in rows], total)


def test_random_tiles_are_dealt_over_all_chips(chips):
    """Chips of one tile each would all be learnt from and none be scored."""
    for name in ("a1", "a2", "a10", "b2"):
        for kind in ("image", "mask"):
            Path(f"data/{kind}/{name}.tif").unlink()
    for number in range(10):
        code_YX, image_BYX = simulated_chip(SIZE, SIZE, number)
        write_chip(f"data/image/c{number}.tif", image_BYX, crs=None)
        write_chip(f"data/mask/c{number}.tif", code_YX, crs=None)
    area = chip_area("single", select={"size": SIZE, "split": {"method": "random"}})
    select(area)
    counted = Counter(row["split"] for row in rows_of(area))
    assert counted == {"train": 7, "val": 2, "test": 2}


def test_chips_without_masks_have_no_part_and_no_score(chips, capsys):
    """Unlabelled chips would fill the test part, and the scores stop for want of their map."""
    for name in ("a2", "b1"):
        Path(f"data/mask/{name}.tif").unlink()
    for method in ("chip", "random"):
        area = chip_area("partly", select={"size": SIZE, "split": {"method": method}})
        select(area)
        rows = rows_of(area)
        unlabelled = [row for row in rows if row["chip"] in ("a2", "b1")]
        assert {(row["split"], row["dropped"]) for row in unlabelled} == {("", "no mask")}
        assert {r["split"] for r in rows if r not in unlabelled} == {"train", "val", "test"}
        labelled = {name: chips[name] for name in ("a1", "a10", "b2")}
        invented_prediction(area, labelled)
        parts = assess(area)["parts"]
        scored = {name for part in parts.values() for name in part["chips"]}
        assert scored and scored <= set(labelled)
    capsys.readouterr()
    mapmill("check", area)
    printed = capsys.readouterr()
    assert printed.out.split() == [
        "results/partly/assess/landcover/metrics.json",
        "results/partly/assess/landcover/scores.html",
        "results/partly/predict/landcover/a2.tif",
        "results/partly/predict/landcover/b1.tif",
    ]
    assert "5 chips, 3 with masks" in printed.err


def test_check_and_show(chips, capsys):
    """A user would not learn what to ask for, or look for a mosaic that chips do not have."""
    area = chip_area("shown")
    mapmill("check", area)
    made = ["metrics.json", "scores.html"]
    expected = [f"results/shown/assess/landcover/{name}" for name in made]
    assert capsys.readouterr().out.split() == expected
    line = refused(capsys, "show", area)
    assert "snakemake --cores all results/shown/assess/landcover/metrics.json" in line
    select(area)
    invented_prediction(area, chips)
    assess(area)
    capsys.readouterr()
    mapmill("show", area)
    shown = capsys.readouterr().out
    assert "test part: " in shown and "in 1 chip\n" in shown
    assert "chips    results/shown/predict/landcover\n" in shown
    assert "shown_landcover.tif" not in shown


def assert_select_refuses(area, capsys):
    """The line of `select`, which must leave no file."""
    outputs = [f"out/{name}" for name in ("tiles.csv", "tiles.png", "shift.png")]
    line = refused(capsys, "select", area, *outputs)
    assert not [path for path in Path("out").rglob("*") if path.is_file()]
    return line


def test_a_mask_of_another_shape_stops_select(chips, capsys):
    """Labels would be laid over other pixels; or half a table be taken for a whole one."""
    write_chip("data/mask/b2.tif", chips["b2"][0][:-1], crs=None)
    line = assert_select_refuses(chip_area("shape"), capsys)
    assert "data/mask/b2.tif: found 64 x 127 px; expected 64 x 128 px" in line


@pytest.mark.parametrize("suffix", ["h5", "tif"])
def test_a_broken_chip_stops_select(chips, capsys, suffix):
    """A damaged file would be learnt as empty land, or end in a page of Python."""
    area = chip_area("broken")
    if suffix == "h5":
        for name, (_, image_BYX) in chips.items():
            write_hdf5(f"data/image/{name}.h5", img=image_BYX.transpose(1, 2, 0))
        area.write_text(area.read_text().replace("image/{chip}.tif", "image/{chip}.h5"))
    path = Path(f"data/image/a10.{suffix}")
    path.write_bytes(path.read_bytes()[:-100])
    assert f"data/image/a10.{suffix}: " in assert_select_refuses(area, capsys)


def test_too_few_chips_stop_select(chips, capsys):
    """A part without a chip would be found after training."""
    split = {"method": "chip", "folds": 6}
    line = assert_select_refuses(chip_area("few", select={"size": SIZE, "split": split}), capsys)
    assert "5 chips; expected at least 6" in line


def test_unknown_chip_is_one_line(chips, capsys):
    """A typing error in a chip's name would end in a page of Python."""
    area = chip_area("named")
    select(area)
    pack(area)
    train(area, "unet-1")
    assert "one of a1, a2, a10, b1, b2" in refused(
        capsys, "predict", area, "landcover", "zz", "out.tif"
    )
    assert main(["predict", str(area), "landcover", "a1", "out.tif"]) == 0
