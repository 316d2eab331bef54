"""Losses over labelled pixels. Label 0 is ignored: its pixels are left out before the softmax.

Axes: N images, K classes, H rows, W columns, P labelled pixels. Classes are 1 to K, channel
k - 1 of the logits. p is a probability after the softmax; y is the truth, 1 for the pixel's class
(or its share, of soft labels) and 0 for the others. Sums over classes leave out those that a
batch does not hold.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from mapmill.borders import border_weights, centre_weights

Sum = Callable[[Tensor], Tensor]
TINY = 1e-30


def here(value: Tensor) -> Tensor:
    """The sum over all processes where there is one: the value itself."""
    return value


@dataclass(frozen=True)
class Shape:
    """Numbers in the formulas."""

    gamma: float = 2.0
    """Focal: exponent of 1 - p."""
    alpha: float = 0.7
    """Tversky: weight of what is missed."""
    beta: float = 0.3
    """Tversky: weight of what is wrongly found."""
    weight: float = 5.0
    """Boundary and center: weight at the line itself, beside 1."""
    sigma: float = 3.0
    """Boundary and center: standard deviation of that weight, in pixels."""


@dataclass(frozen=True)
class Batch:
    """What the terms of a loss see."""

    log_p_PK: Tensor
    """log p, float32."""
    target_P: Tensor
    """Number of the true class, from 0."""
    label_NHW: Tensor
    truth_PK: Tensor
    """y."""
    weight_P: Tensor
    """Weight of a pixel."""
    weight_K: Tensor
    """Weight of a class."""
    shape: Shape
    summed: Sum
    """A sum over pixels here -> over those of all processes."""

    def mean(self, value_P: Tensor, more_P: Tensor | float = 1.0) -> Tensor:
        """Mean over the pixels of all processes, weighted by pixel, by class and by `more_P`."""
        weight_P = self.weight_P * self.weight_K[self.target_P] * more_P
        total, scale = self.summed(torch.stack([(weight_P * value_P).sum(), weight_P.sum()]))
        mean: Tensor = total / scale.clamp(min=TINY)
        return mean

    @cached_property
    def areas(self) -> tuple[Tensor, Tensor, Tensor]:
        """Per class the sums over pixels of p y, p and y, weighted by pixel alone."""
        p_PK, y_PK = self.log_p_PK.exp(), self.truth_PK
        sums = [(self.weight_P[:, None] * a_PK).sum(0) for a_PK in (p_PK * y_PK, p_PK, y_PK)]
        both_K, found_K, true_K = self.summed(torch.stack(sums))
        return both_K, found_K, true_K

    def over_classes(self, value_K: Tensor) -> Tensor:
        """Mean over the classes that are there."""
        there_K = self.areas[2] > 0
        return torch.where(there_K, value_K, 0.0).sum() / there_K.sum().clamp(min=1)


def cross_entropy(batch: Batch) -> Tensor:
    """Mean of -sum_k y log p."""
    return batch.mean(-(batch.truth_PK * batch.log_p_PK).sum(1))


def focal(batch: Batch) -> Tensor:
    """Mean of -sum_k y (1 - p)^gamma log p; its alpha is the weight of the class.

    Lin, Goyal, Girshick, He and Dollar 2017, arXiv:1708.02002, equation 5.
    """
    easy_PK = (1 - batch.log_p_PK.exp()).clamp(min=TINY) ** batch.shape.gamma
    return batch.mean(-(batch.truth_PK * easy_PK * batch.log_p_PK).sum(1))


def log_cosh(batch: Batch) -> Tensor:
    """Mean over pixels and classes of log cosh(p - y), as |d| + log(1 + exp(-2 |d|)) - log 2."""
    d_PK = (batch.log_p_PK.exp() - batch.truth_PK).abs()
    values_PK = d_PK + nn.functional.softplus(-2 * d_PK) - torch.log(torch.tensor(2.0))
    return batch.mean(values_PK.mean(1))


def boundary(batch: Batch) -> Tensor:
    """Cross-entropy whose pixels weigh 1 + w exp(-d^2 / 2 s^2) by distance to the class border."""
    weight_NHW = border_weights(batch.label_NHW, batch.shape.weight, batch.shape.sigma)
    ce_P = -(batch.truth_PK * batch.log_p_PK).sum(1)
    return batch.mean(ce_P, weight_NHW[batch.label_NHW > 0])


def center(batch: Batch) -> Tensor:
    """Cross-entropy whose pixels weigh likewise by distance to their object's centre line."""
    weight_NHW = centre_weights(batch.label_NHW, batch.shape.weight, batch.shape.sigma)
    ce_P = -(batch.truth_PK * batch.log_p_PK).sum(1)
    return batch.mean(ce_P, weight_NHW[batch.label_NHW > 0])


def dice(batch: Batch) -> Tensor:
    """1 - mean over classes of 2 sum(p y) / (sum(p) + sum(y)); weights of classes unused.

    Milletari, Navab and Ahmadi 2016, arXiv:1606.04797, without the squares.
    """
    both_K, found_K, true_K = batch.areas
    return batch.over_classes(1 - 2 * both_K / (found_K + true_K).clamp(min=TINY))


def jaccard(batch: Batch) -> Tensor:
    """Mean over classes of -log IoU, IoU = sum(p y) / (sum(p) + sum(y) - sum(p y))."""
    both_K, found_K, true_K = batch.areas
    return batch.over_classes(_minus_log(both_K, found_K + true_K - both_K))


def tversky(batch: Batch) -> Tensor:
    """Mean over classes of -log(TP / (TP + alpha FN + beta FP)) of soft counts.

    Salehi, Erdogmus and Gholipour 2017, arXiv:1706.05721, whose index this is the logarithm of.
    """
    both_K, found_K, true_K = batch.areas
    missed_K, false_K = true_K - both_K, found_K - both_K
    whole_K = both_K + batch.shape.alpha * missed_K + batch.shape.beta * false_K
    return batch.over_classes(_minus_log(both_K, whole_K))


def _minus_log(part_K: Tensor, whole_K: Tensor) -> Tensor:
    return whole_K.clamp(min=TINY).log() - part_K.clamp(min=TINY).log()


def lovasz(batch: Batch) -> Tensor:
    """Mean over classes of the Lovasz extension of 1 - IoU, of the errors |y - p|.

    Berman, Triki and Blaschko 2018, arXiv:1705.08790, algorithm 1. Hard labels; no weights. Of
    several processes, the mean of what each finds over its own pixels, if it has any: not that of
    all at once.
    """
    p_PK = batch.log_p_PK.exp()
    found = []
    for k in range(p_PK.shape[1]):
        true_P = (batch.target_P == k).float()
        if true_P.any():
            error_P, order_P = (true_P - p_PK[:, k]).abs().sort(descending=True, stable=True)
            found.append(error_P @ _lovasz_gradient(true_P[order_P]))
    own = torch.stack(found).mean() if found else p_PK.sum()
    total, processes = batch.summed(torch.stack([own, own.new_tensor(float(bool(found)))]))
    mean: Tensor = total / processes.clamp(min=1)
    return mean


def _lovasz_gradient(true_P: Tensor) -> Tensor:
    """How 1 - IoU grows as pixels, sorted by falling error, turn wrong one by one."""
    both_P = true_P.sum() - true_P.cumsum(0)
    either_P = true_P.sum() + (1 - true_P).cumsum(0)
    loss_P = 1 - both_P / either_P
    return torch.diff(loss_P, prepend=loss_P.new_zeros(1))


TERMS: dict[str, Callable[[Batch], Tensor]] = {
    "cross-entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "jaccard": jaccard,
    "tversky": tversky,
    "lovasz": lovasz,
    "log-cosh": log_cosh,
    "boundary": boundary,
    "center": center,
}


class Loss(Protocol):
    """What is minimised, as a function of a batch."""

    def __call__(
        self,
        logits_NKHW: Tensor,
        label_NHW: Tensor,
        weight_K: Tensor,
        weight_NHW: Tensor | None = None,
        share_NHW: Tensor | None = None,
    ) -> Tensor:
        """The loss; 0 with a gradient of exactly 0 where no pixel is labelled.

        Parameters
        ----------
        logits_NKHW : of any float dtype; anything, NaN too, where the label is 0
        label_NHW : uint8, 1 to K, 0 is ignored
        weight_K : weight of each class
        weight_NHW : weight of each pixel, 1 by default
        share_NHW : y of the labelled class, for soft labels; the rest goes to the others alike
        """
        ...


def loss_of(terms: Mapping[str, float], shape: Shape = Shape(), summed: Sum = here) -> Loss:
    """A weighted sum of terms.

    Parameters
    ----------
    terms : factor by name of TERMS
    summed : the sum over all processes, where several share a batch
    """

    def loss(
        logits_NKHW: Tensor,
        label_NHW: Tensor,
        weight_K: Tensor,
        weight_NHW: Tensor | None = None,
        share_NHW: Tensor | None = None,
    ) -> Tensor:
        labelled_NHW = label_NHW > 0
        logits_PK = logits_NKHW.permute(0, 2, 3, 1)[labelled_NHW].float()
        truth_PK = _truth(label_NHW[labelled_NHW], logits_PK.shape[1], share_NHW, labelled_NHW)
        weight_P = torch.ones_like(logits_PK[:, 0])
        if weight_NHW is not None:
            weight_P = weight_NHW[labelled_NHW].float()
        batch = Batch(
            logits_PK.log_softmax(dim=1),
            label_NHW[labelled_NHW].long() - 1,
            label_NHW,
            truth_PK,
            weight_P,
            weight_K,
            shape,
            summed,
        )
        parts = [factor * TERMS[name](batch) for name, factor in terms.items()]
        return torch.stack(parts).sum()

    return loss


def _truth(label_P: Tensor, classes: int, share_NHW: Tensor | None, labelled_NHW: Tensor) -> Tensor:
    """y (pixel, class)."""
    hard_PK = nn.functional.one_hot(label_P.long() - 1, classes).float()
    if share_NHW is None or classes == 1:
        return hard_PK
    share_P1 = share_NHW[labelled_NHW].float()[:, None]
    return hard_PK * share_P1 + (1 - hard_PK) * (1 - share_P1) / (classes - 1)


def class_weights(
    pixels_K: Sequence[int], kind: str, given: Mapping[int, float] = {}, most: float = float("inf")
) -> Tensor:
    """Weight of each class by the number n of its training pixels; 0 for a class without any.

    Parameters
    ----------
    kind : `none`; `inverse`, 1 / n; `sqrt-inverse`, 1 / sqrt(n); `effective`, 1 over the effective
        number (1 - beta^n) / (1 - beta), beta = 1 - 1 / N of N pixels in all (Cui, Jia, Lin, Song
        and Belongie 2019, arXiv:1901.05555, equation 3); `given`
    given : weight by class, 1 where it is not given
    most : the largest weight allowed over the smallest

    Returns
    -------
    float32 weights (K), scaled so that the mean over pixels is 1.
    """
    n_K = torch.tensor(pixels_K, dtype=torch.float64)
    if kind == "given":
        weight_K = torch.tensor([given.get(k, 1.0) for k in range(1, len(pixels_K) + 1)])
    elif kind == "effective":
        beta = 1 - 1 / n_K.sum().clamp(min=2)
        weight_K = (1 - beta) / (1 - beta ** n_K.clamp(min=1))
    else:
        power = {"none": 0.0, "inverse": 1.0, "sqrt-inverse": 0.5}[kind]
        weight_K = n_K.clamp(min=1) ** -power
    weight_K = torch.where(n_K > 0, weight_K.double(), 0.0)
    if (weight_K > 0).any():
        weight_K = weight_K.clamp(max=float(weight_K[weight_K > 0].min() * most))
    return (weight_K * n_K.sum() / (weight_K * n_K).sum().clamp(min=1e-30)).float()
