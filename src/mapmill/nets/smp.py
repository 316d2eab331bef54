"""Nets of segmentation-models-pytorch by name, with the extra mapmill[smp].

Axes: N images, C channels, H rows, W columns, K classes.
"""

from typing import Any

import torch
from torch import Tensor, nn

from mapmill.design import SMP_STRIDE, Design
from mapmill.errors import ContractError
from mapmill.nets.parts import Segmenter


class SmpNet(Segmenter):
    """Any architecture of segmentation-models-pytorch, on any of its encoders or timm's.

    Weights are fresh: nothing is downloaded.

    Parameters
    ----------
    bands : channels of the image
    classes : channels of the logits
    design : its `smp` holds arch, encoder and options of the architecture

    Raises
    ------
    ContractError
        if the package is not there, or knows no such net.
    """

    def __init__(self, bands: int, classes: int, design: Design) -> None:
        super().__init__()
        self.stride, self.is_binary = design.stride, design.activation == "sigmoid"
        self.model = _create(
            **design.smp, in_channels=bands, classes=1 if self.is_binary else classes
        )

    def forward(self, image_NCHW: Tensor) -> Tensor:
        """Logits (N, K, H, W) of an image (N, C, H, W)."""
        logits_NKHW: Tensor = self.model(image_NCHW)
        if self.is_binary:
            return torch.cat([torch.zeros_like(logits_NKHW), logits_NKHW], dim=1)
        return logits_NKHW


def _create(arch: str, encoder: str, options: dict[str, Any], **sizes: int) -> nn.Module:
    """A net with fresh weights."""
    try:
        import segmentation_models_pytorch
    except (ImportError, RuntimeError) as error:  # torchvision of another build raises the latter
        reason = str(error).strip().splitlines()[0]
        raise ContractError(
            "net: smp",
            f"no working segmentation-models-pytorch ({reason})",
            "the extra mapmill[smp]",
            "pip install 'mapmill[smp]', with torchvision of the same build as torch",
        ) from None
    given = {"encoder_name": encoder, "encoder_weights": None, **sizes}
    try:
        net: nn.Module = segmentation_models_pytorch.create_model(arch, **given, **options)
        with torch.inference_mode():  # some take images of one size alone
            net.eval()(torch.zeros(1, sizes["in_channels"], 2 * SMP_STRIDE, 3 * SMP_STRIDE))
        net.train()
    except Exception as error:  # it has no error of its own
        reason = " ".join(str(error).split())[:300]
        raise ContractError(
            f"smp {arch} on {encoder}",
            reason,
            "a net that it knows, for images of any size",
            "correct train.smp",
        ) from None
    return net
