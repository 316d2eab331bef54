"""Files that are fetched in several parts: what is kept is what the server has, whole, whatever
breaks in between, and whoever else wants it."""

import ctypes
import errno
import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fetching import BODY, DATE, KEPT, MIB, SHA256, fetch, left, refused, right, served

from mapmill import locks
from mapmill.catalogue import http, keep, partial
from mapmill.errors import DiskError

OTHER = bytes(os.urandom(len(BODY)))


@pytest.fixture
def server(tmp_path, monkeypatch):
    yield from served(tmp_path, monkeypatch)


RUN = """
import logging, os, signal, sys
from pathlib import Path
from mapmill.catalogue import http, keep, partial
logging.basicConfig(level="INFO")
http.BACKOFF_S = 0.01
{before}
keep.fetch(keep.Wanted(sys.argv[1]), Path("store/scene.tif"))
"""


def start(server, before="", **more):
    """Another process that fetches the file."""
    command = [sys.executable, "-c", RUN.format(before=before), server.url]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **more)


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


# ---------------------------------------------------------------------------------- going on
def test_a_broken_connection_is_gone_on_with(server):
    """A scene of gigabytes over a bad line would start from its first byte each time."""
    server.steps = [{"cut": MIB + 7}, {"cut": MIB}]
    fetch(server)
    assert server.ranges_asked() == [None, f"bytes={MIB + 7}-", f"bytes={2 * MIB + 7}-"]
    assert {each.headers["If-Range"] for each in server.asked[1:]} == {'"one"'}
    assert right()["etag"] == '"one"'


def test_a_line_that_breaks_again_and_again(server, monkeypatch):
    """A large file over a bad line would never arrive, though each attempt gets further."""
    monkeypatch.setattr(keep, "FURTHER", 100_000)
    server.steps = [{"cut": 200_000} for _ in range(12)]
    fetch(server)
    right()
    assert len(server.asked) == 13


def test_a_line_that_brings_nothing_more(server):
    """A run would ask for ever; and what has come would be thrown away at its end."""
    server.steps = [{"cut": MIB}] + [{"cut": 1000} for _ in range(5)]
    line = refused(server)
    assert "5 times" in line and "the same command goes on where it stopped" in line
    assert len(server.asked) == 1 + http.ATTEMPTS
    fetch(server)
    assert server.ranges_asked()[-1] == f"bytes={MIB + 5000}-"
    right()


def test_attempts_have_an_end(server, monkeypatch):
    """A server that drops every connection would be asked for weeks."""
    monkeypatch.setattr(http, "MOST", 7)
    monkeypatch.setattr(keep, "FURTHER", 1000)
    server.steps = [{"cut": 20_000} for _ in range(50)]
    assert "7 times" in refused(server) and len(server.asked) == 7


def test_a_killed_run_is_gone_on_with(server):
    """The time limit of a cluster's job would cost all that has come."""
    server.steps = [{"cut": 2 * MIB, "waits": threading.Event()}]
    part = KEPT.with_name(".scene.tif.partial")
    with start(server) as process:
        wait_for(lambda: part.exists() and part.stat().st_size >= MIB)
        process.kill()
    assert process.returncode == -signal.SIGKILL and ".scene.tif.lock" in left()
    size = part.stat().st_size
    fetch(server)
    assert server.ranges_asked() == [None, f"bytes={size}-"]
    right()


def test_a_file_that_has_changed_meanwhile(server):
    """The first half of one version and the second of another would be taken for a scene."""
    server.steps = [{"cut": 2 * MIB}]

    class Changes(list):
        def append(self, request):
            super().append(request)
            if len(self) == 2:
                server.body, server.etag = OTHER, '"two"'

    server.asked = Changes()
    fetch(server)
    assert server.ranges_asked() == [None, f"bytes={2 * MIB}-"]
    assert right(OTHER)["etag"] == '"two"'


def test_a_server_that_does_not_look_at_the_condition(server):
    """The same mixture, of a server that sends the rest of whatever it has now."""
    server.steps = [{"cut": 2 * MIB}] + [{"status": 503}] * 5
    refused(server)
    server.body, server.etag, server.modified = OTHER, '"two"', None
    server.steps = [{"ignores": True}]
    fetch(server)
    assert server.ranges_asked()[-2:] == [f"bytes={2 * MIB}-", None]
    right(OTHER)


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_validator_a_checksum_is_needed(server, etag):
    """Nobody could tell a mixture of two versions; with a checksum one can."""
    server.etag, server.modified = etag, None
    server.steps = [{"cut": 2 * MIB}]
    fetch(server)
    assert server.ranges_asked() == [None, None]
    right()
    KEPT.unlink()
    server.steps, server.asked = [{"cut": 2 * MIB}], []
    fetch(server, f"sha256:{SHA256}")
    assert server.ranges_asked() == [None, f"bytes={2 * MIB}-"]
    assert "If-Range" not in server.asked[1].headers
    right()


@pytest.mark.parametrize("changed", ["2018", "now"])
def test_a_date_is_a_validator_unless_it_is_now(server, changed):
    """A file that is written twice in a second has one date for two versions."""
    server.etag = None
    server.modified = DATE if changed == "2018" else time.strftime(
        "%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 5)
    )  # fmt: skip
    server.steps = [{"cut": 2 * MIB}]
    fetch(server)
    assert server.ranges_asked()[1] == (f"bytes={2 * MIB}-" if changed == "2018" else None)
    right()


def test_a_server_without_ranges(server):
    """Its whole answer would be put behind the half that is there."""
    server.ranges, server.steps = False, [{"cut": 2 * MIB}]
    fetch(server)
    assert server.ranges_asked() == [None, f"bytes={2 * MIB}-"]
    right()


@pytest.mark.parametrize("step", [{"shift": 1}, {"shift": -7}, {"status": 206}, {"status": 416}])
def test_a_part_that_is_not_the_rest(server, step):
    """Bytes would be put where they do not belong."""
    server.steps = [{"cut": 2 * MIB}, step]
    fetch(server)
    assert server.ranges_asked() == [None, f"bytes={2 * MIB}-", None]
    right()


def test_a_rest_in_pieces(server):
    """Networks of caches that give a few MiB at a time would be an error."""
    server.steps = [{"cut": MIB}, {"end": 2 * MIB + 5}]
    fetch(server)
    assert server.ranges_asked() == [None, f"bytes={MIB}-", f"bytes={2 * MIB + 5}-"]
    right()


def test_a_rest_of_other_bytes_is_noticed(server):
    """A checksum that fails after going on would blame the file, and not the going on."""
    server.steps = [{"cut": 2 * MIB}]
    real = http.pieces

    def spoilt(answer):
        for piece in real(answer):
            yield piece if answer.status_code == 200 else bytes(len(piece))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mapmill.catalogue.answers.pieces", spoilt)
        fetch(server, f"sha256:{SHA256}")
    assert server.ranges_asked() == [None, f"bytes={2 * MIB}-", None]
    right()


def test_after_a_restart_of_the_machine(server, tmp_path, monkeypatch):
    """Bytes that were not flushed may be holes, that no length tells."""
    server.steps = [{"cut": 2 * MIB}] + [{"status": 503}] * 5
    refused(server)
    (tmp_path / "boot").write_text("another")
    monkeypatch.setattr(partial, "BOOT", tmp_path / "boot")
    fetch(server)
    assert server.ranges_asked()[-1] is None
    right()


def test_a_compressed_file_is_not_gone_on_with(server):
    """Ranges count compressed bytes, the file on disk has others."""
    server.body, server.more = gzip.compress(BODY), {"Content-Encoding": "gzip"}
    server.steps = [{"cut": 2 * MIB}]
    fetch(server)
    assert server.ranges_asked() == [None, None]
    right()


def test_a_page_does_not_cost_what_has_come(server):
    """A log-in page in the middle of a night would throw away a gigabyte."""
    server.steps = [{"cut": 2 * MIB}, {"status": 404}]
    assert "status 404" in refused(server)
    fetch(server)
    assert server.ranges_asked()[-1] == f"bytes={2 * MIB}-"
    right()


# ------------------------------------------------------------------------------ other processes
def test_two_processes_fetch_once(server):
    """Two jobs that want one scene would write over each other, or fetch it twice."""
    event = threading.Event()
    server.steps = [{"cut": MIB, "waits": event}]
    with start(server) as first:
        wait_for(lambda: server.asked)
        with start(server) as second:
            assert "waiting" in second.stderr.readline()
            event.set()
            said = second.communicate(timeout=20)[1]
        first.communicate(timeout=20)
    assert first.returncode == second.returncode == 0
    assert "is in the store" in said and len(server.asked) == 1
    right()


def test_a_kill_between_record_and_rename(server):
    """A file would pass for finished that is not, or be fetched again though it is whole."""
    kill = "partial.Partial.commit = lambda *_: os.kill(os.getpid(), signal.SIGKILL)"
    with start(server, kill) as process:
        process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL
    assert not KEPT.exists() and Path(f"{KEPT}.json").exists()
    fetch(server)
    assert len(server.asked) == 1
    right()


@pytest.mark.parametrize("left", [[".lock"], [".lock", ".partial.json"]])
def test_a_kill_after_the_file_has_its_name(server, left):
    """Locks and notes of files that are whole would lie about for ever."""
    fetch(server)
    for end in left:
        KEPT.with_name(f".{KEPT.name}{end}").write_text("")
    fetch(server)
    assert sorted(p.name for p in KEPT.parent.iterdir()) == ["scene.tif", "scene.tif.json"]
    assert len(server.asked) == 1
    right()


def test_whoever_waited_is_alone_too(tmp_path):
    """Two that waited for one that failed would both write: one on the lock that is gone."""
    kept, seen = tmp_path / "a.tif", []

    def wait():
        with partial.held(kept):
            seen.append(kept.with_name(".a.tif.lock").exists())

    with partial.held(kept):
        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        assert seen == []
    for thread in threads:
        thread.join()
    assert seen == [True] * 3 and list(tmp_path.iterdir()) == []


def test_a_whole_part_of_a_killed_run_that_is_damaged(server):
    """It would be refused in every run from then on."""
    server.steps = [{"cut": 2 * MIB}] + [{"status": 503}] * 5
    refused(server)
    part = KEPT.with_name(".scene.tif.partial")
    part.write_bytes(part.read_bytes().ljust(len(BODY), b"x"))
    server.asked.clear()
    fetch(server, f"sha256:{SHA256}")
    assert server.ranges_asked() == [None]
    right()


def test_without_locks(server, monkeypatch, caplog):
    """On file systems without locks nothing could be fetched at all."""

    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    server.steps = [{"cut": 2 * MIB}]
    fetch(server)
    assert server.ranges_asked() == [None, None] and "no locks" in caplog.text
    right()


def test_a_folder_that_may_not_be_written_to(server):
    """A page of Python from deep inside, after the file has come for an hour."""
    KEPT.parent.mkdir()
    KEPT.parent.chmod(0o555)
    drop = {"preexec_fn": lambda: ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)}
    with start(server, **drop) as process:
        said = process.communicate(timeout=20)[1]
    KEPT.parent.chmod(0o755)
    assert "DiskError: store/scene.tif: found Permission denied" in said.splitlines()[-1]
    assert server.asked == [] and left() == []


def test_a_full_disk(server, monkeypatch):
    """What has come would fill the disk of everybody else."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(http, "write", full)
    with pytest.raises(DiskError, match=r"scene.tif: found No space left"):
        fetch(server)
    assert left() == []
