"""The optimisers by name. Needs torch alone."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from mapmill.sections.loop import Loop


def optimiser_of(chosen: "Loop", net: nn.Module) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over all weights of a net."""
    weights, rate, decay = net.parameters(), chosen.learning_rate, chosen.weight_decay
    if chosen.optimiser == "sgd":
        return torch.optim.SGD(weights, rate, momentum=chosen.momentum, weight_decay=decay)
    if chosen.optimiser == "rmsprop":
        return torch.optim.RMSprop(weights, rate, momentum=chosen.momentum, weight_decay=decay)
    kinds: dict[str, Callable[..., torch.optim.Optimizer]] = {
        "adagrad": torch.optim.Adagrad,
        "adam": torch.optim.Adam,
        "adamw": torch.optim.AdamW,
        "nadam": torch.optim.NAdam,
    }
    return kinds[chosen.optimiser](weights, rate, weight_decay=decay)
