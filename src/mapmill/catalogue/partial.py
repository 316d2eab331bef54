"""The part of a file that has come so far: one process writes it, the next run goes on with it.

Beside the file `name` lie, while it comes, `.name.partial`, `.name.partial.json` that says of which
version on the server these bytes are, and `.name.lock`.
"""

import email.utils
import functools
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from mapmill.atomic import aside, write_json
from mapmill.catalogue.http import length_of
from mapmill.locks import alone

log = logging.getLogger(__name__)
BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Version:
    """Which version of a file the bytes belong to, as far as the server told."""

    url: str
    """Without query and user."""
    total: int | None = None
    etag: str = ""
    """As it came, for the record; a weak one (`W/...`) is none for resuming."""
    validator: str = ""
    """What says that the file has not changed: an ETag, or else a date; empty if nothing does."""
    boot: str = ""
    """Start of the machine: what was not flushed when it went down may be holes."""

    @classmethod
    def of(cls, url: str, answer: requests.Response) -> "Version":
        """The version that a whole answer (status 200) serves."""
        etag = answer.headers.get("ETag", "")
        return cls(url, length_of(answer), etag, validator_of(answer), _boot())


def validator_of(answer: requests.Response) -> str:
    """A strong ETag, or a date of change that was not the very second of the answer."""
    etag = answer.headers.get("ETag", "").strip()
    if etag and not etag.startswith("W/"):
        return etag
    changed, now = answer.headers.get("Last-Modified", ""), answer.headers.get("Date", "")
    try:
        dates = [email.utils.parsedate_to_datetime(text).timestamp() for text in (changed, now)]
    except (ValueError, TypeError, OverflowError):
        return ""
    return changed if dates[1] - dates[0] >= 1 else ""


def _boot() -> str:
    try:
        return BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return ""


@dataclass
class Partial:
    """The bytes of one file so far; whoever has it is alone with it.

    `resumes` is False where nobody can be locked out: then it ends with this attempt.
    """

    path: Path
    resumes: bool = True
    mixed: bool = False
    """More than one answer, or run, has written it."""

    @property
    def note(self) -> Path:
        """What is known of the bytes."""
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        """Bytes so far."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def version(self) -> Version | None:
        """Which version the bytes are of; None if there are none, or nobody knows."""
        if not self.resumes or not self.size:
            return None
        try:
            found = Version(**json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return found if found.total is None or self.size <= found.total else None

    def usable(self, url: str, size: int | None, sure: bool) -> Version | None:
        """The version, if one may go on from its bytes; the bytes of any other are removed.

        Parameters
        ----------
        url, size : what is wanted
        sure : a checksum will tell whether the bytes are right
        """
        known = self.version()
        right = known and known.url == url and (not size or known.total in (None, size))
        unbroken = known and known.validator and known.boot == _boot()
        if known and right and (sure or unbroken):
            return known
        self.clear()
        return None

    def begin(self, version: Version | None) -> None:
        """Forget what was there; None: what comes cannot be gone on with."""
        self.clear()
        if version and self.resumes:
            write_json(self.note, asdict(version))

    def clear(self) -> None:
        """Remove the bytes, and then what is known of them."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.mixed = False

    def commit(self, kept: Path) -> None:
        """Give the file its name."""
        self.path.replace(kept)
        self.note.unlink(missing_ok=True)


def range_of(answer: requests.Response) -> tuple[int, int, int] | None:
    """First byte, last byte and total of a part of a file; None if that is not told."""
    told = answer.headers.get("Content-Range", "").strip().lower()
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", told)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def lock_of(kept: Path) -> Path:
    """What is locked by whoever fetches a file."""
    return kept.with_name(f".{kept.name}.lock")


@contextmanager
def held(kept: Path) -> Iterator[Partial]:
    """The part of `kept`, for one process at a time; others wait here until it is done."""
    waits = functools.partial(log.info, "%s: another process fetches it; waiting", kept)
    with alone(lock_of(kept), waits) as locked:
        if locked:
            yield Partial(kept.with_name(f".{kept.name}.partial"))
            return
        log.warning("%s: no locks in this folder: a fetch that breaks off starts afresh", kept)
        part = Partial(aside(kept), resumes=False)
        try:
            yield part
        finally:
            part.clear()
