"""Numbers of channels that follow from training pixels: thresholds, ranges, statistics.

They are taken from a sample of the training patches, the same for every seed of a run.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mapmill.channels import BOUNDED, Channel
from mapmill.errors import ContractError
from mapmill.features.compute import with_channels
from mapmill.normal import Statistics

PATCHES, PIXELS = 64, 10_000
"""Patches in the sample, and pixels of each that count."""
Sample = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""Gives bands (1, C, H, W) and validity (1, H, W), patch by patch, anew at each call."""


def settle(
    channels: Sequence[Channel], bands: Sequence[str], of_bands: Statistics, sample: Sample
) -> tuple[list[Channel], Statistics]:
    """The channels with all their numbers, and the statistics of those that a net sees.

    Raises
    ------
    ContractError
        if a channel needs the range of a band and the store does not tell it.
    """
    known = dict(zip(bands, of_bands.each(), strict=True))
    settled: list[Channel] = []
    waiting = deque(channels)
    while waiting:
        ready: list[Channel] = []
        while waiting and (waiting[0].kind not in NEEDS or waiting[0].sources["x"] in known):
            ready.append(_with_numbers(waiting.popleft(), known))
        settled += ready
        known |= _measured(settled, [channel.name for channel in ready], bands, sample)
    shown = [known[channel.name] for channel in settled if channel.shown]
    return settled, Statistics.joined(shown)


NEEDS = ("canny", "global_min_max")
"""Kinds that need statistics of what they are made from."""


def _with_numbers(channel: Channel, known: dict[str, Statistics]) -> Channel:
    if channel.kind not in NEEDS:
        return channel
    of_source, numbers = known[channel.sources["x"]], channel.numbers
    if channel.kind == "canny":  # thresholds are told in standard deviations
        unit = of_source.sd[0] or 1.0
        found = {"low": numbers["low"] * unit, "high": numbers["high"] * unit}
    else:
        if of_source.least is None or of_source.most is None:
            raise ContractError(
                f"train.features: {channel.name}",
                "a store without least and largest values",
                "those of its training pixels",
                "rerun pack",
            )
        found = {"least": of_source.least[0], "most": of_source.most[0]}
    return replace(channel, numbers=numbers | found)


def _measured(
    channels: Sequence[Channel], names: Sequence[str], bands: Sequence[str], sample: Sample
) -> dict[str, Statistics]:
    """Statistics of some of the channels over valid pixels of the sample."""
    if not names:
        return {}
    all_shown = [replace(channel, shown=True) for channel in channels]
    places = [len(bands) + [c.name for c in channels].index(name) for name in names]
    random, parts = np.random.default_rng(0), [np.empty((len(names), 0), np.float32)]
    with torch.inference_mode():
        for image_NCHW, valid_NHW in sample():
            whole_NCHW = with_channels(image_NCHW, valid_NHW, bands, all_shown)
            pixels_CP = whole_NCHW[0, places][:, valid_NHW[0]].numpy()
            if pixels_CP.shape[1] > PIXELS:
                pixels_CP = pixels_CP[:, random.choice(pixels_CP.shape[1], PIXELS, replace=False)]
            parts.append(pixels_CP)
    found = Statistics.of_pixels(np.concatenate(parts, axis=1))
    return dict(zip(names, found.each(), strict=True))


def shifts_and_scales(
    shift: list[float], scale: list[float], channels: Iterable[Channel]
) -> tuple[list[float], list[float]]:
    """Those of all inputs: channels whose values lie from 0 to 1 anyhow stay as they are."""
    bounded = [channel.kind in BOUNDED for channel in channels if channel.shown]
    first = len(shift) - len(bounded)
    for place, stays in enumerate(bounded, first):
        if stays:
            shift = [*shift[:place], 0.0, *shift[place + 1 :]]
            scale = [*scale[:place], 1.0, *scale[place + 1 :]]
    return shift, scale


def sampled(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Numbers of the patches in the sample, one at a time, in order."""
    count = min(PATCHES, len(indices))
    picked = np.random.default_rng(0).choice(indices, count, replace=False)
    yield from np.sort(picked)[:, None]
