"""Progress: a bar for the person who waits, lines in a log, silence elsewhere."""

import logging
import os
import pty
import subprocess
import sys

from mapmill import progress

SCRIPT = "from mapmill.progress import track; print(sum(track(range(5), 'packing', 5, 'patches')))"


def test_bar_is_drawn_on_a_terminal():
    """Someone who waits for an hour of training would see nothing move."""
    reader, writer = pty.openpty()
    subprocess.run([sys.executable, "-c", SCRIPT], stdout=writer, check=True)
    os.close(writer)
    said = os.read(reader, 10_000).decode()
    assert "packing" in said and "| 0/5 [" in said and said.endswith("10\r\n")


def test_nothing_is_drawn_into_a_file():
    """A log on a cluster would fill with bars."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout == "10\n" and done.stderr == ""


def test_log_says_how_far_the_work_is(monkeypatch, caplog):
    """Nobody could tell a slow job from a dead one."""
    monkeypatch.setattr(progress, "LOG_EVERY_S", -1.0)
    with caplog.at_level(logging.INFO):
        assert list(progress.track("abcd", "packing", 4, "patches")) == list("abcd")
    assert "packing: 2 of 4 patches" in caplog.text and "s left" in caplog.text
