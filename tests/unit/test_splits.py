"""Parts of an area: cover, proportions, and the distance between what is learnt and scored."""

from collections import Counter

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_cdt

from mapmill.errors import ConfigError
from mapmill.grid import Window
from mapmill.parts import find_parts
from mapmill.sections import Split
from mapmill.splits import Zone, regions

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
    st.sampled_from(["strips", "blocks", "random", "subtiles"]),
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
    block = 42 if method == "subtiles" else block
    split = Split(
        method=method, direction=direction, buffer=buffer, block=block, seed=seed, subtiles=2
    )
    parts = regions(split, WHOLE, windows, step)
    field_YX = painted(parts)
    for window, (name, _, why) in zip(windows, find_parts(parts, windows, buffer), strict=True):
        place = window.slices(WHOLE)
        own = set(field_YX[place].ravel().tolist()) - {-1}
        if len(own) > 1:
            assert (name, why) == ("", "across two parts")
            continue
        assert ORDER[name] in own
        nearest = distance_to_parts_above(field_YX, ORDER[name])[place].min()
        assert (why == "") == (nearest > buffer)
        assert why in ("", f"within {buffer} px of another part")


def test_every_large_tile_gives_sub_tiles_to_each_part():
    """Otherwise a large tile of a rare landscape would be learnt from and never scored."""
    split = Split(method="subtiles", block=40, subtiles=3)
    parts = regions(split, WHOLE, [], 4)  # large tiles of 32 x 40 and 28 x 44 px, or so
    assert (painted(parts) >= 0).all()
    assert len(parts) == 2 * 2 * 9
    deals = [parts[n : n + 9] for n in range(0, 36, 9)]
    for dealt in deals:
        assert {r.part for r in dealt} == {"train", "val", "test"}
        assert sum(r.ground.height * r.ground.width for r in dealt) > 0.15 * 60 * 84
    assert len({tuple(r.part for r in dealt) for dealt in deals}) > 1  # each its own deal
    for window, *_ in parts:
        assert window.row % 4 == window.col % 4 == 0  # where tiles meet


def test_sub_tiles_narrower_than_a_step_are_one_line():
    """Otherwise no tile would lie in any sub-tile, and all would be dropped."""
    with pytest.raises(ConfigError, match="subtiles: found 6 across"):
        regions(Split(method="subtiles", block=42, subtiles=6), WHOLE, [], 8)


WEST, EAST = shapely.box(0, 0, 30, 60), shapely.box(30, 0, 84, 60)


def test_strata_are_dealt_out_one_by_one():
    """Otherwise a small stratum could lie in the test part alone, and nothing be learnt of it."""
    zones = [Zone(WEST, "coast"), Zone(EAST, "hills")]
    split = Split(method="strata", strata="kind", polygons="a.gpkg", block=10, seed=3)
    parts = regions(split, WHOLE, [], 5, zones)
    assert (painted(parts) >= 0).all()
    for west, east in ((0, 30), (30, 84)):
        numbers = Counter(r.part for r in parts if west <= r.ground.col < east)
        count = sum(numbers.values())
        assert all(
            abs(numbers[name] - share * count) < 1
            for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2))
        )


def test_a_square_belongs_to_the_stratum_with_most_of_its_ground_and_may_have_none():
    """Otherwise squares on a border would count twice, and the sea as some county."""
    zones = [Zone(shapely.box(0, 0, 34, 60), "coast"), Zone(shapely.box(34, 0, 60, 60), "hills")]
    split = Split(method="strata", strata="kind", polygons="a.gpkg", block=10)
    parts = regions(split, WHOLE, [], 5, zones)
    squares = [r for r in parts if r.ground.col in (30,)]
    only_hills = regions(
        split, WHOLE, [], 5, [Zone(shapely.box(30, 0, 60, 60), "hills"), Zone(WEST, "coast")]
    )
    assert [r.part for r in squares] == [r.part for r in only_hills if r.ground.col == 30]
    assert {r.part for r in parts if r.ground.col >= 60} == {""}
    beside = [Window(0, 60, 8, 8), Window(0, 56, 8, 8)]
    assert [place.dropped for place in find_parts(parts, beside, 0)] == [
        "outside the parts",
        "across two parts",
    ]


def test_a_stratum_of_too_few_squares_is_one_line():
    """Otherwise a part would silently lack that stratum."""
    split = Split(method="strata", strata="kind", polygons="a.gpkg", block=30)
    with pytest.raises(ConfigError, match="blocks in kind coast") as caught:
        regions(split, WHOLE, [], 5, [Zone(WEST, "coast"), Zone(EAST, "hills")])
    assert "\n" not in str(caught.value)


@quick
@given(st.integers(-40, 60), st.integers(0, 14), st.integers(3, 12))
def test_slanted_polygons_keep_the_buffer_too(slant, buffer, size):
    """Otherwise tiles beside a slanted border would be learnt from and scored."""
    border = [(30, 0), (30 + slant / 2, 60)]
    west = shapely.Polygon([(0, 0), *border, (0, 60)])
    east = shapely.Polygon([(84, 0), *border, (84, 60)])
    zones = [Zone(west, "train"), Zone(east, "test")]
    split = Split(method="column", column="part", polygons="a.gpkg")
    windows = tiles(size, 3)
    for window, place in zip(
        windows, find_parts(regions(split, WHOLE, [], 3, zones), windows, buffer), strict=True
    ):
        box = shapely.box(window.col, window.row, window.col_end, window.row_end)
        grown = shapely.box(*(np.array(box.bounds) + np.array([-1, -1, 1, 1]) * (buffer + 0.5)))
        if place.part == "train":
            assert west.buffer(1e-6).covers(box.buffer(-0.3, join_style="mitre"))
            if not place.dropped:
                shrunk = grown.buffer(-0.8, join_style="mitre")
                assert shapely.area(shapely.intersection(shrunk, east)) < 1e-6
            else:
                assert grown.intersects(east)
        elif place.part == "test":
            assert place.dropped == "" and east.buffer(1e-6).covers(
                box.buffer(-0.3, join_style="mitre")
            )
        else:
            assert place.dropped in ("across two parts", "partly outside the parts")


def test_ground_outside_all_polygons_serves_nothing():
    """Otherwise tiles that no polygon holds would get a part by chance."""
    split = Split(method="column", column="part", polygons="a.gpkg")
    zones = [Zone(shapely.box(0, 0, 20, 20), "train"), Zone(shapely.box(40, 0, 60, 20), "test")]
    parts = regions(split, WHOLE, [], 8, zones)
    found = find_parts(
        parts,
        [Window(0, 0, 8, 8), Window(0, 16, 8, 8), Window(30, 30, 8, 8), Window(2, 41, 8, 8)],
        4,
    )
    assert found == [
        ("train", None, ""),
        ("", None, "partly outside the parts"),
        ("", None, "outside the parts"),
        ("test", None, ""),
    ]


def test_groups_stay_together_and_a_mixed_column_is_refused():
    """Otherwise polygons of one county would be learnt from and scored; or a typing error dealt."""
    split = Split(method="column", column="county", polygons="a.gpkg", folds=3)
    zones = [Zone(shapely.box(10 * n, 0, 10 * n + 10, 60), f"c{n % 4}") for n in range(8)]
    parts = regions(split, WHOLE, [], 5, zones)
    assert all(parts[n][1:] == parts[n + 4][1:] for n in range(4))
    assert {r.fold for r in parts} == {0, 1, 2}
    split = Split(method="column", column="part", polygons="a.gpkg")
    with pytest.raises(ConfigError, match="train and also tset"):
        regions(split, WHOLE, [], 5, [Zone(WEST, "train"), Zone(EAST, "tset")])


def test_a_test_tile_is_never_dropped_for_its_neighbours():
    """Otherwise a buffer would shrink the very part that the scores are of."""
    parts = regions(Split(method="strips", direction="west-east"), WHOLE, [], 4)
    last = Window(0, WHOLE.width - 16, 16, 16)
    assert find_parts(parts, [last], 30) == [("test", None, "")]


@pytest.mark.parametrize("method", ["strips", "blocks"])
def test_a_part_that_is_not_asked_for_gets_nothing(method):
    """Otherwise `test: 0` would still hold tiles back from training."""
    split = Split(method=method, block=6, train=0.7, val=0.3, test=0)
    assert {name for _, name, _ in regions(split, WHOLE, [], 8)} == {"train", "val"}


def test_strips_of_a_part_of_the_grid_are_cut_where_tiles_meet():
    """Otherwise every tile along a cut would lie across two parts and be dropped.

    Tiles lie on a lattice from the grid's corner, where a window need not begin.
    """
    whole = Window(64, 64, 192, 192)
    split = Split(method="strips", train=0.5, val=0.25, test=0.25)
    inner = [region.ground.row for region in regions(split, whole, [], 48)[1:]]
    assert len(inner) == 2 and all(row % 48 == 0 for row in inner)
