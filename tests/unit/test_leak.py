"""The distance between tiles of two parts, beside brute force over all pairs; planted leaks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt

from mapmill.grid import Window
from mapmill.leak import find_leak, nearest_gap
from mapmill.parts import find_parts
from mapmill.sections import Split
from mapmill.splits import regions
from mapmill.tiles import Tile

quick = settings(deadline=None, derandomize=True, max_examples=80)
squares = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.sampled_from([3, 8, 13])),
    min_size=1,
    max_size=25,
).map(lambda found: np.array(found, np.int64))


def gap(one, other):
    """Pixels between two squares, by their definition."""
    (row, col, size), (other_row, other_col, other_size) = one, other
    return max(
        other_row - row - size, row - other_row - other_size,
        other_col - col - size, col - other_col - other_size,
    )  # fmt: skip


def tile(row, col, split, size=8, dropped="", period="2018-04", chip=""):
    return Tile(
        period, chip, Window(row, col, size, size), *(1, 0, 0, 1), split, None, dropped, (9,)
    )


@quick
@given(squares, squares)
def test_the_nearest_of_all_pairs(first, second):
    """Otherwise two tiles that all but touch would be proven to lie apart."""
    assert nearest_gap(first, second) == min(gap(a, b) for a in first for b in second)


@quick
@given(squares, squares)
def test_distances_are_those_of_painted_pixels(first, second):
    """Otherwise `n px between` would mean something else than pixels of the map."""
    field_YX = np.zeros((80, 80), bool)
    for row, col, size in second:
        field_YX[row : row + size, col : col + size] = True
    far_YX = distance_transform_cdt(~field_YX, metric="chessboard")
    nearest = min(far_YX[r : r + s, c : c + s].min() for r, c, s in first)
    assert max(nearest_gap(first, second), -1) + 1 == nearest


def apart(buffer=5, **changes):
    """A table that keeps 5 px between its parts."""
    tiles = [tile(0, 0, "train"), tile(0, 13, "val"), tile(0, 26, "test"), tile(13, 0, "train")]
    return [*tiles, *changes.get("planted", [])], buffer


def test_a_table_that_keeps_its_buffer_is_proven():
    """Otherwise every table would be refused."""
    leak = find_leak(*apart())
    assert leak.is_proven and leak.nearest == 5
    assert leak.as_json()["gaps_px"] == {"train to val": 5, "train to test": 18, "val to test": 5}
    assert leak.pairs == 2 + 2 + 1
    assert "at least 5 px" in leak.sentence()


@pytest.mark.parametrize(
    ("planted", "found"),
    [
        (tile(8, 21, "train"), 0),
        (tile(9, 21, "train"), 1),
        (tile(4, 30, "train"), -4),
        (tile(12, 26, "train", size=3), 4),
        (tile(25, 0, "test", dropped="no labels"), 4),
        (tile(25, 0, "val", period="2018-08"), 4),
    ],
)
def test_a_planted_leak_is_found(planted, found):
    """Otherwise a fault in dealing would go unseen, and the map be scored on what it learnt."""
    tiles, buffer = apart()
    leak = find_leak([*tiles, planted], buffer)
    assert not leak.is_proven
    assert min(g for g in leak.gaps.values()) == found


@pytest.mark.parametrize(
    "planted",
    [
        tile(8, 8, "train", dropped="no labels"),
        tile(8, 8, "", dropped="across two parts"),
        tile(13, 13, "val"),
        tile(0, 13, "train", chip="b"),
    ],
)
def test_tiles_that_are_not_learnt_from_leak_nothing(planted):
    """Otherwise tiles that no run sees would stop the chain."""
    tiles, buffer = apart()
    assert find_leak([*tiles, planted], buffer).is_proven


def test_parts_that_touch_are_said_to_be_optimistic():
    """Otherwise scores of `random` would be read like those of separate blocks."""
    leak = find_leak([tile(0, 0, "train"), tile(0, 8, "test")], 0)
    assert leak.is_proven and leak.nearest == 0 and leak.as_json()["is_optimistic"]
    assert "touch" in leak.sentence() and "0 px" in leak.sentence()
    leak = find_leak([tile(0, 0, "train", chip="a"), tile(0, 8, "test", chip="b")], 0)
    assert leak.nearest is None and leak.as_json()["between_chips"] == "not compared"


@quick
@given(
    st.sampled_from(["strips", "blocks", "random", "subtiles"]),
    st.integers(0, 20),
    st.sampled_from([(8, 8), (8, 4), (12, 10)]),
    st.sampled_from([[], [16], [5, 20]]),
    st.integers(20, 45),
    st.integers(0, 5),
    st.sampled_from([None, 4]),
)
def test_what_is_dealt_is_always_proven(method, buffer, shape, more, block, seed, folds):
    """Otherwise tiles of some size or stride would straddle two parts, or their buffer."""
    size, step = shape
    step = size if method == "random" else step
    folds = None if method == "strips" else folds
    whole = Window(0, 0, 90, 100)
    sizes = {size: step} | {n: max(1, round(n * step / size)) for n in more}
    windows = [
        Window(row, col, n, n)
        for n, by in sizes.items()
        for row in range(0, whole.height - n + 1, by)
        for col in range(0, whole.width - n + 1, by)
    ]
    split = Split(
        method=method, buffer=buffer, block=45 if method == "subtiles" else block, seed=seed,
        folds=folds, subtiles=2,
    )  # fmt: skip
    own = [window for window in windows if window.height == size]
    parts = regions(split, whole, own, step)
    places = find_parts(parts, windows, buffer)
    tiles = [
        Tile("2018-04", "", window, *(1, 0, 0, 1), *place, (9,))
        for window, place in zip(windows, places, strict=True)
    ]
    leak = find_leak(tiles, buffer)
    assert leak.is_proven and leak.buffer == buffer
    kept = {part: [t for t in tiles if t.split == part] for part in ("train", "val", "test")}
    for (learnt, scored), found in leak.gaps.items():
        pairs = [
            gap((a.window.row, a.window.col, a.size), (b.window.row, b.window.col, b.size))
            for a in kept[learnt] if not a.dropped
            for b in kept[scored]
        ]  # fmt: skip
        assert found == min(pairs, default=None)
