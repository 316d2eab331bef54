"""One part of a remote file, by an HTTP range: exactly the bytes asked for, or an error."""

from dataclasses import dataclass

import requests

from mapmill.catalogue import http
from mapmill.catalogue.addresses import cleaned
from mapmill.catalogue.partial import range_of
from mapmill.catalogue.wanted import NEVER, PAGE
from mapmill.errors import CatalogueError

MARKS = ("ETag", "Last-Modified")
"""What servers say of a file that is another one when it has changed."""
WHOLE = "set download.read: whole"


class RightsError(CatalogueError):
    """Status 401 or 403: an address or an account that may have run out."""


@dataclass(frozen=True)
class Version:
    """What the first answer says of the file; later ones must say the same."""

    size: int
    marks: dict[str, str]


@dataclass(frozen=True)
class Part:
    """What is asked for: the bytes from `start` to `end`, or to the file's end."""

    where: str
    """The file, for messages."""
    start: int
    end: int
    hidden: tuple[str, ...]
    version: Version | None
    """None for the first part."""
    size: int | None
    """Bytes of the whole file, where the catalogue says so."""
    rights: str = "check your rights to this file"
    """What to do where the server refuses it, for messages."""

    @property
    def headers(self) -> dict[str, str]:
        """Of the request."""
        return http.AGENT | {"Range": f"bytes={self.start}-{self.end - 1}"}

    def received(self, answer: requests.Response) -> tuple[Version, bytes]:
        """The version that the answer is of, and the bytes.

        Raises
        ------
        DamagedError
            if the same request may succeed.
        CatalogueError
            if it will not; RightsError if one with other rights may.
        """
        self._check_status(answer)
        size = self._size_in(answer)
        marks = {name: answer.headers[name] for name in MARKS if name in answer.headers}
        version = Version(size, marks)
        self._check_version(version)
        content = self._body(answer, min(self.end, size) - self.start)
        return version, content

    def _check_status(self, answer: requests.Response) -> None:
        status, kind = answer.status_code, http.kind_of(answer)
        if status in (200, 206) and kind in NEVER:
            raise self._damaged(f"a page of {kind}", "a part of the file")
        if status == 200 and self.version is None:
            self._check_start(next(http.pieces(answer), b""))
            raise CatalogueError(self.where, "a server that gives whole files", "ranges", WHOLE)
        if status == 200:
            raise self._damaged("the whole file", "a part of it")
        if status == 416 and self.version:
            raise self._changed("fewer bytes", f"{self.version.size}")
        found = http.status_of(answer, self.hidden) if status != 206 else ""
        if status in (401, 403):
            raise RightsError(self.where, found, "206", self.rights)
        if found:
            remedy = self.rights if status == 400 else "check the address"
            raise CatalogueError(self.where, found, "206", remedy)
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise CatalogueError(self.where, "a compressed answer", "the file's bytes", WHOLE)

    def _size_in(self, answer: requests.Response) -> int:
        """Bytes of the whole file; the part must be the one that was asked for."""
        told = range_of(answer)
        last = min(self.end, told[2] if told else self.end) - 1
        if told is None or told[:2] != (self.start, last):
            text = answer.headers.get("Content-Range", "")[:80]
            raise self._damaged(f"Content-Range {text!r}", f"bytes {self.start}-{last}")
        return told[2]

    def _check_version(self, now: Version) -> None:
        """Parts of two versions never make one file."""
        before = self.version
        if before is None:
            if self.size not in (None, now.size):
                remedy = "if it stays, delete the pinned search and rerun"
                raise http.DamagedError(
                    self.where, f"{now.size} bytes", f"{self.size} bytes", remedy
                )
            return
        if now.size != before.size:
            raise self._changed(f"{now.size} bytes", f"{before.size}")
        for name in sorted(before.marks.keys() & now.marks):
            if before.marks[name] != now.marks[name]:
                raise self._changed(f"{name} {now.marks[name]}", before.marks[name])

    def _body(self, answer: requests.Response, count: int) -> bytes:
        """Exactly `count` bytes."""
        content = bytearray()
        for piece in http.pieces(answer):
            content += piece
            if len(content) > count:
                raise self._damaged(f"over {count} bytes", f"{count}")
        if len(content) != count:
            raise self._damaged(f"{len(content)} bytes", f"{count}")
        if self.start == 0:
            self._check_start(bytes(content[:512]))
        return bytes(content)

    def _check_start(self, content: bytes) -> None:
        """A page or a message is neither a part of the file nor the whole of it."""
        start = content[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        if start.startswith(PAGE):
            raise self._damaged("a page of HTML", "the file")
        if not start or start.startswith((b"{", b"<")):
            raise self._damaged("no image" if start else "nothing", "the file")

    def _damaged(self, found: str, expected: str) -> CatalogueError:
        found = cleaned(found, self.hidden)
        return http.DamagedError(self.where, found, expected, f"rerun; if it stays, {WHOLE}")

    def _changed(self, found: str, expected: str) -> CatalogueError:
        found = f"{cleaned(found, self.hidden)}, changed while it was read"
        return CatalogueError(self.where, found, cleaned(expected, self.hidden), "rerun")
