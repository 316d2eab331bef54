"""How often each class occurs among the training tiles, and which loss that calls for."""

from dataclasses import dataclass
from pathlib import Path

from mapmill.areafile import load_area
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.layout import Layout
from mapmill.tiles import read_tiles

BALANCED = 3
"""Largest over smallest class up to which no class needs help."""
UNEVEN = 30
"""Up to which weights by the number of pixels do; beyond, a loss that counts classes alike."""


@dataclass(frozen=True)
class Advice:
    """Settings of `train`, and why."""

    loss: str
    class_weights: str
    reason: str


def training_pixels(area: Area, table: Path) -> list[int]:
    """Labelled pixels of class 1 to K in the training tiles that were kept.

    Raises
    ------
    ContractError
        if the table is missing, or no training tile was kept.
    """
    training = [tile for tile in read_tiles(table) if tile.split == "train" and not tile.dropped]
    if not training:
        raise ContractError(table, "no training tile", "at least one", "see its column `dropped`")
    return [sum(tile.counts[k] for tile in training) for k in range(len(area.classes))]


def advise(pixels_K: list[int]) -> Advice:
    """The loss for such a balance of classes; the two limits are rules of thumb.

    The guide behind it: balanced classes, cross-entropy; a minority that matters somewhat,
    weighted cross-entropy; one that is critical, Dice; for stability, both together.
    """
    there = [count for count in pixels_K if count]
    ratio = max(there) / min(there)
    if ratio <= BALANCED:
        return Advice("cross-entropy", "none", "the classes are balanced")
    if ratio <= UNEVEN:
        return Advice("cross-entropy", "sqrt-inverse", "some classes are rarer than others")
    return Advice(
        "cross-entropy+dice",
        "sqrt-inverse",
        "the rarest class would hardly count: Dice counts classes alike, "
        "and cross-entropy keeps the training stable",
    )


def told(area_path: Path) -> str:
    """Shares of the classes, and the advice, as lines to print."""
    area = load_area(area_path)
    pixels_K = training_pixels(area, Layout(area_path.stem).tiles)
    whole, there = sum(pixels_K), [count for count in pixels_K if count]
    if not there:
        raise ContractError(area_path, "no labelled training pixel", "labels", "check select")
    wide = max(len(name) for name in area.class_names)
    lines = [f"{whole:,} labelled pixels in the training tiles of {area_path.stem}"]
    for name, count in zip(area.class_names, pixels_K, strict=True):
        bar = "#" * round(40 * count / max(pixels_K))
        lines.append(f"  {name:<{wide}} {100 * count / whole:8.3f} %  {bar}")
    advice = advise(pixels_K)
    lines += [
        f"The largest class has {max(there) / min(there):,.1f} times the pixels of the smallest: "
        f"{advice.reason}. In {area_path}:",
        "train:",
        f"  loss: {advice.loss}",
        f"  class_weights: {advice.class_weights}",
    ]
    absent = [name for name, count in zip(area.class_names, pixels_K, strict=True) if not count]
    if absent:
        lines.append(f"No training pixel at all: {', '.join(absent)}; train refuses that.")
    lines.append("Exact edges: jaccard, boundary, or a sum with one of them. See docs/losses.md.")
    return "\n".join(lines)
