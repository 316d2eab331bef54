"""What an area needs on a cluster, from what a small run of the same settings has cost.

    python benchmarks/cluster.py FOLDER RUN AREA [--nodes 10] [--cores 16]

FOLDER is a project in which RUN, an area of one block, was mapped with Snakemake; AREA is the area
file of what is to be mapped. CPU seconds come from FOLDER/benchmarks/RUN; Snakemake looks at a job
now and then, so of jobs of a few seconds it sees less than there was. Jobs that it has not seen at
all, whose measures are `NA`, are left out and told. Costs grow with pixels.
"""

import argparse
import csv
from collections import Counter, defaultdict
from pathlib import Path

from mapmill.areafile import load_area
from mapmill.estimate import estimate
from mapmill.extent import blocks_of
from mapmill.layout import Layout

PARALLEL = ("compose", "downsample", "predict")
"""Stages whose jobs are blocks; of the others one job sees the whole area."""
THREADS = {"select": 2, "pack": 2, "assess": 2}
"""Of one job, as in profiles/default."""
STAGES = ("search", "compose", "downsample", "select", "pack", "train", "predict", "mosaic")
STAGES += ("assess",)


def main():
    """Print a table by stage, and sums."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("run")
    parser.add_argument("area", type=Path)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--cores", type=int, default=16)
    asked = parser.parse_args()
    small = load_area(asked.folder / f"config/areas/{asked.run}.yaml")
    large = load_area(asked.area)
    share = pixels(large) / pixels(small)
    measured, unseen = costs(asked.folder / "benchmarks" / asked.run)
    found = estimate(large, Layout(asked.area.stem))
    print(f"{large.title}: {found.blocks} blocks, {share:.1f} times the pixels of the run")
    print(
        "\n| stage | jobs of the run | CPU s a job | peak MB | core-hours | hours on the cluster |"
    )
    print("|---|---|---|---|---|---|")
    hours = spent = 0.0
    for stage in [stage for stage in STAGES if stage in measured]:
        seconds, peaks = zip(*measured[stage])
        times = 1 if stage in ("search", "train") else share
        core = sum(seconds) * times / 3600
        among = asked.nodes * asked.cores if stage in PARALLEL else THREADS.get(stage, 1)
        wall = core / (among if stage != "train" else 2)
        each = sum(seconds) / len(seconds)
        told = f"{len(seconds)} | {each:.1f} | {max(peaks):.0f} | {core:.2f} | {wall:.2f}"
        print(f"| {stage} | {told} |")
        spent, hours = spent + core, hours + wall
    print(f"| all | | | | {spent:.1f} | {hours:.1f} |")
    disk = sum(found.disk_bytes.values()) / 1e9
    for stage, count in sorted(unseen.items()):
        print(f"\n{stage}: without measures (NA), and left out: {count} jobs")
    print(f"\n{asked.nodes} nodes of {asked.cores} cores; disk {disk:.0f} GB (mapmill estimate)")


def pixels(area):
    """Pixels of the blocks that are worked on."""
    return sum(block.window.width * block.window.height for block in blocks_of(area))


def costs(folder):
    """CPU seconds and peak MB of each job, by stage; and of how many there is no such measure."""
    found, unseen = defaultdict(list), Counter()
    for path in sorted(folder.rglob("*.tsv")):
        with path.open(newline="", encoding="utf-8") as file:
            (row,) = csv.DictReader(file, delimiter="\t")
        stage, measures = path.relative_to(folder).parts[0], (row["cpu_time"], row["max_rss"])
        if {"NA", "-"} & set(measures):
            unseen[stage] += 1
        else:
            found[stage].append(tuple(map(float, measures)))
    return found, unseen


if __name__ == "__main__":
    main()
