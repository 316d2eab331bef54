"""The minimum mapping unit of a map, and whether its filters suit the area."""

from math import ceil

from mapmill.config import Area
from mapmill.derive import metres_of

LARGEST = 1000
"""Pixels of the largest minimum: parts of a map are sieved with twice as many around them."""


def minimum_px(area: Area) -> int:
    """Pixels of the smallest patch that stays on a map.

    Raises
    ------
    ValueError
        if it is too large, or in hectares where the grid is not in metres.
    """
    chosen = area.mosaic
    if chosen.minimum_ha is None:
        return chosen.minimum_px
    metres = metres_of(area)
    if metres is None:
        raise ValueError("mosaic.minimum_ha: hectares, where the grid is not in metres")
    pixels = max(1, ceil(round(chosen.minimum_ha * 10_000 / metres**2, 6)))
    if pixels > LARGEST:
        raise ValueError(f"mosaic.minimum_ha: {pixels} pixels, more than {LARGEST}")
    return pixels


def filters_fit(area: Area) -> None:
    """Filters are of a mosaic, and of classes that exist."""
    chosen = area.mosaic
    if area.chips:
        given = chosen.model_fields_set & {"opening", "closing", "minimum_px", "minimum_ha"}
        if given:
            raise ValueError(f"mosaic.{min(given)}: a filter of mosaics, beside chips")
        return
    for key in ("opening", "closing"):
        for value in getattr(chosen, key):
            if value not in area.classes:
                raise ValueError(f"mosaic.{key}: {value}, which is no class")
    minimum_px(area)
