"""Stages killed at any moment: what they leave is whole or absent, and a rerun mends all."""

import time
from collections import Counter

import pytest
from chain_steps import (
    VERSION,
    changes_of,
    command_of,
    contents,
    is_aside,
    killed,
    moments,
    put,
    started,
    works,
)

TURNS = [0, *(pytest.param(n, marks=pytest.mark.full) for n in range(1, 6))]
OLD = b"of an earlier run"


@pytest.fixture(scope="module")
def tally():
    """How often each stage was killed, and what was found; told at the end."""
    counted = Counter()
    yield counted
    print("\n| stage | killed | ended before | left nothing new | some or all new |")
    for stage in VERSION:
        named = ("killed", "ended", "nothing", "some")
        print(f"| `{stage}` |", " | ".join(str(counted[stage, name]) for name in named), "|")


def kill_at_random(reference, stage, turn):
    """Start a stage and kill it: after some time, or after names have changed so often."""
    random = moments(stage, turn)
    process = started(command_of(stage))
    if turn % 2:
        time.sleep(random.uniform(0, reference.seconds[stage]))
    else:
        changes_of(process, 1 + random.integers(max(1, reference.changes[stage] - 1)))
    return killed(process)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("stage", VERSION)
def test_killed_and_rerun(reference, folder, tally, stage, turn):
    """After a power cut a torn file would pass for a finished one, or a user have to clean up.

    Every other kill falls on outputs of an earlier run, which are to be replaced.
    """
    reference.lay(stage)
    before, new = reference.before[stage], reference.written[stage]
    over = turn % 4 in (2, 3) and stage != "download"  # what is fetched is never replaced
    for name in new if over else ():
        put(name, OLD)
    was_killed = kill_at_random(reference, stage, turn)
    left = {name: content for name, content in contents().items() if not is_aside(name)}
    changed = {name: content for name, content in left.items() if before.get(name) != content}
    fresh = {name for name, content in changed.items() if content == new.get(name)}
    assert all(changed[name] == OLD for name in changed.keys() - fresh)
    assert before.items() <= left.items()
    if stage == "pack":  # a store is of one kind
        assert len(fresh) in (0, len(new))
    tally[stage, "killed" if was_killed else "ended"] += 1
    tally[stage, "some" if fresh else "nothing"] += 1
    works(command_of(stage))
    assert contents() == before | new
