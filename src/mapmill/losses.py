"""Losses over labelled pixels. Label 0 is ignored: its pixels are left out before the softmax.

Axes: N images, K classes, H rows, W columns, P labelled pixels. Classes are 1 to K, channel
k - 1 of the logits.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def loss_by_name(name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss `name`; a function of logits (N, K, H, W), label (N, H, W), class weights (K)."""
    terms = [TERMS[term] for term in name.split("+")]

    def loss(logits_NKHW: Tensor, label_NHW: Tensor, weight_K: Tensor) -> Tensor:
        labelled = label_NHW > 0
        logits_PK = logits_NKHW.permute(0, 2, 3, 1)[labelled].float()
        if len(logits_PK) == 0:
            return logits_NKHW[:0].sum()  # 0, and a gradient of exactly 0
        target_P = label_NHW[labelled].long() - 1
        return torch.stack([term(logits_PK, target_P, weight_K) for term in terms]).sum()

    return loss


def cross_entropy(logits_PK: Tensor, target_P: Tensor, weight_K: Tensor) -> Tensor:
    """Weighted mean of -log p of the true class."""
    total = nn.functional.cross_entropy(logits_PK, target_P, weight_K, reduction="sum")
    return total / weight_K[target_P].sum().clamp(min=1e-30)


def dice(logits_PK: Tensor, target_P: Tensor, weight_K: Tensor) -> Tensor:
    """1 - mean over the batch's classes of 2 sum(p y) / (sum(p) + sum(y)), weights unused.

    Milletari, Navab and Ahmadi 2016, arXiv:1606.04797, without the squares.
    """
    p_PK = logits_PK.softmax(dim=1)
    y_PK = nn.functional.one_hot(target_P, logits_PK.shape[1]).to(p_PK.dtype)
    present = y_PK.sum(dim=0) > 0
    overlap_K = 2 * (p_PK * y_PK).sum(dim=0) / (p_PK.sum(dim=0) + y_PK.sum(dim=0))
    return 1 - overlap_K[present].mean()


TERMS: dict[str, Loss] = {"cross-entropy": cross_entropy, "dice": dice}


def class_weights(pixels_K: Sequence[int], kind: str) -> Tensor:
    """Weight of each class by the number of its training pixels.

    `inverse` is 1 / n, `sqrt-inverse` 1 / sqrt(n); scaled so that the mean over pixels is 1.
    A class without pixels weighs 0.
    """
    n_K = torch.tensor(pixels_K, dtype=torch.float64)
    power = {"none": 0.0, "inverse": 1.0, "sqrt-inverse": 0.5}[kind]
    weight_K = torch.where(n_K > 0, n_K.clamp(min=1) ** -power, 0.0)
    return (weight_K * n_K.sum() / (weight_K * n_K).sum().clamp(min=1e-30)).float()
