"""tests/run.sh: what is tried twice, and what is not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[1] / "run.sh"
SETTINGS = "[pytest]\nmarkers =\n    once: never again\n    full: long\n"
FAILS_ONCE = """
import pathlib, pytest
@pytest.mark.{mark}
def test_{name}():
    before = pathlib.Path({name!r} + ".txt")
    assert before.exists() or before.write_text("") is None and False
"""


@pytest.mark.parametrize(
    ("marks", "code", "said"),
    [
        (["filterwarnings('default')"], 0, "FAILED ONCE"),
        (["once"], 1, "have to pass the first time"),
        (["filterwarnings('default')", "once"], 1, "have to pass the first time"),
    ],
)
def test_what_fails_once_passes_but_for_races(tmp_path, marks, code, said):
    """A race that is lost in one run of ten would stay hidden, or a busy machine fail all."""
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    for number, mark in enumerate(marks):
        text = FAILS_ONCE.format(mark=mark, name=f"t{number}")
        (tmp_path / f"test_{number}.py").write_text(text)
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in [name for name in env if name.startswith("PYTEST_")]:
        del env[name]
    command = ["sh", RUN, "not full", "."]
    done = subprocess.run(
        command, cwd=tmp_path, env=env, text=True, capture_output=True, check=False
    )
    assert done.returncode == code, done.stdout
    assert said in done.stdout
