"""A tiny area taken through every stage, each in a process of its own that a test may kill."""

import multiprocessing
import os
import shutil
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import yaml
from making import SMALL_AREA, simulated_scene, write_area, write_tif

from mapmill.chain import VERSION
from mapmill.cli import main

PERIOD, BLOCK, MAP, MODELS = "2018-04", "r000c000", "landcover", ("unet-1", "wide-1")
AREA = Path("config/areas/tiny.yaml")
ROOTS = [Path("results"), Path("resources")]
OWN = [Path("config"), Path("data")]
SIDE = 256
SAID = Path("said.txt")
"""What the last process wrote to stderr."""
FORK = multiprocessing.get_context("forkserver")
LATE = ["sklearn.ensemble", "torch._dynamo", "safetensors.torch", "mapmill.cli"]
FORK.set_forkserver_preload(["chain_steps", *LATE, *(f"mapmill.stages.{s}" for s in VERSION)])


class Slow(SimpleHTTPRequestHandler):
    """Serves files in small pieces, so that there is time to be killed in the midst of one."""

    def copyfile(self, source, outputfile):
        with suppress(OSError):
            while piece := source.read(8192):
                outputfile.write(piece)
                time.sleep(0.01)

    def log_message(self, *_):
        pass


@contextmanager
def served():
    """The address of a server of the files below the current folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def write_tiny(address, **sections):
    """The area of one block, all stages of which have something to do; its file."""
    label_YX, image_BYX = simulated_scene(SIDE, SIDE)
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(Path(f"data/S1_{band}.tif"), values)
    label_YX[::9, ::7] = 2  # specks, for the sieve
    write_tif(Path("data/labels.tif"), label_YX)
    content = yaml.safe_load(SMALL_AREA)
    bounds = [400_000, 4_600_000 - 10 * SIDE, 400_000 + 10 * SIDE, 4_600_000]
    content["grid"] |= {"bounds": bounds, "block": SIDE}
    content["labels"] = {"url": f"{address}/data/labels.tif"}
    content["train"] |= {"threads": 1, "steps": 16, "validate_every": 4}
    content |= {
        "pack": {"shard": 8},
        "predict": {"tile": 128, "threads": 1},
        "mosaic": {"opening": {1: 1}, "minimum_px": 4},
        "runs": {"unet": {}, "wide": {"width": 6}},
        "compare": {"both": {"runs": ["unet", "wide"]}},
    }
    return write_area(AREA.stem, yaml.safe_dump(content | sections, sort_keys=False))


def command_of(stage, model=MODELS[0]):
    """The command line of a stage."""
    root = Path("results") / AREA.stem

    def inside(folder, *names):
        return [root / folder / name for name in names]

    folder = f"train/{model}"
    arguments = {
        "search": [PERIOD, *inside("search", f"{PERIOD}.json", f"{PERIOD}.png")],
        "download": ["labels.tif", *inside("download", "labels.tif")],
        "compose": [PERIOD, BLOCK, *inside(f"compose/{PERIOD}", f"{BLOCK}.tif")],
        "downsample": [
            BLOCK,
            *inside("downsample", f"{BLOCK}.tif", f"fraction/{BLOCK}.tif"),
        ],
        "select": inside("select", "tiles.csv", "tiles.png", "shift.png"),
        "pack": inside("pack", "patches.zarr/zarr.json"),
        "train": [model, *inside(folder, "model.safetensors", "history.csv", "curves.png")],
        "calibrate": [MAP, *inside("calibrate", f"{MAP}.json", f"{MAP}.png")],
        "predict": [MAP, BLOCK, *inside(f"predict/{MAP}", f"{BLOCK}.tif")],
        "mosaic": [
            MAP,
            *(Path(f"results/{AREA.stem}_{MAP}.{end}") for end in ("tif", "json")),
            *inside(f"mosaic/{MAP}", "confidence.tif", "map.png"),
        ],
        "vectorise": [MAP, Path(f"results/{AREA.stem}_{MAP}.gpkg")],
        "assess": [MAP, *inside(f"assess/{MAP}", "metrics.json")],
        "tabulate": inside("tabulate", "areas.csv", "changes.csv"),
        "compare": ["both", *inside("compare", "both.csv", "both.models.csv", "both.png")],
    }[stage]
    return [stage, str(AREA), *(str(argument) for argument in arguments)]


def work(command, said, prepare):
    """What a process does: one command, as the shell would run it."""
    os.setsid()
    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 2)
    if prepare:
        prepare[0](*prepare[1:])
    raise SystemExit(main(command))


def started(command, said=SAID, prepare=()):
    """A process at work on a command; `prepare` is a function it calls first, and arguments."""
    process = FORK.Process(target=work, args=(command, said, prepare))
    process.start()
    return process


def run(command, prepare=()):
    """Exit status of a command, and what it said on stderr."""
    process = started(command, prepare=prepare)
    process.join()
    return process.exitcode, SAID.read_text()


def works(command):
    """Run a command, which must work."""
    status, said = run(command)
    assert status == 0, said


def one_line(command, prepare=()):
    """Run a command, which must fail with one plain line; that line."""
    status, said = run(command, prepare)
    lines = [line for line in said.splitlines() if line.startswith(f"mapmill {command[0]}: ")]
    assert status == 1 and len(lines) == 1 and "Traceback" not in said, (status, said)
    return lines[0]


def killed(process):
    """Kill a process and its group with no warning; whether it was still at work."""
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def entries(roots=ROOTS):
    """All names below the roots."""
    return {
        os.path.join(folder, name)  # noqa: PTH118
        for root in roots
        for folder, _, names in os.walk(root)
        for name in names
    }


def changes_of(process, most=10**9):
    """Wait until the names below the roots have changed so often; how often they did."""
    before, count = entries(), 0
    while process.is_alive() and count < most:
        now = entries()
        count, before = count + (now != before), now
    return count


def contents(roots=ROOTS):
    """Bytes of every file below the roots, hidden or not."""
    names = sorted(entries(roots))
    return {name: Path(name).read_bytes() for name in names if Path(name).exists()}


def is_aside(name):
    """Whether a file is still being written, or cleared away; or a training goes on from it."""
    marks = (".part", ".partial", ".lock", "checkpoint.safetensors")
    return any(mark in name for mark in marks)


@dataclass(frozen=True)
class Reference:
    """What the chain writes when nothing goes wrong."""

    project: dict
    """The user's own files: name -> bytes."""
    before: dict
    """Stage -> the files that are there before it: name -> bytes."""
    written: dict
    """Stage -> the files that it adds."""
    seconds: dict
    changes: dict
    """Stage -> how often names below the roots change while it works."""
    links: dict
    """Link -> what it points to."""

    def lay(self, stage):
        """Make the current folder what it is just before a stage."""
        for root in [*ROOTS, *OWN]:
            shutil.rmtree(root, ignore_errors=True)
        for name, content in (self.project | self.before[stage]).items():
            put(name, content, self.links.get(name))


def put(name, content, link=None):
    """Write a file, or a link."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if link is not None:
        path.symlink_to(link)
    else:
        path.write_bytes(content)


def whole_chain():
    """Run every stage once."""
    before, written, seconds, changes, links = {}, {}, {}, {}, {}
    for stage in VERSION:
        if stage == "download":  # of the labels; first the imagery
            for name in ("B02", "B03", "B04"):
                file = f"{PERIOD}/S1/{name}.tif"
                works(["download", str(AREA), file, f"results/{AREA.stem}/download/{file}"])
        if stage == "compare":
            works(command_of("train", MODELS[1]))
        before[stage] = contents()
        start = time.monotonic()
        process = started(command_of(stage))
        changes[stage] = changes_of(process)
        process.join()
        seconds[stage] = time.monotonic() - start
        assert process.exitcode == 0, SAID.read_text()
        after = contents()
        written[stage] = {name: after[name] for name in after.keys() - before[stage].keys()}
        links |= {name: Path(name).readlink() for name in after if Path(name).is_symlink()}
    return Reference(contents(OWN), before, written, seconds, changes, links)


def moments(stage, turn):
    """Random numbers of one turn of a stage: the same in every run."""
    return np.random.default_rng([*stage.encode(), turn])
