"""Areas whose imagery the local server serves, and what is right in them."""

import datetime
import os
from pathlib import Path

import numpy as np
import yaml
from making import SMALL_AREA, write_area
from servers.scenes import coordinate_scene

BANDS = ["B04", "B02", "B8A"]
BOUNDS = (400_000, 4_599_040, 401_600, 4_600_000)
"""160 x 96 px: two by three blocks of 64, those at the edges half as wide or high."""
PERIODS = ("2018-04", "2018-08")
NAMES = tuple(f"r{row:03d}c{col:03d}" for row in range(2) for col in range(3))
BLOCK = "r000c001"
BOX = (400_640.0, 4_599_360.0, 401_280.0, 4_600_000.0)
"""Bounds of BLOCK."""
SECRET = "S3cr3t-that-nobody-may-see"
SETTINGS = ("SH_CLIENT_ID", "SH_CLIENT_SECRET", "SH_BASE_URL", "SH_TOKEN_URL")


def content_of(crs="EPSG:32631", periods=PERIODS, bands=BANDS, **asked):
    """The small area, its imagery asked from Sentinel Hub with these settings."""
    content = yaml.safe_load(SMALL_AREA)
    content["grid"] |= {"crs": crs, "bounds": list(BOUNDS)}
    content["search"] = {"source": "sentinelhub", "periods": {name: {} for name in periods}}
    content["compose"] = {"bands": list(bands)}
    return content | ({"download": {"sentinelhub": asked}} if asked else {})


def hub_area(name="hub", **keywords):
    """The area's file below the current folder."""
    return write_area(name, yaml.safe_dump(content_of(**keywords), sort_keys=False))


def known_to(server):
    """Environment of a client of this server."""
    values = (server.client_id, server.client_secret, server.url, server.token_url)
    return dict(zip(SETTINGS, values, strict=True)) | {"NO_PROXY": "127.0.0.1"}


def become_client(server, monkeypatch):
    """Give this process the account, and the address of the server."""
    for name, value in known_to(server).items():
        monkeypatch.setenv(name, value)


def right(period, bands=BANDS, bounds=BOUNDS):
    """What the default scene of the server is in this month, (band, y, x)."""
    moment = datetime.datetime(2018, int(period[-2:]), 1, tzinfo=datetime.UTC)
    width, height = (round(bounds[i + 2] - bounds[i]) // 10 for i in (0, 1))
    return coordinate_scene("EPSG:32631", bounds, width, height, bands, moment, moment)


def right_block(period=PERIODS[0]):
    """What the store should hold of BLOCK: bands, SCL, dataMask."""
    image_BYX = right(period, bounds=BOX)
    return np.concatenate([image_BYX, np.full_like(image_BYX[:1], 4), np.ones_like(image_BYX[:1])])


def files_below(folder="."):
    """All files and links below a folder."""
    found = [Path(root) / name for root, _, names in os.walk(folder) for name in names]
    return sorted(str(path) for path in found)
