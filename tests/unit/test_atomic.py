"""Files that are whole or absent, under exceptions and kills between any two steps."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mapmill.atomic import aside, replace_folder, replace_link, whole_file, write_json, write_text
from mapmill.errors import DiskError


class Killed(BaseException):
    """Stands for the end of the process: nothing in the code may catch it."""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt(), Killed()])
def test_a_failed_write_leaves_nothing(tmp_path, error):
    """Otherwise half a file would pass for a finished one in the next run."""
    with pytest.raises(type(error)), whole_file(tmp_path / "deep/map.tif") as part:
        part.write_bytes(b"half")
        raise error
    assert names(tmp_path / "deep") == []


def test_a_failed_write_leaves_the_old_file(tmp_path):
    """Otherwise a failed rerun would destroy the last good result."""
    path = tmp_path / "map.tif"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="full"), whole_file(path) as part:
        part.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise OSError("full")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["map.tif"]


def test_a_finished_write_replaces_and_leaves_nothing_else(tmp_path):
    """Otherwise folders would fill with parts of files, or a rerun would keep the old result."""
    path = tmp_path / "map.tif"
    path.write_bytes(b"old")
    with whole_file(path) as part:
        assert part.parent == path.parent  # a rename across disks is a copy, which is not atomic
        assert part.suffix == ".tif"  # drivers choose the format by it
        part.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert names(tmp_path) == ["map.tif"]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    """Otherwise `kill -9` in the middle of a write would leave a broken file under a good name."""
    path = tmp_path / "map.json"
    path.write_text("old")
    code = (
        "import os, sys; from pathlib import Path; from mapmill.atomic import whole_file\n"
        "with whole_file(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half'); os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert all(name.startswith(".") for name in names(tmp_path) if name != "map.json")


def killed_writer(path, work):
    """A process that does some work with a name aside of `path` and is killed there."""
    code = (
        "import os, sys; from pathlib import Path; from mapmill.atomic import aside\n"
        f"part = aside(Path(sys.argv[1])); {work}; os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    "work",
    [
        "part.write_text('half')",
        "part.mkdir(); (part / 'zarr.json').write_text('half')",
        "part.symlink_to('gone.tif')",
        "Path(f'{part}.ovr.tmp').write_text('half')",
        "part = aside(part); part.write_text('half')",
    ],
)
def test_the_next_writer_removes_what_a_killed_one_left(tmp_path, work):
    """Otherwise each kill would leave a part of a map on the disk, until it is full."""
    path = tmp_path / "map.tif"
    write_text(tmp_path / "map.2.tif", "another file")
    killed_writer(path, work)
    assert len(names(tmp_path)) == 2
    write_text(path, "whole")
    assert names(tmp_path) == ["map.2.tif", "map.tif"]


def test_what_is_aside_of_a_hidden_file_is_removed_too(tmp_path):
    """Otherwise each kill of a download would leave a part of its note."""
    path = tmp_path / ".labels.tif.partial.json"
    killed_writer(path, "part.write_text('half')")
    assert len(names(tmp_path)) == 1
    write_text(path, "whole")
    assert names(tmp_path) == [path.name]


def test_what_others_are_at_work_on_stays(tmp_path):
    """Otherwise one of two writers, here or on another machine, would lose its file."""
    path = tmp_path / "map.tif"
    mine = aside(path)
    mine.write_text("half")
    killed_writer(path, "part.write_text('half')")
    (orphan,) = set(tmp_path.iterdir()) - {mine}
    machine, _, rest = orphan.name.removeprefix(".map.").partition("-")
    theirs = orphan.rename(tmp_path / f".map.{int(machine, 16) ^ 1:08x}-{rest}")
    hidden = tmp_path / f"map.{machine}-{rest}"  # not aside: a user's own file
    hidden.write_text("")
    write_text(path, "whole")
    assert set(tmp_path.iterdir()) == {path, mine, theirs, hidden}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_writer_that_hides_why_it_failed(tmp_path, monkeypatch, number):
    """Otherwise a full disk would be a page of Python from deep inside a library."""
    path = tmp_path / "map.tif"

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DiskError) as told, whole_file(path):
        raise RuntimeError("libtiff: write error at scanline 7")
    expected = f"{path}: found {os.strerror(number)}; expected room and rights to write it"
    assert str(told.value).startswith(expected)
    assert names(tmp_path) == []


def test_a_fault_of_ours_keeps_its_name_where_there_is_room(tmp_path):
    """Otherwise every bug would be told as a full disk."""
    with pytest.raises(RuntimeError, match="a bug"), whole_file(tmp_path / "map.tif"):
        raise RuntimeError("a bug")


WRITABLE = (
    "import fcntl, os; flock = fcntl.flock\n"
    "def as_nfs(file, how):\n"
    "    if not fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE: raise OSError(9, 'read only')\n"
    "    flock(file, how)\n"
    "fcntl.flock = as_nfs\n"
)
NOWHERE = "import fcntl\ndef none(*_): raise OSError(37, 'no locks')\nfcntl.flock = none\n"


@pytest.mark.parametrize("locks", ["", WRITABLE, NOWHERE], ids=["here", "nfs", "none"])
def test_many_replace_a_folder_at_once(tmp_path, locks):
    """Otherwise two runs of pack would leave no store, or fail for no reason."""
    code = (
        f"{locks}import sys; from pathlib import Path; from mapmill.atomic import *\n"
        "folder = Path('patches.zarr')\n"
        "for _ in range(100):\n"
        "    with spare(folder) as part:\n"
        "        for name in ('zarr.json', 'c/0', 'c/1'): write_text(part / name, sys.argv[1])\n"
        "        replace_folder(part, folder)\n"
    )
    commands = [[sys.executable, "-c", code, text] for text in ("one", "two", "three")]
    processes = [subprocess.Popen(command, cwd=tmp_path) for command in commands]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert content(tmp_path / "patches.zarr") in ("one", "two", "three")
    assert names(tmp_path) == ["patches.zarr"]


def test_two_writers_never_share_a_name_aside():
    """Otherwise the orphan of a killed run and its successor would write into one file."""
    taken = [aside(Path("results/map.tif")) for _ in range(500)]
    assert len(set(taken)) == 500


def test_equal_values_give_equal_json(tmp_path):
    """Otherwise a rerun would change bytes, and all that hangs on their digest."""
    one, two = tmp_path / "1.json", tmp_path / "2.json"
    write_json(one, {"b": [1, 2.5], "a": {"ü": None, "c": True}})
    write_json(two, {"a": {"c": True, "ü": None}, "b": [1, 2.5]})
    assert one.read_bytes() == two.read_bytes()
    assert json.loads(one.read_text("utf-8")) == {"a": {"c": True, "ü": None}, "b": [1, 2.5]}


def test_a_value_that_json_lacks_is_refused(tmp_path):
    """Otherwise `NaN` would stand in a file that other programs cannot read."""
    write_json(tmp_path / "metrics.json", {"iou": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "metrics.json", {"iou": float("nan")})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"iou": 0.5}
    assert names(tmp_path) == ["metrics.json"]


def test_text_is_utf8_whatever_the_locale(tmp_path):
    """Otherwise a credit such as `© OpenStreetMap` would differ between machines."""
    write_text(tmp_path / "a.txt", "© ü\n")
    assert (tmp_path / "a.txt").read_bytes() == "© ü\n".encode()


def test_a_link_is_relative_and_replaces(tmp_path):
    """Otherwise a moved project would lose its downloads, or a new download would not show."""
    for name in ("one", "two"):
        write_text(tmp_path / f"project/resources/{name}.tif", name)
    link = tmp_path / "project/results/a/download/B02.tif"
    for name in ("one", "two", "two"):
        replace_link(tmp_path / f"project/resources/{name}.tif", link)
        assert link.read_text() == name
    assert not link.readlink().is_absolute()
    assert names(link.parent) == ["B02.tif"]
    shutil.move(tmp_path / "project", tmp_path / "moved")
    assert (tmp_path / "moved/results/a/download/B02.tif").read_text() == "two"


def test_a_link_replaces_one_whose_target_is_gone(tmp_path):
    """Otherwise a cleared store would have to be mended by hand, link by link."""
    write_text(tmp_path / "gone.tif", "")
    replace_link(tmp_path / "gone.tif", tmp_path / "link.tif")
    (tmp_path / "gone.tif").unlink()
    write_text(tmp_path / "here.tif", "here")
    replace_link(tmp_path / "here.tif", tmp_path / "link.tif")
    assert (tmp_path / "link.tif").read_text() == "here"


def build(folder, text):
    """A whole folder of three files, as the caller of replace_folder leaves it."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("zarr.json", "c/0", "c/1"):
        write_text(folder / name, text)


def content(folder):
    """The text of a whole folder, None for one that is absent; anything else is a defect."""
    if not folder.exists():
        return None
    texts = {(folder / name).read_text() for name in ("zarr.json", "c/0", "c/1")}
    assert len(texts) == 1
    return texts.pop()


def killed_replace(part, folder, step):
    """Whether replace_folder, in a process of its own, was killed before its operation on files
    number `step`; in the midst of clearing."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    done, rename, clear = [], Path.rename, shutil.rmtree

    def counted(work):
        def call(path, *arguments, **options):
            done.append(path)
            if len(done) > step:
                if work is clear and Path(path).exists():
                    (Path(path) / "zarr.json").unlink(missing_ok=True)
                os.kill(os.getpid(), signal.SIGKILL)
            return work(path, *arguments, **options)

        return call

    try:
        Path.rename, shutil.rmtree = counted(rename), counted(clear)
        replace_folder(part, folder)
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.parametrize("first", range(5))
@pytest.mark.parametrize("second", range(5))
def test_a_folder_is_old_or_new_whatever_is_killed(tmp_path, first, second):
    """Otherwise a kill while a patch store is replaced would lose it, or leave two halves."""
    folder, part = tmp_path / "patches.zarr", tmp_path / "patches.zarr.part"
    build(folder, "old")
    for number, step in enumerate((first, second)):
        build(part, f"new {number}")
        orphan = any(name.startswith(".patches.") and ".part." in name for name in names(tmp_path))
        operations = 2 + folder.exists() + orphan
        assert killed_replace(part, folder, step) == (step < operations)
        assert content(folder) in (None, "old", "new 0", "new 1")
        assert content(folder) or content(part)  # one whole copy is left at any time
    build(part, "last")
    replace_folder(part, folder)
    assert content(folder) == "last"
    assert names(tmp_path) == ["patches.zarr"]


def test_a_folder_that_cannot_take_the_place_leaves_the_old_one(tmp_path, monkeypatch):
    """Otherwise the last good store would be cleared away though no other has come."""
    folder, part = tmp_path / "patches.zarr", tmp_path / "part"
    build(folder, "old")
    build(part, "new")
    rename = Path.rename

    def refuse(path, target):
        if path == part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(DiskError, match=r"patches.zarr: found No space left"):
        replace_folder(part, folder)
    assert content(folder) == "old" and names(tmp_path) == ["part", "patches.zarr"]
