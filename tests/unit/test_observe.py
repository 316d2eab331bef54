"""Masks: what the values of a band say of each pixel, and clouds made larger."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from scipy.ndimage import distance_transform_edt

from mapmill.observe import CLEAR, CLOUD, EMPTY, SNOW, grown, states, table
from mapmill.sections import Mask

quick = settings(deadline=None, derandomize=True, max_examples=80)
OUTSIDE = -(2**31)
SCL = [EMPTY, EMPTY, CLEAR, CLOUD, CLEAR, CLEAR, CLEAR, CLEAR, CLOUD, CLOUD, CLOUD, SNOW]


def found(mask, values, declared=None):
    return states(np.array([values], np.int32), table(mask.codes(), declared), OUTSIDE)[0].tolist()


def test_presets():
    """A cloud's shadow would be learnt as water, or vegetation be thrown away as cloud."""
    assert found(Mask(preset="scl"), [*range(12), OUTSIDE], declared=0) == [*SCL, EMPTY]
    assert found(Mask(preset="cmask"), [127, 0, 255]) == [CLEAR, EMPTY, CLOUD]
    assert [Mask(preset=preset).band_name for preset in ("scl", "cmask")] == ["SCL", "CMASK"]
    assert Mask(preset="scl", band="quality").band_name == "quality"


def test_values_listed_by_the_user():
    """A mask with 0 for clear, as many have, would empty every clear pixel."""
    mask = Mask(band="CLM", cloud=[1, 300], snow=[9])
    values = [0, 1, 9, 300, -7, 70_000, 255, OUTSIDE]
    expected = [CLEAR, CLOUD, SNOW, CLOUD, CLEAR, CLEAR, EMPTY, EMPTY]
    assert found(mask, values, declared=255) == expected
    assert found(Mask(band="CLM", cloud=[1], clear=[0]), [0, 1], declared=0) == [CLEAR, CLOUD]


@pytest.mark.parametrize("values", [[127, 3], [-5], [70_000]])
def test_values_that_nobody_listed_are_refused(values):
    """A mask of another kind would pass for clear sky."""
    with pytest.raises(ValueError, match=str(values[-1])):
        found(Mask(preset="cmask"), values)


@quick
@given(
    hnp.arrays(np.uint8, (9, 13), elements=st.sampled_from([EMPTY, CLEAR, CLEAR, CLOUD, SNOW])),
    st.integers(0, 15),
)
def test_clouds_grow_by_a_disc(state, pixels):
    """The rim of clouds would stay in, or grow over what was never observed."""
    distance = distance_transform_edt(state != CLOUD) if (state == CLOUD).any() else np.inf
    near = np.broadcast_to(distance <= pixels, state.shape)
    expected = np.where(near & (state != EMPTY), CLOUD, state)
    np.testing.assert_array_equal(grown(state, pixels), expected)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "preset"),
        ({"band": "CLM"}, "cloud, snow or nodata"),
        ({"preset": "scl", "cloud": [3]}, "beside preset"),
        ({"band": "CLM", "cloud": [1], "snow": [1]}, "twice"),
        ({"band": "CLM", "cloud": [-1]}, "greater than or equal to 0"),
    ],
)
def test_masks_that_mean_nothing_are_refused(content, said):
    """A mask without values would say that all is clear."""
    with pytest.raises(ValidationError, match=said):
        Mask(**content)
