"""The channels that are computed from an image's bands: what each is, as plain values.

A model's card holds them, so that prediction needs neither the area's settings nor a catalogue.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mapmill.formulas import names_in

FILTERS = ("gaussian", "median", "sobel", "canny", "local_min_max", "global_min_max", "slope")
BOUNDED = {"canny", "local_min_max", "global_min_max"}
"""Kinds whose values lie from 0 to 1 and stay as they are."""
ALL = -1.0
"""Of `grow`: without end."""
DIRECTIONS = {"x": 0.0, "y": 1.0, "both": 2.0}
"""How a gradient's direction stands among a channel's numbers."""


@dataclass(frozen=True)
class Channel:
    """One channel."""

    name: str
    kind: str
    """formula, or one of `FILTERS`."""
    sources: dict[str, str]
    """For each name in the formula (a filter has one, `x`) a band, or a channel further up."""
    formula: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    """What the kind needs: size, sigma ...; of a formula its constants."""
    shown: bool = True
    """Whether the net sees it; else others are made from it."""


def own_reach(channel: Channel) -> int:
    """Pixels around a pixel of its sources that a channel looks at."""
    half = int(channel.numbers.get("size", 1)) // 2
    if channel.kind in ("sobel", "slope"):
        return 1
    if channel.kind == "canny":  # blurred, gradient, thinned, followed
        return half + 2 + max(0, int(channel.numbers["grow"]))
    return half


def reach_of(channels: Sequence[Channel]) -> int:
    """Pixels around a pixel of the image that any of the channels looks at."""
    reach: dict[str, int] = {}
    for channel in channels:
        below = max((reach.get(source, 0) for source in channel.sources.values()), default=0)
        reach[channel.name] = below + own_reach(channel)
    return max(reach.values(), default=0)


def without_end(channels: Sequence[Channel]) -> list[str]:
    """Names of the channels that look at the whole of what they are given."""
    return [c.name for c in channels if c.kind == "canny" and c.numbers["grow"] == ALL]


def told(channel: Channel) -> str:
    """What a channel is, on one line."""
    of = ", ".join(f"{name} {source}" for name, source in channel.sources.items())
    numbers = ", ".join(f"{key} {value:g}" for key, value in channel.numbers.items())
    return "; ".join(part for part in (channel.formula or channel.kind, of, numbers) if part)


def names_shown(channels: Iterable[Channel]) -> list[str]:
    """Names of the channels that a net sees, in order."""
    return [channel.name for channel in channels if channel.shown]


def read_channels(values: Sequence[Mapping[str, Any]], bands: Sequence[str]) -> list[Channel]:
    """Channels from a card.

    Raises
    ------
    ValueError
        if one is of no known kind, has no formula, or is made from what does not exist.
    """
    known, result = set(bands), []
    for value in values:
        channel = Channel(**value)
        names = set(channel.sources) | set(channel.numbers)
        if channel.kind not in ("formula", *FILTERS):
            raise ValueError(f"a channel {channel.name} of kind {channel.kind!r}")
        if channel.kind == "formula" and not set(names_in(channel.formula)) <= names:
            raise ValueError(f"a channel {channel.name} with `{channel.formula}`")
        if not set(channel.sources.values()) <= known:
            raise ValueError(f"a channel {channel.name} of {', '.join(channel.sources.values())}")
        result.append(channel)
        known.add(channel.name)
    return result
