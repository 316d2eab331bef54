"""train in two processes, as torchrun starts it: one model, one voice, one end."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from making import simulated_scene, write_tif
from stages.stage_steps import area_with, compose, downsample, mapmill, pack, select

SETTINGS = {"width": 4, "depth": 1, "steps": 8, "validate_every": 4, "batch": 4, "threads": 1}
SETTINGS |= {"norm": "group", "optimiser": "sgd", "learning_rate": 0.05}
LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """An area whose patches are packed, in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("shared"))
        label_YX, image_BYX = simulated_scene()
        for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
            write_tif(Path(f"data/S1_{band}.tif"), values)
        write_tif(Path("data/labels.tif"), label_YX)
        area = area_with("shared", train=SETTINGS)
        compose(area)
        downsample(area)
        select(area)
        pack(area)
        yield area


def arguments(area, folder):
    names = ("model.safetensors", "history.csv", "curves.png")
    return ["train", str(area), "unet-1", *(f"out/{folder}/{name}" for name in names)]


def in_two_processes(area, folder):
    """Train by torchrun."""
    command = [*LAUNCH, "-m", "mapmill", *arguments(area, folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=240
    )


def history(folder):
    with Path("out", folder, "history.csv").open() as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def test_two_processes_write_the_model_of_one(packed):
    """Otherwise a map would depend on how many GPUs there were, or files on who wrote last."""
    mapmill(*arguments(packed, "one"))
    done = in_two_processes(packed, "two")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("in 2 processes") == done.stderr.count("train_loss") / 2 == 1
    one, two = history("one"), history("two")
    for row, other in zip(one, two, strict=True):
        assert other == pytest.approx(row, rel=1e-3, abs=1e-4)
    left = sorted(path.name for path in Path("out/two").iterdir())
    assert left == ["curves.png", "history.csv", "model.safetensors"]


def test_a_patch_that_one_process_cannot_read_ends_both(packed):
    """Otherwise the others would wait for it without end, or the cause be lost in traces."""
    (shard,) = (
        path for path in Path("results/shared/pack").rglob("image/c/**/*") if path.is_file()
    )
    whole = shard.read_bytes()
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    shard.write_bytes(damaged)
    try:
        done = in_two_processes(packed, "damaged")
    finally:
        shard.write_bytes(whole)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("mapmill train: ")]
    assert 1 <= sum("damaged" in line for line in lines) <= 2
    assert all("damaged" in line or "another process" in line for line in lines)
    assert "fit.py" not in done.stderr  # no trace of ours; torchrun adds its own account
    assert not Path("out/damaged/model.safetensors").exists()
