"""The loss of the first five steps, to the digit: whatever changes training shows here.

A change that is meant prints the new numbers in the failure; put them here, and raise `train` in
chain.py.
"""

import pytest
from unit.test_overfit_nets import fitted

GOLDEN = {
    "plain": [1.84091091, 1.75339544, 1.68353915, 1.63718438, 1.61377954],
    "rau": [1.86063516, 1.79149282, 1.72966325, 1.67950821, 1.6475693],
    "group": [1.84703374, 1.76044965, 1.70051932, 1.65307069, 1.62937379],
    "valid": [2.14441538, 2.04911494, 1.95966637, 1.88871336, 1.86672413],
}
"""On a CPU; with AVX-512, AVX2 and SSE alone they agree to 3e-7. (Where a gradient is 0 but for
rounding, as before a bilinear up-sampling, Adam makes a step of its sign: such nets agree to 1e-4.)
"""
DESIGNS = {
    "plain": {},
    "rau": {"preset": "rau-net"},
    "group": {"norm": "group"},
    "valid": {"padding": "valid", "depth": 1, "head": "mask+label"},
}


def losses(**changes):
    fit = fitted(
        **{"steps": 5, "validate_every": 1, "learning_rate": 1e-3, "loss": "cross-entropy+dice"}
        | changes
    )
    return [look.train_loss for look in fit]


@pytest.mark.parametrize("name", DESIGNS)
def test_the_first_losses_are_what_they_were(name):
    """Otherwise a change of nets, losses, batches or optimiser would go unnoticed."""
    assert losses(**DESIGNS[name]) == pytest.approx(GOLDEN[name], rel=1e-5)
