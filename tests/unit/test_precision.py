"""What a net is run in: bfloat16 with channels last, and compiled, under its own names."""

from functools import partial

import pytest
import torch
from torch import nn
from unit.test_fit import CARD, fit, patches

from mapmill.errors import ContractError
from mapmill.nets.model import build

LAST = {"memory_format": torch.channels_last}


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", "bf16"), ("float32", "f32")])
def test_convolutions_run_in_the_precision_with_channels_last(precision, dtype):
    """Otherwise the setting would be slower than it says, or do nothing."""
    done = fit(precision=precision, steps=1)
    seen = []

    def look(module, inputs, output):
        kept = inputs[0].is_contiguous(**LAST) and module.weight.is_contiguous(**LAST)
        seen.append((output.dtype, kept and output.is_contiguous(**LAST)))

    kinds = nn.Conv2d | nn.ConvTranspose2d
    convolutions = [module for module in done.net.modules() if isinstance(module, kinds)]
    for module in convolutions:
        module.register_forward_hook(look)
    list(done)
    assert len(seen) >= 2 * len(convolutions)  # training and validation
    assert set(seen) == {({"bf16": torch.bfloat16, "f32": torch.float32}[dtype], True)}
    assert {p.dtype for p in done.net.parameters()} == {torch.float32}


def compiled_by(monkeypatch, backend):
    """Let torch.compile use another backend than its own, which takes a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    torch.compiler.reset()


def test_a_compiled_net_learns_the_same_and_keeps_its_names(monkeypatch):
    """Otherwise its model file could not be read, or compiling would train another net."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled_by(monkeypatch, backend)
    plain, done = fit(), fit(compile=True)
    expected, looks = list(plain), list(done)
    assert len(graphs) == 1  # training's; looks run as written
    assert looks[-1].train_loss == pytest.approx(expected[-1].train_loss, rel=1e-5)
    assert set(done.best) == set(build(CARD).state_dict())
    build(CARD).load_state_dict(done.best)


def test_a_net_that_cannot_be_compiled_is_one_line(monkeypatch):
    """Otherwise there would be pages of the compiler's traces."""

    def backend(graph, inputs):
        raise OSError("no compiler\nhere")

    compiled_by(monkeypatch, backend)
    with pytest.raises(ContractError, match=r"train.compile.*no compiler.*false") as caught:
        list(fit(compile=True))
    assert "\n" not in str(caught.value)


@pytest.mark.full
def test_the_compiler_itself_trains_a_net():
    """Otherwise `compile` would only have been tried with a compiler that does nothing."""
    torch.compiler.reset()
    given = patches(8)
    looks = [list(fit(train=given, compile=way)) for way in (False, True)]
    assert looks[1][-1].train_loss == pytest.approx(looks[0][-1].train_loss, rel=1e-2)
