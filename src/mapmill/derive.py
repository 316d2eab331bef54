"""From the settings of a run to the channels that are computed for it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pyproj import CRS

from mapmill.channels import ALL, DIRECTIONS, Channel
from mapmill.config import Area
from mapmill.formulas import band_of, catalogue, depends_on_scale, index_named, names_in
from mapmill.sections import Feature, Inputs
from mapmill.sections.features import USES


def planned(
    chosen: Inputs, bands: Sequence[str], pixel: float | None, lenient: bool = False
) -> list[Channel]:
    """The channels of a run, in order; numbers that follow from training pixels are still missing.

    Parameters
    ----------
    bands : of the image
    pixel : side of a pixel in metres; None where nobody knows
    lenient : whether indices that only the catalogue knows may stay unknown

    Raises
    ------
    ValueError
        `features: what is wrong`
    """
    result: dict[str, Channel] = {}

    def add(channel: Channel) -> None:
        hidden = replace(channel, shown=False)
        if channel.name in bands or result.get(channel.name, hidden) != hidden:
            raise ValueError(f"features: {channel.name}, the name of a band or channel above")
        result[channel.name] = channel

    for feature in chosen.features:
        for name, source in feature.channels.items():
            if feature.kind in ("index", "formula"):
                add(_formula(feature, name, chosen, bands, lenient))
                continue
            if source not in (*bands, *result):
                if index_named(source) is None:
                    known = ", ".join((*bands, *result))
                    raise ValueError(f"features: {source}, none of {known}, and no index")
                made = _formula(Feature(index=source), source, chosen, bands, lenient)
                add(replace(made, shown=False))
            add(Channel(name, feature.kind, {"x": source}, "", _numbers(feature, pixel)))
    return list(result.values())


def _formula(
    feature: Feature, name: str, chosen: Inputs, bands: Sequence[str], lenient: bool
) -> Channel:
    formula, constants = feature.formula, feature.constants
    if feature.index is not None:
        index = index_named(feature.index)
        if index is None and lenient and not catalogue():
            return Channel(name, "formula", {}, "0")  # train says what to install
        if index is None:
            raise ValueError(f"features: {feature.index}, no index that is known; {_more()}")
        formula, constants = index.formula, index.constants | feature.constants
    assert formula is not None
    sources = {}
    for symbol in [each for each in names_in(formula) if each not in constants]:
        band = band_of(symbol, bands, chosen.roles)
        if band is None or band not in bands:
            raise ValueError(
                f"features: {name} with {symbol}, which no band stands for; say which: "
                f"roles: {{{symbol}: BAND}}, or constants"
            )
        sources[symbol] = band
    if depends_on_scale(formula, constants) and chosen.reflectance is None:
        raise ValueError(
            f"features: {name}, which depends on units; set reflectance: the value that means 1"
        )
    numbers = constants | {"reflectance": chosen.reflectance or 1.0}
    return Channel(name, "formula", sources, formula, numbers)


def _more() -> str:
    if catalogue():
        return "check the name"
    return "more of them are in the catalogue: pip install 'mapmill[indices]'"


def _numbers(feature: Feature, pixel: float | None) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key in ("size", "sigma", "low", "high", "grow", "direction", "pixel"):
        if key in USES[feature.kind]:
            value: Any = feature.chosen(key)
            value = ALL if value == "all" else DIRECTIONS.get(value, value)
            numbers[key] = value
    if feature.kind == "slope" and numbers["pixel"] is None:
        if pixel is None:
            raise ValueError("features: slope without `pixel`, where the grid is not in metres")
        numbers["pixel"] = pixel
    return {key: float(value) for key, value in numbers.items()}


def metres_of(area: Area) -> float | None:
    """Side of a pixel in metres; None for chips, and for grids in other units."""
    if area.grid is None or CRS(area.grid.crs).axis_info[0].unit_name != "metre":
        return None
    return float(area.grid.resolution)
