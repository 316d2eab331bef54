"""A small area on a real SLURM of one node: a job is cancelled, a training reaches its time limit,
and the map is that of one machine, byte for byte.

    bash tests/slurm/one_node.sh start FOLDER    starts the node; `stop FOLDER` ends it
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from making import SMALL_AREA, simulated_scene, write_tif
from running import ROOT, digests, planned, snakemake
from servers.areas import SECRET, content_of, files_below, known_to
from servers.sentinel_hub import SentinelHub

TARGET = "results/small_landcover.tif"
STANDS_STILL = f"{sys.executable} {ROOT / 'tests/slurm/stands_still.py'} 900"
SQUEUE = """#!/bin/sh
echo >> {calls}
n=$(wc -l < {calls})
if [ "$n" -gt 2 ] && [ "$n" -le 10 ]; then echo "Unable to contact slurm controller" >&2; exit 1; fi
exec {real} "$@"
"""
MAPMILL = """#!/bin/sh
echo "CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES" >&2
exec {real} "$@"
"""
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
COLUMNS = "JobIDRaw,Comment,Account,Partition,State,Elapsed,Timelimit,ReqTRES,SubmitLine"


def said_by(*command):
    """What a program of SLURM prints; empty where it is missing or fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, text=True, capture_output=True, check=False, timeout=120)
    return done.stdout if done.returncode == 0 else ""


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """The node of the tests, never a cluster where others wait."""
    if re.search(r"ClusterName\s+= mapmilltest", said_by("scontrol", "show", "config")):
        return
    reason = "no SLURM of tests/slurm/one_node.sh answers"
    if "slurm" in os.environ.get("MAPMILL_REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)


def jobs(said):
    """The jobs of a run of Snakemake, by the ID that it prints: a dictionary each, as accounted."""
    (run,) = re.findall(r"SLURM run ID: (\S+)", said)
    options = ["-X", "--parsable2", "--noheader", "--starttime=now-1days", f"--name={run}"]
    text = said_by("sacct", *options, f"--format={COLUMNS}")
    rows = [line.split("|", COLUMNS.count(",")) for line in text.splitlines()]
    return [dict(zip(COLUMNS.split(","), row, strict=True)) for row in rows]


def of(name, found):
    """The jobs of a rule or a group, by the comment that the plugin gives them."""
    return [job for job in found if re.match(f"rule_{name}(_|$)", job["Comment"])]


def profile(folder, **changed):
    """The profile as it is, but asked often, for jobs that last seconds; with an account."""
    content = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    content["default-resources"] += ["slurm_account=forest"]
    often = {"slurm-init-seconds-before-status-checks": 2, "max-status-checks-per-second": 10}
    content |= often | {"latency-wait": 10} | changed
    (folder / "profile").mkdir(parents=True)
    (folder / "profile/config.yaml").write_text(yaml.safe_dump(content))
    # with cores for four blocks at a time, which is not what a group asks for
    cores = ["--cores", "8", "--seconds-between-status-checks", "2"]
    return ["--workflow-profile", folder / "profile", *cores]


def short_training():
    """The profile's resources, with time limits of training, and --gres for its GPU.

    On a busy machine the first minute may end before the first look; then the next limit ends it.
    """
    content = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    given = [line for line in content["set-resources"] if not line.startswith("train:runtime")]
    given[given.index("train:gpu=1")] = "train:gres=gpu:1"
    return [*given, "train:runtime=4 ** (attempt - 1)"]


def programs(folder):
    """A folder of programs that come first: a `squeue` that does not answer eight times, and a
    `mapmill` that tells which GPUs it sees."""
    folder.mkdir()
    for name, text in (("squeue", SQUEUE), ("mapmill", MAPMILL)):
        real = shutil.which(name, path=PATH)
        (folder / name).write_text(text.format(real=real, calls=folder / "calls"))
        (folder / name).chmod(0o755)
    return folder


def make_project(folder):
    """The small area on disk, in two blocks."""
    label_YX, image_BYX = simulated_scene()
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(folder / f"data/S1_{band}.tif", values)
    write_tif(folder / "data/labels.tif", label_YX)
    (folder / "config/areas").mkdir(parents=True)
    text = SMALL_AREA.replace("block: 64", "block: 160")
    (folder / "config/areas/small.yaml").write_text(text)
    return folder


def cancel_in_the_middle(name, folder, done, cancelled):
    """Cancel the first job of a group, once a block of it is there."""
    while not (cancelled or done.wait(0.3)):
        if not list(folder.glob("*.tif")):
            continue
        running = said_by("squeue", "--noheader", "--states=RUNNING", "--format=%i %k")
        for line in running.splitlines():
            number, _, comment = line.partition(" ")
            if comment.startswith(f"rule_{name}_") and not cancelled:
                subprocess.run(["scancel", number], check=True)
                cancelled.append(number)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    """The area mapped by SLURM, and meanwhile by one machine: folder, other folder, all that was
    said, the job that was cancelled, jobs as accounted."""
    slurm = make_project(tmp_path_factory.mktemp("slurm"))
    alone = make_project(tmp_path_factory.mktemp("alone"))
    options = profile(slurm.parent / "of_slurm", **{"set-resources": short_training()})
    cancelled, done = [], threading.Event()
    blocks = slurm / "results/small/predict/landcover"
    watched = ("maps", blocks, done, cancelled)
    watcher = threading.Thread(target=cancel_in_the_middle, args=watched)
    own = {}
    other = threading.Thread(target=lambda: own.update(done=snakemake(alone, TARGET)))
    started = time.monotonic()
    watcher.start()
    other.start()
    try:
        of_programs = {"PATH": f"{programs(slurm.parent / 'of_slurm_bin')}:{PATH}"}
        by_slurm = snakemake(slurm, *options, TARGET, MAPMILL_LAUNCH=STANDS_STILL, **of_programs)
    finally:
        done.set()
        watcher.join()
        other.join()
    print(f"mapped by SLURM in {time.monotonic() - started:.0f} s")
    assert own["done"].returncode == 0, own["done"].stdout
    assert by_slurm.returncode == 0, by_slurm.stdout
    return slurm, alone, by_slurm.stdout, cancelled, jobs(by_slurm.stdout)


def test_the_jobs_are_those_of_the_profile(mapped, capsys):
    """A stage would run on the login node, without its GPU, or each block wait in the queue."""
    found = mapped[-1]
    with capsys.disabled():
        print()
        for job in found:
            job = {key: value for key, value in job.items() if key != "SubmitLine"}
            print("  ".join(job.values()))
    counts = {name: len(of(name, found)) for name in ("blocks", "labels", "select", "pack")}
    assert counts == {"blocks": 1, "labels": 1, "select": 1, "pack": 1}
    assert not of("download", found) and not of("search", found)
    assert {job["Account"] for job in found} == {"forest"}
    on_gpu = {job["JobIDRaw"] for job in found if job["Partition"] == "gpu"}
    assert on_gpu == {job["JobIDRaw"] for job in of("train", found) + of("maps", found)}
    for job in found:
        assert ("gres/gpu=1" in job["ReqTRES"]) == (job["JobIDRaw"] in on_gpu)
    assert all("--gres=gpu:1" in job["SubmitLine"] for job in of("train", found))
    assert all("--gpus=1" in job["SubmitLine"] for job in of("maps", found))
    (blocks,) = of("blocks", found)
    assert "cpu=2,mem=2000M" in blocks["ReqTRES"], "of one block at a time"
    assert blocks["Timelimit"] == "00:02:00", "a minute for each of two blocks"


def test_a_job_sees_the_gpus_that_it_asked_for(mapped):
    """It would train on a processor for days, or on the GPU of someone else's job."""
    slurm, *_ = mapped
    seen = {}
    for path in (slurm / "logs/small").rglob("*.log"):
        stage = path.relative_to(slurm / "logs/small").parts[0]
        seen.setdefault(stage, set()).update(
            re.findall("^CUDA_VISIBLE_DEVICES=(.*)$", path.read_text(), re.M)
        )
    assert set(seen["train"]) <= {"0", "1"} and len(seen["train"]) == 1, "by --gres"
    assert set(seen["predict"]) <= {"0", "1"} and len(seen["predict"]) == 1, "by --gpus"
    assert {stage for stage in seen if seen[stage] == {""}} >= {"compose", "select", "pack"}


def test_a_controller_that_does_not_answer_is_asked_again(mapped):
    """After a restart of SLURM's controller Snakemake would wait for ever."""
    slurm, *_ = mapped
    calls = (slurm.parent / "of_slurm_bin/calls").read_text()
    assert calls.count("\n") > 10, "of which eight had no answer"


def test_a_training_that_reaches_its_time_limit_goes_on(mapped):
    """Twelve hours of training would be lost with every limit that is a minute short."""
    slurm, _, said, _, found = mapped
    *stopped, last = [job["State"] for job in of("train", found)]
    assert set(stopped) == {"TIMEOUT"} and last == "COMPLETED", said
    log = (slurm / "logs/small/train/unet-1.log").read_text()
    assert "goes on from step 10" in log
    assert not (slurm / "results/small/train/unet-1/checkpoint.safetensors").exists()


def test_a_cancelled_job_is_submitted_again(mapped):
    """Snakemake would wait for ever for a job that is no more, or a lost one end a run."""
    *_, cancelled, found = mapped
    first, second, *_ = of("maps", found)
    assert [first["JobIDRaw"]] == cancelled and first["State"].startswith("CANCELLED")
    assert second["State"] == "COMPLETED"
    assert "mem=16000M" in second["ReqTRES"], "twice the memory, had that been the reason"


def test_results_are_those_of_one_machine(mapped):
    """A map would depend on where it was made, or on what was interrupted."""
    slurm, alone, *_ = mapped
    by_slurm, by_one = (digests(folder / "results") for folder in (slurm, alone))
    # What a killed process had begun to write aside lives on under a hidden name.
    by_slurm = {name: sha for name, sha in by_slurm.items() if not Path(name).name.startswith(".")}
    assert "small_landcover.tif" in by_one and "small/train/unet-1/model.safetensors" in by_one
    assert by_slurm == by_one


def test_afterwards_neither_has_anything_to_do(mapped, tmp_path):
    """A change from one profile to the other would compute everything again."""
    slurm, alone, *_ = mapped
    assert planned(slurm, TARGET) == {}
    assert planned(alone, *profile(tmp_path), TARGET) == {}


def command_lines(done, seen):
    """Collect the command lines of all processes until told otherwise."""
    while not done.wait(0.05):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                seen.add(path.read_bytes())
            except OSError:  # it has ended
                continue


def test_the_secret_of_an_account_is_in_no_job(tmp_path):
    """Everyone on the cluster could read it in a list of jobs, of processes, or in a file."""
    folder = tmp_path / "hub"
    (folder / "config/areas").mkdir(parents=True)
    (folder / "config/areas/hub.yaml").write_text(json.dumps(content_of()))
    target = "results/hub/compose/2018-04/r000c001.tif"
    seen, done = set(), threading.Event()
    watcher = threading.Thread(target=command_lines, args=(done, seen))
    watcher.start()
    options = profile(tmp_path / "of_hub", **{"slurm-keep-successful-logs": True})
    try:
        with SentinelHub(client_secret=SECRET) as server:
            ran = snakemake(folder, *options, target, **known_to(server))
            assert server.count("process") == 1, "it was asked with the secret"
    finally:
        done.set()
        watcher.join()
    assert ran.returncode == 0, ran.stdout
    (job,) = jobs(ran.stdout)
    assert job["State"] == "COMPLETED" and "compose" in job["Comment"]
    shown = said_by("scontrol", "--details", "show", "job", job["JobIDRaw"])
    script = said_by("scontrol", "write", "batch_script", job["JobIDRaw"], "-")
    assert "JobState=COMPLETED" in shown and "snakemake" in script + job["SubmitLine"]
    assert job["SubmitLine"].startswith("sbatch ")
    assert any(b"srun" in line for line in seen) and any(b"download" in line for line in seen)
    assert not [line for line in seen if SECRET.encode() in line]
    assert SECRET not in shown + script + job["SubmitLine"] + ran.stdout
    files = files_below(folder)
    assert any("slurm_logs" in path for path in files)
    for path in files:
        assert SECRET.encode() not in Path(path).read_bytes(), path
