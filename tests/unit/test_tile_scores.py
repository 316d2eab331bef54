"""Scores of overlapping tiles, beside scikit-learn on each tile alone."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, jaccard_score

from mapmill.grid import Window
from mapmill.tile_scores import TileTally


def test_scores_of_overlapping_tiles_are_those_of_each_alone():
    """The picture would send people to tiles where the map does not fail."""
    random = np.random.default_rng(3)
    label_YX = random.integers(0, 6, (60, 90)).astype(np.uint8)
    noise_YX = random.integers(0, 6, label_YX.shape)
    map_YX = np.where(random.random(label_YX.shape) < 0.6, label_YX, noise_YX).astype(np.uint8)
    label_YX[:16, :16] = 0
    windows = [Window(y, x, 16, 16) for y in range(0, 60, 8) for x in range(0, 90, 8)]
    tally = TileTally(windows, 5)
    for top in range(0, 60, 25):
        for left in range(0, 90, 40):
            inside = np.s_[top : top + 25, left : left + 40]
            part = Window(top, left, *label_YX[inside].shape)
            tally.add(part, label_YX[inside], map_YX[inside])
    found = {score.window: score for score in tally.scores()}
    assert set(windows) - set(found) == {windows[0]}  # nothing is scored there
    for window, score in found.items():
        rows, cols = slice(window.row, window.row_end), slice(window.col, window.col_end)
        label, mapped = label_YX[rows, cols].ravel(), map_YX[rows, cols].ravel()
        used = (label > 0) & (mapped > 0)
        assert score.pixels == used.sum()
        assert score.accuracy == pytest.approx(accuracy_score(label[used], mapped[used]))
        there = np.unique(label[used])
        iou = jaccard_score(label[used], mapped[used], labels=there, average="macro")
        assert score.mean_iou == pytest.approx(iou)
