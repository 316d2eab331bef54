"""A file that is wanted, how it is asked for, and whether what comes is that file."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from mapmill.atomic import flush
from mapmill.catalogue import http
from mapmill.catalogue.addresses import cleaned, shown
from mapmill.catalogue.checksums import digests_of, expected_digest
from mapmill.catalogue.partial import Partial
from mapmill.errors import CatalogueError, MapmillError

log = logging.getLogger(__name__)
NEVER = ("text/html", "application/json", "text/plain", "application/xml", "text/xml")
"""Types of an answer that is a message and not the file."""
JSON = (".json", ".geojson")
"""Suffixes of files that servers rightly give some of these types: polygons as GeoJSON."""
PAGE = (b"<!doctype html", b"<html")
"""How a page begins, whatever type it is said to be."""
BROWSER = "open the address in a browser"


@dataclass(frozen=True)
class Wanted:
    """What is fetched, and how one knows that it is right."""

    url: str
    """Without secrets; for messages and the record, where it has no query."""
    size: int | None = None
    checksum: str | None = None
    """`sha256:` and hexadecimal digits, or a multihash; empty or None: not known."""
    remedy: str = "check the address"
    rights: str = ""
    """What to do where the server refuses it, if that is not `remedy`."""
    limit: int = 64 * 2**30
    """More bytes than this are refused, told or untold."""
    key: str = ""
    """Of the area file, that says size and sha256; for messages."""


@dataclass(frozen=True)
class Ask:
    """How it is asked for right now; may hold secrets, which are named in `hidden`."""

    url: str
    params: Mapping[str, str] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()


Check = Callable[[Path], Mapping[str, Any]]


class RefusedError(Exception):
    """Status 401 or 403: an address or an account that may have run out."""


class StrayError(http.DamagedError):
    """Something else came in the place of the file, such as a page: what came before stays."""


class AfreshError(Exception):
    """The server does not go on where we stopped: the whole file has to come again."""


@dataclass
class Job:
    """One file on its way."""

    wanted: Wanted
    kept: Path
    part: Partial
    renew: Callable[[bool], Ask] | None
    check: Check | None
    base: str | None
    asked: Ask = field(init=False)
    renewed: bool = False

    def __post_init__(self) -> None:
        self.asked = self.renew(False) if self.renew else Ask(self.wanted.url)

    @property
    def where(self) -> str:
        """The address, for messages."""
        return cleaned(shown(self.wanted.url), self.asked.hidden)

    @property
    def sure(self) -> bool:
        """Whether a checksum will tell that the bytes are right."""
        return expected_digest(self.wanted.checksum) is not None

    def wrong(self, found: str, expected: str, remedy: str) -> CatalogueError:
        """An error about the address."""
        return CatalogueError(self.where, cleaned(found, self.asked.hidden), expected, remedy)

    def stray(self, found: str, expected: str, remedy: str) -> CatalogueError:
        """An error about what is not the file; of a catalogue's it is asked for again.

        Proxies in front of catalogues put pages in the place of files now and then.
        """
        if self.base is None:
            return self.wrong(found, expected, remedy)
        return StrayError(self.where, cleaned(found, self.asked.hidden), expected, remedy)

    @property
    def sizes(self) -> str:
        """What to do about another size."""
        mine = self.wanted.key or self.base is None
        return "correct size, or the address" if mine else self.wanted.remedy

    def again(self, refused: RefusedError) -> None:
        """Ask once more with fresh credentials, or say that it is refused."""
        if self.renewed or not self.renew:
            remedy = self.wanted.rights or self.wanted.remedy
            raise self.wrong(str(refused), "200", remedy) from None
        log.info("%s: %s; asking again with what is fresh", self.where, refused)
        self.renewed, self.asked = True, self.renew(True)


def check_kind(job: Job, answer: requests.Response) -> None:
    """A message is not the file."""
    kind, name = http.kind_of(answer), job.kept.name.lower()
    is_json = name.endswith(JSON) and "html" not in kind and "xml" not in kind
    if kind in NEVER and not is_json:
        raise job.stray(f"a page of {kind}", "the file", BROWSER)


def check_length(job: Job, told: int | None) -> None:
    """Another length than expected, or one beyond all measure, is not waited for."""
    size, limit = job.wanted.size, job.wanted.limit
    if size and told and told != size:
        raise job.stray(f"{told} bytes", f"{size}", job.sizes)
    if max(told or 0, size or 0) > limit:
        raise job.wrong(f"{told or size} bytes", f"at most {limit}", job.wanted.remedy)


def checked(job: Job) -> dict[str, Any]:
    """What the record says of the finished file, flushed to disk, if it is right."""
    part, wanted = job.part, job.wanted
    version, mixed = part.version(), part.mixed
    try:
        digests = _digest(job)
        _check_start(job)
        told = dict(job.check(part.path)) if job.check else {}
    except Exception as error:
        part.clear()
        if not mixed or not isinstance(error, MapmillError):
            raise
        log.info("%s; it came in several parts", error)
        raise AfreshError from None
    flush(part.path)
    told |= digests | {"url": shown(wanted.url), "size": part.size}
    told |= {"etag": version.etag} if version and version.etag else {}
    log.info("%s: %d bytes, sha256 %s", job.where, part.size, told["sha256"])
    return told


def _digest(job: Job) -> dict[str, Any]:
    """The file's sha256, after comparing the checksum that is expected."""
    wanted, expected = job.wanted, expected_digest(job.wanted.checksum)
    digests = digests_of(job.part.path, {"sha256"} | ({expected[0]} if expected else set()))
    told = {"checksum": wanted.checksum} if wanted.checksum else {}
    if expected and digests[expected[0]] != expected[1]:
        found = f"{expected[0]} {digests[expected[0]]}"
        remedy = f"correct {wanted.key}.sha256, or the address" if wanted.key else wanted.remedy
        raise job.wrong(found, expected[1], remedy)
    if wanted.checksum and not expected:
        log.info("%s: the checksum %.80s cannot be checked", job.where, wanted.checksum)
    return {"sha256": digests["sha256"], **told}


def _check_start(job: Job) -> None:
    """The page of a log-in is not the file, though it is called one."""
    with job.part.path.open("rb") as file:
        start = file.read(512)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(PAGE):
        raise job.stray("a page of HTML", "the file", BROWSER)
