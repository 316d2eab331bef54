"""`mapmill nets`: parameters and reach of the presets, or of an area's runs."""

from collections.abc import Mapping
from pathlib import Path

import torch

from mapmill.areafile import load_area
from mapmill.config import Area
from mapmill.derive import metres_of, planned
from mapmill.design import Design
from mapmill.errors import ContractError
from mapmill.nets.model import Card, build, with_reach
from mapmill.relatives import joined_periods
from mapmill.sections import PRESETS, Train

BANDS, CLASSES = 10, 2
"""Of the images for which presets are listed."""


def told(area_path: Path | None) -> str:
    """One line for each preset, or each run of an area."""
    if area_path is None:
        about = f"for images of {BANDS} bands and {CLASSES} classes"
        designs = {name: Train.model_validate({"preset": name}).design for name in PRESETS}
        return table("preset", about, {name: (designs[name], BANDS) for name in designs}, CLASSES)
    area = load_area(area_path)
    if not area.runs:
        raise ContractError(area_path, "no runs", "nets to train", f"see {area.model}")
    classes = len(area.class_names)
    about = f"for the bands, features and {classes} classes of {area_path.stem}"
    runs = {run: area.train_of(run) for run in area.runs}
    shown = {run: _channels(area, run, chosen) for run, chosen in runs.items()}
    return table("run", about, {run: (runs[run].design, shown[run]) for run in runs}, classes)


def _channels(area: Area, run: str, chosen: Train) -> int:
    """Number of channels that a net is shown: bands, those computed from them; of each period."""
    try:
        made = sum(channel.shown for channel in planned(chosen, area.bands, metres_of(area)))
        periods, bands = len(joined_periods(area, run)), len(area.bands) - len(chosen.without)
        return (bands + made + 1) * periods or bands + made
    except ValueError as error:
        raise ContractError("train", str(error), "channels of its bands", "correct it") from None


def table(kind: str, about: str, nets: Mapping[str, tuple[Design, int]], classes: int) -> str:
    """Name, parameters, stride and measured reach of each.

    Parameters
    ----------
    nets : design of each and the channels that it is shown
    """
    wide = max(len(kind), *map(len, nets))
    lines = [f"{kind:<{wide}}  channels  parameters  stride  reach"]
    for name, (design, channels) in nets.items():
        card = card_of(design, channels, classes)
        reach = with_reach(card).reach
        far = f"{reach} px" if isinstance(reach, int) else reach
        lines.append(
            f"{name:<{wide}}  {channels:>8}  {parameters(card):>10,}  {design.stride:>6}  {far}"
        )
    return "\n".join([*lines, f"{about}; reach: pixels on each side that a pixel depends on"])


def parameters(card: Card) -> int:
    """Number of parameters of a net, which is not made for it."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build(card).parameters())


def card_of(design: Design, bands: int, classes: int) -> Card:
    """A card without anything learnt."""
    return Card(
        bands=[f"band {n}" for n in range(bands)],
        classes=[f"class {n}" for n in range(classes)],
        mean=[0.0] * bands,
        sd=[1.0] * bands,
        provenance={},
        **vars(design),
    )
