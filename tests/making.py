"""Things the tests make: a small area, rasters, simulated scenes."""

import textwrap
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

CRS = "EPSG:32631"
LEFT, TOP, STEP = 400_000.0, 4_600_000.0, 10.0

SMALL_AREA = """
title: Simulated test area
attribution: [Simulated for the tests of mapmill]
license: CC0-1.0
grid:
  crs: EPSG:32631
  resolution: 10
  bounds: [400000, 4598400, 401920, 4600000]
  block: 64
classes:
  1: {name: field, colour: "#e8c95c"}
  2: {name: wood, colour: "#1b6b2f"}
  3: {name: lake, colour: "#2f6fb7"}
labels:
  file: data/labels.tif
search:
  source: files
  periods:
    2018-04: {files: "data/{scene}_{band}.tif"}
compose:
  bands: [B02, B03, B04]
select:
  size: 32
  split: {method: strips, direction: west-east, train: 0.6, val: 0.2, test: 0.2}
train:
  width: 4
  depth: 2
  steps: 20
  batch: 4
  validate_every: 10
  seeds: [1]
assess:
  block: 32
runs:
  unet: {}
maps:
  landcover: {run: unet}
"""
"""An area of 192 x 160 px in blocks of 64 (the last row of blocks is half as high)."""


def write_tif(path, array_BYX, *, left=LEFT, top=TOP, step=STEP, crs=CRS, nodata=None, bands=()):
    """Write an array (band, y, x) or (y, x) as a GeoTIFF, with rasterio and nothing of ours."""
    array_BYX = array_BYX if array_BYX.ndim == 3 else array_BYX[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": array_BYX.shape[0],
        "height": array_BYX.shape[1],
        "width": array_BYX.shape[2],
        "dtype": array_BYX.dtype.name,
        "crs": crs,
        "transform": from_origin(left, top, step, step),
        "nodata": nodata,
    }
    with rasterio.open(path, "w", **profile) as target:
        target.write(array_BYX)
        for number, name in enumerate(bands, 1):
            target.set_band_description(number, name)
    return path


def simulated_scene(height=160, width=192, seed=0):
    """Simulated classes (y, x), 1 to 3, and an image (3, y, x) uint16 with spectra to match."""
    random = np.random.default_rng(seed)
    coarse = random.integers(1, 4, (height // 16, width // 16), dtype=np.uint8)
    label_YX = np.kron(coarse, np.ones((16, 16), np.uint8))
    spectra = np.array([[0, 0, 0], [900, 1100, 1300], [300, 500, 400], [600, 400, 200]])
    image = spectra[label_YX].transpose(2, 0, 1) + random.normal(0, 60, (3, height, width))
    return label_YX, np.clip(image, 1, 10_000).astype(np.uint16)


def write_area(name, text):
    """Write an area file below the current folder and return its path."""
    path = Path("config/areas") / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text).lstrip())
    return path
