"""Statements about intervals that rest on few blocks, and what is behind them."""

import numpy as np

from mapmill import few_cells, metrics


def held(count, trials=400):
    """Share of simulated places whose interval over `count` blocks holds the true accuracy."""
    random, found = np.random.default_rng(count), 0
    for trial in range(trials):
        right = random.binomial(60, np.clip(random.normal(0.7, 0.12, count), 0, 1))
        matrices = np.zeros((count, 2, 2), np.int64)
        matrices[:, 0, 0], matrices[:, 0, 1] = right, 60 - right
        low, high = metrics.bootstrap_interval(matrices, metrics.overall_accuracy, 150, trial)
        found += low <= 0.7 <= high
    return found / trials


def test_intervals_over_few_blocks_are_too_narrow_and_say_so():
    """A score of three blocks would be told with an interval that holds in three places of four."""
    found = {count: held(count) for count in (3, 5, 10, 30)}
    print("coverage of 95 % by blocks:", found)
    assert found[3] < 0.82 and found[5] < 0.9 and found[30] > 0.9
    part = {"spatial_blocks": 5, "in_few": {}}
    assert few_cells.told(part) == ["  few blocks (5): the intervals are too narrow"]
    assert few_cells.told(part | {"spatial_blocks": 20}) == []
    chips = {"chips": {"a": {}, "b": {}}, "in_few": {"lake": 1}}
    assert few_cells.told(chips)[1] == "  classes with labels in few chips: lake 1"


def test_a_class_with_labels_in_few_blocks_is_named():
    """A mean over classes would lack a rare one in half of the draws, and nobody would know."""
    matrices = np.zeros((6, 3, 3), np.int64)
    matrices[:, 0, 1] = 1
    matrices[:2, 1, 0] = 7
    assert few_cells.by_class(["field", "wood", "lake"], matrices) == {"wood": 2}
