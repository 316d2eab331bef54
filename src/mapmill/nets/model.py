"""A trained model as one file: weights, and everything that prediction needs.

The file is a safetensors file; reading it executes no code.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mapmill.errors import ContractError
from mapmill.nets.unet import UNet


@dataclass(frozen=True)
class Card:
    """What a model is and what it was trained on."""

    net: str
    width: int
    depth: int
    bands: list[str]
    """Names of the image's bands, in the order of the channels."""
    classes: list[str]
    """Names of class 1 to K, in the order of the logits."""
    mean: list[float]
    """Of each band over valid training pixels, in the image's units."""
    sd: list[float]
    """Standard deviation, likewise."""
    provenance: dict[str, str]


def build(card: Card) -> UNet:
    """A net with fresh weights."""
    if card.net != "unet":
        raise ContractError("model", f"net {card.net!r}", "unet", "use a newer mapmill")
    return UNet(len(card.bands), len(card.classes), card.width, card.depth)


def save_model(path: Path, state: dict[str, Tensor], card: Card) -> None:
    """Write weights and card. One metadata key, so that equal models are equal bytes."""
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in sorted(state.items())}
    save_file(tensors, path, metadata={"mapmill": json.dumps(asdict(card), sort_keys=True)})


def load_model(path: Path) -> tuple[UNet, Card]:
    """Read a model, ready for prediction.

    Raises
    ------
    ContractError
        if the file is no model of mapmill, or its weights do not fit its card.
    """
    from safetensors import SafetensorError, safe_open

    remedy = "train it again, or correct the path"
    try:
        with safe_open(path, "pt") as file:
            card = Card(**json.loads((file.metadata() or {})["mapmill"]))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ContractError(path, f"no model ({error!r})", "a model of mapmill", remedy) from None
    net = build(card)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ContractError(path, str(error), "weights that fit the card", remedy) from None
    net.eval()
    return net, card


def normalise(
    image_NCHW: NDArray[Any], valid_NHW: NDArray[np.bool_], card: Card
) -> NDArray[np.float32]:
    """Subtract the mean, divide by the standard deviation; invalid pixels become exactly 0."""
    mean = np.array(card.mean, np.float32)[:, None, None]
    sd = np.array([value if value > 0 else 1.0 for value in card.sd], np.float32)[:, None, None]
    scaled = (image_NCHW.astype(np.float32) - mean) / sd
    return np.where(valid_NHW[:, None], scaled, np.float32(0))


def reach(net: nn.Module, bands: int, stride: int, limit: int = 4096) -> int:
    """How many pixels away an input pixel can change the output: measured, not declared.

    A NaN is put at one pixel, in each phase of the stride, and followed to the output.

    Raises
    ------
    ContractError
        if the reach is over `limit` / 2: the net looks at the whole image.
    """
    was_training = net.training
    net.eval()
    width = 16 * stride
    try:
        while width <= limit:
            spread = max(_spread(net, bands, stride, width, phase) for phase in range(stride))
            if spread < width // 2 - stride:
                return spread
            width *= 2
    finally:
        net.train(was_training)
    raise ContractError("net", f"a reach of over {limit // 2} px", "a local net", "choose another")


def _spread(net: nn.Module, bands: int, stride: int, width: int, phase: int) -> int:
    """Largest distance along a row from a NaN at `width / 2 + phase` to a NaN in the output."""
    place = width // 2 + phase
    image_NCHW = torch.zeros(1, bands, stride, width)
    image_NCHW[..., place] = torch.nan
    with torch.inference_mode():
        touched = net(image_NCHW).isnan().any(dim=1)[0].any(dim=0).nonzero()
    return int((touched - place).abs().max())


def choose_device(wanted: str) -> torch.device:
    """The device asked for; `auto` takes CUDA, then Apple's GPU, then the CPU.

    Raises
    ------
    ContractError
        if a device is named that this machine does not have: no silent step down to the CPU.
    """
    present = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present[wanted]:
        have = ", ".join(name for name, there in present.items() if there)
        raise ContractError(f"device {wanted}", f"only {have}", wanted, "set device: auto or cpu")
    return torch.device(wanted)
