"""Killed processes and full disks: outputs are whole or absent, and a rerun mends everything."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from making import simulated_scene, write_tif
from stages.stage_steps import PERIOD, area_with, compose, downsample, mapmill, select

from mapmill.nets.model import Card, build, save_model, with_reach

ENDLESS = """
import importlib, sys
from mapmill.cli import main
importlib.import_module(f"mapmill.stages.{sys.argv[1]}")
print("ready", flush=True)
while True:
    main(sys.argv[1:])
"""
"""A process that repeats one command until it is killed."""

LIMITED = """
import json, resource, sys
import mapmill.stages.compose, mapmill.stages.mosaic, mapmill.stages.pack, mapmill.stages.predict
from mapmill.cli import main
results, (_, hard) = [], resource.getrlimit(resource.RLIMIT_FSIZE)
for size, command in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size or hard, hard))
    try:
        results.append("one line" if main(command) == 1 else "written")
    except OSError:
        results.append("OSError")
    except Exception as error:
        results.append(repr(error))
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(json.dumps(results))
"""
"""A process that runs commands, each of which can write files of so many bytes at most."""

STAGES = ["compose", "pack", "predict", "mosaic"]


@pytest.fixture(scope="module")
def area(tmp_path_factory):
    """An area of one block, all but trained: its file. Every test leaves it as it was."""
    folder, here = tmp_path_factory.mktemp("killed"), Path.cwd()
    os.chdir(folder)
    label_YX, image_BYX = simulated_scene(480, 480)
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(Path(f"data/S1_{band}.tif"), values)
    write_tif(Path("data/labels.tif"), label_YX)
    bounds = [400_000, 4_595_200, 404_800, 4_600_000]
    grid = {"bounds": bounds, "block": 480}
    area = area_with(
        "killed",
        grid=grid,
        select={"size": 60},
        pack={"shard": 16},
        mosaic={"opening": {1: 1}, "minimum_px": 4},
    )
    compose(area)
    downsample(area)
    select(area)
    write_model(Path("results/killed/train/unet-1/model.safetensors"))
    label_YX[::9, ::7] = 2  # specks, for the sieve
    map_BYX = np.stack([label_YX, np.full_like(label_YX, 77)])
    write_tif(Path("results/killed/predict/landcover/r000c000.tif"), map_BYX, nodata=0)
    yield area
    os.chdir(here)


def write_model(path):
    """A net with random weights, as training would leave it."""
    torch.manual_seed(0)
    numbers = [1000.0] * 3
    names = ["B02", "B03", "B04"], ["field", "wood", "lake"]
    card = Card("unet", 8, 2, *names, numbers, numbers, {})
    path.parent.mkdir(parents=True)
    save_model(path, build(card).state_dict(), with_reach(card))


def command_of(stage, area, folder="results/killed"):
    """The command line of a stage, and the path below which everything it writes lies."""
    root = Path(folder)
    names = {
        "compose": [PERIOD, "r000c000", root / f"compose/{PERIOD}/r000c000.tif"],
        "pack": [root / "pack/patches.zarr/zarr.json"],
        "predict": ["landcover", "r000c000", root / "predicted/r000c000.tif"],
        "mosaic": ["landcover"]
        + [root / f"mosaic/{name}" for name in ("map.tif", "map.json", "extra.tif", "map.png")],
    }[stage]
    written = root / ("predicted" if stage == "predict" else stage)  # the mosaic's are its input
    return [stage, str(area), *(str(name) for name in names)], written


def contents(folder):
    """Finished files below a folder by name, but what is still being written or cleared away."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(mark in str(path) for mark in (".part", ".old"))
    }


def killed_after(seconds, command):
    """Start a process that repeats the command, and kill it so long after it has begun."""
    arguments = [sys.executable, "-c", ENDLESS, *command]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        time.sleep(seconds)
        process.kill()
    assert process.returncode == -9


TENTHS = [pytest.param(n, marks=pytest.mark.full) for n in range(1, 6)]


@pytest.mark.parametrize("turn", [0, *TENTHS])
@pytest.mark.parametrize("stage", STAGES)
def test_killed_and_rerun(area, stage, turn):
    """After a power cut a torn file would pass for a finished one; each turn is two kills."""
    command, folder = command_of(stage, area)
    shutil.rmtree(folder, ignore_errors=True)
    start = time.monotonic()
    mapmill(*command)
    took = time.monotonic() - start
    new = contents(folder)
    moments = np.random.default_rng([len(stage), turn]).uniform(0.05, 1.2, 2) * took

    shutil.rmtree(folder)
    killed_after(moments[0], command)
    left = contents(folder) if folder.exists() else {}
    assert left == new if stage == "pack" and left else left.items() <= new.items()
    mapmill(*command)
    assert contents(folder) == new

    text = area.read_text()
    once = yaml.safe_load(text) | {"title": "An earlier title", "pack": {"shard": 3}}
    once["compose"]["resampling"] = "nearest"
    once["predict"] = {"tile": 128}
    area.write_text(yaml.safe_dump(once))
    mapmill(*command)
    old = contents(folder)
    assert old != new
    area.write_text(text)
    killed_after(moments[1], command)
    left = contents(folder)
    if stage == "pack":
        assert left in (old, new, {})
    else:
        assert set(left) == set(new)
        assert all(content in (old[name], new[name]) for name, content in left.items())
    mapmill(*command)
    assert contents(folder) == new


def limited(runs, **options):
    """Results of commands, each with the largest file that it can write in bytes (0: any)."""
    arguments = [sys.executable, "-c", LIMITED, json.dumps(runs)]
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True, **options)
    return json.loads(done.stdout)


def test_full_disk(area):
    """A full disk would leave maps that end in the middle, or a page of Python."""
    cases = [(size, stage) for size in (1, 5_000, 60_000) for stage in STAGES]
    runs = [(size, command_of(stage, area, f"full{size}")[0]) for size, stage in cases]
    results = limited(runs)
    whole = {}
    for stage in STAGES:
        command, folder = command_of(stage, area, "whole")
        mapmill(*command)
        whole[stage] = contents(folder)
    for (size, stage), result in zip(cases, results, strict=True):
        folder = command_of(stage, area, f"full{size}")[1]
        found = contents(folder) if folder.exists() else {}
        assert found.items() <= whole[stage].items()
        assert (result == "written") == (found == whole[stage])
        assert stage != "pack" or found in ({}, whole[stage])
        parts = [path for path in folder.rglob("*") if ".part" in path.name]
        assert [path for path in parts if path.name != "patches.zarr.part"] == []
    for stage in STAGES:
        command, folder = command_of(stage, area, "full5000")
        mapmill(*command)
        assert contents(folder) == whole[stage]
    assert set(results) <= {"written", "one line", "OSError"}, results
    assert results[0] != "written"


def without_override():
    """Give up the right of the superuser to write everywhere (PR_CAPBSET_DROP, DAC_OVERRIDE)."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)


def test_read_only_folder(area):
    """A folder that may not be written to would be half filled, or pass for finished."""
    commands = [command_of(stage, area, "locked")[0] for stage in STAGES]
    folders = [Path(command[-1]).parent for command in commands]
    folders[1] = folders[1].parent
    for folder in folders:
        folder.mkdir(parents=True)
        folder.chmod(0o555)
    try:
        results = limited([(0, command) for command in commands], preexec_fn=without_override)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert set(results) <= {"one line", "OSError"}
    assert not [path for path in Path("locked").rglob("*") if path.is_file()]
