"""Counts of codes in tiles, beside plain numpy on the whole array."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapmill.census import Census, mark_seen
from mapmill.grid import Window

quick = settings(deadline=None, derandomize=True, max_examples=50)
WHOLE = Window(5, 3, 60, 64)
"""Where there are pixels; tiles may reach beyond."""
CODES = 7


@st.composite
def lattices(draw):
    """Tiles of one to three sizes, each with a stride of its own."""
    tiles = []
    for _ in range(draw(st.integers(1, 3))):
        size, step = draw(st.integers(1, 40)), draw(st.integers(1, 30))
        row, col = draw(st.integers(0, 20)), draw(st.integers(0, 20))
        tiles += [
            Window(r, c, size, size) for r in range(row, 70, step) for c in range(col, 70, step)
        ]
    return tiles[:300]


def pixels(seed, clumped):
    random = np.random.default_rng(seed)
    code_YX = random.integers(0, CODES, (WHOLE.height, WHOLE.width), dtype=np.uint8)
    return np.repeat(code_YX[:, ::16], 16, axis=1) if clumped else code_YX


def blocks(height, width):
    """Blocks of the whole, cut to it."""
    found = (
        Window(row, col, height, width).intersect(WHOLE)
        for row in range(0, 80, height)
        for col in range(0, 80, width)
    )
    return [block for block in found if block]


@quick
@given(lattices(), st.integers(1, 70), st.integers(1, 70), st.integers(0, 99), st.booleans())
def test_counts_are_those_of_the_whole_array(tiles, height, width, seed, clumped):
    """Otherwise a tile would promise classes that it does not have, or be dropped for nothing."""
    code_YX = pixels(seed, clumped)
    census = Census(tiles, CODES)
    for block in blocks(height, width):
        assert census.add(block, code_YX[block.slices(WHOLE)]) == 0
    for tile, counts in zip(tiles, census.counts(), strict=True):
        part = tile.intersect(WHOLE)
        own = code_YX[part.slices(WHOLE)].ravel() if part else code_YX[:0].ravel()
        np.testing.assert_array_equal(counts, np.bincount(own, minlength=CODES))


def test_threads_lose_no_pixel():
    """Otherwise a tile over the border of two blocks would count differently at every run."""
    code_YX = pixels(1, False)
    tiles = [Window(0, 0, 70, 70), Window(10, 10, 31, 31)]
    census = Census(tiles, CODES)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda b: census.add(b, code_YX[b.slices(WHOLE)]), blocks(3, 2) * 5))
    np.testing.assert_array_equal(census.counts()[0], 5 * np.bincount(code_YX.ravel(), minlength=7))


def test_codes_beyond_are_told_and_not_counted():
    """Otherwise a label map of more classes would be counted into other tiles' memory."""
    code_YX = np.full((8, 9), CODES, np.uint8)
    code_YX[0, :4] = 255
    code_YX[1] = 2
    census = Census([Window(0, 0, 4, 4)], CODES)
    assert census.add(Window(0, 0, 8, 9), code_YX) == 12
    assert census.counts().tolist() == [[0, 0, 4, 0, 0, 0, 0]]


@pytest.mark.parametrize("observed", [0, 1, 255])
def test_state_and_observations_become_one_code(observed):
    """Otherwise cloudy pixels would count as imagery, or imagery as clouds."""
    state_YX = np.arange(128, dtype=np.uint8).reshape(8, 16).repeat(2, axis=0)
    observations_YX = np.full((16, 16), observed, np.uint8)
    expected = state_YX.astype(int) * 2 + (observed > 0)
    assert mark_seen(state_YX, observations_YX) == 127
    np.testing.assert_array_equal(state_YX, expected)
