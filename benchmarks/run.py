"""Stages beside their peers: `python benchmarks/run.py [STAGE ...] [--size N ...] [--json FILE]`.

Each contender runs in a process of its own, in turn, after one run of each to warm the cache;
the table gives medians. Data are simulated.

A stage's module here has SIZE, the side of its data by default, `make(folder, size)`, CONTENDERS,
functions of the folder of which the first is ours, `missing()`, the peers that are not installed
and why, and `equal(folder)`, whether each contender's result equals ours.
A contender that would rather be judged without its start-up leaves the seconds of its work in
`{name}.seconds` there.
"""

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import compose
import downsample
import downsample_clean
import pack
import packing
import predict
import predict_free
import select_tiles
import train

STAGES = {
    "compose": compose,
    "downsample": downsample,
    "downsample-clean": downsample_clean,
    "select": select_tiles,
    "pack": pack,
    "pack-write": packing,
    "train": train,
    "predict": predict,
    "predict-free": predict_free,
}


@dataclass(frozen=True)
class Row:
    """Medians of one contender."""

    name: str
    wall_s: float
    cpu_s: float
    peak_mb: float
    equal: bool
    """Whether its result equals ours."""
    work_s: float | None
    """Wall time without start-up, where the contender measures it."""


def measure(command: list[str]) -> tuple[float, float, float]:
    """Run a command once: wall seconds, CPU seconds, peak resident memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    wall_s = time.perf_counter() - start
    return wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare(stage: str, size: int, repeats: int, where: Path | None) -> list[Row]:
    """Measure all contenders of a stage on simulated data of `size` px."""
    module = STAGES[stage]
    with tempfile.TemporaryDirectory(dir=where) as name:
        folder = Path(name)
        # In a process of its own: a child's peak holds what its parent had when it was started.
        maker = multiprocessing.get_context("spawn").Process(
            target=module.make, args=(folder, size)
        )
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit(f"failed: making the data of {stage}")
        script = str(Path(module.__file__))
        commands = {who: [sys.executable, script, who, name] for who in module.CONTENDERS}
        found: dict[str, list[tuple[float, float, float]]] = {who: [] for who in commands}
        work: dict[str, list[float]] = {who: [] for who in commands}
        for number in range(repeats + 1):
            for who, command in commands.items():
                measured = measure(command)
                if number:
                    found[who].append(measured)
                    work[who] += _seconds(folder / f"{who}.seconds")
        equal = module.equal(folder)
    return [
        Row(
            who,
            *(statistics.median(column) for column in zip(*runs, strict=True)),
            bool(equal[who]),  # numpy's own is no JSON
            statistics.median(work[who]) if work[who] else None,
        )
        for who, runs in found.items()
    ]


def _seconds(file: Path) -> list[float]:
    return [float(file.read_text())] if file.exists() else []


def table(stage: str, size: int, rows: list[Row], missing: dict[str, str]) -> str:
    """The rows as Markdown; ours first."""
    lines = [f"## {stage}, {size} px", "", "| | wall s | CPU s | peak MB | wall / ours |"]
    lines[-1] += " work s | work / ours | equal |"
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        numbers = f"{row.wall_s:.2f} | {row.cpu_s:.2f} | {row.peak_mb:.0f}"
        ratio = row.wall_s / rows[0].wall_s
        work = " | "
        if row.work_s is not None and rows[0].work_s is not None:
            work = f"{row.work_s:.3f} | {row.work_s / rows[0].work_s:.2f}"
        equal = "yes" if row.equal else "no"
        lines.append(f"| {row.name} | {numbers} | {ratio:.2f} | {work} | {equal} |")
    lines += [f"| {name} | missing: {why} | | | | | | |" for name, why in missing.items()]
    return "\n".join([*lines, ""])


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", default=list(STAGES), choices=[*STAGES, []])
    parser.add_argument("--size", type=int, nargs="+", help="side of the data in px")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--where", type=Path, help="folder for the data; temporary by default")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    print(
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, medians of"
        f" {chosen.repeats}\ninterleaved runs, a process each, simulated data; wall time holds the"
        " start-up, work does not.\n"
    )
    contents = []
    for stage in chosen.stages:
        for size in chosen.size or [STAGES[stage].SIZE]:
            rows = compare(stage, size, chosen.repeats, chosen.where)
            print(table(stage, size, rows, STAGES[stage].missing()), flush=True)
            contents.append({"stage": stage, "size": size, "rows": [asdict(row) for row in rows]})
    if chosen.json:
        content = contents[0] if len(contents) == 1 else contents
        chosen.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
