"""Random changes of training patches, on whatever device they are.

All random numbers are drawn by numpy, or hashed from one of its numbers, so that a CPU and a GPU
change a patch alike. `draw` says what will be done and `changed` does it. Pixels that are invalid
stay exactly 0, labels stay with their pixels. Axes: N patches, P periods, C channels, H rows, W
columns.

Beside the image go layers of whole numbers that are moved with its pixels and not changed: the
label, alone or as the first of several (N, L, H, W). Where periods are joined the last layers say
for each of them where it is valid, 1 or 0, and the image has the channels of each in turn.
"""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from mapmill.sections.sampling import Sampling

Array = NDArray[Any]
Pair = tuple[Tensor, Tensor]
"""image (N, C, H, W) or (C, H, W), and layers with the same last two axes."""
LIMIT = 0xFFFFFFFF


@dataclass(frozen=True)
class Change:
    """What is done to one patch, in this order."""

    zoom: float
    row: int
    col: int
    """First row and column of what is cut out."""
    turns: int
    """Quarter turns against the clock."""
    flip: bool
    """Left for right."""
    gain_C: Array | None = None
    offset_C: Array | None = None
    kept_C: Array | None = None
    """Channels that are not set to 0."""
    kept_P: Array | None = None
    """Periods that are not taken for missing."""


@dataclass(frozen=True)
class Changes:
    """What is done to a batch: to each patch, then noise, then rectangles of others."""

    patches: list[Change]
    noise: float = 0.0
    noise_seed: int = 0
    boxes: list[tuple[int, int, slice, slice]] = field(default_factory=list)
    """Patch, the patch that it gets a rectangle of, rows and columns."""
    places: list[int] = field(default_factory=list)
    """Of a part of a batch: where in the batch each of its patches is."""
    count: int = 0
    """Patches of that batch."""

    def part(self, own: range) -> "Changes":
        """The changes of some patches, and after them of those that they get rectangles of."""
        wanted = [box for box in self.boxes if box[0] in own]
        givers = sorted({other for _, other, *_ in wanted} - set(own))
        places = [*own, *givers]
        boxes = [(places.index(a), places.index(b), rows, cols) for a, b, rows, cols in wanted]
        patches = [self.patches[place] for place in places]
        return replace(self, patches=patches, boxes=boxes, places=places, count=len(self.patches))


def draw(
    chosen: "Sampling",
    shape: tuple[int, int, int],
    random: np.random.Generator,
    periods: int = 0,
) -> Changes:
    """What to do to a batch of so many patches, channels and rows, and so many joined periods."""
    count, channels, height = shape
    side = chosen.crop or height
    patches = [_draw_one(chosen, channels, height, side, random) for _ in range(count)]
    if chosen.drop_period:
        kept = [_draw_kept(chosen.drop_period, periods, random) for _ in range(count)]
        patches = [replace(each, kept_P=kept_P) for each, kept_P in zip(patches, kept, strict=True)]
    seed = int(random.integers(LIMIT)) if chosen.noise else 0
    boxes = _draw_boxes(chosen.cutmix, count, side, random) if chosen.cutmix else []
    return Changes(patches, chosen.noise, seed, boxes)


def _draw_one(
    chosen: "Sampling", channels: int, height: int, side: int, random: np.random.Generator
) -> Change:
    zoom = 1.0
    if chosen.zoom > 1:
        zoom = float(chosen.zoom ** random.uniform(-1, 1))
    part = side if zoom == 1 else min(height, max(1, round(side / zoom)))
    row, col = random.integers(0, height - part + 1, 2)
    turns, flip = int(random.integers(4)), bool(random.integers(2))
    gain_C = offset_C = kept_C = None
    if chosen.jitter:
        gain_C, offset_C = random.normal((1, 0), chosen.jitter, (channels, 2)).T.astype(np.float32)
    if chosen.drop_band:
        kept_C = random.random(channels) >= chosen.drop_band
    return Change(zoom, int(row), int(col), turns, flip, gain_C, offset_C, kept_C)


def _draw_kept(probability: float, periods: int, random: np.random.Generator) -> Array:
    """Which periods are kept: each but one with this probability, that one always."""
    kept_P = random.random(periods) >= probability
    kept_P[random.integers(periods)] = True
    return kept_P


def _draw_boxes(
    probability: float, count: int, side: int, random: np.random.Generator
) -> list[tuple[int, int, slice, slice]]:
    """Rectangles whose share of the patch is uniform; centres anywhere, so some are cut off."""
    boxes = []
    others = random.permutation(count)
    for patch, other in enumerate(others):
        wanted, share = random.random(2)
        row, col = random.integers(0, side, 2)
        half = side * np.sqrt(share) / 2
        if wanted < probability and patch != other:
            rows, cols = (
                slice(max(0, round(place - half)), min(side, round(place + half)))
                for place in (row, col)
            )
            boxes.append((patch, int(other), rows, cols))
    return boxes


def changed(
    image_NCHW: Tensor, layers_NHW: Tensor, changes: Changes, side: int, periods: int = 0
) -> Pair:
    """A batch after its changes; patches are then `side` pixels wide."""
    pairs = [
        _change(image_CHW, layers_HW, change, side, periods)
        for image_CHW, layers_HW, change in zip(
            image_NCHW, layers_NHW, changes.patches, strict=True
        )
    ]
    image_NCHW, layers_NHW = (torch.stack(each) for each in zip(*pairs, strict=True))
    if changes.noise:
        noise = _noise(changes, image_NCHW)
        noisy = image_NCHW + noise * changes.noise
        image_NCHW = torch.where(valid_of(image_NCHW, layers_NHW, periods), noisy, image_NCHW)
    if not changes.boxes:
        return image_NCHW, layers_NHW
    mixed_NCHW, mixed_NHW = image_NCHW.clone(), layers_NHW.clone()
    for patch, other, rows, cols in changes.boxes:
        mixed_NCHW[patch, :, rows, cols] = image_NCHW[other, :, rows, cols]
        mixed_NHW[patch, ..., rows, cols] = layers_NHW[other, ..., rows, cols]
    return mixed_NCHW, mixed_NHW


def _noise(changes: Changes, like_NCHW: Tensor) -> Tensor:
    """Of a part of a batch the same numbers as in the whole."""
    shape, seed, device = tuple(like_NCHW.shape), changes.noise_seed, like_NCHW.device
    if not changes.places:
        return normal_numbers(shape, seed, device)
    return normal_numbers((changes.count, *shape[1:]), seed, device)[changes.places]


def valid_of(image_NCHW: Tensor, layers_NHW: Tensor, periods: int) -> Tensor:
    """Where a normalised image is not exactly 0 in all channels (N, 1, H, W), or (1, H, W).

    Of joined periods, for each channel (N, C, H, W) where the layer of its period says so.
    """
    if not periods:
        return (image_NCHW != 0).any(dim=-3, keepdim=True)
    channels = image_NCHW.shape[-3] // periods
    return layers_NHW[..., -periods:, :, :].bool().repeat_interleave(channels, dim=-3)


def _change(image_CHW: Tensor, layers_HW: Tensor, change: Change, side: int, periods: int) -> Pair:
    if change.zoom == 1:
        rows, cols = (slice(first, first + side) for first in (change.row, change.col))
        image_CHW, layers_HW = image_CHW[..., rows, cols], layers_HW[..., rows, cols]
    else:
        image_CHW, layers_HW = _zoomed(image_CHW, layers_HW, change, side, periods)
    image_CHW, layers_HW = (x.rot90(change.turns, (-2, -1)) for x in (image_CHW, layers_HW))
    if change.flip:
        image_CHW, layers_HW = image_CHW.flip(-1), layers_HW.flip(-1)
    valid = valid_of(image_CHW, layers_HW, periods)
    if change.gain_C is not None and change.offset_C is not None:
        gain, offset = (_of_channels(each, image_CHW) for each in (change.gain_C, change.offset_C))
        image_CHW = torch.where(valid, image_CHW * gain + offset, image_CHW)
    if change.kept_C is not None:
        image_CHW = torch.where(_of_channels(change.kept_C, image_CHW), image_CHW, 0)
    if change.kept_P is not None:
        kept = _of_channels(change.kept_P, layers_HW)
        marks_PHW = torch.where(kept, layers_HW[-periods:], 0)
        layers_HW = torch.cat([layers_HW[:-periods], marks_PHW])
        image_CHW = torch.where(valid_of(image_CHW, layers_HW, periods), image_CHW, 0)
    return image_CHW, layers_HW


def _of_channels(values_C: Array, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values_C)).to(like.device)[:, None, None]


def _zoomed(image_CHW: Tensor, layers_HW: Tensor, change: Change, side: int, periods: int) -> Pair:
    """A part enlarged or reduced to `side` pixels: bilinear, of valid pixels; layers by nearest.

    A pixel is valid where the nearest one of the part is. Beyond the part all is invalid.
    """
    height = layers_HW.shape[-2]
    part = min(height, max(1, round(side / change.zoom)))
    centre = (np.arange(side) + 0.5) / change.zoom
    inside = torch.from_numpy(centre < part).to(image_CHW.device)
    nearest = np.minimum(centre.astype(np.int64), part - 1)
    before = np.clip(np.floor(centre - 0.5).astype(np.int64), 0, part - 1)
    after = np.minimum(before + 1, part - 1)
    share = np.clip(centre - 0.5 - before, 0, 1).astype(np.float32)
    valid = valid_of(image_CHW, layers_HW, periods)
    total = weight = torch.zeros((), device=image_CHW.device)
    for rows, tall in ((before, 1 - share), (after, share)):
        for cols, wide in ((before, 1 - share), (after, share)):
            there = _taken(valid, rows, cols, change)
            factor = torch.from_numpy(np.outer(tall, wide)).to(image_CHW.device) * there
            total = total + _taken(image_CHW, rows, cols, change) * factor
            weight = weight + factor
    inside_HW = inside[:, None] & inside[None, :]
    usable = _taken(valid, nearest, nearest, change) & inside_HW & (weight > 0)
    image_CHW = torch.where(usable, total / torch.where(weight > 0, weight, 1), 0)
    layers_HW = _taken(layers_HW, nearest, nearest, change)
    return image_CHW, torch.where(inside_HW, layers_HW, 0)


def _taken(values_HW: Tensor, rows: Array, cols: Array, change: Change) -> Tensor:
    """Rows and columns of the part that a change cuts out, by number."""
    down = torch.from_numpy(rows + change.row).to(values_HW.device)
    right = torch.from_numpy(cols + change.col).to(values_HW.device)
    return values_HW[..., down[:, None], right[None, :]]


def normal_numbers(shape: tuple[int, ...], seed: int, device: torch.device) -> Tensor:
    """Normally distributed numbers, float32; of one seed the same on every device, to rounding.

    Numbers 0, 1, 2 ... are hashed to uniform ones, of which Box and Muller (1958) turn each two
    into two normal ones.
    """
    count = int(np.prod(shape))
    number = torch.arange(count + count % 2, device=device, dtype=torch.int32)
    share = _hashed(number, seed).float().mul_(2.0**-32).add_(0.5).clamp_(2.0**-33, 1)
    first, second = share.chunk(2)
    radius, angle = first.log_().mul_(-2).sqrt_(), second.mul_(2 * np.pi)
    return torch.cat([angle.cos() * radius, angle.sin() * radius])[:count].reshape(shape)


def _hashed(number: Tensor, seed: int) -> Tensor:
    """Whole numbers of 32 bits (int32): the last mixing steps of MurmurHash3 (Appleby)."""
    mixed = number + _signed(seed * 0x9E3779B1)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> shift) & (LIMIT >> shift)) * _signed(factor)
    return mixed ^ (mixed >> 16) & (LIMIT >> 16)


def _signed(value: int) -> int:
    """The same 32 bits as a number of int32."""
    return (value + 2**31 & LIMIT) - 2**31
