"""The patch store: read by others without our code, and by our reader without a wrong pixel."""

import gc
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import xarray
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.store import Form, PatchStore, StoreWriter, batches, store_of
from mapmill.store.reading import ATTRIBUTES_CRC, crc_of
from mapmill.tiles import Tile

SIDE, COUNT, BANDS = 16, 11, 3
SPLITS = ["train", "val", "test"]


def images(count=COUNT, side=SIDE, dtype="uint16"):
    """Smooth values that compress, with some noise; one patch of nothing but zeros."""
    random = np.random.default_rng(3)
    rows = np.arange(side)[:, None] * 40 + np.arange(side)
    image = rows + random.integers(0, 30, (count, BANDS, side, side)) + 500
    image[2] = 0
    return image.astype(dtype)


def labels(count=COUNT, side=SIDE):
    label = np.random.default_rng(4).integers(0, 4, (count, side, side), dtype=np.uint8)
    label[2] = 0
    return label


def tiles_of(count=COUNT, side=SIDE):
    return [
        Tile(
            "a",
            "",
            Window(3 * n, 5 * n, side, side),
            1,
            0,
            0,
            1,
            SPLITS[n % 3],
            n % 4,
            "",
            (n, 1, 2),
        )
        for n in range(count)
    ]


def make(folder, *, shard=4, codec="lz4", dtype="uint16", order=None, more=0):
    """A store of one size, or of another one too, written with our writer."""
    has_fraction = codec == "zstd"
    form = Form(["B02", "B03", "B04"], dtype, 3, ["a"], SPLITS, shard, codec, has_fraction)
    sizes = {SIDE: COUNT, **({8: more} if more else {})}
    writer = StoreWriter(
        folder, form, {side: tiles_of(count, side) for side, count in sizes.items()}, SIDE
    )
    chunks = form.chunks()
    for side, count in sizes.items():
        image, label = images(count, side, dtype), labels(count, side)
        for number in order or range(count):
            contents = {"image": chunks["image"].encode(image[number])}
            contents["label"] = chunks["label"].encode(label[number])
            if has_fraction:
                contents["fraction"] = chunks["fraction"].encode(label[number] * 33)
            writer.put(side, number, contents)
    writer.finish({side: {"splits": SPLITS, "size": side} for side in sizes})
    return folder


@pytest.mark.parametrize("shard", [1, 4, 64])
@pytest.mark.parametrize("codec", ["lz4", "zstd", "none"])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_every_form_is_read_by_zarr_and_by_us(tmp_path, shard, codec, dtype):
    """Otherwise a setting of pack would make stores that hold other pixels, or that none reads."""
    folder = make(tmp_path / "s.zarr", shard=shard, codec=codec, dtype=dtype)
    group = zarr.open_group(folder, mode="r")
    np.testing.assert_array_equal(group["image"][:], images(dtype=dtype))
    np.testing.assert_array_equal(group["label"][:], labels())
    assert group["image"].shards == (None if shard == 1 else (shard, BANDS, SIDE, SIDE))
    numbers = [10, 0, 2, 2, 7, 5, 1]
    with PatchStore(folder, threads=2) as store:
        image = store.images.take(np.array(numbers))
        assert image.dtype == dtype
        np.testing.assert_array_equal(image, group["image"][:][numbers])
        np.testing.assert_array_equal(store.labels.take(numbers), labels()[numbers])
        np.testing.assert_array_equal(store.images[10], images(dtype=dtype)[10])
        assert store.indices("val").tolist() == [1, 4, 7, 10]
        if codec == "zstd":
            np.testing.assert_array_equal(store.fractions.take(numbers), labels()[numbers] * 33)
        else:
            assert store.fractions is None


def test_columns_say_where_patches_come_from(tmp_path):
    """Otherwise patches could not be traced to their ground, or dealt to their part."""
    group = zarr.open_group(make(tmp_path / "s.zarr"), mode="r")
    expected = {"row": 3 * np.arange(COUNT), "col": 5 * np.arange(COUNT)}
    expected |= {"split": np.arange(COUNT) % 3, "fold": np.arange(COUNT) % 4}
    expected |= {"piece": np.zeros(COUNT), "counts": [(n, 1, 2) for n in range(COUNT)]}
    for name, values in expected.items():
        np.testing.assert_array_equal(group[name][:], values)
    assert group["counts"].metadata.dimension_names == ("patch", "class")


@pytest.mark.parametrize("consolidated", [True, False])
def test_xarray_reads_all_sizes(tmp_path, consolidated):
    """Otherwise people who work with xarray would need our code."""
    folder = make(tmp_path / "s.zarr", more=5)
    opened = xarray.open_zarr(folder, consolidated=consolidated)
    assert opened.image.dims == ("patch", "band", "y", "x")
    np.testing.assert_array_equal(opened.image.values, images())
    tree = xarray.open_datatree(folder, engine="zarr", consolidated=consolidated)
    np.testing.assert_array_equal(tree["image"].values, images())
    np.testing.assert_array_equal(tree["size-8/image"].values, images(5, 8))
    assert tree["size-8"].attrs["size"] == 8
    assert tree["size-8/image"].dims == ("patch_8", "band", "y_8", "x_8")


def test_a_size_is_a_store_of_its_own(tmp_path):
    """Otherwise a run would learn from patches of another size than it asks for."""
    folder = make(tmp_path / "s.zarr", more=5)
    with store_of(folder) as main, store_of(folder, 8, 2) as small:
        np.testing.assert_array_equal(main.images.take(range(COUNT)), images())
        np.testing.assert_array_equal(small.images.take(range(5)), images(5, 8))
        np.testing.assert_array_equal(small.labels.take(range(5)), labels(5, 8))
    with pytest.raises(ContractError, match=r"size-32.*rerun pack"):
        store_of(folder, 32)


GDAL_OF_PYOGRIO = """
import ctypes, sys
from pathlib import Path
import numpy as np, pyogrio

(path,) = (Path(pyogrio.__file__).parents[1] / "pyogrio.libs").glob("libgdal*")
gdal = ctypes.CDLL(str(path))
gdal.GDALAllRegister()
gdal.GDALOpenEx.restype = gdal.GDALGetRasterBand.restype = ctypes.c_void_p
gdal.GDALOpenEx.argtypes = [ctypes.c_char_p, ctypes.c_uint] + [ctypes.c_void_p] * 3
gdal.GDALGetRasterBand.argtypes = [ctypes.c_void_p, ctypes.c_int]
gdal.GDALRasterIO.argtypes = (
    [ctypes.c_void_p] + [ctypes.c_int] * 5 + [ctypes.c_void_p] + [ctypes.c_int] * 5
)
folder, count, bands, side = sys.argv[1], *map(int, sys.argv[2:])
result = np.zeros((count, bands, side, side), np.uint16)
for patch in range(count):
    for band in range(bands):
        name = f'ZARR:"{folder}":/image:{patch}:{band}'.encode()
        source = gdal.GDALOpenEx(name, 2, None, None, None)
        assert source, name
        target = result[patch, band].ctypes.data
        one = gdal.GDALGetRasterBand(source, 1)
        assert gdal.GDALRasterIO(one, 0, 0, 0, side, side, target, side, side, 2, 0, 0) == 0
np.save(folder + ".npy", result)
"""
"""A process that reads an array with the GDAL (3.12) inside pyogrio's wheel, which has no Blosc."""


@pytest.mark.skipif(pyogrio.__gdal_version__ < (3, 11, 0), reason="a GDAL before Zarr v3 as it is")
def test_gdal_reads_a_file_for_each_patch(tmp_path):
    """Otherwise `shard: 1` would not do what it is there for: open patches in GDAL's world."""
    folder = make(tmp_path / "s.zarr", shard=1, codec="none")
    arguments = [str(folder), str(COUNT), str(BANDS), str(SIDE)]
    command = [sys.executable, "-c", GDAL_OF_PYOGRIO, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "not enough values to unpack" in done.stderr:
        pytest.skip("pyogrio with a GDAL of the system")
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(f"{folder}.npy"), images())


def test_what_gdal_cannot_read_is_said_truly(tmp_path):
    """Otherwise the area file's page would forbid what works, or promise what does not."""
    version = tuple(int(part) for part in rasterio.__gdal_version__.split(".")[:2])
    one = make(tmp_path / "one.zarr", shard=1)
    many = make(tmp_path / "many.zarr", shard=4)
    if version >= (3, 11):
        with rasterio.open(f'ZARR:"{one}":/image:10:2') as source:
            np.testing.assert_array_equal(source.read(1), images()[10, 2])
    else:  # it knows a draft of the format
        with pytest.raises(rasterio.RasterioIOError):
            rasterio.open(f'ZARR:"{one}":/image:10:2')
    if version <= (3, 12):
        with pytest.raises(rasterio.RasterioIOError):
            rasterio.open(f'ZARR:"{many}":/image:10:2')


def test_a_store_of_another_writer_is_read(tmp_path):
    """Otherwise chunks that zarr leaves out, since all of them is 0, would be an error."""
    attributes = {"splits": list(SPLITS)}
    attributes[ATTRIBUTES_CRC] = crc_of(attributes)
    group = zarr.create_group(tmp_path / "s.zarr", attributes=attributes)
    codecs = [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()]
    for name, values in {"image": images(), "label": labels()}.items():
        inner = values.shape[1:]
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(1, *inner),
            shards=(4, *inner),
            compressors=codecs,
        )
        array[:] = values
    for name in ("split", "row", "col"):
        group.create_array(name, shape=(COUNT,), dtype="int32")
    with PatchStore(tmp_path / "s.zarr") as store:
        np.testing.assert_array_equal(store.images.take(range(COUNT)), images())
        np.testing.assert_array_equal(store.labels.take(range(COUNT)), labels())


def test_damaged_statistics_are_an_error(tmp_path):
    """Otherwise every patch would be normalised by another number, and nobody see it."""
    folder = make(tmp_path / "s.zarr")
    file = folder / "zarr.json"
    content = json.loads(file.read_text())
    with PatchStore(folder) as store:
        assert store.attributes and ATTRIBUTES_CRC not in store.attributes
        key = next(iter(store.attributes))
    content["attributes"][key] = "other"
    file.write_text(json.dumps(content))
    with pytest.raises(ContractError, match="damaged attributes"):
        PatchStore(folder)


def test_a_store_with_other_codecs_is_refused(tmp_path):
    """Otherwise its bytes would be taken for pixels."""
    folder = make(tmp_path / "s.zarr", shard=1)
    file = folder / "image/zarr.json"
    content = json.loads(file.read_text())
    content["codecs"].insert(0, {"name": "transpose", "configuration": {"order": [0, 1, 3, 2]}})
    for root in (folder / "zarr.json", file):
        whole = json.loads(root.read_text())
        if root == file:
            whole = content
        else:
            whole.pop("consolidated_metadata")
        root.write_text(json.dumps(whole))
    with pytest.raises(ContractError, match=r"image: found codecs transpose, bytes, blosc"):
        PatchStore(folder)


@pytest.mark.parametrize(("shard", "codec"), [(4, "lz4"), (64, "none"), (1, "lz4"), (1, "none")])
def test_a_flipped_bit_is_an_error_or_nothing(tmp_path, shard, codec):
    """A damaged disk would train on wrong pixels, or leave one guessing which store it was."""
    folder = make(tmp_path / "s.zarr", shard=shard, codec=codec)
    random, met = np.random.default_rng(0), set()
    for array, expected in (("image", images()), ("label", labels())):
        files = sorted(path for path in (folder / array / "c").rglob("*") if path.is_file())
        for _ in range(60):
            file = files[random.integers(len(files))]
            whole = file.read_bytes()
            damaged = bytearray(whole)
            damaged[random.integers(len(whole))] ^= 1 << random.integers(8)
            file.write_bytes(damaged)
            with PatchStore(folder, threads=2) as store:
                reader = store.images if array == "image" else store.labels
                for number in range(COUNT):
                    try:
                        found = reader.take([number])[0]
                    except ContractError as error:
                        assert f"{folder}/{array}: found patch {number} damaged" in str(error)
                        met.add(number)
                    else:
                        np.testing.assert_array_equal(found, expected[number])
            file.write_bytes(whole)
    assert len(met) > COUNT // 2


def test_a_damaged_table_of_checksums_is_an_error(tmp_path):
    """Where checksums stand beside the chunks, they could vouch for what they do not know."""
    folder = make(tmp_path / "s.zarr", shard=1)
    (file,) = (path for path in (folder / "crc32c/c").rglob("*") if path.is_file())
    whole = bytearray(file.read_bytes())
    whole[20] ^= 4
    file.write_bytes(whole)
    with pytest.raises(ContractError, match="crc32c damaged"):
        PatchStore(folder)


@pytest.mark.parametrize("cut", [1, 100, 10_000])
def test_a_file_that_ends_too_early(tmp_path, cut):
    """A full disk or a broken copy would give patches of zeros."""
    folder = make(tmp_path / "s.zarr", codec="none")
    file = folder / "image/c/1/0/0/0"
    file.write_bytes(file.read_bytes()[:-cut])
    with PatchStore(folder) as store:
        np.testing.assert_array_equal(store.images[0], images()[0])
        with pytest.raises(ContractError, match=r"image: found patch 4 damaged"):
            store.images.take([0, 4])
    file.unlink()
    with PatchStore(folder) as store, pytest.raises(ContractError, match="patch 7 damaged"):
        store.images.take([7])


def test_the_order_of_writing_changes_no_pixel(tmp_path):
    """Patches come in the order in which the imagery is read, not in that of the table."""
    order = np.random.default_rng(1).permutation(COUNT).tolist()
    folder = make(tmp_path / "s.zarr", order=order)
    np.testing.assert_array_equal(zarr.open_group(folder, mode="r")["image"][:], images())
    with PatchStore(folder) as store:
        np.testing.assert_array_equal(store.images.take(range(COUNT)), images())


def test_a_patch_that_is_missing_is_an_error(tmp_path):
    """A store with a hole would be published, and train on a patch of zeros."""
    with pytest.raises(ContractError, match="found 10 patches in image; expected 11"):
        make(tmp_path / "s.zarr", order=range(COUNT - 1))
    assert not (tmp_path / "s.zarr").exists()


@pytest.mark.parametrize("open_files", [0, 1, 256])
def test_many_threads_and_few_files_open(tmp_path, monkeypatch, open_files):
    """A store of thousands of shards would run out of files, or mix up those of two threads."""
    monkeypatch.setattr(batches, "OPEN_FILES", open_files)
    folder = make(tmp_path / "s.zarr", shard=2)
    wrong = []

    def read(seed):
        random = np.random.default_rng(seed)
        for _ in range(30):
            numbers = random.integers(0, COUNT, 5)
            if not np.array_equal(store.images.take(numbers), images()[numbers]):
                wrong.append(numbers)

    with PatchStore(folder, threads=3) as store:
        readers = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    assert not wrong


def test_batches_go_straight_into_memory_that_is_there(tmp_path):
    """Otherwise each batch would cost fresh pages, or a wrong buffer be filled with half of it."""
    with PatchStore(make(tmp_path / "s.zarr")) as store:
        out = np.empty((2, BANDS, SIDE, SIDE), np.uint16)
        assert store.images.take([3, 1], out=out) is out
        np.testing.assert_array_equal(out, images()[[3, 1]])
        assert store.images.take([]).shape == (0, BANDS, SIDE, SIDE)
        for wrong in (out[:1], out.astype(np.float32), out[:, :, ::-1]):
            with pytest.raises(ValueError, match="out is no contiguous array"):
                store.images.take([3, 1], out=wrong)
        for number in (-1, COUNT):
            with pytest.raises(IndexError, match=f"has {COUNT} patches"):
                store.images.take([number])


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files")
def test_nothing_stays_open(tmp_path):
    """A search over many runs would end with too many open files or threads."""
    folder = make(tmp_path / "s.zarr", shard=2)
    before = open_files(), threading.active_count()
    for _ in range(5):
        with PatchStore(folder, threads=2) as store:
            store.images.take(range(COUNT))
            assert open_files() > before[0]
    assert open_files() == before[0] and threading.active_count() <= before[1] + 1
    store = PatchStore(folder, threads=2)
    store.labels.take(range(COUNT))
    del store
    gc.collect()
    assert open_files() == before[0]
