"""Packing: mapmill's one pass beside a loop over tiles that writes the same store with zarr.

`python benchmarks/run.py pack-write --size 10000`: blocks of 2,500 px with 10 bands, as compose
writes them, and tiles of 300 px. The loop reads tile by tile with rasterio, from files that stay
open, and writes shard by shard with the zarr library; statistics it has none.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import yaml

SIZE = 5000
SIDE = 300
BLOCK = 2500
BANDS = [f"B{number}" for number in range(10)]
AREA = {
    "title": "Simulated",
    "attribution": ["Simulated for the benchmarks of mapmill"],
    "classes": {n: {"name": f"class {n}", "colour": "#336699"} for n in (1, 2, 3)},
    "labels": {"file": "labels.tif"},
    "search": {"source": "files", "periods": {"2018-04": {"files": "x/{scene}_{band}.tif"}}},
    "compose": {"bands": BANDS},
    "select": {"size": SIDE},
    "runs": {"unet": {}},
    "maps": {"map": {"run": "unet"}},
}


def make(folder: Path, size: int) -> None:
    """Write an area, its composed blocks, its labels and its table of tiles."""
    from pack import texture

    from mapmill.areafile import load_area
    from mapmill.grid import Window
    from mapmill.layout import Layout
    from mapmill.raster import write_raster
    from mapmill.tiles import Tile, write_tiles

    os.chdir(folder)
    bounds = [250_000, 4_770_000 - 10 * size, 250_000 + 10 * size, 4_770_000]
    place = {"crs": "EPSG:32631", "resolution": 10, "bounds": bounds, "block": BLOCK}
    path = Path("config/areas/bench.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(AREA | {"grid": place}))
    grid, layout, image_BYX = load_area(path).the_grid(), Layout("bench"), texture(BLOCK)
    random = np.random.default_rng(0)
    for number, block in enumerate(grid.blocks()):
        part = (slice(None), slice(block.window.height), slice(block.window.width))
        moved = np.roll(image_BYX, 97 * number, axis=2)[part]
        label = random.integers(1, 4, moved.shape[1:], dtype=np.uint8)[None]
        for file, array, names in (
            (layout.compose("2018-04", block.name), moved, BANDS),
            (layout.downsample(block.name), label, ["class"]),
        ):
            write_raster(file, array, grid, block.window, bands=names, nodata=0, tags={})
    starts = range(0, size - SIDE + 1, SIDE)
    tiles = [
        Tile(
            "2018-04",
            "",
            Window(row, col, SIDE, SIDE),
            1,
            0,
            0,
            1,
            "train",
            None,
            "",
            (30_000,) * 3,
        )
        for row in starts
        for col in starts
    ]
    write_tiles(layout.tiles, tiles, 3)


def mapmill(folder: Path) -> None:
    """The stage, with 2 threads."""
    from mapmill.stages.pack import run

    os.chdir(folder)
    run(Path("config/areas/bench.yaml"), Path("results/bench/pack/patches.zarr/zarr.json"), 2)


def loop(folder: Path) -> None:
    """Tile by tile, shard by shard."""
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec

    from mapmill.areafile import load_area
    from mapmill.layout import Layout
    from mapmill.pieces import Pieces
    from mapmill.tiles import read_tiles

    os.chdir(folder)
    area, layout = load_area(Path("config/areas/bench.yaml")), Layout("bench")
    piece, tiles = Pieces(area, layout).open("2018-04"), read_tiles(layout.tiles)
    group = zarr.create_group(folder / "loop.zarr", overwrite=True)
    codecs = [BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle"), Crc32cCodec()]
    arrays = {}
    for name, inner, dtype in (
        ("image", (10, SIDE, SIDE), "uint16"),
        ("label", (SIDE, SIDE), "u1"),
    ):
        arrays[name] = group.create_array(
            name,
            shape=(len(tiles), *inner),
            dtype=dtype,
            chunks=(1, *inner),
            shards=(64, *inner),
            compressors=codecs,
        )
    for start in range(0, len(tiles), 64):
        some = tiles[start : start + 64]
        arrays["image"][start : start + 64] = np.stack([piece.image(t.window) for t in some])
        arrays["label"][start : start + 64] = np.stack([piece.label(t.window) for t in some])


CONTENDERS = {"mapmill": mapmill, "tile by tile, zarr-python": loop}


def missing() -> dict[str, str]:
    """Peers that are not installed, and why they are not compared."""
    return {}


def equal(folder: Path) -> dict[str, bool]:
    """Whether every seventh patch is the same, as zarr reads it."""
    import zarr

    ours, other = (
        zarr.open_group(folder / store, mode="r")
        for store in ("results/bench/pack/patches.zarr", "loop.zarr")
    )
    same = all(
        np.array_equal(ours[name][number], other[name][number])
        for name in ("image", "label")
        for number in range(0, ours["image"].shape[0], 7)
    )
    return dict.fromkeys(CONTENDERS, same and ours["image"].shape == other["image"].shape)


def decoded() -> float:
    """How often a 512 px tile of a block's file is decoded, on average over those that are."""
    from mapmill.cells import cells_of, parts_of, side_of
    from mapmill.layout import Layout
    from mapmill.tiles import read_tiles

    seen: dict[tuple[int, ...], int] = {}
    for cell in cells_of(read_tiles(Layout("bench").tiles), side_of(2 * len(BANDS) + 2, SIDE)):
        for part in parts_of(cell.window, BLOCK):
            top, left = part.row // BLOCK * BLOCK, part.col // BLOCK * BLOCK
            for row in range((part.row - top) // 512, (part.row_end - 1 - top) // 512 + 1):
                for col in range((part.col - left) // 512, (part.col_end - 1 - left) // 512 + 1):
                    seen[top, left, row, col] = seen.get((top, left, row, col), 0) + 1
    return sum(seen.values()) / len(seen)


def main() -> None:
    """Pack once, and say how quickly."""
    who, folder = sys.argv[1], Path(sys.argv[2])
    start = time.perf_counter()
    CONTENDERS[who](folder)
    seconds = time.perf_counter() - start
    (folder / f"{who}.seconds").write_text(f"{seconds}")
    count = len((folder / "results/bench/select/tiles.csv").read_text().splitlines()) - 1
    more = f", each 512 px tile decoded {decoded():.2f} times" if who == "mapmill" else ""
    print(f"{who}: {count / seconds:.0f} tiles/s{more}", file=sys.stderr)


if __name__ == "__main__":
    main()
