"""The stages as a user calls them, and their outputs read back with rasterio alone."""

import json
import math
from pathlib import Path

import numpy as np
import rasterio
import rasterio.merge
import yaml
from making import LEFT, SMALL_AREA, STEP, TOP, write_area, write_tif

from mapmill.class_areas import ClassAreas, write_areas
from mapmill.cli import main

PERIOD = "2018-04"


def mapmill(*arguments):
    """Run one command, which must work."""
    assert main([str(argument) for argument in arguments]) == 0


def refused(capsys, *arguments):
    """Run one command, which must fail; the single line that it prints."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    errors = capsys.readouterr().err
    lines = [line for line in errors.splitlines() if line.startswith(f"mapmill {arguments[0]}: ")]
    assert len(lines) == 1, errors
    assert "Traceback" not in errors
    return lines[0]


def refused_cleanly(capsys, *arguments):
    """The line by which a command refuses; nothing may be left of outputs below `out`."""
    line = refused(capsys, *arguments)
    assert not [path for path in Path("out").rglob("*") if path.is_file()]
    assert not [path for path in Path().rglob("*") if ".part" in path.name]
    return line


def area_with(name, **sections):
    """The small area with some keys of its sections changed; None takes a section out."""
    content = yaml.safe_load(SMALL_AREA)
    for section, values in sections.items():
        if isinstance(values, dict) and section in content:
            content[section] = {**content[section], **values}
        else:
            content[section] = values
    kept = {section: values for section, values in content.items() if values is not None}
    return write_area(name, yaml.safe_dump(kept, sort_keys=False))


def files(pattern):
    """A period's section that finds files on disk."""
    return {PERIOD: {"files": str(pattern)}}


def block_names(area):
    """Names of an area's blocks, from the north-west, row by row."""
    grid = yaml.safe_load(area.read_text())["grid"]
    left, bottom, right, top = grid["bounds"]
    side = grid["resolution"] * grid["block"]
    rows, cols = math.ceil((top - bottom) / side - 1e-9), math.ceil((right - left) / side - 1e-9)
    return [f"r{row:03d}c{col:03d}" for row in range(rows) for col in range(cols)]


def search(area, period=PERIOD):
    """Pin the scenes of a period; the item collection as plain JSON."""
    listing = Path(f"results/{area.stem}/search/{period}.json")
    mapmill("search", area, period, listing)
    return json.loads(listing.read_text())


def compose(area, period=PERIOD):
    """Search, link and compose a whole period; its blocks pasted to one array (band, y, x)."""
    root = Path(f"results/{area.stem}")
    for item in search(area, period)["features"]:
        for key, asset in item["assets"].items():
            file = f"{period}/{item['id']}/{key}{Path(asset['href']).suffix}"
            mapmill("download", area, file, root / "download" / file)
    for block in block_names(area):
        mapmill("compose", area, period, block, root / "compose" / period / f"{block}.tif")
    image_BYX = pasted(root / "compose" / period)
    if not (root / "compose" / period / "quality").exists():
        write_quality(area, image_BYX, period=period)
    return image_BYX


def write_quality(area, image_BYX, state_YX=None, period=PERIOD):
    """Write the quality layer of an image that was observed once; by default it is clear."""
    missing = np.isnan(image_BYX) if image_BYX.dtype.kind == "f" else image_BYX == 0
    seen_YX = (~missing.any(axis=0)).astype(np.uint8)
    quality_BYX = np.stack([seen_YX, seen_YX if state_YX is None else state_YX])
    write_blocks(area, f"compose/{period}/quality", quality_BYX, ["observations", "state"])


def write_labels(area, label_YX):
    """Write classes as downsample would, where labels are as fine as the grid."""
    write_blocks(area, "downsample", label_YX[None], ["class"])
    classes = len(yaml.safe_load(area.read_text())["classes"])
    for block in block_names(area):
        path = Path(f"results/{area.stem}/downsample/{block}.tif")
        with rasterio.open(path) as source:
            count = np.bincount(source.read(1).ravel(), minlength=classes + 1)[: classes + 1]
        write_areas(path.with_suffix(".csv"), ClassAreas(*[count * float(STEP**2)] * 4))


def downsample(area):
    """Link the labels and bring them to the grid; the blocks pasted to one array (y, x)."""
    root = Path(f"results/{area.stem}")
    labels = f"labels{Path(yaml.safe_load(area.read_text())['labels']['file']).suffix}"
    mapmill("download", area, labels, root / "download" / labels)
    for block in block_names(area):
        mapmill("downsample", area, block, root / "downsample" / f"{block}.tif")
    return pasted(root / "downsample")[0]


def select(area):
    """Write the table of tiles."""
    folder = Path(f"results/{area.stem}/select")
    outputs = [folder / name for name in ("tiles.csv", "tiles.png", "shift.png")]
    mapmill("select", area, *outputs)
    return folder / "tiles.csv"


def pack(area):
    """Write the patch store; its folder."""
    store = Path(f"results/{area.stem}/pack/patches.zarr")
    mapmill("pack", area, store / "zarr.json")
    return store


def train(area, model):
    """Train one model; its file."""
    folder = Path(f"results/{area.stem}/train/{model}")
    outputs = [folder / name for name in ("model.safetensors", "history.csv", "curves.png")]
    mapmill("train", area, model, *outputs)
    return outputs[0]


def predict(area, name="landcover"):
    """Predict all blocks of a map; the blocks pasted to one array (band, y, x)."""
    folder = Path(f"results/{area.stem}/predict/{name}")
    for block in block_names(area):
        mapmill("predict", area, name, block, folder / f"{block}.tif")
    return pasted(folder)


def pasted(folder):
    """All blocks of a folder, put by their own coordinates into one array (band, y, x)."""
    return rasterio.merge.merge(sorted(folder.glob("*.tif")))[0]


def read(path):
    """All bands of a raster (band, y, x)."""
    with rasterio.open(path) as source:
        return source.read()


def write_blocks(area, folder, array_BYX, bands, nodata=0):
    """Cut an array into the area's blocks, as the stages hand them to one another."""
    side = yaml.safe_load(area.read_text())["grid"]["block"]
    for row in range(0, array_BYX.shape[1], side):
        for col in range(0, array_BYX.shape[2], side):
            name = f"r{row // side:03d}c{col // side:03d}.tif"
            place = {"left": LEFT + col * STEP, "top": TOP - row * STEP}
            part = array_BYX[:, row : row + side, col : col + side]
            path = Path(f"results/{area.stem}") / folder / name
            write_tif(path, part, **place, bands=bands, nodata=nodata)


def assert_most_frequent(found, fine, factor):
    """Each cell holds a class that none of its label pixels' classes outnumber; 0 if all are 0."""
    height, width = found.shape
    cells = fine.reshape(height, factor, width, factor)
    counts = np.stack([(cells == value).sum(axis=(1, 3)) for value in range(1, 4)])
    np.testing.assert_array_equal(found == 0, counts.sum(axis=0) == 0)
    own = np.take_along_axis(counts, np.maximum(found, 1)[None].astype(int) - 1, axis=0)[0]
    np.testing.assert_array_equal(own, counts.max(axis=0))
