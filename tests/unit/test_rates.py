"""Learning rates, against torch's own schedulers."""

import math

import pytest
import torch

from mapmill.rates import looks_without_progress, rate_factor


def optimiser():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


@pytest.mark.parametrize("steps", [10, 11, 97, 1000])
def test_one_cycle_is_that_of_torch(steps):
    """Otherwise results with it could not be compared with those that others publish."""
    own = optimiser()
    scheduler = torch.optim.lr_scheduler.OneCycleLR(own, 1.0, steps, cycle_momentum=False)
    for step in range(steps):
        found = rate_factor("one-cycle", step, steps, [], 3)
        assert found == pytest.approx(own.param_groups[0]["lr"], rel=1e-6), step
        own.step()
        if step < steps - 1:
            scheduler.step()


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_is_that_of_torch(patience):
    """Otherwise the rate would fall while the net still learns, or never."""
    scores = [0.1, 0.3, 0.2, 0.3, 0.31, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.5, 0.1, 0.1, 0.1, 0.1]
    own = optimiser()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        own, "max", factor=0.5, patience=patience, threshold=0.0
    )
    for number, score in enumerate(scores):
        scheduler.step(score)
        found = rate_factor("plateau", 99, 100, scores[: number + 1], patience)
        assert found == own.param_groups[0]["lr"]


def test_cosine_rises_over_a_tenth_and_falls_to_nearly_nothing():
    """Otherwise a run would start with steps that are too large, or end with such."""
    rates = [rate_factor("cosine", step, 100, [], 3) for step in range(100)]
    assert rates[:10] == pytest.approx([0.1 * (n + 1) for n in range(10)])
    assert rates[55] == pytest.approx(0.5)
    assert rates[-1] < 0.001
    assert rate_factor("constant", 99, 100, [], 3) == 1


def test_progress_is_counted_from_the_best_look():
    """Otherwise early stopping would end a run that still gets better, or never end one."""
    assert looks_without_progress([]) == 0
    assert looks_without_progress([0.1, 0.4, 0.4, 0.2]) == 2
    assert looks_without_progress([0.1, math.nan]) == 1
    assert looks_without_progress([math.nan, 0.0]) == 0
