"""Entropy, margin and probabilities in percent, beside scipy."""

import numpy as np
import pytest
from scipy.stats import entropy

from mapmill.quantities import LAYERS, names_of, quantities


def test_they_are_what_their_names_say():
    """Otherwise users would trust pixels that are doubtful."""
    random = np.random.default_rng(0)
    p_KYX = random.dirichlet(np.full(4, 0.5), (9, 7)).transpose(2, 0, 1)
    found = quantities(p_KYX, LAYERS)
    assert found.dtype == np.uint8 and found.shape == (6, 9, 7)
    np.testing.assert_array_equal(found[0], np.rint(100 * entropy(p_KYX, base=4, axis=0)))
    ordered = np.sort(p_KYX, axis=0)
    np.testing.assert_array_equal(found[1], np.rint(100 * (ordered[-1] - ordered[-2])))
    np.testing.assert_array_equal(found[2:], np.rint(100 * p_KYX))
    expected = ["entropy", "margin", *(f"probability of {name}" for name in "abcd")]
    assert names_of(LAYERS, "abcd") == expected


@pytest.mark.parametrize("classes", [2, 5])
def test_certainty_and_ignorance(classes):
    """Otherwise 0 and 1 would give what is no number."""
    p_KYX = np.zeros((classes, 1, 2))
    p_KYX[0, 0, 0] = 1
    p_KYX[:, 0, 1] = 1 / classes
    found = quantities(p_KYX.astype(np.float32), ["entropy", "margin"])
    assert found[:, 0].tolist() == [[0, 100], [100, 0]]
