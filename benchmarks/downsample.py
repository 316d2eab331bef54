"""Downsampling of labels, ten to one, beside GDAL: most frequent, weighted and nearest.

Ours is the stage's route by lattice, from the file to classes, shares and areas of all cells, with
as many threads as there are cores; only the area file and the writing of the result are left out.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.windows import Window

SIZE = 10_000
RATIO = 10
CLASSES = 12
PATCH = 47
SPECKLE = 13
"""Of 256 pixels."""
SIGMA, CLASS_WEIGHTS = 0.5, {3: 2.0}
THREADS = len(os.sched_getaffinity(0))
CRS, LEFT, TOP = "EPSG:32631", 250_000, 4_770_000


def make(folder: Path, size: int, speckle: bool = True) -> None:
    """Simulate labels: patches of no class and of 12, about 47 px wide, as a tiled GeoTIFF.

    Their edges wind, and lie on no cell's edge. Speckle is 5 % of pixels of any class.
    """
    random = np.random.default_rng(1)
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": 1,
        "dtype": "uint8",
        "nodata": 0,
        "crs": CRS,
        "transform": from_origin(LEFT, TOP, 1, 1),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "DEFLATE",
        "num_threads": "all_cpus",
        "bigtiff": "if_safer",
    }
    shape = (size // PATCH + 3, size // PATCH + 3)
    coarse = random.integers(0, CLASSES + 1, shape, dtype=np.uint8)
    along = np.arange(size, dtype=np.int32)
    bend_rows = (10 * np.sin(along / 37) + 12).astype(np.int32)
    bend_cols = (9 * np.sin(along / 41) + 12).astype(np.int32)
    noise = random.integers(0, 256, (512, size + 512), dtype=np.uint8)
    other = random.integers(0, CLASSES + 1, (512, size + 512), dtype=np.uint8)
    with rasterio.open(folder / "labels.tif", "w", **profile) as target:
        for row in range(0, size, 512):
            height = min(512, size - row)
            rows = (along[row : row + height, None] + bend_rows) // PATCH
            cols = (along + bend_cols[row : row + height, None]) // PATCH
            label = coarse[rows, cols]
            if speckle:
                shift = int(random.integers(0, 512))  # the same noise elsewhere: it is dear
                part = slice(shift, shift + size)
                hit = noise[:height, part] < SPECKLE
                np.copyto(label, other[:height, part], where=hit)
            target.write(label, 1, window=Window(0, row, size, height))


def _reduced(folder: Path, method: str) -> np.ndarray:
    """The stage's own route; its seconds are those of all but the imports."""
    from mapmill import native
    from mapmill.grid import Grid
    from mapmill.majority import CELLS, Choice
    from mapmill.raster.lattice import describe, lattice_of
    from mapmill.routes import Codes, by_lattice

    native.load("kernels", "reduce_cells", CELLS)
    start = time.perf_counter()
    file = describe(folder / "labels.tif")
    side = file.width // RATIO
    grid = Grid(CRS, LEFT, TOP, RATIO, side, side, side)
    lattice = lattice_of(file, grid)
    weights = {"class_weights": CLASS_WEIGHTS, "sigma": SIGMA} if method == "weighted" else {}
    choice = Choice(CLASSES, method, **weights)
    codes = Codes(None, CLASSES)
    cells = by_lattice(file, lattice, grid.window, codes, choice, THREADS, with_percent=True)
    _took(folder, start)
    return cells.class_YX


def _took(folder: Path, start: float) -> None:
    (folder / f"{sys.argv[1]}.seconds").write_text(f"{time.perf_counter() - start}")


def mapmill(folder: Path) -> np.ndarray:
    """The most frequent class."""
    return _reduced(folder, "mode")


def mapmill_weighted(folder: Path) -> np.ndarray:
    """Weights by distance to the centre and by class."""
    return _reduced(folder, "weighted")


def mapmill_nearest(folder: Path) -> np.ndarray:
    """The middle pixel."""
    return _reduced(folder, "nearest")


def decode(folder: Path) -> np.ndarray:
    """Only reading, as ours does, with as many threads."""
    from concurrent.futures import ThreadPoolExecutor

    from mapmill.raster.label_pixels import ROOM_PIXELS, shares, strips
    from mapmill.raster.lattice import describe

    start = time.perf_counter()
    file = describe(folder / "labels.tif")

    def read(part):
        return sum(a.size for _, a in strips(file, part, RATIO, ROOM_PIXELS // THREADS, 0, None))

    with ThreadPoolExecutor(THREADS) as pool:
        pixels = sum(pool.map(read, shares(file, file.window, RATIO, THREADS)))
    _took(folder, start)
    return np.array([pixels])


def gdal_read(folder: Path) -> np.ndarray:
    """A thinned read with GDAL's mode."""
    start = time.perf_counter()
    with rasterio.open(folder / "labels.tif") as source:
        shape = (source.height // RATIO, source.width // RATIO)
        result = source.read(1, out_shape=shape, resampling=Resampling.mode)
    _took(folder, start)
    return result


def gdalwarp(folder: Path) -> np.ndarray:
    """GDAL's command, with threads for reading and for computing."""
    options = ["-q", "-overwrite", "-r", "mode", "-ovr", "NONE", "-tr", str(RATIO), str(RATIO)]
    options += ["-multi", "-wo", "NUM_THREADS=ALL_CPUS"]
    return _command(folder, "gdalwarp", options)


def gdal_translate(folder: Path) -> np.ndarray:
    """GDAL's command for nearest."""
    with rasterio.open(folder / "labels.tif") as source:
        sides = [str(source.width // RATIO), str(source.height // RATIO)]
    return _command(folder, "gdal_translate", ["-q", "-r", "nearest", "-outsize", *sides])


def _command(folder: Path, program: str, options: list[str]) -> np.ndarray:
    target = folder / f"{program}.tif"
    start = time.perf_counter()
    subprocess.run([program, *options, folder / "labels.tif", target], check=True)
    _took(folder, start)
    with rasterio.open(target) as source:
        return source.read(1)


def reference(folder: Path) -> np.ndarray:
    """The weighted majority in numpy, pixel by pixel of each cell."""
    offset = (np.arange(RATIO) + 0.5) / RATIO - 0.5
    square = offset[:, None] ** 2 + offset**2
    place = np.rint(255 * np.exp((square.min() - square) / (2 * SIGMA**2)))
    weight = np.array([CLASS_WEIGHTS.get(code, 1.0) for code in range(CLASSES + 1)])
    start = time.perf_counter()
    with rasterio.open(folder / "labels.tif") as source:
        side = source.width // RATIO
        rows = range(0, side, 64)
        windows = [Window(0, r * RATIO, side * RATIO, min(64, side - r) * RATIO) for r in rows]
        result = [_heaviest(source.read(1, window=w), place, weight) for w in windows]
    _took(folder, start)
    return np.concatenate(result)


def _heaviest(label: np.ndarray, place: np.ndarray, weight: np.ndarray) -> np.ndarray:
    shape = (label.shape[0] // RATIO, label.shape[1] // RATIO)
    cells = np.arange(shape[0] * shape[1])
    sums, best, top = np.zeros((cells.size, weight.size)), np.zeros(cells.size, int), 0.0
    for y in range(RATIO):
        for x in range(RATIO):
            code = label[y::RATIO, x::RATIO].ravel()
            sums[cells, code] += place[y, x]
            score = weight[code] * sums[cells, code]
            better = (code > 0) & ((best == 0) | (score > top))
            best, top = np.where(better, code, best), np.where(better, score, top)
    return best.reshape(shape)


CONTENDERS = {
    "mapmill": mapmill,
    "decoding alone": decode,
    "rasterio read(mode)": gdal_read,
    "gdalwarp -multi": gdalwarp,
    "mapmill weighted": mapmill_weighted,
    "numpy weighted": reference,
    "mapmill nearest": mapmill_nearest,
    "gdal_translate nearest": gdal_translate,
}
PROGRAMS = {"gdalwarp -multi": "gdalwarp", "gdal_translate nearest": "gdal_translate"}
for _name, _program in PROGRAMS.items():
    if not shutil.which(_program):
        del CONTENDERS[_name]


def missing() -> dict[str, str]:
    """Peers that are not installed, and why they are not compared."""
    return {name: f"no {program}" for name, program in PROGRAMS.items() if name not in CONTENDERS}


def equal(folder: Path) -> dict[str, bool]:
    """Whether each contender's result equals its peer's in every cell; of decoding, all is read."""
    found = {who: np.load(folder / f"{who}.npy") for who in CONTENDERS}
    with rasterio.open(folder / "labels.tif") as source:
        shape = (source.height // RATIO, source.width // RATIO)
        pixels = source.height * source.width
        nearest = source.read(1, out_shape=shape, resampling=Resampling.nearest)
    oracle = {
        "mapmill": found["rasterio read(mode)"],
        "decoding alone": np.array([pixels]),
        "rasterio read(mode)": found["mapmill"],
        "gdalwarp -multi": found["mapmill"],
        "mapmill weighted": found["numpy weighted"],
        "numpy weighted": found["mapmill weighted"],
        "mapmill nearest": nearest,
        "gdal_translate nearest": found["mapmill nearest"],
    }
    return {who: bool(np.array_equal(found[who], oracle[who])) for who in CONTENDERS}


if __name__ == "__main__":
    who, place = sys.argv[1], Path(sys.argv[2])
    np.save(place / f"{who}.npy", CONTENDERS[who](place))
