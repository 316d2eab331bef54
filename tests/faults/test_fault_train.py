"""A killed training goes on from its checkpoint, to the same bytes, and from no other's."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from making import simulated_scene, write_tif
from stages.stage_steps import area_with, compose, downsample, mapmill, pack, select

RUN = "import sys; from mapmill.cli import main; sys.exit(main(sys.argv[1:]))"
MODEL = "unet-1"
NAMES = ("model.safetensors", "history.csv", "curves.png")
SETTINGS = {
    "width": 4,
    "depth": 2,
    "steps": 200,
    "validate_every": 4,
    "batch": 4,
    "threads": 1,
    "dropout": 0.1,
}


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """An area whose patches are packed, in a folder of its own; and what training writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("training"))
        label_YX, image_BYX = simulated_scene()
        for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
            write_tif(Path(f"data/S1_{band}.tif"), values)
        write_tif(Path("data/labels.tif"), label_YX)
        area = area_with("trained", train=SETTINGS)
        compose(area)
        downsample(area)
        select(area)
        pack(area)
        mapmill(*command(area, "whole"))
        yield area, written("whole")


def command(area, folder):
    return ["train", str(area), MODEL, *(f"out/{folder}/{name}" for name in NAMES)]


def written(folder):
    """Every file that training left."""
    return {path.name: path.read_bytes() for path in Path("out", folder).iterdir()}


def killed(area, folder):
    """Kill a training once it has left a checkpoint."""
    checkpoint = Path("out", folder, "checkpoint.safetensors")
    arguments = [sys.executable, "-c", RUN, *command(area, folder)]
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        while not checkpoint.exists():
            assert process.poll() is None, "training ended before it could be killed"
            time.sleep(0.01)
        process.kill()
    assert process.returncode == -9
    return checkpoint


def test_a_killed_training_goes_on_to_the_same_bytes(packed, caplog):
    """Otherwise hours would be lost, or the map would tell that there was a power cut."""
    area, whole = packed
    assert set(whole) == set(NAMES)
    killed(area, "again")
    with caplog.at_level("INFO"):
        mapmill(*command(area, "again"))
    assert "goes on from step" in caplog.text
    assert written("again") == whole


def test_training_that_is_forced_starts_at_its_first_step(packed, caplog, monkeypatch):
    """Otherwise --forceall would not show that the same settings give the same model."""
    area, whole = packed
    killed(area, "forced")
    monkeypatch.setenv("MAPMILL_AFRESH", "1")
    with caplog.at_level("INFO"):
        mapmill(*command(area, "forced"))
    assert "goes on from step" not in caplog.text
    assert written("forced") == whole


def test_the_retries_of_a_forced_training_go_on(packed, caplog, monkeypatch):
    """Otherwise each time limit on a cluster would begin a forced training anew, without end."""
    area, whole = packed
    monkeypatch.setenv("MAPMILL_AFRESH", "this command")
    killed(area, "retried")
    left = Path("out/retried/checkpoint.safetensors")
    os.utime(left, (0, 0))  # a clock that was set back
    with caplog.at_level("INFO"):
        mapmill(*command(area, "retried"))
    assert "goes on from step" in caplog.text
    assert written("retried") == whole


def test_another_forced_training_does_not_go_on(packed, caplog, monkeypatch):
    """Otherwise the same command typed again would show nothing; without force it goes on."""
    area, whole = packed
    for folder, then in (("second", "another command"), ("unforced", "")):
        monkeypatch.setenv("MAPMILL_AFRESH", "this command")
        os.utime(killed(area, folder), (4e9, 4e9))  # a clock that was ahead
        monkeypatch.setenv("MAPMILL_AFRESH", then)
        caplog.clear()
        with caplog.at_level("INFO"):
            mapmill(*command(area, folder))
        assert ("goes on from step" in caplog.text) is (not then)
        assert written(folder) == whole


def test_changed_settings_do_not_go_on_from_an_old_checkpoint(packed, caplog):
    """Otherwise a model would be half of one recipe and half of another."""
    area, whole = packed
    killed(area, "changed")
    text = area.read_text()
    other = yaml.safe_load(text)
    other["train"] |= {"learning_rate": 0.002, "steps": 12}
    area.write_text(yaml.safe_dump(other))
    try:
        mapmill(*command(area, "changed"))
        mapmill(*command(area, "fresh"))
    finally:
        area.write_text(text)
    assert "other settings" in caplog.text
    assert written("changed") == written("fresh") != whole
