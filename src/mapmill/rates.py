"""How the learning rate goes over a run, and when a run has learnt enough. Pure Python.

Everything follows from the step and from the scores so far: a run that goes on after a stop needs
no more than these.
"""

from collections.abc import Sequence
from math import cos, isnan, pi

RISE = 0.3
"""Share of the steps of `one-cycle` in which the rate rises."""
LOW, LAST = 1 / 25, 1e-4
"""First rate of `one-cycle` over the largest; last rate over the first."""
HALF = 0.5
"""Factor of `plateau`."""


def rate_factor(
    schedule: str, step: int, steps: int, scores: Sequence[float], patience: int
) -> float:
    """Factor of the learning rate at a step, counted from 0.

    Parameters
    ----------
    schedule : `cosine`, a linear rise over the first tenth, then half a cosine to 0; `one-cycle`
        (Smith and Topin 2017, arXiv:1708.07120, with the numbers of torch's OneCycleLR);
        `plateau`, halved whenever `patience` looks in a row brought no better score; `constant`
    scores : of the looks so far, larger is better; NaN counts as no better
    """
    if schedule == "constant":
        return 1.0
    if schedule == "plateau":
        return HALF ** _halvings(scores, patience)
    if schedule == "one-cycle":
        return _one_cycle(step, steps)
    rise = max(1, steps // 10)
    if step < rise:
        return (step + 1) / rise
    return _down(1.0, 0.0, (step - rise) / max(1, steps - rise))


def looks_without_progress(scores: Sequence[float]) -> int:
    """Looks since the best score; 0 where the last one is the best."""
    best, since = -1.0, 0
    for score in scores:
        better = not isnan(score) and score > best
        best, since = (score, 0) if better else (best, since + 1)
    return since


def _halvings(scores: Sequence[float], patience: int) -> int:
    best, since, found = -1.0, 0, 0
    for score in scores:
        better = not isnan(score) and score > best
        best, since = (score, 0) if better else (best, since + 1)
        if since > patience:
            found, since = found + 1, 0
    return found


def _one_cycle(step: int, steps: int) -> float:
    top = RISE * steps - 1
    if step <= top:
        return _down(LOW, 1.0, step / top if top > 0 else 1.0)
    return _down(1.0, LOW * LAST, (step - top) / max(steps - 1 - top, 1e-12))


def _down(start: float, end: float, share: float) -> float:
    """Half a cosine from one value to another."""
    return end + (start - end) * (1 + cos(pi * share)) / 2
