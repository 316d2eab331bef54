"""Weights that a net starts from: of an encoder trained elsewhere, or of a model of mapmill.

Reading them executes no code, and a net is set as a whole or not at all: a tensor that is missing,
unexpected or of another shape is an error, never a random weight in silence.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mapmill.errors import ContractError
from mapmill.nets.heads import HEADS
from mapmill.nets.model import Card, Net, State, load_model, misfit
from mapmill.nets.resnet import ResNetUNet
from mapmill.regular import regular

PREFIXES = ("module.", "encoder.", "backbone.")
CLASSIFIER = "fc."
FIRST = "conv1.weight"
COLOURS = [("B04", "red", "r"), ("B03", "green", "g"), ("B02", "blue", "b")]
"""Names of the bands that stand for the three channels of a photograph, in their order."""


def load_encoder_weights(net: Net, path: Path, bands: Sequence[str] = ()) -> None:
    """Set every tensor of a net's encoder to that of a file.

    Parameters
    ----------
    net : a net with a ResNet as its encoder
    path : a `.safetensors` file, or one of torch: a dict of tensors by torchvision's names, or a
        dict that holds one under `state_dict` or `model`
    bands : names of the net's bands, see `adapt`

    Raises
    ------
    ContractError
        if the file is unreadable, holds anything but tensors, or its tensors are not the
        encoder's; the net is then as before.
    """
    if not isinstance(net, ResNetUNet):
        remedy = "name the encoder that the file was made for, or leave the weights out"
        raise ContractError(path, "a plain net to put it in", "a ResNet as encoder", remedy)
    state = _bare(path, _read(path))
    own = net.encoder.state_dict()
    if FIRST in state:
        state[FIRST] = adapt(state[FIRST], own[FIRST].shape[1], bands)
    # Files from before PyTorch 0.4.1 have no such counts, and nothing here depends on them.
    state = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")} | state
    wrong = misfit(own, state)
    if wrong:
        expected = f"the {len(own)} tensors of the net's encoder"
        remedy = "name the encoder that the file was made for"
        raise ContractError(path, wrong, expected, remedy)
    net.encoder.load_state_dict(state)


def adapt(kernel_OCHW: Tensor, channels: int, bands: Sequence[str] = ()) -> Tensor:
    """The first convolution's weights for images of another number of bands.

    Weights of red, green and blue go to the bands of these names (see `COLOURS`), their mean to
    every other band; all are scaled by 3 / channels, so that features keep their magnitude. With
    as many bands as the file has the weights stay as they are; three of red, green and blue are
    put in their order. Any other number of channels is returned as it is: it does not fit.

    Parameters
    ----------
    kernel_OCHW : weights (outputs, channels of the file, rows, columns)
    channels : bands of the net
    bands : their names; without them every band gets the mean
    """
    places = [_colour(band) for band in bands] or [None] * channels
    usual = kernel_OCHW.dim() == 4 and kernel_OCHW.is_floating_point()
    found = kernel_OCHW.shape[1] if usual else 0
    same = found == channels and sorted(places, key=str) != [0, 1, 2]
    if found != 3 or same:
        return kernel_OCHW
    mean_OHW = kernel_OCHW.mean(dim=1)
    parts = [mean_OHW if place is None else kernel_OCHW[:, place] for place in places]
    return torch.stack(parts, dim=1) * (3 / channels)


def start_from(net: Net, card: Card, path: Path) -> tuple[Card, bool]:
    """Copy the weights of a trained model into a net.

    The classes may be others: then the net keeps its own head.

    Returns
    -------
    the other model's card, and whether its head was taken over

    Raises
    ------
    ContractError
        if the file is no model, or one of another kind, size or other bands than `card`.
    """
    trained, other = load_model(path)
    differs = other.design.first_difference(card.design)
    for key in ("inputs", "bands"):
        if getattr(other, key) != getattr(card, key):
            differs = key, getattr(other, key), getattr(card, key)
    if differs:
        key, found, expected = differs
        raise ContractError(
            path,
            f"a model with {key} {found}",
            f"{key} {expected} as in the run that starts from it",
            "make them equal, or start from another model",
        )
    state, whole = trained.state_dict(), other.classes == card.classes
    if not whole:
        state |= {k: v for k, v in net.state_dict().items() if k.startswith(HEADS)}
    net.load_state_dict(state)
    return other, whole


def _read(path: Path) -> State:
    """The tensors of a file by name, on the CPU."""
    try:
        regular(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong with the file comes in our own line
            content: Any = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("state_dict", "model"):
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                content = content[key]
        if not isinstance(content, dict) or not content:
            raise TypeError(f"a {type(content).__name__}")
        for key, value in content.items():
            if not isinstance(value, Tensor) or value.layout != torch.strided:
                raise TypeError(f"{key} is no dense tensor")
    except Exception as error:  # a broken or foreign file can fail anywhere in torch's reader
        reason = str(error).strip().splitlines() or [""]
        raise ContractError(
            path,
            f"no weights ({type(error).__name__}: {reason[0][:160]})",
            "tensors by name, as safetensors or by torch.save(net.state_dict(), ...)",
            "fetch the file again, or correct the path",
        ) from None
    return {str(key): tensor for key, tensor in content.items()}


def _bare(path: Path, state: State) -> State:
    """The same tensors by the encoder's own names, without the classifier."""
    bare: State = {}
    for key, tensor in state.items():
        name = key
        while name.startswith(PREFIXES):
            name = name.split(".", 1)[1]
        if name.startswith(CLASSIFIER):
            continue
        if name in bare:
            raise ContractError(path, f"{name} twice", "one encoder", "take one out of the file")
        bare[name] = tensor
    return bare


def _colour(band: str) -> int | None:
    """0, 1 or 2 for a band that is red, green or blue, in any of joined periods."""
    band = band.rpartition(":")[2].casefold()
    for place, names in enumerate(COLOURS):
        if band in {name.casefold() for name in names}:
            return place
    return None
