"""Training on a CPU: samples per second of mapmill's loop beside plain PyTorch's.

A U-Net of width 32 and depth 4 (7.8 M parameters), simulated patches of 10 bands in uint16, batches
of 4, AdamW, one thread (MAPMILL_BENCH_THREADS). The peer is what most people write: a Dataset, a
DataLoader with two workers, float32, no channels-last, no compiler; its net is the same. The work
that is timed is STEPS steps after two that start workers, or compile. A contender is equal if the
mean loss of the last half of the steps is within 5 % of ours in float32.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SIZE = 128
BANDS, CLASSES = 10, 5
PATCHES, BATCH, WARM, STEPS = 64, 4, 2, 8
THREADS = int(os.environ.get("MAPMILL_BENCH_THREADS", "1"))
NET = {"width": 32, "depth": 4}


def make(
    folder: Path, size: int, patches: int = PATCHES, field: int = 16, noise: float = 700
) -> None:
    """Write simulated patches: fields whose spectra differ, noise, some pixels without a label."""
    random = np.random.default_rng(4)
    spectra_KC = random.uniform(400, 3000, (CLASSES, BANDS))
    fields = random.integers(0, CLASSES, (patches, size // field, size // field))
    label = np.kron(fields, np.ones((1, field, field), int))
    image = np.empty((patches, BANDS, size, size), np.uint16)
    for number in range(patches):
        values = random.normal(spectra_KC[label[number]].transpose(2, 0, 1), noise)
        image[number] = np.clip(values, 1, 10_000)
    label = label + 1
    label[random.random(label.shape) < 0.05] = 0
    np.save(folder / "image.npy", image)
    np.save(folder / "label.npy", label.astype(np.uint8))


def card_of(net: dict[str, int] = NET) -> object:
    """What is trained."""
    from mapmill.nets.model import Card

    bands, classes = ([f"{kind}{n}" for n in range(count)] for kind, count in KINDS)
    return Card("unet", **net, bands=bands, classes=classes, mean=MEAN, sd=SD, provenance={})


KINDS = (("B", BANDS), ("class ", CLASSES))
MEAN, SD = [1700.0] * BANDS, [1000.0] * BANDS


def settings(**changes: object) -> SimpleNamespace:
    """Those of mapmill's loop, as the area file would give them; without pydantic."""
    fixed = {
        **{"steps": WARM + STEPS, "batch": BATCH, "accumulate": 1, "optimiser": "adamw"},
        **{"learning_rate": 1e-3, "schedule": "constant", "patience": 3, "weight_decay": 1e-2},
        **{"momentum": 0.9, "clip": None, "validate_every": WARM, "stop_after": None},
        **{"sampling": "all", "crop": None, "zoom": 1.0, "jitter": 0.0, "noise": 0.0},
        **{
            "drop_band": 0.0,
            "drop_period": 0.0,
            "fraction": "none",
            "cutmix": 0.0,
            "loss_terms": {"cross-entropy": 1.0},
        },
        **{"class_weights": "none", "given_weights": {}, "max_class_weight": 1000.0},
        **{"label_weight": 0.2, "threads": THREADS, "precision": "float32", "device": "cpu"},
        **{"compile": False, "resident": False},
        "loss_shape": SimpleNamespace(as_numbers=dict),
    }
    return SimpleNamespace(**fixed | changes)


def fitted(
    image: np.ndarray, label: np.ndarray, val: int = 0, seed: int = 1, **changes: object
) -> object:
    """A run of mapmill's loop; the last `val` patches validate."""
    from mapmill.feed import Patches
    from mapmill.fit import Fit

    parts = np.split(np.arange(len(label)), [len(label) - val])
    train, checked = (Patches(image, label, part, 0.0, card_of()) for part in parts)
    return Fit(card_of(), settings(**changes), seed, train, checked, [1] * CLASSES)


def ours(folder: Path, **changes: object) -> Iterator[float]:
    """The loss of each look: of two steps, the first of which are not timed."""
    arrays = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "label"))
    for look in fitted(*arrays, **changes):
        yield look.train_loss


class Patches(Dataset):
    """What a tutorial would write."""

    def __init__(self, folder: Path) -> None:
        self.image, self.label = (
            np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("image", "label")
        )

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One patch, normalised, turned at random."""
        image = (self.image[number].astype(np.float32) - MEAN[0]) / SD[0]
        label = self.label[number].astype(np.int64)
        turns = int(torch.randint(4, ()))
        image, label = np.rot90(image, turns, (1, 2)), np.rot90(label, turns)
        if torch.rand(()) < 0.5:
            image, label = image[:, :, ::-1], label[:, ::-1]
        return torch.from_numpy(image.copy()), torch.from_numpy(label.copy()) - 1


def plain(folder: Path, device: str = "cpu", batch: int = BATCH) -> Iterator[float]:
    """The loss of each two steps of a plain loop."""
    from mapmill.nets.model import build

    torch.manual_seed(1)
    torch.set_num_threads(THREADS)
    net = build(card_of()).to(device)
    criterion = nn.CrossEntropyLoss(ignore_index=-1)
    optimiser = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=1e-2)
    loader = DataLoader(
        Patches(folder),
        batch,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        pin_memory=device != "cpu",
    )
    net.train()
    losses: list[float] = []
    while True:
        for image, label in loader:
            optimiser.zero_grad()
            loss = criterion(net(image.to(device)), label.to(device))
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
            if len(losses) == WARM:
                yield float(np.mean(losses))
                losses = []


HALF = {"precision": "bfloat16"}
CONTENDERS = {
    "mapmill, bf16": lambda folder: ours(folder, **HALF),
    "mapmill, bf16, compiled": lambda folder: ours(folder, **HALF, compile=True),
    "mapmill, fp32": ours,
    "plain PyTorch, fp32": plain,
}


def missing() -> dict[str, str]:
    """Peers that are not installed, and why they are not compared."""
    return {}


def equal(folder: Path) -> dict[str, bool]:
    """Whether each contender learns as ours in float32 does."""
    found = {who: np.mean(json.loads((folder / f"{who}.json").read_text())) for who in CONTENDERS}
    return {who: abs(loss / found["mapmill, fp32"] - 1) < 0.05 for who, loss in found.items()}


def main() -> None:
    """Train; the first look is not timed."""
    who, folder = sys.argv[1], Path(sys.argv[2])
    source = iter(CONTENDERS[who](folder))
    next(source)
    start, cpu = time.perf_counter(), time.process_time()
    losses = [next(source) for _ in range(STEPS // WARM)]
    seconds = time.perf_counter() - start
    (folder / f"{who}.seconds").write_text(f"{seconds}")
    (folder / f"{who}.json").write_text(json.dumps(losses[len(losses) // 2 :]))
    samples, cpu = STEPS * BATCH, time.process_time() - cpu
    print(
        f"{who}: {samples / seconds:.2f} samples/s, {cpu / samples:.3f} CPU s each", file=sys.stderr
    )


if __name__ == "__main__":
    main()
