"""Small trainings that test_ranks runs alone and, by torchrun, in two processes.

As a program it writes the weights of each case to the folder that it is given, and its looks.
"""

import json
import logging
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from mapmill.feed import CPU, Patches
from mapmill.fit import Fit
from mapmill.nets.model import Card
from mapmill.ranks import together
from mapmill.sections import Train

SPECTRA = np.array([[0, 0], [900, 300], [200, 700], [500, 120]])
CASES = {
    "cross-entropy": {"class_weights": "inverse", "jitter": 0.1},
    "dice": {"loss": "dice", "noise": 0.1, "cutmix": 0.8},
    "sum": {"loss": "0.5*cross-entropy+0.5*dice", "accumulate": 2, "clip": 0.5},
    "label": {"loss": "jaccard", "head": "mask+label", "label_weight": 2.0},
    "coarse": {"loss": "boundary+focal", "head": "multi-resolution"},
}
LABELLED = {"nearly": 2, "wholly": 1}
"""Patches with labels; the others of a batch have three pixels each, or none."""


def patches(kind, card):
    """Four patches of 32 px, most of which are ignored."""
    random = np.random.default_rng(5)
    label = np.kron(random.integers(1, 4, (4, 4, 4)), np.ones((1, 8, 8), int))
    image = SPECTRA[label].transpose(0, 3, 1, 2) + random.normal(0, 40, (4, 2, 32, 32))
    ignored = label[LABELLED[kind] :]
    kept = ignored[:, 20, 4:7].copy()
    ignored[:] = 0
    if kind == "nearly":
        ignored[:, 20, 4:7] = kept
    image = np.clip(image, 1, None).astype(np.uint16)
    return Patches(image, label.astype(np.uint8), np.arange(4), 0.0, card)


def fitted(case, kind, ranks, checkpoint=None, **changes):
    """A run of one case."""
    fixed = {"width": 8, "depth": 2, "batch": 4, "threads": 1, "device": "cpu", "norm": "group"}
    fixed |= {"optimiser": "sgd", "learning_rate": 0.1, "steps": 6, "validate_every": 3}
    chosen = Train(**{**fixed, **CASES[case], **changes})
    about = {"bands": ["B02", "B03"], "classes": ["field", "wood", "lake"], "provenance": {}}
    card = Card(**about, mean=[500.0] * 2, sd=[300.0] * 2, **vars(chosen.design))
    train = patches(kind, card)
    val = replace(train, indices=np.array([0, 1, 2, 3, 1]))  # the last batch is one patch
    pixels = [int((train.label == value).sum()) for value in (1, 2, 3)]
    return Fit(card, chosen, 1, train, val, pixels, None, checkpoint, "digest", ranks)


def run(fit, path=None):
    """Its looks and its weights; the first process writes them."""
    looks = [asdict(look) for look in fit]
    weights = {
        name: t.contiguous().clone(memory_format=torch.contiguous_format)
        for name, t in fit.net.state_dict().items()
    }
    if path and fit.ranks.is_first:
        save_file(weights, path, metadata={"looks": json.dumps(looks)})
    return looks, weights


def main(folder):
    """All cases, then one that is stopped and gone on with."""
    with together(CPU) as ranks:
        assert ranks.count == 2
        for case in CASES:
            for kind in LABELLED:
                run(fitted(case, kind, ranks), folder / f"{case}-{kind}.safetensors")
        checkpoint = folder / "checkpoint"
        stopped = iter(fitted("dice", "nearly", ranks, checkpoint))
        next(stopped)
        stopped.close()
        ranks.agree("the checkpoint is written", 1)
        again = fitted("dice", "nearly", ranks, checkpoint)
        run(again, folder / "again.safetensors")
        normed = fitted("dice", "nearly", ranks, norm="batch")
        _, weights = run(normed)
        (folder / f"sums-{ranks.rank}.json").write_text(json.dumps(sums(weights)))


def sums(weights):
    """One number for each tensor."""
    return {name: float(tensor.double().sum()) for name, tensor in weights.items()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO)
    main(Path(sys.argv[1]))
