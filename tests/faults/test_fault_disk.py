"""Full disks, folders that may not be written to, and two writers of one file."""

import ctypes
import os
import resource
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from chain_steps import (
    FORK,
    ROOTS,
    VERSION,
    command_of,
    contents,
    is_aside,
    one_line,
    run,
    started,
    works,
)

SOME = ("download", "compose", "pack", "train", "mosaic")
"""Stages that write in a way of their own; the others are tried by `make test-full`."""
EVERY = [s if s in SOME else pytest.param(s, marks=pytest.mark.full) for s in VERSION]
SHARES = [0.5, *(pytest.param(share, marks=pytest.mark.full) for share in (0.0, 0.9))]
PAGE = 4096
DISK = 64 * 2**20
FULL = ("No space left on device", "File too large")


@pytest.fixture(scope="module")
def disk(tmp_path_factory):
    """A small disk, the current folder; without the right to mount one, a limit on files' sizes.

    Yields a function that leaves so much room, and gives what a process has to call for it.
    """
    place = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    FORK.Process(target=os.getpid).start()  # the server of processes keeps the folder it began in
    is_mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield leave if is_mounted else lambda room: (limit, max(room // 3, 1))
    if is_mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def leave(room):
    """Fill the disk but for some bytes, in whole pages."""
    stat = os.statvfs(".")
    Path("filler").write_bytes(bytes(stat.f_bavail * stat.f_frsize - room // PAGE * PAGE))
    return ()


def limit(size):
    """Files of the process may not grow larger."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def new_files(before):
    """What is there now and was not, but for what is aside."""
    now = contents()
    return {name: now[name] for name in now.keys() - before.keys() if not is_aside(name)}


@pytest.fixture(scope="module")
def tally():
    """How often the disk was full, and what came of it; told at the end."""
    counted = Counter()
    yield counted
    print("\n| stage | full disks | one line | had room |")
    for stage in VERSION:
        numbers = [counted[stage, name] for name in ("line", "written")]
        print(f"| `{stage}` | {sum(numbers)} | {numbers[0]} | {numbers[1]} |")


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("stage", EVERY)
def test_full_disk(reference, disk, tally, stage, share):
    """A full disk would leave maps that end in the middle, or a page of Python."""
    reference.lay(stage)
    written = reference.written[stage]
    pages = sum(-(-len(content) // PAGE) for content in written.values())
    before = contents()
    prepare = disk(int(share * pages * PAGE))
    status, said = run(command_of(stage), prepare)
    Path("filler").unlink(missing_ok=True)
    found = new_files(before)
    assert found.items() <= written.items()
    tally[stage, "line" if status else "written"] += 1
    if status:
        lines = [line for line in said.splitlines() if line.startswith(f"mapmill {stage}: res")]
        assert len(lines) == 1 and any(why in lines[0] for why in FULL), said
        assert "Traceback" not in said
    else:
        assert found == written
    assert not [name for name in contents() if ".part" in Path(name).name and stage != "download"]
    works(command_of(stage))
    assert contents() == before | written


@pytest.mark.parametrize("stage", EVERY)
def test_read_only_folders(reference, folder, stage):
    """Folders that may not be written to would give a page of Python, or pass for finished."""
    reference.lay(stage)
    before = contents()
    for name in {str(Path(name).parent) for name in reference.written[stage]}:
        Path(name).mkdir(parents=True, exist_ok=True)
    folders = [path for root in ROOTS for path in [root, *root.rglob("*")] if path.is_dir()]
    for path in folders:
        path.chmod(0o555)
    try:
        line = one_line(command_of(stage), (lock_out,))
    finally:
        for path in folders:
            path.chmod(0o755)
    assert "Permission denied" in line and "res" in line.split(": ")[1]
    assert contents() == before


def lock_out():
    """Give up the superuser's right to write everywhere, with all capabilities (capset(2))."""
    version_3, this_process, none = 0x20080522, 0, [0] * 6
    header = (ctypes.c_uint32 * 2)(version_3, this_process)
    assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)(*none)) == 0


@pytest.mark.once
@pytest.mark.parametrize("stage", EVERY)
def test_two_at_once(reference, folder, stage):
    """Two commands that write the same file would write into one another."""
    reference.lay(stage)
    before = contents()
    processes = [started(command_of(stage), Path(f"said-{n}.txt")) for n in range(2)]
    for number, process in enumerate(processes):
        process.join()
        assert process.exitcode == 0, Path(f"said-{number}.txt").read_text()
    assert contents() == before | reference.written[stage]
