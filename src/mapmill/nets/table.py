"""`mapmill nets`: parameters and reach of the presets, or of an area's runs."""

from pathlib import Path

import torch

from mapmill.areafile import load_area
from mapmill.design import Design
from mapmill.errors import ContractError
from mapmill.nets.model import Card, build, with_reach
from mapmill.sections import PRESETS, Train

BANDS, CLASSES = 10, 2
"""Of the images for which presets are listed."""


def told(area_path: Path | None) -> str:
    """One line for each preset, or each run of an area."""
    if area_path is None:
        about = f"for images of {BANDS} bands and {CLASSES} classes"
        designs = {name: Train.model_validate({"preset": name}).design for name in PRESETS}
        return table("preset", about, designs, BANDS, CLASSES)
    area = load_area(area_path)
    if not area.runs:
        raise ContractError(area_path, "no runs", "nets to train", f"see {area.model}")
    bands, classes = len(area.bands), len(area.class_names)
    about = f"for the {bands} bands and {classes} classes of {area_path.stem}"
    return table(
        "run", about, {run: area.train_of(run).design for run in area.runs}, bands, classes
    )


def table(kind: str, about: str, designs: dict[str, Design], bands: int, classes: int) -> str:
    """Name, parameters, stride and measured reach of each."""
    wide = max(len(kind), *map(len, designs))
    lines = [f"{kind:<{wide}}  parameters  stride  reach"]
    for name, design in designs.items():
        card = card_of(design, bands, classes)
        reach = with_reach(card).reach
        far = f"{reach} px" if isinstance(reach, int) else reach
        lines.append(f"{name:<{wide}}  {parameters(card):>10,}  {design.stride:>6}  {far}")
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
