"""One block of 10 bands, each a file on the grid: mapmill's stage beside GDAL's and dask's.

All write band after band in tiles of 512 px, ZSTD level 1 with predictor 2, by two threads.
MAPMILL_BENCH_PYTHON may name an interpreter that has rioxarray and dask, if this one has not.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

SIZE = 6000
THREADS = 2
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
TILED = {"tiled": True, "blockxsize": 512, "blockysize": 512}
CODEC = {"compress": "ZSTD", "zstd_level": 1, "predictor": 2}
AREA = """\
title: Benchmark
attribution: [Simulated]
grid:
  {{crs: EPSG:32631, resolution: 10, bounds: [400000, {bottom}, {right}, 5000000], block: {size}}}
classes: {{1: {{name: a, colour: "#000000"}}, 2: {{name: b, colour: "#ffffff"}}}}
labels: {{file: labels.tif}}
search: {{source: files, periods: {{2018-04: {{files: "{folder}/{{scene}}_{{band}}.tif"}}}}}}
compose: {{bands: [{bands}]}}
select: {{size: 64, split: {{method: random, train: 0.6, val: 0.2, test: 0.2}}}}
runs: {{unet: {{}}}}
maps: {{map: {{run: unet}}}}
"""


def make(folder: Path, size: int) -> None:
    """Simulate bands as a satellite sees fields: smooth patches with noise, 0 in one corner."""
    random = np.random.default_rng(1)
    place = {"crs": "EPSG:32631", "transform": from_origin(400_000, 5_000_000, 10, 10)}
    profile = {"driver": "GTiff", "width": size, "height": size, "count": 1, "dtype": "uint16"}
    for band in BANDS:
        with rasterio.open(
            folder / f"S1_{band}.tif", "w", **profile, nodata=0, **place, **TILED, **CODEC
        ) as target:
            for row in range(0, size, 512):
                height = min(512, size - row)
                coarse = random.integers(300, 4000, (-(-height // 32), -(-size // 32)))
                values = np.kron(coarse, np.ones((32, 32), int))[:height, :size]
                noise = random.normal(0, 60, (height, size))
                image = np.clip(values + noise, 1, 10_000).astype(np.uint16)
                image[: max(0, 300 - row), :300] = 0
                target.write(image, 1, window=Window(0, row, size, height))
    _pin(folder, size)


def _pin(folder: Path, size: int) -> None:
    """Area file, pinned search and links, as the stages before leave them."""
    from mapmill.cli import main

    os.chdir(folder)
    area = folder / "config/areas/bench.yaml"
    area.parent.mkdir(parents=True)
    text = AREA.format(
        bottom=5_000_000 - 10 * size, right=400_000 + 10 * size, size=size, folder=folder,
        bands=", ".join(BANDS),
    )  # fmt: skip
    area.write_text(text)
    listing = folder / "results/bench/search/2018-04.json"
    if main(["search", str(area), "2018-04", str(listing)]):
        raise SystemExit("the search failed")
    links = folder / "results/bench/download/2018-04/S1"
    links.mkdir(parents=True)
    for band in BANDS:
        (links / f"{band}.tif").symlink_to(folder / f"S1_{band}.tif")


def mapmill(folder: Path) -> None:
    """The stage as its command runs it; it writes the quality layer too."""
    os.chdir(folder)
    from mapmill.stages.compose import run

    area = Path("config/areas/bench.yaml")
    start = time.perf_counter()
    run(area, "2018-04", "r000c000", folder / "mapmill.tif", threads=THREADS)
    (folder / "mapmill.seconds").write_text(f"{time.perf_counter() - start}")


def gdal(folder: Path) -> None:
    """A virtual raster of the bands, translated."""
    files = [str(folder / f"S1_{band}.tif") for band in BANDS]
    vrt, target = str(folder / "gdal.vrt"), str(folder / "gdal.tif")
    subprocess.run(["gdalbuildvrt", "-q", "-separate", "-overwrite", vrt, *files], check=True)
    options = ["TILED=YES", "BLOCKXSIZE=512", "BLOCKYSIZE=512", "INTERLEAVE=BAND"]
    options += ["COMPRESS=ZSTD", "ZSTD_LEVEL=1", "PREDICTOR=2", f"NUM_THREADS={THREADS}"]
    created = [part for option in options for part in ("-co", option)]
    subprocess.run(["gdal_translate", "-q", *created, vrt, target], check=True)


DASK = """
import sys
import dask, rioxarray, xarray
*files, target = sys.argv[1:]
dask.config.set(scheduler="threads", num_workers={threads})
tiles = {{"x": 2048, "y": 2048}}
bands = [rioxarray.open_rasterio(file, chunks=tiles, lock=False) for file in files]
image = xarray.concat(bands, dim="band")
image.rio.to_raster(target, tiled=True, blockxsize=512, blockysize=512, compress="ZSTD",
    zstd_level=1, predictor=2, interleave="band", num_threads={threads}, lock=True)
"""


def dask(folder: Path) -> None:
    """Bands opened lazily, stacked and written."""
    files = [str(folder / f"S1_{band}.tif") for band in BANDS]
    script = DASK.format(threads=THREADS)
    subprocess.run([_python(), "-c", script, *files, str(folder / "dask.tif")], check=True)


def _python() -> str:
    return os.environ.get("MAPMILL_BENCH_PYTHON", sys.executable)


def _has(*modules: str) -> bool:
    if _python() == sys.executable:
        return all(importlib.util.find_spec(module) for module in modules)
    command = [_python(), "-c", f"import {', '.join(modules)}"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


NAMES = {"gdalbuildvrt + gdal_translate": gdal, "rioxarray + dask": dask}
WHY = {
    "gdalbuildvrt + gdal_translate": "" if shutil.which("gdal_translate") else "no gdal_translate",
    "rioxarray + dask": "" if _has("rioxarray", "dask") else "not installed (MAPMILL_BENCH_PYTHON)",
}
CONTENDERS = {"mapmill": mapmill} | {name: run for name, run in NAMES.items() if not WHY[name]}


def missing() -> dict[str, str]:
    """Peers that are not installed, and why they are not compared."""
    return {name: why for name, why in WHY.items() if why}


def equal(folder: Path) -> dict[str, bool]:
    """Whether each contender's bands equal ours in every pixel."""
    files = {who: folder / f"{run.__name__}.tif" for who, run in CONTENDERS.items()}
    return {who: _same(files["mapmill"], file) for who, file in files.items()}


def _same(ours: Path, theirs: Path) -> bool:
    with rasterio.open(ours) as one, rasterio.open(theirs) as other:
        if one.shape != other.shape or one.count != other.count:
            return False
        return all(np.array_equal(one.read(band), other.read(band)) for band in one.indexes)


if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](Path(sys.argv[2]))
