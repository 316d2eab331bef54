"""Peak memory of `mapmill predict --model` on simulated images of several sizes, as a table.

`python benchmarks/predict_memory.py [--size N ...]`: four bands of uint16, eight classes, a small
U-Net (width 2, depth 1), a process for each row. Data lie in the first 4,096 columns, the rest of
the image is missing: nothing goes through the net there, but it is read and written. What is held
at a time does not depend on that.
"""

import argparse
import os
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window
from run import measure

SIZES = (2000, 8000, 30_000)
TILES = (1024, 2048)
SWATH, SIDE, CLASSES = 4096, 512, 8
BANDS = ("B02", "B03", "B04", "B08")


def make_model(path: Path) -> None:
    """A model with random weights."""
    import torch

    from mapmill.nets.model import Card, build, save_model, with_reach

    names = [f"class {number}" for number in range(CLASSES)]
    card = Card("unet", 2, 1, list(BANDS), names, [1000.0] * 4, [300.0] * 4, {}, size=256)
    torch.manual_seed(0)
    save_model(path, build(card).state_dict(), with_reach(card))


def make_image(path: Path, size: int) -> None:
    """An image of `size` px whose tiles are all alike."""
    random = np.random.default_rng(0)
    tile = random.integers(500, 1500, (len(BANDS), SIDE, SIDE)).astype(np.uint16)
    profile = {"driver": "GTiff", "tiled": True, "blockxsize": SIDE, "blockysize": SIDE}
    profile |= {"compress": "zstd", "zstd_level": 1, "sparse_ok": True, "bigtiff": "if_safer"}
    profile |= {"width": size, "height": size, "count": len(BANDS), "dtype": "uint16"}
    place = {"crs": "EPSG:32631", "transform": from_origin(400_000, 5_000_000, 10, 10)}
    with rasterio.open(path, "w", **profile, **place, nodata=0) as target:
        for number, name in enumerate(BANDS, 1):
            target.set_band_description(number, name)
        for row in range(0, size, SIDE):
            for col in range(0, min(size, SWATH), SIDE):
                part = Window(col, row, min(SIDE, size - col), min(SIDE, size - row))
                target.write(tile[:, : part.height, : part.width], window=part)


def apart(work, *given) -> None:  # type: ignore[no-untyped-def]
    """In a process of its own: a child's peak holds what its parent had when it was started."""
    process = get_context("spawn").Process(target=work, args=given)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"failed: {work.__name__}")


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, nargs="+", default=SIZES, help="sides in px")
    parser.add_argument("--where", type=Path, help="folder for the data; temporary by default")
    chosen = parser.parse_args()
    print(f"| size | {' | '.join(f'exact, tile {t}' for t in TILES)} | blend, window 256 |")
    print("|---|" + "---|" * (len(TILES) + 1))
    ways = [["--mode", "exact", "--tile", str(tile)] for tile in TILES]
    ways.append(["--mode", "blend", "--window", "256"])
    with tempfile.TemporaryDirectory(dir=chosen.where) as name:
        model, image, result = (Path(name) / file for file in ("m.safetensors", "i.tif", "o.tif"))
        apart(make_model, model)
        for size in chosen.size:
            apart(make_image, image, size)
            command = [sys.executable, "-m", "mapmill", "predict", "--model", str(model)]
            command += ["--image", str(image)]
            peaks = [measure([*command, *way, str(result)])[2] for way in ways]
            image.unlink()
            print(f"| {size} px | {' | '.join(f'{peak:.0f} MB' for peak in peaks)} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("GDAL_PAM_ENABLED", "NO")
    main()
