"""Files that are whole or absent: written aside, flushed to disk, then renamed."""

import functools
import json
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EEXIST, ENOTEMPTY
from pathlib import Path
from typing import Any

from mapmill.errors import REFUSALS, DiskError
from mapmill.locks import alone

ROOM = 2**20
"""Bytes that must still find room after a write that failed for another reason."""


def aside(path: Path) -> Path:
    """A name beside `path` that no other process uses; the suffix is kept for format drivers.

    What killed processes of this machine left under such names is removed first.
    """
    _clear_orphans(path)
    own = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    return path.with_name(f".{path.stem}.{own}.part{path.suffix}")


@functools.cache
def _machine() -> str:
    """Says where a process number counts: on this host, and in this container."""
    namespace = Path("/proc/self/ns/pid")
    where = f"{os.uname().nodename} {namespace.readlink() if namespace.exists() else ''}"
    return f"{zlib.crc32(where.encode()):08x}"


def _clear_orphans(path: Path) -> None:
    """Remove files and folders aside of `path` whose process is no more."""
    start = f"{path.stem.lstrip('.')}.{_machine()}-"
    for left in path.parent.iterdir() if path.parent.is_dir() else ():
        name = left.name.lstrip(".")  # one dot, or two: aside of what is aside itself
        if name != left.name and name.startswith(start) and f".part{path.suffix}" in name:
            number = name.removeprefix(start).partition("-")[0]
            if number.isdecimal() and not _is_alive(int(number)):
                remove(left)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def spare(path: Path) -> Iterator[Path]:
    """Yield a name aside of `path`, for a file or folder that is removed at the end.

    Raises
    ------
    DiskError
        naming `path`, if it could not be written for want of room or rights: many a library
        calls that by names of its own, or says only that it failed.
    """
    part = aside(path)
    try:
        yield part
    except DiskError:
        raise
    except Exception:
        with suppress(OSError), room_for(path):
            _fill(part)
        raise
    finally:
        remove(part)


def _fill(part: Path) -> None:
    """Write some more where something could not be written."""
    with (part / "room" if part.is_dir() else part).open("ab") as file:
        file.write(bytes(ROOM))
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def room_for(path: Path) -> Iterator[None]:
    """Name `path` where the system refuses to write; by itself it does not say what.

    Raises
    ------
    DiskError
        if there is no room, or no right to write.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        expected, remedy = "room and rights to write it", "make room or rights, then rerun"
        raise DiskError(path, os.strerror(error.errno), expected, remedy) from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it replaces `path`, on failure it is removed.

    Raises
    ------
    DiskError
        if there is no room for it, or no right to write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with spare(path) as part:
        yield part
        flush(part)
        part.replace(path)


def flush(path: Path) -> None:
    """Ask the system to put the file's bytes on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as JSON with sorted keys: equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")


def replace_link(target: Path, link: Path) -> None:
    """Make `link` a relative symbolic link to `target`, replacing what was there."""
    link.parent.mkdir(parents=True, exist_ok=True)
    with spare(link) as part:
        part.symlink_to(os.path.relpath(target.resolve(), link.parent.resolve()))
        part.replace(link)


def replace_folder(part: Path, folder: Path) -> None:
    """Put the finished folder `part` in the place of `folder`.

    The folder is put aside, and `part` becomes the folder, which is the commit. A kill between the
    two leaves none, and what was put aside to the next writer. Processes do so one after the other.

    Raises
    ------
    DiskError
        if there is no room, or no right to write.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    with room_for(folder), alone(lock):
        while not _exchanged(part, folder):
            pass  # without locks, another writer was quicker


def _exchanged(part: Path, folder: Path) -> bool:
    """Whether `part` has become the folder; False if it is another's again."""
    old = aside(folder)
    with suppress(FileNotFoundError):
        folder.rename(old)
    try:
        part.rename(folder)
    except OSError as error:
        if error.errno not in (EEXIST, ENOTEMPTY):
            with suppress(OSError):
                old.rename(folder)
            raise
        remove(old)
        return False
    remove(old)
    return True
