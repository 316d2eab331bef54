"""Sentinel-2's processing baseline, and the offset that goes with it."""

import logging
import re
from typing import Any

from mapmill.sections import Catalogue

log = logging.getLogger(__name__)
BASELINES = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
OFFSET = -1000


def baseline_of(item: dict[str, Any]) -> float | None:
    """Processing baseline of a Sentinel-2 item; None where it is none, or tells none.

    From its properties, else from an id in ESA's form (S2A_MSIL2A_..._N0509_...).
    """
    name, own = str(item.get("id")), item["properties"]
    family = [own.get("constellation"), own.get("platform"), item.get("collection"), name]
    is_sentinel_2 = any(re.match(r"(?i)sentinel-?2|s2", str(each)) for each in family)
    for key in BASELINES:
        if key != "processing:version" or is_sentinel_2:
            match = re.fullmatch(r"N?(\d\d?)\.?(\d\d)", str(own.get(key, "")))
            if match:
                return float(f"{match[1]}.{match[2]}")
    match = re.search(r"_N(\d\d)(\d\d)_", name) if is_sentinel_2 else None
    return float(f"{match[1]}.{match[2]}") if match else None


def offset_of(item: dict[str, Any], chosen: Catalogue) -> int:
    """What is added to a scene's values: -1000 for Sentinel-2 since baseline 04.00.

    ESA's processing baseline decides, never the date: reprocessed scenes of earlier years have
    the offset too. Not where the catalogue says that it has been added.
    """
    name = str(item["id"])
    given = chosen.offset.get(name) if isinstance(chosen.offset, dict) else chosen.offset
    if given is not None:
        return given
    baseline = baseline_of(item)
    if any(item["properties"].get(key) is True for key in APPLIED):
        return 0
    if baseline is None:
        _warn_of_another(item)
        return 0
    return OFFSET if baseline >= 4 else 0


def _warn_of_another(item: dict[str, Any]) -> None:
    """A scene without a baseline, whose catalogue tells an offset all the same."""
    for asset in item["assets"].values():
        listed = asset.get("raster:bands") if isinstance(asset, dict) else None
        listed = listed if isinstance(listed, list) else []
        told = [band.get("offset") for band in listed if isinstance(band, dict)]
        if any(isinstance(offset, int | float) and offset for offset in told):
            log.warning(
                "%s: its catalogue tells an offset of %s and no processing baseline: none is "
                "added; set search.catalogue.offset if one is to be",
                *(item["id"], told[0]),
            )
            return
