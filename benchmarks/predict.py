"""An image mapped by one net: mapmill beside naive overlap and MONAI, and the net alone.

All take the same net and dtype, and write the class map of a tiled GeoTIFF of four bands; work is
the time without start-up. `naive` predicts overlapping tiles (25 %) one by one into an array of
the whole scene's logits and takes the mean; so does MONAI with its Gaussian weights. `net alone`
does the forward passes of ours on one tile in memory, as large with its halo and as often as ours
does, and reads and writes nothing; `net as trained` likewise with the net as the peers have it.
`predict-free` takes a net of one 1 x 1 convolution in its place. PREDICT_DTYPE=bfloat16 lets all
compute in that; PREDICT_WIDTH=18 makes it a net of 2.5 million parameters (8: 0.5).
"""

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

SIZE = 4096
TILE = 2048
THREADS = 2
CLASSES = 8
IS_FREE = Path(sys.argv[0]).stem == "predict_free"
WIDTH = int(os.environ.get("PREDICT_WIDTH", "8"))
DTYPE = os.environ.get("PREDICT_DTYPE", "float32")
PROFILE = {"driver": "GTiff", "tiled": True, "blockxsize": 512, "blockysize": 512}
PROFILE |= {"compress": "zstd", "zstd_level": 1, "crs": "EPSG:32631"}
BANDS = ("B02", "B03", "B04", "B08")


def make(folder: Path, size: int) -> None:
    """A simulated image, and a model with random weights."""
    import torch

    from mapmill.nets.model import Card, build, save_model, with_reach

    random = np.random.default_rng(0)
    tile = random.integers(500, 1500, (len(BANDS), 512, 512)).astype(np.uint16)
    profile = PROFILE | {"width": size, "height": size, "count": len(BANDS), "dtype": "uint16"}
    profile |= {"nodata": 0, "transform": from_origin(400_000, 5_000_000, 10, 10)}
    with rasterio.open(folder / "image.tif", "w", **profile) as target:
        for number, name in enumerate(BANDS, 1):
            target.set_band_description(number, name)
        for row in range(0, size, 512):
            for col in range(0, size, 512):
                part = Window(col, row, min(512, size - col), min(512, size - row))
                target.write(tile[:, : part.height, : part.width], window=part)
    names = [f"class {number}" for number in range(CLASSES)]
    card = Card("unet", WIDTH, 4, list(BANDS), names, [1000.0] * 4, [300.0] * 4, {}, size=256)
    torch.manual_seed(0)
    save_model(folder / "model.safetensors", build(card).state_dict(), with_reach(card))


def _net(folder: Path) -> tuple[Any, Any]:
    """Net and card of the model; or a net that costs next to nothing."""
    from dataclasses import replace

    import torch

    from mapmill.nets.model import load_model

    torch.set_num_threads(THREADS)
    net, card = load_model(folder / "model.safetensors")
    if not IS_FREE:
        return net.to(memory_format=torch.channels_last), card
    torch.manual_seed(0)
    free: Any = torch.nn.Conv2d(len(BANDS), CLASSES, 1).eval()
    free.stride, free.margin, free.fits = 1, 0, int
    return free, replace(card, reach=0)


def _done(folder: Path, name: str, start: float) -> None:
    (folder / f"{name}.seconds").write_text(f"{time.perf_counter() - start}")


def _ours(folder: Path, name: str, **chosen: Any) -> None:
    import mapmill.predict_image as ours

    net, card = _net(folder)
    ours.load_model = lambda path: (net, card)  # the free net is no model file
    common = {"threads": THREADS, "precision": DTYPE, "device": "cpu"}
    start = time.perf_counter()
    model, image = folder / "model.safetensors", folder / "image.tif"
    ours.run(folder / f"{name}.tif", model, image, None, ours.settings_from(common | chosen))
    _done(folder, name, start)


def mapmill(folder: Path) -> None:
    """As `mapmill predict --model` does, with exact tiles of 2,048 px."""
    _ours(folder, "mapmill", mode="exact", tile=TILE)


def blend(folder: Path) -> None:
    """Ours with blended windows of 256 px, half of which overlap."""
    _ours(folder, "mapmill blend", mode="blend", window=256)


def _read(folder: Path) -> Any:
    import torch

    with rasterio.open(folder / "image.tif") as source:
        image_BYX = source.read()
    return (torch.from_numpy(image_BYX.astype(np.float32)) - 1000) / 300


def _logits(net: Any, image_NCHW: Any) -> Any:
    import torch

    half = DTYPE == "bfloat16"
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        return net(image_NCHW.contiguous(memory_format=torch.channels_last)).float()


def _write(folder: Path, name: str, logits_KYX: Any) -> None:
    p_KYX = logits_KYX.softmax(0)
    percent, number = p_KYX.max(0)
    bands = np.stack([number.numpy() + 1, (100 * percent).numpy()]).astype(np.uint8)
    profile = PROFILE | {"width": bands.shape[2], "height": bands.shape[1], "count": 2}
    place = from_origin(400_000, 5_000_000, 10, 10)
    with rasterio.open(
        folder / f"{name}.tif", "w", **profile, dtype="uint8", transform=place
    ) as to:
        to.write(bands)


def naive(folder: Path) -> None:
    """Tiles of 256 px, 25 % of which overlap, one by one; the mean of their logits."""
    import torch

    net, _ = _net(folder)
    start = time.perf_counter()
    image_CYX = _read(folder)
    height, width = image_CYX.shape[1:]
    total, times = torch.zeros(CLASSES, height, width), torch.zeros(height, width)
    for row in [*range(0, height - 256, 192), height - 256]:
        for col in [*range(0, width - 256, 192), width - 256]:
            part = image_CYX[None, :, row : row + 256, col : col + 256]
            total[:, row : row + 256, col : col + 256] += _logits(net, part)[0]
            times[row : row + 256, col : col + 256] += 1
    _write(folder, "naive", total / times)
    _done(folder, "naive", start)


def monai(folder: Path) -> None:
    """Its sliding_window_inference: 256 px, 25 % overlap, Gaussian weights, batches of 4."""
    from monai.inferers import sliding_window_inference

    net, _ = _net(folder)
    start = time.perf_counter()
    image = _read(folder)[None]
    found = sliding_window_inference(
        image, (256, 256), 4, lambda x: _logits(net, x), overlap=0.25, mode="gaussian"
    )
    _write(folder, "monai", found[0])
    _done(folder, "monai", start)


def forward(folder: Path) -> None:
    """What ours makes of the net, on a tile of 2,048 px and its halo, once for each such square."""
    from mapmill.freed import keep_freed_memory
    from mapmill.nets.fold import folded

    keep_freed_memory()
    _alone(folder, "net alone", folded)


def trained(folder: Path) -> None:
    """The same with the net as it was trained."""
    _alone(folder, "net as trained", lambda net: net)


def _alone(folder: Path, name: str, made: Any) -> None:
    import torch

    net, card = _net(folder)
    halo = -(-card.reach // net.stride) * net.stride
    net = made(net).to(memory_format=torch.channels_last)
    with rasterio.open(folder / "image.tif") as source:
        size = source.width
    tile = torch.randn(1, len(BANDS), TILE + 2 * halo, TILE + 2 * halo)
    start = time.perf_counter()
    squares = -(-size // TILE)
    for _ in range(squares * squares):
        _logits(net, tile)
    _done(folder, name, start)


CONTENDERS = {"mapmill": mapmill, "mapmill blend": blend, "naive": naive, "net alone": forward}
CONTENDERS["net as trained"] = trained
if importlib.util.find_spec("monai"):
    CONTENDERS["monai"] = monai


def missing() -> dict[str, str]:
    """Peers that are not installed."""
    return {} if "monai" in CONTENDERS else {"monai": "not installed"}


def equal(folder: Path) -> dict[str, bool]:
    """Whether each class map equals ours in all but 1 % of the pixels."""
    files = {who: folder / f"{who}.tif" for who in CONTENDERS}
    return {who: _same(files["mapmill"], file) for who, file in files.items()}


def _same(ours: Path, theirs: Path) -> bool:
    if not theirs.exists():
        return False
    with rasterio.open(ours) as one, rasterio.open(theirs) as other:
        return float((one.read(1) != other.read(1)).mean()) < 0.01


if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](Path(sys.argv[2]))
