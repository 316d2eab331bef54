"""A trained model as one file: weights, and everything that prediction needs.

The file is a safetensors file; reading it executes no code.
"""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mapmill.channels import Channel, names_shown, read_channels
from mapmill.design import CHOICES, LIMITS, Design
from mapmill.errors import ContractError
from mapmill.nets.parts import Segmenter
from mapmill.nets.probe import reach
from mapmill.nets.resnet import ResNetUNet
from mapmill.nets.unet import UNet
from mapmill.regular import regular

log = logging.getLogger(__name__)
Net = Segmenter
State = dict[str, Tensor]
"""Tensors by name."""
DIGEST = "sha256"
"""Key beside the card's: the digest of card and tensors."""
VALID = "valid"
"""Name of the channel that is 1 where a joined period has data, and 0 elsewhere."""
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
    padding: str = "same"
    upsample: str = "transpose"
    norm: str = "batch"
    dropout: float = 0.0
    block: str = "plain"
    attention: str = "none"
    head: str = "mask"
    activation: str = "softmax"
    smp: dict[str, Any] = field(default_factory=dict)
    """Of `net: smp`: arch, encoder and further options."""
    units: str = ""
    """Units of the image."""
    reach: int | str | None = None
    """What `reach` measured, in pixels or "global"; None where nobody did."""
    features: list[dict[str, Any]] = field(default_factory=list)
    """Channels computed from the bands, after them; see `Channel`."""
    without: list[str] = field(default_factory=list)
    """Bands that the net is not shown."""
    normalise: str = "standard"
    """One of normal.METHODS."""
    shift: list[float] = field(default_factory=list)
    """Subtracted from each input; where it is empty `mean` is."""
    scale: list[float] = field(default_factory=list)
    """What each input is then divided by; where it is empty by `sd`."""
    size: int | None = None
    """Side of the patches that it learnt from, in pixels."""
    resolution: float | None = None
    """Side of a pixel that it learnt from, in metres; None where nobody knows."""
    least: list[float] = field(default_factory=list)
    """Of each band over valid training pixels, in the image's units; empty where nobody knows."""
    most: list[float] = field(default_factory=list)
    """Likewise."""
    periods: list[str] = field(default_factory=list)
    """Names of the periods that are joined along the bands, in order; none where the net sees one
    at a time. `mean`, `sd`, `features`, `shift` and `scale` are then those of each, one after
    another."""

    def each(self) -> list["Card"]:
        """What is said of each joined period alone, in order; the card itself where none is."""
        count = len(self.periods)
        if not count:
            return [self]

        def part(values: list[Any], number: int) -> list[Any]:
            size = len(values) // count
            return values[number * size : (number + 1) * size]

        keys = ("mean", "sd", "features", "shift", "scale")
        alone: list[dict[str, Any]] = [
            {key: part(getattr(self, key), number) for key in keys} for number in range(count)
        ]
        return [replace(self, periods=[], **values) for values in alone]

    @property
    def channels(self) -> list[Channel]:
        """The channels that are computed, those that the net does not see among them."""
        return read_channels(self.features, self.bands)

    @property
    def seen(self) -> list[str]:
        """Names of bands and channels as the net sees them, in one period."""
        bands = [band for band in self.bands if band not in self.without]
        return [*bands, *names_shown(self.each()[0].channels)]

    @property
    def inputs(self) -> list[str]:
        """Names of what the net sees: bands, and channels computed from them.

        Of joined periods `{period}:{name}` of each, and after them `{period}:valid`.
        """
        if not self.periods:
            return self.seen
        return [f"{period}:{name}" for period in self.periods for name in (*self.seen, VALID)]

    @property
    def design(self) -> Design:
        """How the net is built."""
        return Design(**{each.name: getattr(self, each.name) for each in fields(Design)})


def build(card: Card) -> Net:
    """A net with fresh weights.

    Raises
    ------
    ContractError
        if the card asks for what this version does not know, or no net can be.
    """
    design, bands, classes = card.design, len(card.inputs), len(card.classes)
    for key, known in CHOICES.items():
        if getattr(design, key) not in known:
            raise _unbuildable(f"{key} {getattr(design, key)!r}", ", ".join(known))
    for key, (least, most) in LIMITS.items():
        if not least <= getattr(design, key) <= most:
            raise _unbuildable(f"{key} {getattr(design, key)}", f"{least} to {most}")
    if design.activation == "sigmoid" and classes != 2:
        raise _unbuildable(f"activation sigmoid and {classes} classes", "two classes")
    if design.padding == "valid" and design.encoder != "plain":
        raise _unbuildable(f"padding valid and encoder {design.encoder}", "encoder plain")
    if design.net == "smp":
        from mapmill.nets.smp import SmpNet

        return SmpNet(bands, classes, design)
    if design.encoder == "plain":
        return UNet(bands, classes, card.width, card.depth, design)
    return ResNetUNet(bands, classes, card.encoder, card.width, design)


def _unbuildable(found: str, expected: str) -> ContractError:
    return ContractError("model", found, expected, "use a newer mapmill")


THIN = 4
"""Channels of the finest level of a net whose reach is measured: how far it sees is not a matter
of channels."""


def with_reach(card: Card) -> Card:
    """The card with the measured reach of its net, so that prediction need not measure it."""
    thin = card if card.net == "smp" else replace(card, width=min(card.width, THIN))
    net = build(thin)
    return replace(card, reach=reach(net, len(card.inputs), net.stride))


def save_model(path: Path, state: State, card: Card) -> None:
    """Write weights, card and their digest. One metadata key: equal models are equal bytes."""
    from safetensors.torch import save_file

    tensors = {name: tensor.contiguous() for name, tensor in sorted(state.items())}
    told = asdict(card)
    said = json.dumps(told | {DIGEST: digest_of(told, tensors)}, sort_keys=True)
    save_file(tensors, path, metadata={"mapmill": said})


def digest_of(told: dict[str, Any], state: State) -> str:
    """sha256 of a card and its tensors: safetensors files have no checksum of their own."""
    found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def load_model(path: Path) -> tuple[Net, Card]:
    """Read a model, ready for prediction.

    Raises
    ------
    ContractError
        if the file is no model of mapmill, or its weights do not fit its card.
    """
    from safetensors import SafetensorError, safe_open

    no_model = (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError)
    remedy = "train it again, or correct the path"
    try:
        with safe_open(regular(path), "pt") as file:
            told = json.loads((file.metadata() or {})["mapmill"])
            kept = told.pop(DIGEST, None)
            card = Card(**told)
            _ = card.inputs  # ValueError for channels that cannot be made
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (*no_model, RecursionError) as error:
        raise ContractError(path, f"no model ({error!r})", "a model of mapmill", remedy) from None
    if kept is None:
        log.warning("%s is older than digests: damage to it would not be noticed", path)
    elif digest_of(told, state) != kept:
        raise ContractError(path, f"other bytes than its {DIGEST} says", "a whole model", remedy)
    wrong = _unlike(card, state) or _missing_numbers(card)
    if wrong:
        raise ContractError(path, wrong, "weights that fit the card", remedy)
    net = build(card)
    net.load_state_dict(state)
    net.eval()
    return net, card


def _unlike(card: Card, state: State) -> str:
    """What keeps the tensors from being those of the card's net, whose memory is not yet taken."""
    try:
        with torch.device("cpu" if card.net == "smp" else "meta"):
            return misfit(build(card).state_dict(), state)
    except (TypeError, ValueError, RuntimeError, AttributeError, ArithmeticError) as error:
        return f"a card of no net ({error!r})"


def _missing_numbers(card: Card) -> str:
    """What is wrong if there is not one shift and scale for each input."""
    found = {len(card.shift or card.mean), len(card.scale or card.sd)}
    wanted = len(card.seen) * max(1, len(card.periods))
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
