"""One process at a time: a lock is a file that is there while it is held.

It is opened for writing, since NFS locks no other, and removed while it is locked. A kill may leave
it, unlocked: whoever wants it next takes it, and takes it away.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import ESTALE
from pathlib import Path


def _nothing() -> None:
    """Say nothing."""


@contextmanager
def alone(lock: Path, waits: Callable[[], None] = _nothing) -> Iterator[bool]:
    """Hold a lock; yields whether it is held: False where the file system has no locks.

    Parameters
    ----------
    lock : a name that nothing else uses
    waits : called once if another process has it

    Raises
    ------
    OSError
        if there is no room or right to write it.
    """
    descriptor = _locked(lock, waits)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            lock.unlink(missing_ok=True)  # while it is locked: whoever waits looks for the new one
            os.close(descriptor)


def _locked(lock: Path, waits: Callable[[], None]) -> int | None:
    """Descriptor of the locked file; None where the file system has no locks."""
    while True:
        descriptor, made = _opened(lock)
        try:
            _wait(descriptor, waits)
            if _same(descriptor, lock):
                return descriptor
            os.close(descriptor)  # of one that was done meanwhile
        except OSError as error:
            os.close(descriptor)
            if error.errno == ESTALE:  # the same, as NFS says it
                continue
            if made:  # another's may be held: NFS says so for a while after its server started
                lock.unlink(missing_ok=True)
            return None
        except BaseException:
            os.close(descriptor)
            raise


def _opened(lock: Path) -> tuple[int, bool]:
    """Descriptor of the lock's file, and whether it was made for that."""
    while True:
        with suppress(FileExistsError):
            return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), True
        with suppress(FileNotFoundError):  # gone meanwhile
            return os.open(lock, os.O_RDWR), False


def _wait(descriptor: int, waits: Callable[[], None]) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waits()
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _same(descriptor: int, lock: Path) -> bool:
    """Whether the file that is locked is still the one by that name."""
    try:
        there = lock.stat()
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
