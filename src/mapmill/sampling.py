"""In which order training patches are drawn. Needs numpy alone."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


def drawn(
    indices: Numbers, batch: int, random: np.random.Generator, weights: NDArray[np.float64] | None
) -> Iterator[Numbers]:
    """Endless batches of patch numbers.

    Parameters
    ----------
    indices : numbers of the patches
    weights : of each patch, drawn with replacement; None: every patch once before any twice
    """
    if weights is not None:
        share = weights / weights.sum()
        while True:
            yield random.choice(indices, batch, p=share)
    order: list[int] = []
    while True:
        while len(order) < batch:
            order += random.permutation(indices).tolist()
        picked, order = order[:batch], order[batch:]
        yield np.array(picked)


def balanced(holds_NK: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weight of each patch: 1 over the number of patches that hold its rarest class.

    A class is the rarer the fewer patches hold it; patches without a class weigh nothing. It is
    the idea of repeat factors by image (Gupta et al. 2019, LVIS) without a threshold or root.

    Parameters
    ----------
    holds_NK : whether a patch holds a labelled, valid pixel of class 1 to K
    """
    patches_K = np.maximum(holds_NK.sum(axis=0), 1)
    weights_N: NDArray[np.float64] = np.where(holds_NK, 1 / patches_K, 0).max(axis=1)
    return weights_N


def by_strata(stratum_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weight of each patch: 1 over the number of patches in its stratum."""
    _, place_N, count_S = np.unique(stratum_N, return_inverse=True, return_counts=True)
    weights_N: NDArray[np.float64] = 1 / count_S[place_N]
    return weights_N
