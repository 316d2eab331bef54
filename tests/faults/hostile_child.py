"""One hostile input, in a process of its own: how it ended, how long it took, what it touched."""

import hashlib
import json
import os
import re
import resource
import signal
import stat
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path

from mapmill.cli import main

SECONDS = 30
MEMORY = 2**30
"""Bytes that a command may take beyond what the libraries have when they are loaded."""
WRITTEN = ("results", "resources", "out")
"""Folders of a project that commands may write to."""
CASE = Path("watched/decoy/deep/case")
"""Where the folder of an input lies: what is written three folders above it is seen, too."""


class RefusedError(Exception):
    """A command ended with its one line."""


@dataclass(frozen=True)
class Verdict:
    """How one input ended."""

    kind: str
    """same, error, other (a result that is not the undamaged file's), or a defect in words."""
    said: str
    seconds: float
    megabytes: float
    """Most that was resident, libraries included."""


def mapmill(*arguments):
    """Run a command, in the child."""
    if main([str(argument) for argument in arguments]) != 0:
        raise RefusedError


def judged(folder, work, right=None, seconds=SECONDS):
    """Run `work` in the folder `project` below `folder`, forked and limited.

    Its HOME and TMPDIR are in `folder` as well; all below `watched` is looked at afterwards.

    Parameters
    ----------
    folder : ends in CASE
    work : () -> text of the result, such as the digest of its pixels
    right : the text of the undamaged file; None: any result is `same`
    """
    watched = folder.parents[len(CASE.parts) - 2]
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    before = listing(watched)
    log, answer = folder / "log.txt", folder / "answer.json"
    started, pid = time.monotonic(), os.fork()
    if pid == 0:
        _in_child(folder, work, log, answer)
    status, used = _wait(pid, seconds)
    took = time.monotonic() - started
    said = log.read_text(errors="replace") if log.exists() else ""
    told = json.loads(answer.read_text()) if answer.exists() else None
    kind = _kind(status, said, told, right)
    for path in (log, answer):
        path.unlink(missing_ok=True)
    touched = _touched(before, listing(watched), folder.relative_to(watched))
    return Verdict(
        f"touched {touched}" if touched else kind, said, took, round(used.ru_maxrss / 1024)
    )


def _in_child(folder, work, log, answer):
    """Never returns."""
    code = 3
    try:
        os.chdir(folder / "project")
        os.environ |= {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
        tempfile.tempdir = None  # it was looked up before
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(target, stream)
        size = int(re.search(r"VmSize:\s+(\d+)", Path("/proc/self/status").read_text())[1]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        answer.write_text(json.dumps(work()))
        code = 0
    except RefusedError:
        code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(pid, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found, status, used = os.wait4(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), used
        time.sleep(0.003)
    os.kill(pid, signal.SIGKILL)
    _, _, used = os.wait4(pid, 0)
    return None, used


def _kind(status, said, told, right):
    if status is None:
        return f"hangs over {SECONDS} s"
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    if "Traceback" in said:
        return "a page of Python"
    if status == 1:
        lines = [line for line in said.splitlines() if re.match(r"mapmill [\w-]+: .+", line)]
        return "error" if len(lines) == 1 else f"{len(lines)} lines of refusal"
    if status != 0:
        return f"status {status}"
    return "same" if right is None or told == right else "other"


def listing(folder):
    """Name -> what it is, of all below a folder, links not followed."""
    found = {}
    for path in folder.rglob("*"):
        about = path.lstat()
        small = stat.S_ISREG(about.st_mode) and about.st_size < 2**27
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if small else ""
        found[str(path.relative_to(folder))] = (about.st_mode, digest)
    return found


def _touched(before, after, case):
    """Names that are new, gone or changed where commands may write nothing; parts left behind."""
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    mine = [case / "project" / name for name in WRITTEN]
    outside = {name for name in changed if not any(map(Path(name).is_relative_to, mine))}
    parts = {name for name in changed if ".part" in name and name in after}
    return sorted(outside | parts)


def as_json(verdict):
    """For the process that asked."""
    return asdict(verdict)
