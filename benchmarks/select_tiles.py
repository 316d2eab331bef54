"""The table of tiles of 300 px in one pass, beside reading the labels once, block by block.

The data are what `select` reads: labels and quality layers in blocks of 2,500 px, and imagery of
ten bands. Labels are patches of 12 classes, 5 % speckled in every second block; imagery is
constant in squares of 50 px, so it takes less room and time than real imagery would.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

SIZE = 10_000
BLOCK = 2500
TILE = 300
THREADS = 2
BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
PERIOD = "2018-04"
AREA = """
title: Simulated
attribution: [Simulated]
grid: {{crs: "EPSG:32631", resolution: 10, bounds: [0, {bottom}, {right}, {top}], block: {block}}}
classes: {classes}
labels: {{file: labels.tif}}
search: {{source: files, periods: {{{period}: {{files: "a.tif"}}}}}}
compose: {{bands: {bands}}}
select:
  size: {tile}
  split: {{method: blocks, block: {side}, buffer: {tile}}}
runs: {{unet: {{}}}}
maps: {{landcover: {{run: unet}}}}
"""
FILES = ("tiles.csv", "tiles.png", "shift.png")


def make(folder: Path, size: int) -> None:
    """Write an area and its labels, quality layers and imagery, as the stages before would."""
    import numpy as np

    from mapmill.class_areas import ClassAreas, write_areas
    from mapmill.grid import Grid
    from mapmill.layout import Layout
    from mapmill.raster import write_raster

    top = 5_000_000
    grid = Grid("EPSG:32631", 0, top, 10, size, size, BLOCK)
    classes = {n: {"name": f"class {n}", "colour": f"#{n * 20:02x}8040"} for n in range(1, 13)}
    text = AREA.format(
        bottom=top - 10 * size,
        right=10 * size,
        top=top,
        block=BLOCK,
        classes=json.dumps({str(n): entry for n, entry in classes.items()}).replace('"', "'"),
        period=PERIOD,
        bands=", ".join(BANDS).join("[]"),
        tile=TILE,
        side=min(3000, size // 3),
    )
    for number in classes:
        text = text.replace(f"'{number}': {{'name'", f"{number}: {{'name'")
    (folder / "area.yaml").write_text(text)
    layout = Layout("area")
    random = np.random.default_rng(1)
    for index, block in enumerate(grid.blocks()):
        shape = block.window.height, block.window.width
        coarse = random.integers(1, 13, (-(-shape[0] // 50), -(-shape[1] // 50)), dtype=np.uint8)
        label = np.kron(coarse, np.ones((50, 50), np.uint8))[: shape[0], : shape[1]]
        image = np.empty((len(BANDS), *shape), np.uint16)
        for band in range(len(BANDS)):
            image[band] = label.astype(np.uint16) * (100 + 10 * band)
        if index % 2:
            speckle = random.random(shape) < 0.05
            label[speckle] = random.integers(0, 13, int(speckle.sum()), dtype=np.uint8)
        state = np.ones(shape, np.uint8)
        for row, col in random.integers(0, BLOCK, (20, 2)):
            state[row : row + 200, col : col + 200] = random.integers(2, 4)
        image[:, state == 2] = 0
        quality = np.stack([(state != 2) * np.uint8(3), state])
        for path, array, bands in (
            (layout.downsample(block.name), label[None], ["class"]),
            (layout.compose(PERIOD, block.name), image, BANDS),
            (layout.quality(PERIOD, block.name), quality, ["observations", "state"]),
        ):
            write_raster(folder / path, array, grid, block.window, bands=bands, nodata=0, tags={})
        area = np.bincount(label.ravel(), minlength=13) * 100.0
        table = (folder / layout.downsample(block.name)).with_suffix(".csv")
        write_areas(table, ClassAreas(*[area] * 4))


def table(folder: Path) -> None:
    """What `select` does to make the table: count, deal out, prove, write."""
    os.chdir(folder)
    from mapmill.areafile import load_area
    from mapmill.stages import select

    start = time.perf_counter()
    area = load_area(Path("area.yaml"))
    select.write_table(Path("table/tiles.csv"), area, select.make_table(Path("area.yaml"), THREADS))
    Path("mapmill.seconds").write_text(str(time.perf_counter() - start))


def stage(folder: Path) -> None:
    """The whole stage: also the pictures, and whether labels and imagery agree."""
    os.chdir(folder)
    from mapmill.stages import select

    start = time.perf_counter()
    select.run(Path("area.yaml"), *(Path("stage") / name for name in FILES), threads=THREADS)
    Path("mapmill, with pictures and shift.seconds").write_text(str(time.perf_counter() - start))


def read_once(folder: Path, kinds: list[str], who: str) -> None:
    """Read all blocks of some kinds of file, one after the other, with rasterio."""
    import rasterio

    start = time.perf_counter()
    for kind in kinds:
        for path in sorted((folder / "results/area" / kind).glob("*.tif")):
            with rasterio.open(path) as source:
                source.read(1)
    (folder / f"{who}.seconds").write_text(str(time.perf_counter() - start))


def labels(folder: Path) -> None:
    """One read of the labels."""
    read_once(folder, ["downsample"], "read labels once")


def labels_and_band(folder: Path) -> None:
    """One read of the labels and of one band of the imagery."""
    read_once(folder, ["downsample", f"compose/{PERIOD}"], "read labels and one band once")


CONTENDERS: dict[str, Callable[[Path], None]] = {
    "mapmill": table,
    "mapmill, with pictures and shift": stage,
    "read labels once": labels,
    "read labels and one band once": labels_and_band,
}


def missing() -> dict[str, str]:
    """Peers that are not installed, and why they are not compared."""
    return {}


def equal(folder: Path) -> dict[str, bool]:
    """Whether the table's class counts are those of plain numpy, and both tables are one.

    Reading alone has no result, and so is never equal.
    """
    import csv

    import numpy as np
    import rasterio

    ours = (folder / "table/tiles.csv").read_bytes()
    with (folder / "table/tiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    strips: dict[int, np.ndarray] = {}
    right = len(rows) == (int(rows[-1]["row"]) // TILE + 1) * (int(rows[-1]["col"]) // TILE + 1)
    for row in rows:
        top, left = int(row["row"]), int(row["col"])
        for block_row in range(top // BLOCK, (top + TILE - 1) // BLOCK + 1):
            if block_row not in strips:
                paths = sorted((folder / "results/area/downsample").glob(f"r{block_row:03d}c*.tif"))
                parts = []
                for path in paths:
                    with rasterio.open(path) as source:
                        parts.append(source.read(1))
                strips = {k: v for k, v in strips.items() if k >= top // BLOCK}
                strips[block_row] = np.concatenate(parts, axis=1)
        pixels = np.concatenate(
            [
                strips[r][max(top - r * BLOCK, 0) : top + TILE - r * BLOCK, left : left + TILE]
                for r in range(top // BLOCK, (top + TILE - 1) // BLOCK + 1)
            ]
        )
        counts = np.bincount(pixels.ravel(), minlength=13)[1:]
        right = right and [int(row[f"class_{n}"]) for n in range(1, 13)] == counts.tolist()
    same = (folder / "stage/tiles.csv").read_bytes() == ours
    return dict(zip(CONTENDERS, (right, same, False, False), strict=True))


if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](Path(sys.argv[2]))
