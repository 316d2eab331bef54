"""Planning of an area of many blocks."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.full
def test_planning_grows_with_the_jobs_and_no_more(tmp_path):
    """A region in thousands of blocks would be planned for hours, or not fit in memory."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        from planning import PLANS, PROFILES, planned, write
    finally:
        sys.path.pop(0)
    found = {}
    for name, changes in PLANS.items():
        (tmp_path / name).mkdir()
        write(tmp_path / name, changes)
        for profile in PROFILES:
            found[name, profile] = planned(tmp_path / name, profile)
    for profile in PROFILES:
        (blocks, jobs, _, cpu, _), _, largest = (found[name, profile] for name in PLANS)
        assert (blocks, jobs) == (75, 6 * 75 + 7)
        assert largest[0] == 39 * 39 and largest[1] == 6 * largest[0] + 7
        assert largest[3] / largest[1] < 2 * cpu / jobs, "seconds a job"
    alone, grouped = (found[list(PLANS)[-1], profile][3] for profile in PROFILES)
    assert grouped / alone < 3.5, "Snakemake's check of each group for each of its jobs: 5.5"
    assert max(each[4] for each in found.values()) < 1000, "MB"
