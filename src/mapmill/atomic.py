"""Files that are whole or absent: written aside, flushed to disk, then renamed."""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def aside(path: Path) -> Path:
    """A name beside `path` that no other process uses; the suffix is kept for format drivers."""
    return path.with_name(f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}.part{path.suffix}")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success it replaces `path`, on failure it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = aside(path)
    try:
        yield part
        flush(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
    part = aside(link)
    part.symlink_to(os.path.relpath(target.resolve(), link.parent.resolve()))
    part.replace(link)


def replace_folder(part: Path, folder: Path) -> None:
    """Put the finished folder `part` in the place of `folder`.

    Five steps, safe against a kill between any two: the caller clears and builds `part`; what
    a killed run left as `.old` is cleared; the folder becomes `.old`; `part` becomes the folder,
    which is the commit; `.old` is cleared.
    """
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
