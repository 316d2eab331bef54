"""torch.compile, and what it says when it fails. Needs torch alone."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import nn

from mapmill.errors import ContractError


def compile_net(net: nn.Module) -> None:
    """Let a net be compiled when it is first called; its tensors keep their names."""
    net.compile(dynamic=False)


def uncompiled() -> AbstractContextManager[Any]:
    """In here nets run as they are written: no second compilation for a look or two."""
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


@contextmanager
def told() -> Iterator[None]:
    """What the compiler says, in one line.

    Raises
    ------
    ContractError
        if a net cannot be compiled here.
    """
    try:
        yield
    except RuntimeError as error:
        from torch._dynamo.exc import TorchDynamoException

        if not isinstance(error, TorchDynamoException):
            raise
        said = str(error).partition("Set TORCHDYNAMO_VERBOSE")[0] or type(error).__name__
        expected = "a net that torch.compile takes, and a C++ compiler"
        raise ContractError("train.compile: true", said, expected, "set it to false") from None
