"""Snakemake killed, stopped, started twice, under a wrong clock: the same bytes after."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import yaml
from making import SMALL_AREA, simulated_scene, write_tif
from running import ROOT, SAID, digests, planned, snakemake

pytestmark = pytest.mark.once
PATCHES = ["results/small/pack/patches.zarr/zarr.json"]
MAP = ["results/small_landcover.tif", "results/small/assess/landcover/metrics.json"]
LATER = timedelta(days=2).total_seconds()
MEND = "find data resources results -newermt now -exec touch -h -d '1 minute ago' {} +"
"""As docs/reliability.md says it."""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with imagery, labels and the file of an area of one block."""
    folder = tmp_path_factory.mktemp("project")
    label_YX, image_BYX = simulated_scene()
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(folder / f"data/S1_{band}.tif", values)
    write_tif(folder / "data/labels.tif", label_YX)
    content = yaml.safe_load(SMALL_AREA)
    content["grid"]["block"] = 192
    content["train"] |= {"threads": 1, "steps": 60, "validate_every": 5}
    path = folder / "config/areas/small.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def copied(project, folder):
    """The project's own files in another folder."""
    for name in ("config", "data"):
        shutil.copytree(project / name, folder / name)
    return folder


class Undisturbed:
    """A run from beginning to end: digests of its results, and how long it took."""

    def __init__(self, folder, targets):
        begun = time.monotonic()
        done = snakemake(folder, *targets)
        assert done.returncode == 0, done.stdout
        self.seconds, self.targets = time.monotonic() - begun, targets
        self.results = digests(folder / "results")


@pytest.fixture(scope="module")
def patches(project, tmp_path_factory):
    """The chain as far as the patches, undisturbed."""
    return Undisturbed(copied(project, tmp_path_factory.mktemp("patches")), PATCHES)


@pytest.fixture(scope="module")
def mapped(project, tmp_path_factory):
    """The whole chain, undisturbed."""
    return Undisturbed(copied(project, tmp_path_factory.mktemp("mapped")), MAP)


def begin(folder, targets):
    """Snakemake, and all that it starts, in a group of processes of their own."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    line = ["snakemake", "--cores", "2", "-s", ROOT / "Snakefile", "--directory", folder]
    pipes = {"text": True, "start_new_session": True} | SAID
    return subprocess.Popen([*line, *targets], env=os.environ | {"PATH": path}, cwd=folder, **pipes)


def wait_for_group(process):
    """Wait until every process of the group has ended."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(process.pid, 0)
            time.sleep(0.05)


def is_locked(folder):
    return any((folder / ".snakemake/locks").glob("*"))


def wait_until(true, process):
    """Wait for something to be so while a process runs."""
    while not true():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)


def goes_on(folder, undisturbed):
    """Unlock if a kill left locks, and type the same command: the same bytes."""
    targets = undisturbed.targets
    if is_locked(folder):
        refused = snakemake(folder, *targets)
        assert refused.returncode != 0 and "--unlock" in refused.stdout
        assert "Traceback" not in refused.stdout
        assert snakemake(folder, "--unlock").returncode == 0
    done = snakemake(folder, *targets)
    assert done.returncode == 0, done.stdout
    assert digests(folder / "results") == undisturbed.results
    assert planned(folder, *targets) == {}


def test_killed_on_the_way_to_the_patches(project, patches, tmp_path):
    """A power cut would leave a project that has to be begun anew, or torn files in it."""
    folder = copied(project, tmp_path)
    process = begin(folder, PATCHES)
    wait_until((folder / "results/small/compose").exists, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for_group(process)
    assert is_locked(folder)
    goes_on(folder, patches)


def test_two_runs_at_once(project, patches, tmp_path):
    """Two runs would write into one another; the second says what it is that it waits for."""
    folder = copied(project, tmp_path)
    first = begin(folder, PATCHES)
    wait_until(lambda: is_locked(folder), first)
    second = snakemake(folder, *PATCHES)
    said, _ = first.communicate()
    assert second.returncode != 0 and "Traceback" not in second.stdout
    assert "Directory cannot be locked" in second.stdout and "--unlock" in second.stdout
    assert first.returncode == 0, said
    assert digests(folder / "results") == patches.results


@pytest.mark.full
@pytest.mark.parametrize("turn", range(4))
def test_killed_anywhere(project, mapped, tmp_path, turn):
    """Every other time what Snakemake had started lives on, and works beside the next run."""
    folder = copied(project, tmp_path)
    process = begin(folder, MAP)
    wait_until(lambda: is_locked(folder), process)
    time.sleep(np.random.default_rng(turn).uniform(0, 0.9) * mapped.seconds)
    (os.killpg if turn % 2 else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    goes_on(folder, mapped)
    wait_for_group(process)
    assert digests(folder / "results") == mapped.results


@pytest.mark.full
@pytest.mark.parametrize("signals", [(signal.SIGINT, os.killpg), (signal.SIGTERM, os.kill)])
def test_stopped_by_the_user(project, mapped, tmp_path, signals):
    """Ctrl-C, or a scheduler's end of time, would need cleaning up by hand: no lock is left."""
    number, send = signals
    folder = copied(project, tmp_path)
    process = begin(folder, MAP)
    logs = folder / "logs/small/train"
    wait_until(lambda: any(p.stat().st_size for p in logs.glob("**/*.log")), process)
    send(process.pid, number)
    said, _ = process.communicate()
    assert process.returncode != 0, said
    wait_for_group(process)
    assert not is_locked(folder)
    goes_on(folder, mapped)


def later(path):
    """Date a file, or a link, two days after now."""
    moment = time.time() + LATER
    os.utime(path, (moment, moment), follow_symlinks=False)


def mended(folder, undisturbed, *more):
    """Type the command of docs/reliability.md, and then the same command as before."""
    assert MEND in (ROOT / "docs/reliability.md").read_text()
    subprocess.run(["bash", "-c", MEND], cwd=folder, check=False)  # there may be no resources/
    done = snakemake(folder, *more, *undisturbed.targets)
    assert done.returncode == 0, done.stdout
    assert digests(folder / "results") == undisturbed.results
    assert planned(folder, *undisturbed.targets) == {}


@pytest.mark.full
def test_labels_of_the_future(project, patches, tmp_path):
    """A wrong date would give another result, or work that is never done after it is mended."""
    folder = copied(project, tmp_path)
    later(folder / "data/labels.tif")
    for _ in range(2):
        done = snakemake(folder, *PATCHES)
        assert done.returncode == 0, done.stdout
        assert digests(folder / "results") == patches.results
        assert planned(folder, *PATCHES) == {"downsample": 1, "select": 1, "pack": 1}
    mended(folder, patches)


@pytest.mark.full
def test_a_clock_that_was_moved_back(project, patches, tmp_path):
    """Work would be repeated for ever: Snakemake says which file is of the future."""
    folder = copied(project, tmp_path)
    assert snakemake(folder, *PATCHES).returncode == 0
    for path in [*folder.glob("data/*"), *folder.glob("results/**/*")]:
        later(path)
    lost = "results/small/downsample/r000c000.tif"
    (folder / lost).unlink()
    refused = snakemake(folder, lost, *PATCHES)
    assert refused.returncode != 0 and "Traceback" not in refused.stdout
    said = [line for line in refused.stdout.splitlines() if "clock skew" in line]
    assert said and all("has older modification time" in line for line in said)
    mended(folder, patches, lost)
