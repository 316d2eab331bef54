"""A model that does not fit, or is none, is one line; no map is made from it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from making import LEFT, STEP, write_tif
from safetensors.torch import save_file
from stages.stage_steps import PERIOD, area_with, mapmill, refused_cleanly

from mapmill.errors import ContractError
from mapmill.nets.model import DIGEST, Card, build, digest_of, load_model, save_model


def tensors(metadata):
    """A file of one tensor; where it has a card its digest is right."""
    state = {"weight": torch.zeros(2)}
    if metadata and metadata["mapmill"].endswith("}"):
        told = json.loads(metadata["mapmill"])
        metadata = {"mapmill": json.dumps(told | {DIGEST: digest_of(told, state)})}
    save_file(state, "model", metadata=metadata)
    return Path("model").read_bytes()


def pickled():
    torch.save({"weight": torch.zeros(2)}, "model")
    return Path("model").read_bytes()


CARD = {"net": "unet", "width": 4, "depth": 2, "bands": ["B02", "B03", "B04"], "mean": [0, 0, 0]}
CARD |= {"classes": ["field", "wood", "lake"], "sd": [1, 1, 1], "provenance": {}}
SWAPPED = {1: "wood", 2: "field", 3: "lake"}


@pytest.mark.parametrize(
    "content",
    [
        lambda: b"",
        lambda: b"\xff" * 100,
        lambda: b"<html>Not found</html>",
        pickled,
        lambda: tensors(None),
        lambda: tensors({"mapmill": "{"}),
        lambda: tensors({"mapmill": '{"net": "unet"}'}),
        lambda: tensors({"mapmill": json.dumps(CARD)}),
        lambda: tensors({"mapmill": json.dumps(CARD | {"net": "transformer"})}),
        lambda: tensors({"mapmill": json.dumps(CARD)})[:-3],
    ],
)
def test_model_file(small_area, capsys, content):
    """A model that was cut off in a download would end in a page of Python, or run its code."""
    path = Path("results/small/train/unet-1/model.safetensors")
    path.parent.mkdir(parents=True)
    path.write_bytes(content())
    line = refused_cleanly(capsys, "predict", small_area, "landcover", "r000c000", "out/b.tif")
    assert "model" in line


@pytest.fixture
def untrained(small_area):
    """A model with fresh weights, and the two blocks of imagery that its first block reads."""
    path = Path("results/small/train/unet-1/model.safetensors")
    path.parent.mkdir(parents=True)
    save_model(path, build(Card(**CARD)).state_dict(), Card(**CARD))
    text = small_area.read_text().replace("4598400, 401920", "4599360, 401280")
    small_area.write_text(text + "predict: {threads: 1}\n")
    for col in (0, 1):
        block = Path(f"results/small/compose/{PERIOD}/r000c00{col}.tif")
        left = LEFT + 64 * STEP * col
        write_tif(block, np.full((3, 64, 64), 900, np.uint16), left=left, nodata=0)
    return path


def test_one_bit_of_a_model(untrained):
    """A disk's damage would change the map a little, and nobody see it."""
    whole = untrained.read_bytes()
    for place in (len(whole) // 2, len(whole) - 7, whole.index(b"B03") + 2):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1
        untrained.write_bytes(spoilt)
        with pytest.raises(ContractError, match="other bytes than its sha256 says"):
            load_model(untrained)
    untrained.write_bytes(whole)
    load_model(untrained)


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"compose": {"bands": ["B04", "B03", "B02"]}}, "bands B02, B03, B04"),
        ({"compose": {"bands": ["B02", "B03"]}}, "bands B02, B03, B04"),
        (
            {"classes": {n: {"name": k, "colour": "#000000"} for n, k in SWAPPED.items()}},
            "classes field, wood, lake",
        ),
    ],
)
def test_model_of_another_area(untrained, capsys, sections, said):
    """A map would be made from swapped bands, or with swapped classes, and look plausible."""
    area = area_with("other", **sections)
    path = Path("results/other/train/unet-1/model.safetensors")
    path.parent.mkdir(parents=True)
    untrained.rename(path)
    line = refused_cleanly(capsys, "predict", area, "landcover", "r000c000", "out/b.tif")
    assert said in line


@pytest.mark.parametrize(
    "command",
    [
        ["train", "unit-1", "out/m.safetensors", "out/h.csv", "out/c.png"],
        ["train", "unet", "out/m.safetensors", "out/h.csv", "out/c.png"],
        ["predict", "landscape", "r000c000", "out/b.tif"],
        ["predict", "landcover", "r900c000", "out/b.tif"],
        ["mosaic", "landscape", "out/m.tif", "out/m.json", "out/c.tif", "out/m.png"],
        ["assess", "landscape", "out/m.json"],
    ],
    ids=lambda command: "-".join(command[:3]),
)
def test_unknown_name(untrained, capsys, command):
    """A typing mistake in the name of a model or map would end in a page of Python."""
    area = "config/areas/small.yaml"
    line = refused_cleanly(capsys, command[0], area, *command[1:])
    assert command[1].split("-")[0] in line or command[2] in line


def test_missing_neighbour(untrained, capsys):
    """A block would be predicted from half of its surroundings."""
    command = ["predict", "config/areas/small.yaml", "landcover", "r000c000", "out/b.tif"]
    neighbour = Path(f"results/small/compose/{PERIOD}/r000c001.tif")
    neighbour.rename("kept")
    line = refused_cleanly(capsys, *command)
    assert "r000c001.tif" in line and "no such file" in line
    Path("kept").rename(neighbour)
    mapmill(*command)
    assert Path("out/b.tif").exists()
