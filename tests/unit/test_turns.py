"""The eight ways to lay an image down, and back."""

import numpy as np
import pytest
import torch

from mapmill.turns import KINDS, mean_of_turns, turned, turned_back


def test_the_ways_differ_and_each_is_undone():
    """Otherwise a part of the map would be turned or mirrored."""
    x = torch.arange(24.0).reshape(1, 2, 3, 4)
    seen = set()
    for way in KINDS[8]:
        there = turned(x, *way)
        seen.add((tuple(there.shape), tuple(there.ravel().tolist())))
        assert torch.equal(turned_back(there, *way), x)
        expected = np.rot90(x.numpy()[..., ::-1] if way[1] else x.numpy(), way[0], (-2, -1))
        np.testing.assert_array_equal(there, expected)
    assert len(seen) == 8
    assert set(KINDS[4]) < set(KINDS[8])


@pytest.mark.parametrize("turns", [1, 4, 8])
def test_the_mean_is_that_of_a_loop(turns):
    """Otherwise some ways would weigh more, or be laid over one another wrongly."""
    kernel = torch.rand(1, 1, 3, 3)

    def net(image_NCHW, valid_NHW):
        seen = torch.nn.functional.conv2d(image_NCHW, kernel, padding=1)
        return seen * valid_NHW[:, None]

    image, valid = torch.rand(2, 1, 5, 8), torch.rand(2, 5, 8) > 0.2
    expected = np.zeros((2, 1, 5, 8))
    for quarters, flipped in KINDS[turns]:
        k = kernel.numpy()
        # to turn the image is to turn the kernel the other way
        k = np.rot90(k, -quarters, (-2, -1))
        k = k[..., ::-1] if flipped else k
        there = torch.nn.functional.conv2d(image, torch.from_numpy(k.copy()), padding=1)
        expected += there.numpy() * valid.numpy()[:, None] / turns
    found = mean_of_turns(net, image, valid, turns)
    np.testing.assert_allclose(found, expected, atol=1e-6)
