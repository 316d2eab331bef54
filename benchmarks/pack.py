"""Random reads of patches, as training asks for them: mapmill's reader beside the usual ways.

Patches of 10 bands x 300 x 300 px uint16, of simulated texture that compresses as imagery does, in
batches of 16 in random order. Peers read with torch's DataLoader and 2 workers, mapmill with 2
threads; memmap, of bytes that are not compressed, is the limit. The work that is timed is 4 epochs
after one that starts all workers and whose sums show that everyone reads the same.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# What is read has to be larger than GDAL's cache, as the imagery of an area is.
os.environ["GDAL_CACHEMAX"] = "64"

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window
from scipy.ndimage import gaussian_filter

SIZE = 7200
SIDE = 300
BANDS = 10
BATCH = 16
EPOCHS = 4
WORKERS = 2


def texture(size: int) -> np.ndarray:
    """(band, y, x) uint16: fields, edges and noise; lz4 leaves 0.6 of it."""
    random = np.random.default_rng(1)
    white = random.standard_normal((size, size), dtype=np.float32)
    base = sum(gaussian_filter(white, sigma) * sigma for sigma in (2, 8, 32))
    fields = np.kron(random.normal(0, 1, (size // 50, size // 50)), np.ones((50, 50)))
    base = (base / base.std() + fields).astype(np.float32)
    image_BYX = np.empty((BANDS, size, size), np.uint16)
    for band in range(BANDS):
        noise = random.normal(0, 12, (size, size)).astype(np.float32)
        values = 600 + 180 * band + (60 + 12 * band) * base + noise
        image_BYX[band] = np.clip(values, 1, 10_000)
    return image_BYX


def make(folder: Path, size: int) -> None:
    """Write the same patches in each way; the store by mapmill's writer."""
    from mapmill.grid import Window as GridWindow
    from mapmill.store import Form, StoreWriter
    from mapmill.tiles import Tile

    image_BYX = texture(size // SIDE * SIDE)
    corners = [
        (row, col)
        for row in range(0, image_BYX.shape[1], SIDE)
        for col in range(0, image_BYX.shape[2], SIDE)
    ]
    bands = [f"B{number}" for number in range(BANDS)]
    form = Form(bands, "uint16", 1, ["2018-04"], ["train"], 64, "lz4")
    tiles = [
        Tile(
            "2018-04",
            "",
            GridWindow(row, col, SIDE, SIDE),
            1.0,
            0.0,
            0.0,
            1.0,
            "train",
            None,
            "",
            (0,),
        )
        for row, col in corners
    ]
    writer, chunks = StoreWriter(folder / "patches.zarr", form, {SIDE: tiles}, SIDE), form.chunks()
    label = chunks["label"].encode(np.zeros((SIDE, SIDE), np.uint8))
    raw = np.memmap(folder / "raw", "uint16", "w+", shape=(len(corners), BANDS, SIDE, SIDE))
    profile = {"driver": "GTiff", "count": BANDS, "dtype": "uint16", "compress": "ZSTD"}
    profile |= {"predictor": 2, "crs": "EPSG:32631"}
    profile |= {"transform": from_origin(250_000, 4_770_000, 10, 10)}
    for number, (row, col) in enumerate(corners):
        patch = np.ascontiguousarray(image_BYX[:, row : row + SIDE, col : col + SIDE])
        writer.put(SIDE, number, {"image": chunks["image"].encode(patch), "label": label})
        raw[number] = patch
        file = folder / f"{number}.tif"
        with rasterio.open(file, "w", **profile, width=SIDE, height=SIDE) as target:
            target.write(patch)
    writer.finish({SIDE: {"splits": ["train"]}})
    tiled = {"tiled": True, "blockxsize": 512, "blockysize": 512, "interleave": "band"}
    height, width = image_BYX.shape[1:]
    with rasterio.open(
        folder / "whole.tif", "w", **profile, **tiled, zstd_level=1, width=width, height=height
    ) as target:
        target.write(image_BYX)
    np.save(folder / "corners.npy", np.array(corners))


def batches(count: int) -> list[list[int]]:
    """Numbers of the patches of each batch, one epoch more than is timed."""
    random = np.random.default_rng(2)
    order = np.concatenate([random.permutation(count) for _ in range(EPOCHS + 1)])
    return [order[start : start + BATCH].tolist() for start in range(0, len(order), BATCH)]


def mapmill(folder: Path, plan: list[list[int]]) -> Iterator[np.ndarray]:
    """The reader that trains, into one buffer."""
    from mapmill.store import PatchStore

    with PatchStore(folder / "patches.zarr", threads=WORKERS) as store:
        buffer = np.empty((BATCH, *store.images.shape[1:]), np.uint16)
        for numbers in plan:
            yield store.images.take(numbers, out=buffer[: len(numbers)])


class Patches:
    """A torch data set whose files are opened once in each worker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source = folder, None

    def __getitem__(self, number: int) -> np.ndarray:
        """(band, y, x) of one patch."""
        self.source = self.source or self.opened()
        return self.read(number)


class TiffFolder(Patches):
    """A file for each patch."""

    def opened(self) -> bool:
        """Nothing stays open."""
        return True

    def read(self, number: int) -> np.ndarray:
        """A whole file."""
        with rasterio.open(self.folder / f"{number}.tif") as source:
            return source.read()


class Windows(Patches):
    """Windows of one image as compose writes it: ZSTD, tiles of 512 px; so torchgeo reads."""

    def opened(self) -> object:
        """The image."""
        self.corners = np.load(self.folder / "corners.npy")
        return rasterio.open(self.folder / "whole.tif")

    def read(self, number: int) -> np.ndarray:
        """One window."""
        row, col = self.corners[number].tolist()
        return self.source.read(window=Window(col, row, SIDE, SIDE))


class ZarrPython(Patches):
    """The store that mapmill reads, with the zarr library."""

    def opened(self) -> object:
        """The array of images."""
        import zarr

        return zarr.open_group(self.folder / "patches.zarr", mode="r")["image"]

    def read(self, number: int) -> np.ndarray:
        """One patch."""
        return self.source[number]


def loaded(patches: Patches, plan: list[list[int]]) -> Iterator[np.ndarray]:
    """Batches of torch's DataLoader."""
    from torch.utils.data import DataLoader

    for batch in DataLoader(patches, batch_sampler=plan, num_workers=WORKERS):
        yield batch.numpy()


def memmap(folder: Path, plan: list[list[int]]) -> Iterator[np.ndarray]:
    """Copies of bytes that are not compressed."""
    raw = np.memmap(folder / "raw", "uint16", "r").reshape(-1, BANDS, SIDE, SIDE)
    buffer = np.empty((BATCH, *raw.shape[1:]), np.uint16)
    for numbers in plan:
        yield raw.take(numbers, axis=0, out=buffer[: len(numbers)])


CONTENDERS = {
    "mapmill": mapmill,
    "TIFF folder, DataLoader": lambda folder, plan: loaded(TiffFolder(folder), plan),
    "windows of one TIFF, DataLoader": lambda folder, plan: loaded(Windows(folder), plan),
    "zarr-python, DataLoader": lambda folder, plan: loaded(ZarrPython(folder), plan),
    "memmap (limit)": memmap,
}


def missing() -> dict[str, str]:
    """Peers that are not installed, and why they are not compared."""
    return {}


def equal(folder: Path) -> dict[str, bool]:
    """Whether each contender read what was written: the sum of each patch, in the asked order."""
    raw = np.memmap(folder / "raw", "uint16", "r").reshape(-1, BANDS * SIDE * SIDE)
    expected = raw.sum(axis=1, dtype=np.uint64)[np.concatenate(epoch(len(raw)))]
    return {
        who: bool(np.array_equal(np.load(folder / f"{who}.npy"), expected)) for who in CONTENDERS
    }


def epoch(count: int) -> list[list[int]]:
    """The batches that are checked, not timed."""
    return batches(count)[: -(-count // BATCH)]


def main() -> None:
    """Read all epochs; the first one is checked, the others are timed."""
    who, folder = sys.argv[1], Path(sys.argv[2])
    count = len(np.load(folder / "corners.npy"))
    first, sums = len(epoch(count)), []
    source = iter(CONTENDERS[who](folder, batches(count)))
    for _ in range(first):
        sums.append(next(source).sum(axis=(1, 2, 3), dtype=np.uint64))
    start, patches = time.perf_counter(), 0
    for batch in source:
        patches += len(batch)
    seconds = time.perf_counter() - start
    (folder / f"{who}.seconds").write_text(f"{seconds}")
    print(f"{who}: {patches / seconds:.0f} samples/s", file=sys.stderr)
    np.save(folder / f"{who}.npy", np.concatenate(sums))


if __name__ == "__main__":
    main()
