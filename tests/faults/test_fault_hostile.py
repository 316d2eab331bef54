"""Hostile input: thousands of damaged files of every format, and files that are made to hurt.

Each ends in the undamaged file's result, in the damaged file's own where nothing could be noticed,
or in one line; within 30 s and 1 GB, with nothing written outside and no code run.

The full test prints the table of docs/reliability.md: python -m pytest -m full -s FILE
"""

import collections
import json
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hypothesis.strategies as st
import pytest
import yaml
from faults.hostile_bombs import BOMBS
from faults.hostile_child import judged
from faults.hostile_formats import FORMATS
from faults.hostile_run import put
from hypothesis import HealthCheck, given, settings
from listener import Listener
from making import SMALL_AREA, write_area

from mapmill.areafile import load_area
from mapmill.errors import MapmillError

TESTS = Path(__file__).parents[1]
QUICK = 0.08
"""Share of the full number that is tried in the short test."""
WHOLE = ("same", "error", "other")
MOST_MB = 1024 + 350
"""Memory that a command may hold, beyond what the libraries hold when they are loaded."""


def verdicts(*arguments):
    """What a process that forks one child for each input tells."""
    command = [sys.executable, "-m", "faults.hostile_run", *map(str, arguments)]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def of_all_formats(share):
    """The same for every format, in two processes."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda part: verdicts(share, part, 2), range(2))
    return first | second


def row(name, found, sums):
    """A line of the table: tried, the same result, one line, another result."""
    count = collections.Counter(each["kind"] for each in found)
    numbers = " | ".join(str(count[kind]) for kind in WHOLE)
    return f"| {name} | {len(found)} | {numbers} | {sums or 'none'} |"


def check(found, sums):
    """No input of a format ended badly."""
    bad = [each for each in found if each["kind"] not in WHOLE[: 2 if sums else 3]]
    assert not bad, (len(bad), bad[:3])
    assert max(each["megabytes"] for each in found) < MOST_MB
    assert "error" in {each["kind"] for each in found} or len(found) < 20


@pytest.fixture(scope="module")
def quick():
    return of_all_formats(QUICK)


@pytest.mark.parametrize("format", FORMATS, ids=lambda each: each.name)
def test_damaged_files(quick, format):
    """A file that a disk or a network has damaged would end in a page of Python, fill the memory,
    or change the map though its format holds a checksum."""
    check(quick[format.name], format.sums)


def test_damaged_files_are_two_hundred(quick):
    """The short test would try nothing."""
    assert sum(map(len, quick.values())) >= 200 and len(quick) == len(FORMATS)


@pytest.mark.parametrize(
    "place", ["../x", "../own.txt", "../../../x", "x", "home/x", "tmp/x", "results/a.part", "asked"]
)
def test_what_is_written_outside_is_seen(tmp_path, place):
    """The tests of this file would pass whatever a file makes a command write, or ask."""
    good, listener = tmp_path / "good", Listener()
    (good / "project/results").mkdir(parents=True)
    case = put(good, tmp_path)

    def work():
        path = Path(place)
        if place == "asked":
            socket.create_connection(("127.0.0.1", listener.port)).close()
        elif place.startswith("home"):
            (Path.home() / "x").write_text("")
        elif place.startswith("tmp"):
            tempfile.mkstemp()
        else:
            path.write_text("")
        Path("results/own").write_text("")

    kind = judged(case, work).kind
    assert listener.asked() == (place == "asked")
    assert kind == "same" if place == "asked" else kind.startswith("touched ["), kind


@pytest.mark.full
def test_thousands_of_damaged_files(capsys):
    """What one input in a thousand does would be met by a user first."""
    found = of_all_formats(1)
    lines = [row(each.name, found[each.name], each.sums) for each in FORMATS]
    everything = [each for of_one in found.values() for each in of_one]
    with capsys.disabled():
        print("\n| format | tried | right result | one line | unnoticed | checksum |")
        print("|---|---|---|---|---|---|", *lines, sep="\n")
        print(row("all", everything, "").rpartition("|")[0].rpartition("|")[0] + "| |")
        print(f"longest {max(each['seconds'] for each in everything):.1f} s, ", end="")
        print(f"most {max(each['megabytes'] for each in everything):.0f} MB with the libraries")
    assert len(everything) >= 2000
    for each in FORMATS:
        check(found[each.name], each.sums)


@pytest.mark.full
def test_files_that_are_made_to_hurt(capsys):
    """A stranger's file would fill the memory, hang for ever, read a device or run a program."""
    found = verdicts("bombs")
    bad = {name: each for name, each in found.items() if each["kind"] not in each["ends"]}
    with capsys.disabled():
        print(f"\n{len(found)} files made to hurt: {len(found) - len(bad)} as they should,", end="")
        print(f" longest {max(each['seconds'] for each in found.values()):.1f} s,", end="")
        print(f" most {max(each['megabytes'] for each in found.values()):.0f} MB")
    assert len(found) == len(BOMBS) > 150 and not bad, list(bad.items())[:3]
    assert max(each["megabytes"] for each in found.values()) < MOST_MB
    assert sum(each["aimed"] > 0 for each in found.values()) >= 15  # at a port that listens


WORDS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["../x", "$(touch ran)", "a\nb", "--help", "1e400", "/dev/zero", "'\"`;"]),
)
VALUES = st.recursive(
    WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
SMALL = yaml.safe_load(SMALL_AREA)
KEYS = [
    (section, key)
    for section, content in SMALL.items()
    for key in (None, *(content if isinstance(content, dict) else ()))
]


@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(place=st.sampled_from(KEYS), value=VALUES)
def test_any_value_of_any_key(tmp_path, monkeypatch, place, value):
    """A value that nobody has thought of would end in a page of Python."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load(SMALL_AREA)
    section, key = place
    if key is None:
        content[section] = value
    else:
        content[section][key] = value
    path = write_area("any", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    try:
        area = load_area(path)
    except MapmillError as error:
        assert "\n" not in str(error) and len(str(error)) < 2600
    else:
        assert area == load_area(path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["any.yaml", "areas", "config"]
