"""select and pack: which tiles are learnt from, and that their patches are the area's pixels."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
import xarray
import zarr
from making import CRS, LEFT, STEP, TOP, simulated_scene, write_tif
from pyproj import Transformer
from stages.stage_steps import (
    PERIOD,
    area_with,
    compose,
    downsample,
    mapmill,
    pack,
    refused,
    select,
    write_blocks,
    write_quality,
)

from mapmill import tiling
from mapmill.parts import find_parts
from mapmill.stages import pack as pack_stage

SIZE = 32
SPLIT = {"method": "strips", "direction": "west-east", "train": 0.5, "val": 1 / 6, "test": 1 / 3}
"""Training west of column 96, validation west of 128."""
FLOAT = {"dtype": "float32"}


@pytest.fixture
def scene(small_area):
    """Labels and image with holes: each tile of the first column of the table has one fault."""
    label_YX, image_BYX = simulated_scene()
    image_BYX[:, :32, :32] = 0
    image_BYX[1, :24, 32:64] = 0  # one band is enough to make a pixel invalid
    label_YX[:32, 64:96] = 0
    label_YX[32:64, :32] = 0
    label_YX[40:44, 8:16] = 2
    label_YX[32:64, 32:64] = 3
    label_YX[100, 4] = 1
    image_BYX[2, 70:80, 70:80] = 0
    write_scene(label_YX, image_BYX)
    return label_YX, image_BYX


def write_scene(label_YX, image_BYX, nodata=None):
    write_tif(Path("data/labels.tif"), label_YX)
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(Path(f"data/S1_{band}.tif"), values, nodata=nodata)


def prepared(name, compose_section=(), **chosen):
    area = area_with(name, select={"split": SPLIT, **chosen}, compose=dict(compose_section))
    compose(area)
    downsample(area)
    return area


def table(path):
    with path.open(newline="") as file:
        return {row["tile"]: row for row in csv.DictReader(file)}


def window(row):
    top, left, size = int(row["row"]), int(row["col"]), int(row["size"])
    return slice(top, top + size), slice(left, left + size)


def test_counts_and_shares(scene):
    """The table would promise classes or imagery that a tile does not have."""
    label_YX, image_BYX = scene
    rows = table(select(prepared("counts", stride=24)))
    assert len(rows) == 6 * 7
    for row in rows.values():
        place = window(row)
        counts = np.bincount(label_YX[place].ravel(), minlength=4)
        assert [int(row[f"class_{n}"]) for n in (1, 2, 3)] == counts[1:].tolist()
        assert float(row["labelled"]) == pytest.approx(counts[1:].sum() / SIZE**2, abs=1e-6)
        valid = (image_BYX[(slice(None), *place)] > 0).all(axis=0)
        assert float(row["valid"]) == pytest.approx(valid.mean(), abs=1e-6)


def test_why_tiles_are_dropped(scene):
    """Tiles of nothing but cloud, sea or unlabelled ground would be learnt from."""
    rows = table(select(prepared("why", drop_only=[3])))
    reasons = {tile: row["dropped"] for tile, row in rows.items()}
    expected = {
        "y0x0": "no imagery",
        "y0x32": "too little imagery",
        "y0x64": "no labels",
        "y32x0": "too few labels",
        "y32x32": "only dropped classes",
    }
    assert {tile: reason for tile, reason in reasons.items() if reason} == expected
    parts = {tile: row["split"] for tile, row in rows.items()}
    west_to_east = ["train", "train", "train", "val", "test", "test"]
    assert [parts[f"y64x{col}"] for col in range(0, 192, 32)] == west_to_east


def test_tiles_across_parts_and_near_them(scene):
    """The map would be scored on ground that was learnt from, or right beside it."""
    split = {**SPLIT, "buffer": 8}
    rows = table(select(prepared("near", split=split, stride=8)))
    for row in rows.values():
        west = int(row["col"])
        parts = {"train": (0, 96), "val": (96, 128), "test": (128, 192)}
        inside = [n for n, (a, b) in parts.items() if a <= west and west + SIZE <= b]
        assert row["split"] == (inside[0] if inside else "")
        if not inside:
            assert row["dropped"] == "across two parts"
        beside = {"train": west + SIZE + 8 > 96, "val": west + SIZE + 8 > 128}
        if inside and beside.get(inside[0]):
            assert row["dropped"] == "within 8 px of another part"


def test_no_training_tile_is_one_line(scene, capsys):
    """Training on nothing would start, and fail hours later or make a useless map."""
    label_YX, image_BYX = scene
    write_scene(label_YX * 0, image_BYX)
    area = prepared("empty")
    line = refused(capsys, "select", area, "out/tiles.csv", "out/tiles.png", "out/shift.png")
    assert "no training tile" in line
    assert not list(Path("out").glob(".*"))


@pytest.mark.parametrize("chosen", [{}, FLOAT])
def test_patches_are_the_tiles(scene, chosen):
    """Patches would hold other pixels than the tiles they are named after."""
    label_YX, image_BYX = scene
    if chosen:
        image_BYX = np.where(image_BYX == 0, np.nan, image_BYX - 700).astype(np.float32)
        write_scene(label_YX, image_BYX, nodata=np.nan)
    area = prepared("patches", chosen, stride=24)
    area.write_text(area.read_text() + "pack: {shard: 7}\n")
    rows = [row for row in table(select(area)).values() if not row["dropped"]]
    store = pack(area)
    group = zarr.open_group(store, mode="r")
    opened = xarray.open_zarr(store, consolidated=False)
    assert opened.image.dims == ("patch", "band", "y", "x")
    assert opened.label.dims == ("patch", "y", "x")
    assert group["image"].shape == (len(rows), 3, SIZE, SIZE)
    assert [group.attrs["splits"][n] for n in group["split"][:]] == [r["split"] for r in rows]
    for column in ("row", "col"):
        np.testing.assert_array_equal(group[column][:], [int(row[column]) for row in rows])
    image_NBYX, label_NYX = group["image"][:], group["label"][:]
    for index, row in enumerate(rows):
        np.testing.assert_array_equal(label_NYX[index], label_YX[window(row)])
        np.testing.assert_array_equal(image_NBYX[index], image_BYX[(slice(None), *window(row))])
    np.testing.assert_array_equal(opened.image.values, image_NBYX)

    images = np.stack(
        [image_BYX[(slice(None), *window(row))] for row in rows if row["split"] == "train"]
    ).astype(np.float64)
    missing = np.isnan(images) if chosen else images == 0
    pixels_PB = images.transpose(0, 2, 3, 1)[~missing.any(axis=1)]
    assert missing.any()
    statistics = group.attrs["statistics"]
    np.testing.assert_allclose(statistics["mean"], pixels_PB.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(statistics["sd"], pixels_PB.std(axis=0), rtol=1e-6)
    labels = np.stack([label_YX[window(row)] for row in rows if row["split"] == "train"])
    assert group.attrs["class_pixels"] == np.bincount(labels.ravel(), minlength=4)[1:].tolist()


def test_damaged_store_is_an_error(scene):
    """A damaged disk would train on wrong pixels, or test on training patches, unnoticed."""
    area = prepared("damaged")
    select(area)
    store = pack(area)
    random, unnoticed = np.random.default_rng(0), []
    for array in ("image", "label", "split", "row", "col"):
        expected = zarr.open_group(store, mode="r")[array][:]
        (file,) = (path for path in (store / array / "c").rglob("*") if path.is_file())
        whole = file.read_bytes()
        for place in random.choice(len(whole), min(30, len(whole)), replace=False):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << random.integers(8)
            file.write_bytes(damaged)
            try:
                found = zarr.open_group(store, mode="r")[array][:]
            except Exception:  # any error will do
                continue
            if not np.array_equal(found, expected):
                unnoticed.append((array, int(place)))
        file.write_bytes(whole)
    assert not unnoticed


def test_failed_pack_leaves_the_old_store(scene, monkeypatch, capsys):
    """A full disk during a second pack would also destroy the store of the first."""
    area = prepared("again")
    select(area)
    store = pack(area)

    def contents():
        return {p.relative_to(store): p.read_bytes() for p in store.rglob("*") if p.is_file()}

    whole, encode_all, calls = contents(), pack_stage.encoded, []

    def failing(*arguments):
        for number, patch in enumerate(encode_all(*arguments)):
            calls.append(number)
            if number == 3:
                raise OSError(28, "No space left on device")
            yield patch

    with monkeypatch.context() as patched:
        patched.setattr(pack_stage, "encoded", failing)
        line = refused(capsys, "pack", area, store / "zarr.json")
        assert "No space left on device" in line
    assert calls == [0, 1, 2, 3]
    assert contents() == whole
    pack(area)
    assert contents() == whole
    shutil.rmtree(store)
    pack(area)
    assert contents() == whole
    assert [path.name for path in store.parent.iterdir()] == ["patches.zarr"]


def test_clouds_and_snow(scene):
    """Tiles of cloud would be learnt from as if they were ground; snow would be thrown away."""
    _, image_BYX = scene
    area = prepared("sky", max_cloud=0.25)
    state_YX = (image_BYX > 0).all(axis=0).astype(np.uint8)
    state_YX[64:96, :20] = 2  # clouds, taken out of the image
    state_YX[64:96, 20:32] = 3  # snow, left in it
    state_YX[96:128, 32:40] = 2  # clouds that were kept
    image_BYX[:, 64:96, :20] = 0
    write_blocks(area, f"compose/{PERIOD}", image_BYX, ["B02", "B03", "B04"])
    write_quality(area, image_BYX, state_YX)
    rows = table(select(area))
    for row in rows.values():
        for column, state in (("cloud", 2), ("snow", 3)):
            assert float(row[column]) == pytest.approx((state_YX[window(row)] == state).mean())
    assert rows["y64x0"]["dropped"] == "too much cloud"
    assert rows["y96x32"]["dropped"] == "" and float(rows["y96x32"]["cloud"]) == 0.25
    area = area_with("sky", select={"split": SPLIT, "max_snow": 0.3, "min_valid": 0.1})
    rows = table(select(area))
    assert rows["y64x0"]["dropped"] == "too much snow"


def test_several_sizes(scene):
    """Tiles of a further size would hold other pixels, or straddle parts that others keep."""
    label_YX, _ = scene
    split = {**SPLIT, "buffer": 4}
    area = prepared("sizes", more_sizes=[16, 48], split=split, stride=16)
    with select(area).open(newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(int(row["size"]), int(row["row"]), int(row["col"])) for row in rows}
    assert len(found) == len(rows)
    for size, step in ((32, 16), (16, 8), (48, 24)):
        expected = {
            (size, row, col)
            for row in range(0, 160 - size + 1, step)
            for col in range(0, 192 - size + 1, step)
        }
        assert {place for place in found if place[0] == size} == expected
    for row in rows:
        counts = np.bincount(label_YX[window(row)].ravel(), minlength=4)[1:]
        assert [int(row[f"class_{n}"]) for n in (1, 2, 3)] == counts.tolist()
        west, east = int(row["col"]), int(row["col"]) + int(row["size"])
        inside = [
            name
            for name, start, end in (("train", 0, 96), ("val", 96, 128), ("test", 128, 192))
            if start <= west and east <= end
        ]
        assert row["split"] == (inside[0] if inside else "")
        if row["split"] == "train" and not row["dropped"]:
            assert east + 4 <= 96


def leak_of(area):
    return json.loads(Path(f"results/{area.stem}/select/leak.json").read_text())


def test_the_distance_is_proven_and_told(scene, caplog):
    """Nobody could tell scores of far ground from scores of ground beside what was learnt."""
    caplog.set_level("INFO")
    area = prepared("told", split={**SPLIT, "buffer": "auto", "range": 2})
    caplog.clear()
    rows = table(select(area))
    # a plain net of depth 2: 2 + 4 + 8 px down, 2 + 4 px up, and 3 px of its coarsest pixel
    assert leak_of(area)["buffer_px"] == 23 + 2
    assert leak_of(area)["nearest_px"] == 32 and leak_of(area)["is_proven"]
    assert "within 25 px of another part" in {row["dropped"] for row in rows.values()}
    assert "at least 32 px" in caplog.text and "sees" not in caplog.text
    area = prepared("near", split={**SPLIT, "method": "random", "direction": "west-east"})
    caplog.clear()
    select(area)
    found = leak_of(area)
    assert found["nearest_px"] == 0 and found["is_optimistic"] and found["is_proven"]
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert any("0 px between them" in each for each in warnings)
    assert any("the net of run unet sees 23 px" in each for each in warnings)


def test_a_leak_stops_the_stage(scene, capsys, monkeypatch):
    """A fault in dealing would give scores of ground that was learnt from."""
    area = prepared("planted", split={**SPLIT, "buffer": 8})

    def careless(parts, tiles, buffer):
        return [place._replace(dropped="") for place in find_parts(parts, tiles, buffer)]

    monkeypatch.setattr(tiling, "find_parts", careless)
    line = refused(capsys, "select", area, "out/tiles.csv", "out/tiles.png", "out/shift.png")
    assert "train to val 0 px" in line and "at least 8 px" in line
    assert not list(Path("out").rglob("*"))


@pytest.mark.parametrize("crs", [CRS, "EPSG:3035"])
def test_parts_from_polygons(scene, crs):
    """Parts that a user drew would be others in the map, in another CRS above all."""
    shapes = {"train": (0, 0, 96, 160), "val": (96, 0, 128, 160), "test": (128, 0, 192, 80)}
    place = polygons_of(shapes, crs)
    split = {"method": "column", "column": "part", "polygons": str(place), "layer": "parts"}
    rows = table(select(prepared("drawn", split=split)))
    for row in rows.values():
        top, west = int(row["row"]), int(row["col"])
        inside = [
            name
            for name, (left, up, right, down) in shapes.items()
            if left <= west and west + SIZE <= right and up <= top and top + SIZE <= down
        ]
        assert row["split"] == (inside[0] if inside else "")
    reasons = {tile: row["dropped"] for tile, row in rows.items()}
    assert reasons["y96x160"] == "outside the parts"
    assert reasons["y64x128"] == "partly outside the parts"


def polygons_of(shapes, crs):
    """Write windows (left, top, right, bottom), in pixels, as polygons of a layer."""
    boxes = shapely.box(*np.array(list(shapes.values()), float).T)
    boxes = shapely.segmentize(boxes, 1)  # straight lines are curves in another CRS
    to_file = Transformer.from_crs(CRS, crs, always_xy=True)
    moved = shapely.transform(
        boxes,
        lambda xy: np.column_stack(
            to_file.transform(LEFT + STEP * xy[:, 0], TOP - STEP * xy[:, 1])
        ),
    )
    path = Path("data/parts.gpkg")
    names = np.array(list(shapes), object)
    pyogrio.raw.write(
        path, shapely.to_wkb(moved), [names], ["part"], geometry_type="Polygon", crs=crs,
        layer="parts",
    )  # fmt: skip
    return path


def test_polygons_that_do_not_fit_are_one_line(scene, capsys):
    """A wrong attribute or place would end in a page of Python, or in tiles dealt at random."""
    elsewhere = polygons_of({"train": (900, 900, 950, 950)}, CRS)
    split = {"method": "column", "column": "part", "polygons": str(elsewhere)}
    outputs = ["out/tiles.csv", "out/tiles.png", "out/shift.png"]
    area = prepared("elsewhere", split=split)
    assert "no polygon on the area" in refused(capsys, "select", area, *outputs)
    area = area_with("elsewhere", select={"split": {**split, "column": "county"}})
    line = refused(capsys, "select", area, *outputs)
    assert "no attribute 'county'" in line and "select.split.column" in line
    area = area_with("elsewhere", select={"split": {**split, "polygons": "data/none.gpkg"}})
    assert "select.split.polygons" in refused(capsys, "select", area, *outputs)
    assert "select.split.polygons" in refused(capsys, "check", area)
    assert not list(Path("out").rglob("*"))


def test_a_quality_layer_that_lies_is_one_line(scene, capsys):
    """Tiles would be kept or dropped by a layer that belongs to another image, or is missing."""
    _, image_BYX = scene
    area = prepared("lies")
    outputs = ["out/tiles.csv", "out/tiles.png", "out/shift.png"]
    write_quality(area, np.where(image_BYX == 0, 1, image_BYX)[:, ::-1])
    line = refused(capsys, "select", area, *outputs)
    assert "quality" in line and "where the image has data" in line
    write_blocks(area, f"compose/{PERIOD}/quality", np.full((2, 160, 192), 7, np.uint8), ["a", "b"])
    assert "states 0 to 3" in refused(capsys, "select", area, *outputs)
    write_quality(area, image_BYX)
    Path(f"results/lies/compose/{PERIOD}/quality/r001c001.tif").unlink()
    assert "r001c001.tif: found no such file" in refused(capsys, "select", area, *outputs)
    write_quality(area, image_BYX)
    write_blocks(area, "downsample", np.full((1, 160, 192), 9, np.uint8), ["class"])
    assert "expected classes 0 to 3" in refused(capsys, "select", area, *outputs)
    assert not list(Path("out").rglob("*"))


def test_threads_change_nothing(scene):
    """A rerun on another machine would write another table."""
    area = prepared("threads", stride=8)
    folder = select(area).parent
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    outputs = [folder / name for name in ("tiles.csv", "tiles.png", "shift.png")]
    mapmill("select", area, *outputs, "--threads", "4")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first
