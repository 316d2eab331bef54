"""What is asked of Sentinel Hub's Process API for one block of the grid in one period."""

import hashlib
import json
from typing import Any

from mapmill.config import Area
from mapmill.errors import ConfigError
from mapmill.grid import Block, Grid

LARGEST = 2500
"""Pixels along one side of a request."""
TWINS = {25800 + zone: 32600 + zone for zone in range(28, 39)}
"""ETRS89 zones, which the service does not know, and the WGS 84 zones of equal coordinates."""
ORDERS = {"least-cloudy": "leastCC", "most-recent": "mostRecent"}


def request(area: Area, period: str, grid: Grid, block: Block) -> dict[str, Any]:
    """The body of a request to the Process API.

    Raises
    ------
    ConfigError
        if the grid is in a CRS that the service does not know, or the block is too large.
    """
    chosen = area.download.sentinelhub
    start, end = area.moments(period)
    if max(block.window.width, block.window.height) > LARGEST:
        raise ConfigError(
            "grid.block", f"{grid.block} px", f"at most {LARGEST}, one request", "lower it"
        )
    several = chosen.mosaic == "clear-median"
    filters: dict[str, Any] = {
        "timeRange": {"from": start, "to": end},
        "maxCloudCoverage": chosen.max_cloud,
        "mosaickingOrder": ORDERS.get(chosen.mosaic, "leastCC"),
    }
    code = epsg(grid.crs)
    return {
        "input": {
            "bounds": {
                "properties": {"crs": f"http://www.opengis.net/def/crs/EPSG/0/{code}"},
                "bbox": list(grid.bounds(block.window)),
            },
            "data": [{"type": chosen.collection, "dataFilter": filters}],
        },
        "evalscript": evalscript(area.compose.bands, several),
        "output": {
            "width": block.window.width,
            "height": block.window.height,
            "responses": [
                {"identifier": name, "format": {"type": "image/tiff"}}
                for name in ("bands", "scl", "mask")
            ],
        },
    }


def epsg(crs: str) -> int:
    """The code by which the service knows a grid's CRS: the WGS 84 twin of an ETRS89 zone."""
    name, _, code = crs.upper().partition(":")
    number = TWINS.get(int(code), int(code)) if name == "EPSG" and code.isdecimal() else 0
    utm = 32601 <= number <= 32660 or 32701 <= number <= 32760
    if not utm and number not in (4326, 3857, 3035, 2154, 3413, 3416):
        raise ConfigError("grid.crs", crs, "a UTM zone, EPSG:3035 or EPSG:3857", "choose another")
    return number


def request_digest(area: Area, period: str) -> str:
    """Short digest of all that is asked for but the block: grid, bands, period, mosaic.

    Who serves it, and what is made of an empty block, are no part of it: nothing is paid twice.
    """
    grid, chosen = area.the_grid(), area.download.sentinelhub
    start, end = area.moments(period)
    asked = {
        "grid": [grid.crs, grid.left, grid.top, grid.resolution, grid.block],
        "edge": [grid.width, grid.height],
        "time": [start, end],
        "evalscript": evalscript(area.compose.bands, chosen.mosaic == "clear-median"),
        "settings": chosen.model_dump(mode="json", exclude={"deployment", "empty"}),
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def evalscript(bands: list[str], several: bool) -> str:
    """What the service runs for each pixel.

    Parameters
    ----------
    several : give the median over all acquisitions of the period in which the pixel is clear
        (SCL not 0, 1, 3, 8, 9, 10), band by band; the classification is that of the middle one
    """
    inputs = json.dumps([*bands, "SCL", "dataMask"])
    values = ", ".join(f"s.{band}" for band in bands)
    mosaicking = "ORBIT" if several else "SIMPLE"
    setup = f"""//VERSION=3
function setup() {{
  return {{
    input: [{{ bands: {inputs}, units: "DN" }}],
    output: [
      {{ id: "bands", bands: {len(bands)}, sampleType: "UINT16", nodataValue: 0 }},
      {{ id: "scl", bands: 1, sampleType: "UINT8", nodataValue: 0 }},
      {{ id: "mask", bands: 1, sampleType: "UINT8" }}
    ],
    mosaicking: "{mosaicking}"
  }};
}}
"""
    if not several:
        return f"""{setup}function evaluatePixel(s) {{
  return {{ bands: [{values}], scl: [s.SCL], mask: [s.dataMask] }};
}}
"""
    names = json.dumps(bands)
    empty = ", ".join("0" for _ in bands)
    return f"""{setup}function middle(values) {{
  values.sort(function (a, b) {{ return a - b; }});
  return values[Math.floor((values.length - 1) / 2)];
}}
function evaluatePixel(samples) {{
  var clear = samples.filter(function (s) {{
    return s.dataMask === 1 && [0, 1, 3, 8, 9, 10].indexOf(s.SCL) < 0;
  }});
  if (clear.length === 0) {{
    return {{ bands: [{empty}], scl: [0], mask: [0] }};
  }}
  var bands = {names}.map(function (name) {{
    return middle(clear.map(function (s) {{ return s[name]; }}));
  }});
  return {{ bands: bands, scl: [middle(clear.map(function (s) {{ return s.SCL; }}))], mask: [1] }};
}}
"""
