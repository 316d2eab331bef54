"""One training shared by several processes: who does what, and what they tell each other.

They are started by torchrun, which says in the environment who each one is. Each takes its part of
every batch that one process alone would draw. Needs torch and numpy alone.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from mapmill.errors import ContractError

NEEDED = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""What the environment says of several processes, beside WORLD_SIZE."""
REMEDY = "start them with torchrun, or unset WORLD_SIZE"


@dataclass(frozen=True)
class Ranks:
    """One process among all of a training."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and logs."""
        return self.rank == 0

    def part(self, items: int) -> range:
        """Places of the items of a batch that are its own; equal shares where they can be."""
        ends = [items * rank // self.count for rank in (self.rank, self.rank + 1)]
        return range(*ends)

    def divided(self, batch: int) -> None:
        """Refuse a batch that the processes cannot share alike.

        Raises
        ------
        ContractError
            if it does not divide.
        """
        if batch % self.count:
            raise ContractError(
                "train.batch",
                f"{batch} for {self.count} processes",
                "as many patches for each",
                "change the batch or the number of processes",
            )

    def summed(self, value: Tensor) -> Tensor:
        """Sum over all processes; backwards, only what comes from this one's own value.

        If the loss is a function of sums, gradients that are then added over all processes are
        those of one process with the whole batch.
        """
        if self.count == 1:
            return value
        total: Tensor = _Summed.apply(value, self)  # type: ignore[no-untyped-call]
        return total

    def add_gradients(self, net: nn.Module) -> None:
        """Gradients become their sums over all processes."""
        if self.count == 1:
            return
        own = [p.grad for p in net.parameters() if p.grad is not None]
        flat = self.total(torch.cat([grad.flatten() for grad in own]))
        parts = torch.split(flat, [grad.numel() for grad in own])
        for grad, part in zip(own, parts, strict=True):
            grad.copy_(part.view_as(grad))

    def average_buffers(self, net: nn.Module) -> None:
        """Running statistics of batch normalisation become their means over all processes."""
        if self.count == 1:
            return
        for buffer in net.buffers():
            if buffer.is_floating_point():
                buffer.copy_(self.total(buffer) / self.count)

    def agree(self, what: str, number: int) -> None:
        """Make sure that all processes have the same number; they wait for each other.

        Raises
        ------
        ContractError
            if they do not.
        """
        if self.count == 1:
            return
        numbers = torch.zeros(self.count, dtype=torch.int64)
        numbers[self.rank] = number
        found = self.total(_on_device(numbers)).tolist()
        if len(set(found)) > 1:
            said = ", ".join(map(str, found))
            raise ContractError(what, said, "one number", "give all processes the same folder")

    def total(self, value: Tensor) -> Tensor:
        """Sum over all processes, without a gradient.

        Raises
        ------
        ContractError
            if another process has ended.
        """
        total = value.detach().clone(memory_format=torch.contiguous_format)
        if self.count == 1:
            return total
        with _told(f"process {self.rank} of {self.count}"):
            distributed.all_reduce(total)
        return total


ALONE = Ranks()


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, ranks: Ranks) -> Tensor:
        return ranks.total(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


@contextmanager
def together(device: torch.device) -> Iterator[Ranks]:
    """Meet the other processes of this training; alone where the environment names none.

    Parameters
    ----------
    device : where it trains; of several GPUs each process takes the one of its local number

    Raises
    ------
    ContractError
        if the environment does not say who this process is, there is no GPU for it, or the others
        do not come.
    """
    count = _number("WORLD_SIZE", "1")
    if count == 1:
        yield ALONE
        return
    missing = [name for name in NEEDED if name not in os.environ]
    if missing:
        found = f"{count} processes and no {', '.join(missing)}"
        raise ContractError("WORLD_SIZE", found, "what torchrun sets", REMEDY)
    rank = _number("RANK")
    backend = _backend(device, _number("LOCAL_RANK", str(rank)))
    with _told(f"process {rank} of {count}"):
        distributed.init_process_group(backend, rank=rank, world_size=count)
    yield Ranks(rank, count)
    # Not after an error: others may be waiting in a sum, and learn of it when this process ends.
    distributed.destroy_process_group()


def _number(name: str, default: str = "") -> int:
    text = os.environ.get(name, default)
    if not text.isdecimal() or (name == "WORLD_SIZE" and int(text) < 1):
        raise ContractError(name, text, "a whole number", REMEDY)
    return int(text)


def _backend(device: torch.device, local: int) -> str:
    """How processes on such devices talk; CUDA's GPU becomes this process's own."""
    if device.type == "cpu":
        return "gloo"
    there = torch.cuda.device_count() if device.type == "cuda" else 0
    if local >= there:
        found = f"{there} CUDA devices for process {local} of this machine"
        remedy = "start fewer processes, or set device: cpu"
        raise ContractError("train.device", found, "a GPU for each process", remedy)
    torch.cuda.set_device(local)
    return "nccl"


def _on_device(value: Tensor) -> Tensor:
    """NCCL takes what lies on a GPU alone."""
    return value.cuda() if distributed.get_backend() == "nccl" else value


@contextmanager
def _told(who: str) -> Iterator[None]:
    """What torch says of a lost process, in one line."""
    try:
        yield
    except RuntimeError as error:
        found = f"another process that has ended or does not answer ({str(error).splitlines()[0]})"
        remedy = "its own line says why"
        raise ContractError(who, found, "all of them", remedy) from None
