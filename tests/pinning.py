"""Areas of a catalogue whose search is pinned, and files that are there, without a network."""

import json
import os
from pathlib import Path

import yaml
from making import SMALL_AREA, write_area

from mapmill.areafile import load_area
from mapmill.layout import Layout

BLOCK = 1_000_000


def place(layout, name, size=BLOCK, at=None):
    """A file in the store, and its link, both made at a moment."""
    target = Path("resources") / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.truncate(size)
    link = layout.download(name)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target.resolve())
    if at is not None:
        os.utime(target, (at, at))
        os.utime(link, (at, at), follow_symlinks=False)


def catalogue_area(sizes, read="whole", name="stac"):
    """An area of a catalogue; scene -> bytes of its files (None: not said) is pinned."""
    content = yaml.safe_load(SMALL_AREA)
    content["search"] = {
        "source": "bdc",
        "periods": {"2018-04": {}},
        "catalogue": {"collections": ["S2-16D-2"]},
    }
    content["download"] = {"read": read}
    path = write_area(name, yaml.safe_dump(content))
    layout = Layout(name)
    if sizes is not None:
        features = [
            {"type": "Feature", "id": scene, "assets": {b: asset(b, size) for b in ("B02", "SCL")}}
            for scene, size in sizes.items()
        ]
        layout.search("2018-04").parent.mkdir(parents=True)
        layout.search("2018-04").write_text(json.dumps({"features": features}))
    return load_area(path), layout


def asset(band, size):
    told = {} if size is None else {"file:size": size}
    return {"href": f"https://example.org/{band}.tif", "bands": [{"name": band}], **told}
