"""Statistics of bands in one pass, beside numpy over all pixels at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapmill.moments import PERCENTILES, Tally, percentile

BOUND = 2.0**-11
"""Of percentiles of float32: a share of the value."""


def counted(patches, dtype, nodata, tallies=1):
    """Statistics of patches, dealt to as many tables as there might be threads."""
    tally = Tally(patches.shape[1], dtype, nodata)
    for number, patch in enumerate(patches):
        if number < tallies:  # as when a thread asks while the others hold their tables
            held = [tally._free.get() for _ in range(tally._free.qsize())]
            tally.follow(tally.count(patch))
            for table in held:
                tally._free.put(table)
        else:
            tally.follow(tally.count(patch))
    return tally.summary()


def pixels_of(patches, nodata):
    """(band, pixel) float64 of the pixels that are valid in every band."""
    missing = np.isnan(patches) if np.isnan(nodata) else patches == nodata
    return patches.astype(np.float64).transpose(1, 0, 2, 3)[:, ~missing.any(axis=1)]


def uint16_patches(seed=0):
    random = np.random.default_rng(seed)
    patches = random.gamma(2, 700, (6, 3, 17, 13)).clip(0, 65535).astype(np.uint16)
    patches[0, 1, :5] = 0
    patches[3, 2, 4, 4] = 65535
    return patches


def float_patches(seed=0):
    random = np.random.default_rng(seed)
    patches = random.normal(-12, 6, (6, 3, 17, 13)).astype(np.float32)
    patches[:, 1] *= 1e-3
    patches[:, 2] = patches[:, 2] * 100 + 50_000
    patches[2, 0, 3:9] = np.nan
    return patches


@pytest.mark.parametrize("tallies", [1, 3])
def test_whole_numbers_are_counted_exactly(tallies):
    """Images would be normalised, or stretched in a picture, by numbers of other pixels."""
    patches = uint16_patches()
    pixels = pixels_of(patches, 0)
    found = counted(patches, "uint16", 0.0, tallies)
    assert found["pixels"] == [float(pixels.shape[1])] and pixels.shape[1] < patches[:, 0].size
    assert found["min"] == pixels.min(axis=1).tolist()
    assert found["max"] == pixels.max(axis=1).tolist()
    np.testing.assert_allclose(found["mean"], pixels.mean(axis=1), rtol=1e-14)
    np.testing.assert_allclose(found["sd"], pixels.std(axis=1), rtol=1e-12)
    assert set(found["percentiles"]) == {str(share) for share in PERCENTILES}
    for share, values in found["percentiles"].items():
        np.testing.assert_allclose(values, np.percentile(pixels, int(share), axis=1), rtol=1e-13)


@pytest.mark.parametrize("tallies", [1, 3])
def test_percentiles_of_floats_keep_their_bound(tallies):
    """The documented bound would be a promise that nobody keeps."""
    patches = float_patches()
    pixels = pixels_of(patches, np.nan)
    found = counted(patches, "float32", np.nan, tallies)
    assert found["pixels"] == [float(pixels.shape[1])]
    assert found["min"] == pixels.min(axis=1).tolist()
    assert found["max"] == pixels.max(axis=1).tolist()
    np.testing.assert_allclose(found["mean"], pixels.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["sd"], pixels.std(axis=1), rtol=1e-12)
    for share, values in found["percentiles"].items():
        expected = np.percentile(pixels, int(share), axis=1)
        np.testing.assert_allclose(values, expected, rtol=BOUND)


def test_a_small_spread_about_a_large_mean():
    """Squares summed before the mean is known would lose all digits of a height model."""
    random = np.random.default_rng(1)
    patches = (30_000 + random.normal(0, 0.05, (4, 1, 32, 32))).astype(np.float32)
    found = counted(patches, "float32", np.nan)
    np.testing.assert_allclose(found["sd"], pixels_of(patches, np.nan).std(axis=1), rtol=1e-9)


@pytest.mark.parametrize(("dtype", "nodata"), [("uint16", 0.0), ("float32", np.nan)])
def test_no_valid_pixel(dtype, nodata):
    """A division by no pixel would end in a page of Python, or in a NaN that no JSON holds."""
    patches = np.full((2, 2, 4, 4), nodata, dtype)
    found = counted(patches, dtype, nodata)
    assert found["mean"] == found["sd"] == [0.0, 0.0] and found["pixels"] == [0.0]
    assert found["min"] == found["percentiles"]["50"] == [None, None]


@given(
    st.lists(st.integers(0, 65535), min_size=1, max_size=40),
    st.sampled_from([0, 1, 2, 25, 50, 75, 98, 99, 100]),
)
def test_percentiles_are_those_of_numpy(values, share):
    """A percentile between two values would fall on another side than everybody's."""
    found = percentile(*np.unique(np.array(values, np.float64), return_counts=True), share)
    np.testing.assert_allclose(found, np.percentile(values, share), rtol=1e-12, atol=1e-9)


@given(
    st.lists(
        st.floats(-(2.0**127), 2.0**127, width=32, allow_subnormal=False),
        min_size=1,
        max_size=16,
    )
)
def test_floats_of_any_size_and_sign(values):
    """Negative decibels would be sorted as if they were positive."""
    array = np.array(values, np.float32)[None, None, None]
    tally = Tally(1, "float32", float("nan"))
    tally.follow(tally.count(np.ascontiguousarray(array[0])))
    found = tally.summary()
    for share in ("1", "50", "99"):
        expected = np.percentile(array.astype(np.float64), int(share))
        scale = np.abs(array.astype(np.float64)).max()
        np.testing.assert_allclose(found["percentiles"][share][0], expected, atol=BOUND * scale)
