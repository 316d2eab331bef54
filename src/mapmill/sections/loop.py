"""How a net is trained: steps, optimiser, learning rate, and when to look and to stop."""

from typing import Literal

from pydantic import Field

from mapmill.sections.base import Section


class Loop(Section):
    """The training loop."""

    steps: int = Field(default=400, ge=1)
    batch: int = Field(default=8, ge=1, le=4096)
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are averaged for one step, where a larger batch does not fit."""
    optimiser: Literal["sgd", "adagrad", "rmsprop", "adam", "adamw", "nadam"] = "adamw"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of `sgd` and `rmsprop`."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """The largest."""
    schedule: Literal["cosine", "one-cycle", "plateau", "constant"] = "cosine"
    """cosine: a rise over the first tenth, then half a cosine to 0; plateau: halved after
    `patience` looks without a better score."""
    patience: int = Field(default=3, ge=0)
    """Of `plateau`: looks without a better score that are borne."""
    weight_decay: float = Field(default=1e-2, ge=0)
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient; longer ones are shortened."""
    validate_every: int = Field(default=50, ge=1)
    """Steps between two looks at the validation part; the best of them is kept, and a run that was
    stopped goes on from the last one."""
    stop_after: int | None = Field(default=None, ge=1)
    """Looks in a row without a better score after which training ends early."""
