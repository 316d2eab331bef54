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
        os.replace(part, path)
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
    os.replace(part, link)


def replace_folder(part: Path, folder: Path) -> None:
    """Put the finished folder `part` in the place of `folder`.

    A kill between any two steps leaves either the old folder or the new one under its
    name or under `.old`; `clear_leftovers` tidies up before the next attempt.
    """
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.rename(folder, old)
    os.rename(part, folder)
    shutil.rmtree(old, ignore_errors=True)
