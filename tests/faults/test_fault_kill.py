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
pytestmark = pytest.mark.once
OLD = b"of an earlier run"


@pytest.fixture(scope="module")
def tally():
    """How often each stage was killed, and what was found; told at the end."""
    counted = Counter()
    yield counted
    print("\n| stage | killed | left nothing new | some or all new | came too late |")
    for stage in VERSION:
        named = ("killed", "nothing", "some", "late")
        print(f"| `{stage}` |", " | ".join(str(counted[stage, name]) for name in named), "|")


def strike(reference, stage, turn):
    """Start a stage and kill it: after some time, or after names have changed so often.

    Where it was done before, it is tried again, sooner. How often it was done before.
    """
    random, late = moments(stage, turn), 0
    while True:
        prepare(reference, stage, turn)
        process = started(command_of(stage))
        if turn % 2 or late:
            time.sleep(random.uniform(0, reference.seconds[stage]) / 2**late)
        else:
            changes_of(process, 1 + random.integers(max(1, reference.changes[stage] - 1)))
        if killed(process):
            return late
        late += 1


def prepare(reference, stage, turn):
    """Lay what is there before; of every other pair of turns, outputs of an earlier run as well."""
    reference.lay(stage)
    if turn % 4 in (2, 3) and stage != "download":  # what is fetched is never replaced
        for name in reference.written[stage]:
            put(name, OLD)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("stage", VERSION)
def test_killed_and_rerun(reference, folder, tally, stage, turn):
    """After a power cut a torn file would pass for a finished one, or a user have to clean up.

    A third of the kills fall on outputs of an earlier run, which are to be replaced.
    """
    late = strike(reference, stage, turn)
    before, new = reference.before[stage], reference.written[stage]
    left = {name: content for name, content in contents().items() if not is_aside(name)}
    changed = {name: content for name, content in left.items() if before.get(name) != content}
    fresh = {name for name, content in changed.items() if content == new.get(name)}
    assert all(changed[name] == OLD for name in changed.keys() - fresh)
    assert before.items() <= left.items()
    if stage == "pack":  # a store is of one kind
        assert len(fresh) in (0, len(new))
    tally[stage, "killed"] += 1
    tally[stage, "late"] += late
    tally[stage, "some" if fresh else "nothing"] += 1
    works(command_of(stage))
    assert contents() == before | new
