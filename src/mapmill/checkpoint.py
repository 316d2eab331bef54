"""Where a run of training stands, as one file that is read without executing code.

A safetensors file of tensors with the rest as JSON beside them. Random numbers are not kept:
those of a step follow from the seed and its number.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mapmill.atomic import whole_file

log = logging.getLogger(__name__)
State = dict[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on as if it had never been stopped."""

    step: int
    """Steps done."""
    net: State
    best: State
    """The weights with the best score so far."""
    optimiser: dict[int, State]
    """Tensors of each parameter, by its number."""
    history: list[dict[str, float]]
    """The looks so far; the last of them is this step's."""


def save(path: Path, checkpoint: Checkpoint, digest: str, command: str = "") -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    digest : of the settings and of the patches; only a run of the same goes on from here
    command : which command forced this training, if one did
    """
    from safetensors.torch import save_file

    parts = {"net": checkpoint.net, "best": checkpoint.best}
    parts |= {f"optimiser.{number}": state for number, state in checkpoint.optimiser.items()}
    tensors = {
        f"{part}/{name}": tensor.detach().cpu().contiguous().clone()
        for part, state in parts.items()
        for name, tensor in state.items()
    }
    said = {"digest": digest, "step": checkpoint.step, "history": checkpoint.history}
    said["command"] = command
    with whole_file(path) as part:
        save_file(tensors, part, metadata={"mapmill": json.dumps(said, sort_keys=True)})


def command_of(path: Path) -> str:
    """Which command forced the training that stands here; empty where none did, or none is told."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            return str(json.loads((file.metadata() or {})["mapmill"])["command"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return ""


def load(path: Path, digest: str) -> Checkpoint | None:
    """The checkpoint of this very run, or None where there is none that fits, saying why."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            said = json.loads((file.metadata() or {})["mapmill"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if said["digest"] != digest:
            log.warning("%s is of other settings or patches: training starts anew", path)
            return None
        parts: dict[str, State] = {"net": {}, "best": {}}
        for name, tensor in tensors.items():
            part, _, own = name.partition("/")
            parts.setdefault(part, {})[own] = tensor
        optimiser = {int(p.split(".")[1]): parts[p] for p in parts if p.startswith("optimiser.")}
        step, history = said["step"], said["history"]
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        log.warning("%s is damaged (%r): training starts anew", path, error)
        return None
    return Checkpoint(step, parts["net"], parts["best"], optimiser, history)


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[int, State]:
    """Tensors of each parameter, by its number."""
    return {
        number: {key: torch.as_tensor(value) for key, value in state.items() if value is not None}
        for number, state in optimiser.state_dict()["state"].items()
    }


def restore(net: nn.Module, optimiser: torch.optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Bring a fresh net and its fresh optimiser to where the checkpoint stands."""
    net.load_state_dict(checkpoint.net)
    groups: list[dict[str, Any]] = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": checkpoint.optimiser, "param_groups": groups})
