"""Weights of pixels by how near they are to the border, or to the centre line, of their object.

Axes: N images, H rows, W columns. An object is a connected stretch of one class; label 0 is
ignored: such pixels make no borders and weigh 1. Torch alone, so that it runs where labels are.
"""

import math

import torch
from torch import Tensor

STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""To the four neighbours of a pixel: rows, columns."""
NEGLIGIBLE = 6.0
"""Distance in standard deviations from which a Gaussian is lost in float32: exp(-18)."""


def border_weights(label_NHW: Tensor, weight: float, sigma: float) -> Tensor:
    """1 + weight exp(-d^2 / 2 sigma^2), d the distance in pixels to the class border.

    Pixels of the border, those beside a pixel of another class, have d = 0.
    """
    return _weights(label_NHW, borders(label_NHW), weight, sigma)


def centre_weights(label_NHW: Tensor, weight: float, sigma: float) -> Tensor:
    """1 + weight exp(-d^2 / 2 sigma^2), d the distance to the nearest object's centre line."""
    return _weights(label_NHW, centre_lines(label_NHW), weight, sigma)


def borders(label_NHW: Tensor) -> Tensor:
    """Pixels (N, H, W) beside a labelled pixel of another class."""
    result = torch.zeros_like(label_NHW, dtype=torch.bool)
    for step in STEPS:
        other_NHW = _moved(label_NHW, step)
        result |= (other_NHW > 0) & (label_NHW > 0) & (other_NHW != label_NHW)
    return result


def centre_lines(label_NHW: Tensor) -> Tensor:
    """The skeleton of each object: what openings remove from its successive erosions.

    Lantuejoul's formula with a cross of five pixels (Serra 1982, Image Analysis and Mathematical
    Morphology, ch. XI). An object is eroded from other classes alone, neither from ignored pixels
    nor from the image's edge; one that touches no other class has no centre line.
    """
    eroded_NHW = label_NHW > 0
    result = torch.zeros_like(eroded_NHW)
    while True:
        inner_NHW, opened_NHW = eroded_NHW.clone(), torch.zeros_like(eroded_NHW)
        for step in STEPS:
            other_NHW = _moved(label_NHW, step)
            same_NHW = other_NHW == label_NHW
            inner_NHW &= (other_NHW == 0) | (same_NHW & _moved(eroded_NHW, step))
        if torch.equal(inner_NHW, eroded_NHW):  # empty, or nothing left that has a border
            return result
        opened_NHW |= inner_NHW
        for step in STEPS:
            same_NHW = _moved(label_NHW, step) == label_NHW
            opened_NHW |= same_NHW & _moved(inner_NHW, step)
        result |= eroded_NHW & ~opened_NHW
        eroded_NHW = inner_NHW


def _weights(label_NHW: Tensor, marked_NHW: Tensor, weight: float, sigma: float) -> Tensor:
    square_NHW = square_distance(marked_NHW, math.ceil(NEGLIGIBLE * sigma))
    near_NHW = torch.exp(-square_NHW / (2 * sigma**2))
    return torch.where(label_NHW > 0, 1 + weight * near_NHW, torch.ones_like(near_NHW))


def square_distance(marked_NHW: Tensor, reach: int) -> Tensor:
    """Squared Euclidean distance in pixels to the nearest marked pixel of an image.

    Infinite where none lies within `reach` rows and columns. Along rows first, then columns.
    """
    square_NHW = torch.full(marked_NHW.shape, math.inf, device=marked_NHW.device)
    square_NHW[marked_NHW] = 0
    for axis in (2, 1):
        size = square_NHW.shape[axis]
        nearest_NHW = square_NHW.clone()
        for step in range(1, min(reach, size - 1) + 1):
            for start, end in ((0, step), (step, 0)):
                here = nearest_NHW.narrow(axis, start, size - step)
                there = square_NHW.narrow(axis, end, size - step)
                torch.minimum(here, there + step**2, out=here)
        square_NHW = nearest_NHW
    return square_NHW


def _moved(array_NHW: Tensor, step: tuple[int, int]) -> Tensor:
    """The neighbour of each pixel in a direction; 0 beyond the image."""
    result = torch.zeros_like(array_NHW)
    sizes = array_NHW.shape[1:]
    here = [slice(max(-by, 0), size - max(by, 0)) for by, size in zip(step, sizes, strict=True)]
    there = [slice(max(by, 0), size - max(-by, 0)) for by, size in zip(step, sizes, strict=True)]
    result[:, *here] = array_NHW[:, *there]
    return result
