"""Mode downsampling of labels, ten to one: mapmill's kernel by block beside GDAL by rasterio."""

import sys
from pathlib import Path

import numpy as np
import rasterio
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.windows import Window

SIZE = 10_000
RATIO = 10
BLOCK = 2560


def make(folder: Path, size: int) -> None:
    """Simulate labels: patches of 12 classes with 5 % speckle, as a tiled GeoTIFF."""
    random = np.random.default_rng(1)
    profile = {
        "driver": "GTiff",
        "width": size,
        "height": size,
        "count": 1,
        "dtype": "uint8",
        "nodata": 0,
        "crs": "EPSG:32631",
        "transform": from_origin(250_000, 4_770_000, 1, 1),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "DEFLATE",
    }
    with rasterio.open(folder / "labels.tif", "w", **profile) as target:
        for row in range(0, size, 1000):
            height = min(1000, size - row)
            coarse = random.integers(1, 13, (-(-height // 50), -(-size // 50)), dtype=np.uint8)
            label = np.kron(coarse, np.ones((50, 50), np.uint8))[:height, :size]
            speckle = random.random(label.shape) < 0.05
            label[speckle] = random.integers(0, 13, int(speckle.sum()), dtype=np.uint8)
            target.write(label, 1, window=Window(0, row, size, height))


def mapmill(folder: Path) -> np.ndarray:
    """The stage's reading and kernel, block by block."""
    from mapmill import kernels
    from mapmill.grid import Grid
    from mapmill.raster import read_on_grid

    path = folder / "labels.tif"
    with rasterio.open(path) as source:
        size = source.width // RATIO
    grid = Grid("EPSG:32631", 250_000, 4_770_000, RATIO, size, size, BLOCK // RATIO)
    result = np.zeros((size, size), np.uint8)
    for block in grid.blocks():
        fine = read_on_grid(path, 1, grid, block.window, nodata=0, factor=RATIO)
        result[block.window.slices(grid.window)] = kernels.mode(fine, RATIO)
    return result


def gdal_read(folder: Path) -> np.ndarray:
    """A thinned read with GDAL's mode."""
    with rasterio.open(folder / "labels.tif") as source:
        shape = (source.height // RATIO, source.width // RATIO)
        return source.read(1, out_shape=shape, resampling=Resampling.mode)


CONTENDERS = {"mapmill": mapmill, "rasterio read(mode)": gdal_read}


def missing() -> dict[str, str]:
    """Peers that are not installed, and why they are not compared."""
    return {}


def equal(folder: Path) -> dict[str, bool]:
    """Whether each contender's result equals ours in every cell."""
    ours = np.load(folder / "mapmill.npy")
    return {who: bool(np.array_equal(np.load(folder / f"{who}.npy"), ours)) for who in CONTENDERS}


if __name__ == "__main__":
    who, place = sys.argv[1], Path(sys.argv[2])
    np.save(place / f"{who}.npy", CONTENDERS[who](place))
