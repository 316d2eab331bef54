"""A remote file of which only the bytes that are asked for are fetched, by HTTP ranges."""

import io
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import requests

from mapmill.catalogue import http
from mapmill.catalogue.parts import Part, RightsError, Version
from mapmill.catalogue.wanted import Ask

log = logging.getLogger(__name__)
CHUNK = 2**20
"""Bytes that are fetched at least: the file is cut into chunks from its start."""
MOST = 8
"""Chunks of one request."""
KEPT = 64
"""Chunks that are kept, no fewer than `MOST`; the one that was longest unused goes first."""


class RangedFile(io.RawIOBase):
    """A file at an address, read-only and seekable, of which only the parts read are fetched.

    Its bytes are those of one version of the file, or a read fails. The first error is kept:
    every later read fails with it too, since libraries may lose an error on its way.

    Parameters
    ----------
    ask : what to ask the server for; `ask(True)` after it refused, to renew a signed address
    where : the file, for messages
    size : bytes that are expected, where they are known
    base : address whose server may be given the secrets, passed on to `http.send`
    rights : what to do where the server refuses it, for messages
    """

    def __init__(
        self,
        ask: Callable[[bool], Ask],
        *,
        where: str,
        size: int | None = None,
        base: str | None = None,
        rights: str = "check your rights to this file",
    ) -> None:
        super().__init__()
        self.error: BaseException | None = None
        self.requests = 0
        """Answers with bytes of the file."""
        self.bytes = 0
        """Bytes of the file in those answers."""
        self._renew, self._where, self._expected, self._base = ask, where, size, base
        self._rights = rights
        self._ask: Ask | None = None
        self._version: Version | None = None
        self._wanted: set[int] = set()
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._at = 0

    @property
    def size(self) -> int:
        """Bytes of the whole file.

        Raises
        ------
        CatalogueError
            if the server does not say, or says another number than was expected.
        """
        if self._version is None:
            self._chunk(0, 0)
        assert self._version is not None
        return self._version.size

    def want(self, parts: Iterable[tuple[int, int]]) -> None:
        """Say which bytes will be read, as (start, end): neighbours then come in one request."""
        last = (self.size - 1) // CHUNK
        for start, end in parts:
            self._wanted.update(range(start // CHUNK, min((end - 1) // CHUNK, last) + 1))

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Byte that is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a byte, counted from the start, from here or from the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        at = offset + (self.size if start is None else start)
        if at < 0:
            raise ValueError(f"byte {at}")
        self._at = at
        return at

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer, or up to the file's end; bytes that were read.

        Raises
        ------
        CatalogueError
            if the server does not give these bytes; no byte of the buffer is then to be used.
        """
        view = memoryview(buffer).cast("B")
        start, end = self._at, max(self._at, min(self._at + len(view), self.size))
        at = start
        while at < end:
            content = self._chunk(at // CHUNK, (end - 1) // CHUNK)
            piece = content[at % CHUNK : at % CHUNK + end - at]
            view[at - start : at - start + len(piece)] = piece
            at += len(piece)
        self._at = end
        return end - start

    def close(self) -> None:
        """Forget what was fetched, and log how much that was."""
        if not self.closed and self._version:
            share = (self._where, self.bytes, self._version.size, self.requests)
            log.info("%s: %d of %d bytes read in %d requests", *share)
        self._kept.clear()
        super().close()

    def _chunk(self, number: int, last: int) -> bytes:
        """One chunk; if it is not there it is fetched, and those up to `last` or wanted with it."""
        if self.error is not None:
            raise self.error
        if number not in self._kept:
            try:
                self._fetch(self._run(number, last))
            except BaseException as error:  # even a Ctrl-C, which a library would swallow
                self.error = error
                raise
        self._kept.move_to_end(number)
        return self._kept[number]

    def _run(self, number: int, last: int) -> range:
        """The chunks of one request."""
        end = number + 1
        if self._version is None:
            return range(number, end)
        while end < number + MOST and end not in self._kept:
            if end > last and end not in self._wanted:
                break
            end += 1
        return range(number, end)

    def _fetch(self, run: range) -> None:
        content = memoryview(self._bytes(run[0] * CHUNK, run[-1] * CHUNK + CHUNK))
        for place, number in enumerate(run):
            self._kept[number] = bytes(content[place * CHUNK : (place + 1) * CHUNK])
            self._kept.move_to_end(number)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _bytes(self, start: int, end: int) -> bytes:
        """The bytes from `start` to `end` or the file's end, after one renewal at most."""
        if self._ask is None:
            self._ask = self._renew(False)
        try:
            return self._sent(self._ask, start, end)
        except RightsError as error:
            log.info("%s; asking for a new address", error)
        self._ask = self._renew(True)
        return self._sent(self._ask, start, end)

    def _sent(self, ask: Ask, start: int, end: int) -> bytes:
        end = min(end, self._version.size) if self._version else end
        part = Part(self._where, start, end, ask.hidden, self._version, self._expected)
        part = replace(part, rights=self._rights)

        def use(answer: requests.Response) -> bytes:
            version, content = part.received(answer)
            self._version = self._version or version
            self.requests += 1
            self.bytes += len(content)
            return content

        content: bytes = http.send(
            "GET",
            ask.url,
            use,
            headers=part.headers,
            params=ask.params,
            hidden=ask.hidden,
            base=self._base,
        )
        return content
