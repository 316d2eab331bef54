"""Training on a CUDA GPU: `python benchmarks/gpu_train.py`. Needs torch, numpy and src/ alone.

The U-Net of 31 M parameters, patches of 256 x 256 px and 10 bands (uint16, simulated), batches of
64. It prints samples per second of mapmill's loop where patches come from a memmap (`resident:
false`), where all live on the GPU, and on one batch that is never copied (the limit); of plain
PyTorch (float32, DataLoader); peak memory; and how far the predictions of CPU and GPU are apart.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

import numpy as np
import torch
import train

SIDE, BATCH = 256, 64
LOOK, LOOKS = 20, 3
"""Steps of each look, the first of which is not timed; and how many."""
NET = {"width": 64, "depth": 4}
ON_GPU = {"device": "cuda", "precision": "bfloat16", "batch": BATCH, "validate_every": LOOK}
ON_GPU |= {"steps": LOOK * (LOOKS + 1), "threads": 4}


def rate(looks: Iterator[float], batch: int) -> float:
    """Samples per second after the first look."""
    next(looks)
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(LOOKS):
        next(looks)
    torch.cuda.synchronize()
    return LOOK * LOOKS * batch / (time.perf_counter() - start)


def of_one_batch(folder: Path) -> Iterator[float]:
    """Mapmill's steps on a single batch that stays where it is."""
    from mapmill.feed import Batch
    from mapmill.fit import Fit

    image, label = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "label"))
    fit: Fit = train.fitted(image, label, **ON_GPU, resident=False)
    batch = Batch(*fit.train.batch(np.arange(BATCH) % len(label), fit.device))
    for look in fit._looks(iter(lambda: batch, None)):
        yield look.train_loss


def measured(name: str, looks: Iterator[float]) -> None:
    """Print one line."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    found = rate(iter(looks), BATCH)
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"{name:44} {found:8.1f} samples/s, peak {peak:.1f} GiB", flush=True)


def apart(folder: Path) -> tuple[float, float]:
    """Greatest difference of probabilities of CPU and GPU, and the share of equal classes."""
    from mapmill.nets.model import build

    torch.manual_seed(3)
    net, image = build(train.card_of(NET)).eval(), np.load(folder / "image.npy", mmap_mode="r")
    scaled = torch.from_numpy((image[:2].astype(np.float32) - train.MEAN[0]) / train.SD[0])
    with torch.inference_mode():
        on_cpu = net(scaled).softmax(1)
        on_gpu = net.cuda()(scaled.cuda()).softmax(1).cpu()
    same = (on_cpu.argmax(1) == on_gpu.argmax(1)).float().mean()
    return float((on_cpu - on_gpu).abs().max()), float(same)


def main() -> None:
    """Make the data, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=512, help="1.4 MB each; more than a cache")
    parser.add_argument("--where", type=Path, help="folder for the data; temporary by default")
    chosen = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device here: these figures need one")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, simulated data")
    train.NET.update(NET)
    train.WARM = LOOK
    with tempfile.TemporaryDirectory(dir=chosen.where) as name:
        folder = Path(name)
        train.make(folder, SIDE, chosen.patches)
        measured("one batch that stays (limit)", of_one_batch(folder))
        for resident in (False, True):
            said = "patches live on the GPU" if resident else "patches from a memmap"
            measured(said, train.ours(folder, **ON_GPU, resident=resident))
        measured("the same, compiled", train.ours(folder, **ON_GPU, resident=True, compile=True))
        measured("plain PyTorch, fp32", train.plain(folder, "cuda", BATCH))
        farthest, same = apart(folder)
        print(f"CPU and GPU: probabilities {farthest:.1e} apart, {same:.4%} of classes equal")


if __name__ == "__main__":
    main()
