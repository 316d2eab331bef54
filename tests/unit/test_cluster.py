"""benchmarks/cluster.py: what a run has cost, from Snakemake's own measures."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAD = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def measured(stage, name, peak, seconds):
    """A job's file as Snakemake writes it."""
    path = Path(f"benchmarks/small/{stage}/{name}.tsv")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEAD}2.1\t0:00:02\t{peak}\t9\t9\t9\t0\t0\t50\t{seconds}\n")


def test_jobs_that_snakemake_has_not_seen(small_area):
    """A job of an instant has NA for measures: the table would be a page of Python, or miss a job
    without a word."""
    measured("compose", "r000c000", 120.5, 36)
    measured("compose", "r000c001", "NA", "NA")
    measured("mosaic", "landcover", "NA", "NA")
    command = [sys.executable, ROOT / "benchmarks/cluster.py", ".", "small", small_area]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| compose", "| mosaic"))]
    assert rows == ["| compose | 1 | 36.0 | 120 | 0.01 | 0.00 |"]
    assert "compose: without measures (NA), and left out: 1 jobs" in done.stdout
    assert "mosaic: without measures (NA), and left out: 1 jobs" in done.stdout
