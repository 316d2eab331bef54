"""Simulated chips in the formats that users have, written with nothing of ours."""

import warnings
from pathlib import Path

import h5py
import numpy as np
import rasterio
import yaml
from making import write_area
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import Affine

SMALL_CHIPS = """
title: Simulated chips
attribution: [Simulated for the tests of mapmill]
license: CC0-1.0
chips:
  images:
    - files: data/image/{chip}.tif
      bands: [B03, B04, B08]
  masks: {files: "data/mask/{chip}.tif"}
classes:
  1: {name: field, colour: "#e8c95c"}
  2: {name: lake, colour: "#2f6fb7"}
labels:
  codes: {-1: 0, 0: 1, 1: 2}
compose:
  bands: [B03, B04, B08]
  dtype: float32
select:
  size: 64
  min_valid: 0.3
train: {width: 4, depth: 2, steps: 12, batch: 4, validate_every: 6, threads: 1}
predict: {threads: 1}
runs:
  unet: {}
maps:
  landcover: {run: unet}
"""


def simulated_chip(height, width, seed=0, bands=3):
    """Simulated codes 0 and 1 (y, x) in patches, and an image (band, y, x) float32 to match."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 2, (-(-height // 8), -(-width // 8)))
    coarse.flat[:2] = 0, 1
    code_YX = np.kron(coarse, np.ones((8, 8), int))[:height, :width]
    level_B = 10.0 + np.arange(bands)
    image = level_B[:, None, None] * (1 + code_YX) + random.normal(0, 1, (bands, height, width))
    return code_YX.astype(np.int16), image.astype(np.float32)


def positions(height, width, bands=1, dtype="float32"):
    """An image (band, y, x) whose pixels hold band, row and column: any mix-up shows."""
    band, row, col = np.indices((bands, height, width))
    return (10_000 * (band + 1) + 100 * row + col).astype(dtype)


def write_chip(path, array_BYX, *, crs="EPSG:32631", transform=None, nodata=None, place=(0, 0)):
    """Write a GeoTIFF of any georeference, or of none (`crs=None` without a transform)."""
    array_BYX = array_BYX if array_BYX.ndim == 3 else array_BYX[None]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if transform is None and crs is not None:
        transform = Affine(10, 0, 400_000 + place[0], 0, -10, 4_600_000 + place[1])
    count, height, width = array_BYX.shape
    profile = {"count": count, "height": height, "width": width, "dtype": array_BYX.dtype.name}
    if transform is not None:
        profile["transform"] = transform
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", "GTiff", crs=crs, nodata=nodata, **profile) as target:
            target.write(array_BYX)
    return path


def write_png(path, array, world=None):
    """Write a PNG of (y, x) or (y, x, colour) with PIL; `world` is an affine transform."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    if world is not None:  # the centre of the north-western pixel
        x, y = world * (0.5, 0.5)
        values = (world.a, world.d, world.b, world.e, x, y)
        path.with_suffix(".pgw").write_text("".join(f"{value!r}\n" for value in values))
    return path


def write_hdf5(path, **arrays):
    """Write named arrays with h5py; a name `group__name` is in a group."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name.replace("__", "/"), data=array)
    return path


def write_npz(path, **arrays):
    """Write named arrays with NumPy."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)
    return path


def chip_area(name, **sections):
    """The area of small chips with some keys of its sections changed; None takes one out."""
    return changed_area(name, SMALL_CHIPS, **sections)


def changed_area(name, text, **sections):
    """An area file's text with keys of its sections changed, written under a name."""
    content = yaml.safe_load(text)
    for section, values in sections.items():
        if isinstance(values, dict) and isinstance(content.get(section), dict):
            content[section] = {**content[section], **values}
        else:
            content[section] = values
    kept = {section: values for section, values in content.items() if values is not None}
    return write_area(name, yaml.safe_dump(kept, sort_keys=False))
