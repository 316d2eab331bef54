"""pack: one pass in threads, several sizes, fractions, statistics of training pixels only."""

import csv
from pathlib import Path

import numpy as np
import pytest
import rasterio
import zarr
from making import LEFT, STEP, TOP, simulated_scene, write_tif
from stages.stage_steps import area_with, block_names, compose, downsample, mapmill, refused, select

from mapmill import cells
from mapmill.areafile import load_area
from mapmill.pool import PatchPool
from mapmill.raster.seal import seal
from mapmill.sections import Pack, Pool
from mapmill.stages import pack as pack_stage
from mapmill.store import PatchStore

SPLIT = {"method": "strips", "direction": "west-east", "train": 0.5, "val": 0.25, "test": 0.25}


@pytest.fixture
def scene(small_area):
    """Labels (y, x) and image (band, y, x) on disk, with some nodata."""
    label_YX, image_BYX = simulated_scene()
    image_BYX[:, 40:60, 20:50] = 0
    write_tif(Path("data/labels.tif"), label_YX)
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(Path(f"data/S1_{band}.tif"), values, nodata=0)
    return label_YX, image_BYX


def prepared(name, **sections):
    area = area_with(name, **({"select": {"split": SPLIT}} | sections))
    compose(area)
    downsample(area)
    return area, select(area)


def packed(area, *options):
    folder = Path(f"results/{area.stem}/pack/patches.zarr")
    mapmill("pack", area, folder / "zarr.json", *options)
    return folder


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def add_size(table, size, stride):
    """Tiles of a further size, as select will write them: kept, in the part where they begin."""
    rows = list(csv.DictReader(table.open(newline="")))
    more = []
    for row in range(0, 160 - size + 1, stride):
        for col in range(0, 192 - size + 1, stride):
            split = "train" if col + size <= 96 else "test"
            own = {"tile": f"y{row}x{col}", "row": row, "col": col, "size": size, "split": split}
            more.append({**rows[0], **own, "valid": 1, "labelled": 1, "dropped": ""})
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows + more)
    return more


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_threads_change_no_byte(scene, monkeypatch, dtype):
    """A store would differ from machine to machine, and with it all that is trained on it."""
    nodata = {"uint16": 0.0, "float32": np.nan}[dtype]
    area, _ = prepared("bytes", compose={"dtype": dtype}, pack={"shard": 3})
    monkeypatch.setattr(cells, "CELL_BYTES", 80**2 * 14)
    one = contents(packed(area, "--threads", "1"))
    assert contents(packed(area, "--threads", "2")) == one
    assert contents(packed(area, "--threads", "5")) == one
    group = zarr.open_group("results/bytes/pack/patches.zarr", mode="r")
    training = group["image"][:][group["split"][:] == 0].astype(np.float64)
    missing = np.isnan(training) if dtype == "float32" else training == nodata
    pixels_BP = training.transpose(1, 0, 2, 3)[:, ~missing.any(axis=1)]
    assert missing.any()
    found = group.attrs["statistics"]
    np.testing.assert_allclose(found["mean"], pixels_BP.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["sd"], pixels_BP.std(axis=1), rtol=1e-10)
    assert found["min"] == pixels_BP.min(axis=1).tolist()
    assert found["max"] == pixels_BP.max(axis=1).tolist()
    rtol = 1e-12 if dtype == "uint16" else 2.0**-11
    for share, values in found["percentiles"].items():
        expected = np.percentile(pixels_BP, int(share), axis=1)
        np.testing.assert_allclose(values, expected, rtol=rtol)


def test_the_imagery_is_read_about_once(scene, monkeypatch):
    """A large area would be decoded again for every tile: hours instead of minutes."""
    area, _ = prepared("once", select={"split": SPLIT, "stride": 16})
    read = []
    actual = pack_stage.read_cell

    def counting(read_part, window, *rest):
        read.append((window, rest[0]))
        return actual(read_part, window, *rest)

    monkeypatch.setattr(pack_stage, "read_cell", counting)
    packed(area)
    images = [window for window, shape in read if len(shape) == 3]
    assert len(images) == 1 and (images[0].height, images[0].width) == (160, 192)


def test_more_sizes_and_what_is_learnt_from_them(scene, monkeypatch):
    """Training at several scales would see tiles of one, or another place's pixels."""
    label_YX, image_BYX = scene
    area, table = prepared("sizes")
    more = add_size(table, 48, 24)
    monkeypatch.setattr(cells, "CELL_BYTES", 100**2 * 8)
    folder = packed(area)
    group = zarr.open_group(folder, mode="r")
    assert group["image"].shape[2:] == (32, 32) and group.attrs["size"] == 32
    small = group["size-48"]
    assert small.attrs["size"] == 48 and small["image"].shape == (len(more), 3, 48, 48)
    for index, row in enumerate(more):
        place = slice(row["row"], row["row"] + 48), slice(row["col"], row["col"] + 48)
        np.testing.assert_array_equal(small["image"][index], image_BYX[(slice(None), *place)])
        np.testing.assert_array_equal(small["label"][index], label_YX[place])
    training = small["image"][:][small["split"][:] == 0].astype(np.float64)
    pixels_BP = training.transpose(1, 0, 2, 3)[:, (training != 0).all(axis=1)]
    np.testing.assert_allclose(small.attrs["statistics"]["mean"], pixels_BP.mean(axis=1))
    loaded = load_area(area)
    pool = PatchPool(loaded, "sizes", {"sizes": Pool()}, 48, 2)
    assert pool.images().shape == small["image"].shape
    assert pool.statistics()[0] == small.attrs["statistics"]["mean"]
    assert len(pool.indices("train")) == sum(row["split"] == "train" for row in more)
    pool.close()


def test_batches_are_those_of_zarr(scene):
    """Training would learn from other pixels than the store holds, or in another order."""
    area, _ = prepared("batches", pack={"shard": 5, "codec": "zstd"})
    folder = packed(area)
    group = zarr.open_group(folder, mode="r")
    random = np.random.default_rng(0)
    with PatchStore(folder, threads=2) as store:
        for _ in range(5):
            numbers = random.permutation(store.indices("train"))[:7]
            expected = np.stack([group["image"][int(number)] for number in numbers])
            np.testing.assert_array_equal(store.images.take(numbers), expected)
            expected = np.stack([group["label"][int(number)] for number in numbers])
            np.testing.assert_array_equal(store.labels.take(numbers), expected)


def test_fractions_are_packed_where_they_are_made(scene, monkeypatch):
    """Soft labels would be of another place than their patch."""
    area, _ = prepared("soft")
    random = np.random.default_rng(2)
    share_YX = random.integers(1, 101, (160, 192), dtype=np.uint8)
    grid = load_area(area).the_grid()
    for name in block_names(area):
        window = grid.block_named(name).window
        place = {"left": LEFT + window.col * STEP, "top": TOP - window.row * STEP}
        part = share_YX[window.slices(grid.window)]
        write_tif(Path(f"results/soft/downsample/fraction/{name}.tif"), part, nodata=0, **place)
    loaded = load_area(area)

    class WithFraction:
        """The setting of downsample, where it is not there yet."""

        fraction = True

    asked = loaded.model_copy(update={"downsample": WithFraction()})
    monkeypatch.setattr(pack_stage, "load_area", lambda path: asked)
    monkeypatch.setattr(pack_stage, "tags", lambda *arguments, **inputs: {})
    group = zarr.open_group(packed(area), mode="r")
    assert group["fraction"].shape == group["label"].shape
    for index, (row, col) in enumerate(zip(group["row"][:], group["col"][:], strict=True)):
        expected = share_YX[row : row + 32, col : col + 32]
        np.testing.assert_array_equal(group["fraction"][index], expected)


def test_counts_are_those_of_the_labels(scene):
    """Classes would be weighed by numbers of other patches."""
    area, _ = prepared("counts")
    group = zarr.open_group(packed(area), mode="r")
    label_NYX = group["label"][:]
    expected = np.stack([(label_NYX == value).sum(axis=(1, 2)) for value in (1, 2, 3)], axis=1)
    np.testing.assert_array_equal(group["counts"][:], expected)


def test_a_block_of_another_kind_is_one_line(scene, capsys):
    """Values of another dtype would be cast, and wrap around, unnoticed."""
    area, _ = prepared("kinds")
    block = Path("results/kinds/compose/2018-04/r000c000.tif")
    with rasterio.open(block) as source:
        values = source.read()
    write_tif(block, values.astype(np.float32))
    line = refused(capsys, "pack", area, "results/kinds/pack/patches.zarr/zarr.json")
    assert "compose/2018-04: found float32 (3,); expected uint16 (3,)" in line


def test_infinite_values_are_one_line(scene, capsys):
    """A mean of infinity would make every normalised pixel NaN, hours later."""
    area, _ = prepared("infinite", compose={"dtype": "float32"})
    block = Path("results/infinite/compose/2018-04/r000c000.tif")
    with rasterio.open(block, "r+") as target:
        values = target.read()
        values[1, 3, 3] = np.inf
        target.write(values)
    seal(block)
    line = refused(capsys, "pack", area, "results/infinite/pack/patches.zarr/zarr.json")
    assert "found training pixels of B03 from" in line and "to inf" in line


def test_a_patch_too_large_for_the_compressor_is_one_line(scene, capsys, monkeypatch):
    """Packing would end in a page of Python after all tiles were chosen."""
    area, _ = prepared("large")
    monkeypatch.setattr(pack_stage, "MOST_BYTES", 31 * 31 * 3 * 2)
    line = refused(capsys, "pack", area, "results/large/pack/patches.zarr/zarr.json")
    assert "select.size: found 32 px with 3 bands; expected at most 31 px" in line


def test_no_tile_at_all(scene):
    """An area that trains nothing, with all tiles dropped, would end in a page of Python."""
    area, table = prepared("none")
    header, *rows = table.read_text().splitlines()
    names = header.split(",")
    place = names.index("dropped")
    dropped = [row.split(",") for row in rows]
    for row in dropped:
        row[place] = "no imagery"
    table.write_text("\n".join([header, *(",".join(row) for row in dropped)]) + "\n")
    group = zarr.open_group(packed(area), mode="r")
    assert group["image"].shape == (0, 3, 32, 32)


def test_settings_of_the_store(scene):
    """The settings would be accepted and change nothing."""
    sizes = {}
    for codec in ("lz4", "zstd", "none"):
        area, _ = prepared(f"codec-{codec}", pack={"codec": codec})
        folder = packed(area)
        sizes[codec] = sum(len(content) for content in contents(folder).values())
        with PatchStore(folder) as store:
            assert store.attributes["size"] == 32
    assert sizes["zstd"] < sizes["lz4"] < sizes["none"]
    assert Pack().codec == "lz4" and Pack().shard == 64
