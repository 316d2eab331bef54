"""Progress: a bar for the person who waits, lines in a log, silence elsewhere."""

import logging
import os
import pty
import subprocess
import sys

import pytest

from mapmill import progress
from mapmill.progress import rate_text, size_text, standing_at, time_text

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


def test_line_says_the_rate_and_the_time_left():
    """Nobody could tell whether to wait or to come back tomorrow."""
    assert standing_at(12, 1703, "MiB", 3.5) == "12 of 1703 MiB, 3.4 MiB/s, about 8 min left"
    assert standing_at(900, 1000, "MiB", 300) == "900 of 1000 MiB, 3 MiB/s, about 33 s left"


def test_line_of_unknown_length_invents_no_end():
    """A body whose length the server does not tell would read as `12 of 0`."""
    assert standing_at(12, 0, "MiB", 4) == "12 MiB, 3 MiB/s"
    assert standing_at(0, 5, "MiB", 4) == "0 of 5 MiB"
    assert standing_at(7, 5, "MiB", 0.0) == "7 of 5 MiB"
    assert standing_at(7, 5, "MiB", 1.0).endswith("about 0 s left")


@pytest.mark.parametrize(
    ("rate", "said"),
    [(1234.5, "1234 it/s"), (3.43, "3.4 it/s"), (0.5, "30 it/min"), (0.001, "3.6 it/h")],
)
def test_slow_work_is_told_by_the_minute_or_hour(rate, said):
    """A step of training in twenty seconds would be `0.05 it/s`, or 0."""
    assert rate_text(rate, "it") == said


def test_spans_and_sizes_are_said_as_people_say_them():
    """Forty thousand seconds mean nothing to anybody."""
    spans = {0: "0 s", 119: "119 s", 600: "10 min", 7200: "2 h", 200_000: "2 days"}
    assert {seconds: time_text(seconds) for seconds in spans} == spans
    sizes = {0: "0 kB", 1500: "1.5 kB", 2e6: "2.0 MB", 1.21e9: "1.2 GB", 3e12: "3.0 TB"}
    assert {count: size_text(count) for count in sizes} == sizes


def test_log_has_a_line_in_half_a_minute_and_no_more(monkeypatch, caplog):
    """A log of a download would hold a line for each of ten thousand pieces."""
    clock = iter(range(0, 100_000, 10))  # each item takes ten seconds
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO, logger="mapmill.progress"):
        list(progress.track(range(13), "fetch", 13, "MiB"))
    assert len(caplog.messages) == 3
    assert caplog.messages[0] == "fetch: 3 of 13 MiB, 4.5 MiB/min, about 2 min left"


def test_items_of_different_size(caplog, monkeypatch):
    """The rate of a map would be told in tiles, whose size nobody knows."""
    monkeypatch.setattr("mapmill.progress.LOG_EVERY_S", -1.0)
    caplog.set_level("INFO")
    sizes = [0.5, 1.25, 0.25]
    assert list(progress.track(sizes, "map", 2.0, "Mpx", lambda size: size)) == sizes
    said = [record.getMessage() for record in caplog.records]
    assert "map: 0.5 of 2 Mpx" in said[1] and "map: 1.75 of 2 Mpx" in said[2]
    assert "Mpx/" in said[2] and "left" in said[2]
