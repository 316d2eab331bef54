"""Time and memory of planning: Catalonia, and the same with 16 times as many blocks.

Each on one machine, and in the groups of profiles/slurm.

    python benchmarks/planning.py [--repeat 3]

Each plan is `snakemake -n` in a folder of its own, a process each, the same as a user's; nothing is
downloaded and nothing run. CPU time counts user and system time of that process.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
BOX = "window: [250000, 4526250, 493750, 4770000]"
"""39 x 39 blocks of 625 px, sea and neighbours among them: as many jobs as 16 times all of it."""
PLANS = {
    "catalonia": {},
    "16 times the blocks": {"  block: 2500 #": "  block: 625 #"},
    "the same, no coast": {
        "  block: 2500 #": "  block: 625 #",
        "aoi: config/outlines/catalonia.geojson": BOX,
    },
}

PROFILES = ("default", "slurm")


def main():
    """Print a table of the plans."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    print("| area | blocks | jobs | profile | wall s | CPU s | peak MB |")
    print("|---|---|---|---|---|---|---|")
    for name, changes in PLANS.items():
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), changes)
            for profile in PROFILES:
                runs = [planned(Path(folder), profile) for _ in range(repeat)]
                numbers = zip(*(run[2:] for run in runs), strict=True)
                wall, cpu, peak = (statistics.median(each) for each in numbers)
                line = [name, *runs[0][:2], profile, f"{wall:.1f}", f"{cpu:.1f}", f"{peak:.0f}"]
                print("|", " | ".join(map(str, line)), "|", flush=True)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"\nMedians of {repeat}; load of the machine at the end: {load} on {os.cpu_count()} cores."
    )


def write(folder, changes):
    """A project folder with Catalonia's area file, changed."""
    shutil.copytree(ROOT / "config", folder / "config")
    path = folder / "config/areas/catalonia.yaml"
    text = path.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(f"\n{old}") == 1, old
        text = text.replace(f"\n{old}", f"\n{new}")
    path.write_text(text, encoding="utf-8")


def planned(folder, profile="default"):
    """Blocks, jobs, wall and CPU seconds, and peak MB of one plan."""
    command = ["snakemake", "-n", "--quiet", "all", "--cores", "all", "-s", ROOT / "Snakefile"]
    command += ["--workflow-profile", ROOT / "profiles" / profile]
    command += ["--directory", folder, "results/catalonia/assess/landcover/metrics.json"]
    started = time.monotonic()
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - started
    found = dict(re.findall(r"^(\w+)\s+(\d+)$", said.partition("Job stats:")[2], re.M))
    assert process.returncode == 0 and "total" in found, said
    cpu = used.ru_utime + used.ru_stime
    return int(found["predict"]), int(found["total"]), wall, cpu, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
