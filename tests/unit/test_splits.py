"""Parts of an area: cover, proportions, and the distance between what is learnt and scored."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt

from mapmill.errors import ConfigError
from mapmill.grid import Window
from mapmill.sections import Split
from mapmill.splits import PartFinder, regions

quick = settings(deadline=None, derandomize=True, max_examples=60)
WHOLE = Window(0, 0, 60, 84)
ORDER = {"train": 0, "val": 1, "test": 2}


def tiles(size, step, whole=WHOLE):
    return [
        Window(row, col, size, size)
        for row in range(0, whole.height - size + 1, step)
        for col in range(0, whole.width - size + 1, step)
    ]


@st.composite
def shares(draw):
    """Percentages of train (some), val and test (none or some)."""
    train = draw(st.integers(1, 100))
    val = draw(st.integers(0, 100 - train))
    return {"train": train / 100, "val": val / 100, "test": (100 - train - val) / 100}


def painted(parts, whole=WHOLE):
    """Number of the part at each pixel; -1 where there is none; fails where two overlap."""
    field_YX = np.full((whole.height, whole.width), -1)
    for window, name, _ in parts:
        place = window.slices(whole)
        assert (field_YX[place] == -1).all()
        field_YX[place] = ORDER[name]
    return field_YX


@quick
@given(shares(), st.sampled_from(["west-east", "north-south"]), st.sampled_from([1, 4, 8, 20]))
def test_strips_cover_the_area_in_order_or_are_refused_as_too_narrow(asked, direction, step):
    """Otherwise tiles would be lost between two strips, or a map would go without scores."""
    split = Split(method="strips", direction=direction, **asked)
    length = WHOLE.height if direction == "north-south" else WHOLE.width
    try:
        field_YX = painted(regions(split, WHOLE, [], step))
    except ConfigError as error:
        assert "\n" not in str(error)
        assert min(share for share in asked.values() if share) * length < 2 * step
        return
    assert (field_YX >= 0).all()
    along = field_YX if direction == "north-south" else field_YX.T
    assert (along == along[:, :1]).all()
    parts = along[:, 0]
    assert (np.diff(parts) >= 0).all()
    assert (np.flatnonzero(np.diff(parts)) + 1).tolist() == [
        cut for cut in range(step, len(parts), step) if parts[cut] != parts[cut - 1]
    ]  # cuts lie between tiles
    for name, share in asked.items():
        assert ((parts == ORDER[name]).sum() >= step) == (share > 0)
        assert abs((parts == ORDER[name]).sum() - share * len(parts)) <= step


@quick
@given(shares(), st.integers(7, 40), st.integers(0, 3))
def test_blocks_cover_the_area(asked, block, seed):
    """Otherwise tiles would belong to no part, or to two."""
    split = Split(method="blocks", block=block, seed=seed, **asked)
    assert (painted(regions(split, WHOLE, [], 8)) >= 0).all()


@quick
@given(shares(), st.integers(3, 60), st.integers(0, 3))
def test_dealt_parts_are_in_proportion_and_none_is_empty_unless_refused(asked, count, seed):
    """Otherwise training would stop for want of a tile, or a map would go without scores."""
    given_tiles = [Window(0, 8 * index, 8, 8) for index in range(count)]
    split = Split(method="random", seed=seed, **asked)
    try:
        dealt = regions(split, WHOLE, given_tiles, 8)
    except ConfigError as error:
        assert "\n" not in str(error)
        assert min(share for share in asked.values() if share) * count < 1
        return
    assert [window for window, *_ in dealt] == given_tiles
    numbers = Counter(name for _, name, _ in dealt)
    assert sum(numbers.values()) == count
    for name, share in asked.items():
        assert (numbers[name] > 0) == (share > 0)
        assert abs(numbers[name] - share * count) <= 2


def test_the_seed_alone_decides_the_deal():
    """Otherwise a rerun would learn from pixels that the last run was tested on."""
    deals = [
        regions(Split(method="blocks", block=6, seed=seed), WHOLE, [], 8) for seed in (1, 1, 2, 3)
    ]
    assert deals[0] == deals[1]
    assert len({tuple(name for _, name, _ in deal) for deal in deals}) == 3


def test_blocks_are_shuffled():
    """Otherwise `blocks` would be strips, and the test part one corner of the area."""
    parts = [name for _, name, _ in regions(Split(method="blocks", block=6), WHOLE, [], 8)]
    assert parts != sorted(parts, key=ORDER.get)


def distance_to_parts_above(field_YX, part):
    """Pixels (as a king moves) from each pixel to the nearest of a part that is scored later."""
    if not (field_YX > part).any():
        return np.full(field_YX.shape, 10_000)
    return distance_transform_cdt(~(field_YX > part), metric="chessboard")


@quick
@given(
    st.sampled_from(["strips", "blocks", "random"]),
    st.sampled_from(["west-east", "north-south"]),
    st.integers(0, 14),
    st.sampled_from([4, 8]),
    st.integers(7, 30),
    st.integers(0, 5),
)
def test_no_kept_tile_is_within_the_buffer_of_what_scores_it(
    method, direction, buffer, step, block, seed
):
    """Otherwise the scores would be told of pixels that the model has all but seen."""
    windows = tiles(8, 8 if method == "random" else step)
    split = Split(method=method, direction=direction, buffer=buffer, block=block, seed=seed)
    parts = regions(split, WHOLE, windows, step)
    finder = PartFinder(parts, buffer)
    field_YX = painted(parts)
    for window in windows:
        name, _, why = finder.part_of(window)
        place = window.slices(WHOLE)
        own = set(field_YX[place].ravel().tolist()) - {-1}
        if len(own) > 1:
            assert (name, why) == ("", "across two parts")
            continue
        assert ORDER[name] in own
        nearest = distance_to_parts_above(field_YX, ORDER[name])[place].min()
        assert (why == "") == (nearest > buffer)
        assert why in ("", f"within {buffer} px of another part")


def test_a_test_tile_is_never_dropped_for_its_neighbours():
    """Otherwise a buffer would shrink the very part that the scores are of."""
    parts = regions(Split(method="strips", direction="west-east"), WHOLE, [], 4)
    last = Window(0, WHOLE.width - 16, 16, 16)
    assert PartFinder(parts, 30).part_of(last) == ("test", None, "")


@pytest.mark.parametrize("method", ["strips", "blocks"])
def test_a_part_that_is_not_asked_for_gets_nothing(method):
    """Otherwise `test: 0` would still hold tiles back from training."""
    split = Split(method=method, block=6, train=0.7, val=0.3, test=0)
    assert {name for _, name, _ in regions(split, WHOLE, [], 8)} == {"train", "val"}
