"""What bfloat16 costs in accuracy: `python benchmarks/precision.py`.

A small U-Net learns simulated patches with much noise, in float32 and in bfloat16, each with three
seeds and to the same schedule; the mean IoU is of patches that it did not learn from.
"""

import tempfile
from pathlib import Path

import numpy as np
import train

SEEDS = (1, 2, 3)
PATCHES, VAL, SIDE = 64, 24, 64
RECIPE = {"steps": 200, "validate_every": 200, "batch": 8, "schedule": "cosine"}
RECIPE |= {"learning_rate": 3e-3}


def scores(folder: Path, precision: str) -> list[float]:
    """Mean IoU of each seed's last weights."""
    arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "label")]
    found = []
    for seed in SEEDS:
        fit = train.fitted(*arrays, val=VAL, seed=seed, precision=precision, **RECIPE)
        found.append(list(fit)[-1].val_mean_iou)
    return found


def main() -> None:
    """Train six nets, print a table."""
    train.NET.update(width=16, depth=3)
    print(
        "| precision | mean IoU of seeds 1, 2, 3 | mean | standard deviation |\n|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train.make(folder, SIDE, PATCHES, field=8, noise=6000)
        for precision in ("float32", "bfloat16"):
            found = scores(folder, precision)
            each = ", ".join(f"{score:.4f}" for score in found)
            print(
                f"| {precision} | {each} | {np.mean(found):.4f} | {np.std(found, ddof=1):.4f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
