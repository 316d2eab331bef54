"""A trained model as one file: weights, and everything that prediction needs.

The file is a safetensors file; reading it executes no code.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mapmill.channels import Channel, names_shown, read_channels
from mapmill.errors import ContractError
from mapmill.nets.resnet import RESNETS, ResNetUNet
from mapmill.nets.unet import UNet

Net = UNet | ResNetUNet
State = dict[str, Tensor]
"""Tensors by name."""
SHOWN = 3
"""Tensors named in a message; the others are counted."""


@dataclass(frozen=True)
class Card:
    """What a model is and what it was trained on."""

    net: str
    width: int
    """Channels of the finest level, of a plain encoder or of a ResNet's decoder."""
    depth: int
    """Halvings of a plain encoder; a ResNet always has five."""
    bands: list[str]
    """Names of the image's bands, in the order of the channels."""
    classes: list[str]
    """Names of class 1 to K, in the order of the logits."""
    mean: list[float]
    """Of each band over valid training pixels, in the image's units."""
    sd: list[float]
    """Standard deviation, likewise."""
    provenance: dict[str, str]
    encoder: str = "plain"
    """plain, resnet18, resnet34 or resnet50."""
    units: str = ""
    """Units of the image."""
    reach: int | None = None
    """What `reach` measured, in pixels; None where nobody did."""
    features: list[dict[str, Any]] = field(default_factory=list)
    """Channels computed from the bands, after them; see `Channel`."""
    normalise: str = "standard"
    """One of normal.METHODS."""
    shift: list[float] = field(default_factory=list)
    """Subtracted from each input; where it is empty `mean` is."""
    scale: list[float] = field(default_factory=list)
    """What each input is then divided by; where it is empty by `sd`."""

    @property
    def channels(self) -> list[Channel]:
        """The channels that are computed, those that the net does not see among them."""
        return read_channels(self.features, self.bands)

    @property
    def inputs(self) -> list[str]:
        """Names of what the net sees: bands, and channels computed from them."""
        return [*self.bands, *names_shown(self.channels)]


def build(card: Card) -> Net:
    """A net with fresh weights."""
    if card.net != "unet":
        raise ContractError("model", f"net {card.net!r}", "unet", "use a newer mapmill")
    bands, classes = len(card.inputs), len(card.classes)
    if card.encoder == "plain":
        return UNet(bands, classes, card.width, card.depth)
    if card.encoder not in RESNETS:
        known = ", ".join(["plain", *RESNETS])
        raise ContractError("model", f"encoder {card.encoder!r}", known, "use a newer mapmill")
    return ResNetUNet(bands, classes, card.encoder, card.width)


def with_reach(card: Card) -> Card:
    """The card with the measured reach of its net, so that prediction need not measure it."""
    net = build(card)
    return replace(card, reach=reach(net, len(card.inputs), net.stride))


def save_model(path: Path, state: State, card: Card) -> None:
    """Write weights and card. One metadata key, so that equal models are equal bytes."""
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in sorted(state.items())}
    save_file(tensors, path, metadata={"mapmill": json.dumps(asdict(card), sort_keys=True)})


def load_model(path: Path) -> tuple[Net, Card]:
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
            _ = card.inputs  # ValueError for channels that cannot be made
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ContractError(path, f"no model ({error!r})", "a model of mapmill", remedy) from None
    net = build(card)
    wrong = misfit(net.state_dict(), state) or _missing_numbers(card)
    if wrong:
        raise ContractError(path, wrong, "weights that fit the card", remedy)
    net.load_state_dict(state)
    net.eval()
    return net, card


def _missing_numbers(card: Card) -> str:
    """What is wrong if there is not one shift and scale for each input."""
    found = {len(card.shift or card.mean), len(card.scale or card.sd)}
    wanted = len(card.inputs)
    return "" if found == {wanted} else f"{min(found)} numbers to normalise {wanted} inputs"


def misfit(own: State, state: State) -> str:
    """What keeps `state` from replacing all of a net's `own` tensors; empty if nothing does."""
    wrong = [f"no {name}" for name in own if name not in state]
    for name, tensor in state.items():
        if name not in own:
            wrong.append(f"an unexpected {name}")
        elif tensor.shape != own[name].shape:
            wrong.append(f"{name} {tuple(tensor.shape)} instead of {tuple(own[name].shape)}")
        elif tensor.is_floating_point() != own[name].is_floating_point():
            wrong.append(f"{name} of {tensor.dtype}")
        elif not tensor.isfinite().all():
            wrong.append(f"{name} with values that are no numbers")
    more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return ", ".join(wrong[:SHOWN]) + more


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
            farthest, most = 0, width // 2 - stride
            for phase in range(stride):
                farthest = max(farthest, _spread(net, bands, stride, width, phase))
                if farthest >= most:  # it may go on beyond the image
                    break
            else:
                return farthest
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
