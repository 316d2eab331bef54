"""Combinations of observations, against references that take one pixel at a time."""

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mapmill.combine import First, Greenest, Mean, Median, exchanges
from mapmill.grid import Window
from mapmill.observe import CLEAR, CLOUD, EMPTY, SNOW
from mapmill.stages.compose import parts_of

quick = settings(deadline=None, derandomize=True, max_examples=60)
KEPT = (CLEAR, SNOW)
ORDER = (CLEAR, SNOW, CLOUD, EMPTY)


@st.composite
def observed(draw, dtype):
    """(images (scene, band, y, x), states (scene, y, x)): nodata in all bands where EMPTY."""
    number, shape = draw(st.integers(1, 9)), (draw(st.integers(1, 3)), 3, 4)
    top = draw(st.sampled_from([3, 65_535]))
    image = draw(hnp.arrays(np.uint16, (number, *shape), elements=st.integers(1, top)))
    state = draw(hnp.arrays(np.uint8, (number, *shape[1:]), elements=st.sampled_from(ORDER)))
    image_SBYX, empty = image.astype(dtype), 0 if dtype == "uint16" else np.nan
    image_SBYX[np.broadcast_to((state == EMPTY)[:, None], image.shape)] = empty
    return image_SBYX, state


def combined(combination, image_SBYX, state_SYX):
    """Image and quality after adding all observations."""
    for image_BYX, state_YX in zip(image_SBYX, state_SYX, strict=True):
        combination.add(image_BYX.copy(), state_YX)
    return combination.image(), combination.quality()


def pixels(image_SBYX, state_SYX):
    """Each place with the usable observations (number, values of all bands) and all its states."""
    for row, col in np.ndindex(state_SYX.shape[1:]):
        states = state_SYX[:, row, col].tolist()
        usable = [n for n, state in enumerate(states) if state in KEPT]
        yield (row, col), [(n, image_SBYX[n, :, row, col]) for n in usable], states


def least_bad(states):
    return min(states, key=ORDER.index)


def nodata_of(dtype):
    return 0.0 if dtype == "uint16" else float("nan")


@quick
@given(observed("uint16"))
def test_first_takes_a_whole_observation(data):
    """A pixel would mix days, take a cloud, or tell the state of another day."""
    image, quality = combined(First(0.0, KEPT), *data)
    for (row, col), usable, states in pixels(*data):
        expected = usable[0][1] if usable else 0
        np.testing.assert_array_equal(image[:, row, col], expected)
        state = states[usable[0][0]] if usable else least_bad(states)
        assert quality[:, row, col].tolist() == [len(usable), state]


@quick
@given(observed("uint16"))
def test_greenest_is_the_largest_ndvi(data):
    """A season's composite would keep bare fields, or clouds, whose NDVI is high over water."""
    image, quality = combined(Greenest(0.0, KEPT, 0, data[0].shape[1] - 1), *data)
    for (row, col), usable, states in pixels(*data):
        ndvi = [(float(v[0]) - float(v[-1])) / (float(v[0]) + float(v[-1])) for _, v in usable]
        taken = usable[int(np.argmax(ndvi))] if usable else None
        np.testing.assert_array_equal(image[:, row, col], 0 if taken is None else taken[1])
        state = least_bad(states) if taken is None else states[taken[0]]
        assert quality[:, row, col].tolist() == [len(usable), state]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
@pytest.mark.parametrize(("kind", "reference"), [(Median, statistics.median), (Mean, np.mean)])
def test_median_and_mean_are_those_of_each_band(dtype, kind, reference):
    """Gaps would pull values down, halves be rounded otherwise, or 0 appear in valid pixels."""

    @quick
    @given(observed(dtype))
    def check(data):
        image, quality = combined(kind(nodata_of(dtype), KEPT), *data)
        assert image.dtype == dtype
        for (row, col), usable, states in pixels(*data):
            for band in range(image.shape[0]):
                values = [float(v[band]) for _, v in usable]
                expected = reference(values) if values else nodata_of(dtype)
                if dtype == "uint16" and values:
                    expected = round(expected)  # Python's: halves to the even one
                    assert expected > 0
                np.testing.assert_equal(image[band, row, col], np.dtype(dtype).type(expected))
            assert quality[:, row, col].tolist() == [len(usable), least_bad(states)]

    check()


@pytest.mark.parametrize("number", range(1, 13))
def test_exchanges_sort_all_there_is(number):
    """A median of so many scenes would be another value. (0 and 1 are enough: Knuth 1973.)"""
    places = np.array(list(itertools.product([0, 1], repeat=number))).T.copy()
    for low, high in exchanges(number):
        assert low < high < number
        places[[low, high]] = np.sort(places[[low, high]], axis=0)
    assert (np.diff(places, axis=0) >= 0).all()


def test_parts_of_an_observation_are_kept_where_there_is_nothing_else():
    """A band that covers less than the others would empty all of them."""
    one = np.array([[[0, 5, 0, 0]], [[7, 0, 0, 0]]], np.uint16)
    two = np.array([[[8, 8, 0, 9]], [[8, 0, 3, 9]]], np.uint16)
    states = [(image != 0).all(axis=0).astype(np.uint8) for image in (one, two)]
    image, quality = combined(First(0.0, KEPT), np.stack([one, two]), np.stack(states))
    np.testing.assert_array_equal(image[:, 0], [[8, 5, 0, 9], [8, 0, 3, 9]])
    assert quality[0, 0].tolist() == [1, 0, 0, 1]


def test_more_observations_than_a_byte_counts():
    """300 observations would be told as 44."""
    combination = Mean(0.0, KEPT)
    for _ in range(300):
        combination.add(np.full((1, 1, 1), 65_535, np.uint16), np.full((1, 1), CLEAR, np.uint8))
    assert combination.quality()[0, 0, 0] == 255
    assert combination.image()[0, 0, 0] == 65_535


@pytest.mark.parametrize("pixels_at_once", [100, 512 * 40, 512 * 512, 512 * 1300, 10**9])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (700, 1300), (512, 1024)])
def test_parts_cover_a_block_once_tile_by_tile(pixels_at_once, height, width):
    """Pixels would be left out or be made twice, or half-written tiles fill the memory."""
    block = Window(1024, 2500, height, width)
    times = np.zeros((height, width), int)
    for part in parts_of(block, pixels_at_once):
        times[part.slices(block)] += 1
        assert part.width * part.height <= max(pixels_at_once, 512)
        row, col = part.row - block.row, part.col - block.col
        assert col % 512 == 0 and row // 512 == (row + part.height - 1) // 512
        is_narrow = part.height < min(512, height - row // 512 * 512)
        assert part.width <= 512 or not is_narrow
    assert (times == 1).all()
