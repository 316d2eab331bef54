"""What servers say: status and reason, types and lengths, and bodies piece by piece."""

import email.utils
import hashlib
import json
import logging
import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3

from mapmill.catalogue.addresses import Secrets, cleaned, secrets, shown
from mapmill.errors import CatalogueError
from mapmill.progress import track

log = logging.getLogger(__name__)
CHUNK = 2**20
PATIENCE_S, SLOWEST = 120.0, 1000
"""A body that has come more slowly than so many bytes a second, after so long, breaks off."""
LONGEST_MESSAGE = 2**20
"""Bytes of JSON that are read."""


class SlowError(requests.RequestException):
    """The body comes too slowly to wait for its end."""


class LongError(ValueError):
    """More bytes than a message has."""


class BusyError(requests.RequestException):
    """The server asks to come back later, after so many seconds."""

    def __init__(self, found: str, wait_s: float) -> None:
        super().__init__(found)
        self.found, self.wait_s = found, wait_s


def trouble(error: Exception) -> str:
    """What went wrong with a request; never an error's own text if it may hold addresses."""
    if isinstance(error, CatalogueError):
        return str(error)
    if isinstance(error, BusyError):
        return error.found
    if isinstance(error, SlowError):
        return f"an answer slower than {SLOWEST} bytes a second"
    broken = isinstance(error, requests.exceptions.ChunkedEncodingError)
    return f"{'an answer that breaks off' if broken else 'no answer'} ({type(error).__name__})"


def status_of(answer: requests.Response, hidden: Secrets = "") -> str:
    """Status of an answer and what the server says about it, in a few words."""
    found = f"status {answer.status_code} {answer.reason or ''}".strip()
    try:
        content = json_of(answer)
        error = content.get("error", content)
        names = ("message", "description", "detail", "code")
        texts = [error] if isinstance(error, str) else [error.get(name) for name in names]
        texts = [content.get("error_description"), *texts]
        found += f" ({next(text for text in texts if text)})"
    except (ValueError, AttributeError, StopIteration):
        found += f", a page of {kind_of(answer)}" if kind_of(answer) else ""
    found = cleaned(found, (*secrets(hidden), *_asked(answer.url or "")))
    return "".join(letter if letter.isprintable() else " " for letter in found[:300])


def _asked(url: str) -> list[str]:
    """What of an address's query a server might repeat, and may be a secret."""
    query = urlsplit(url).query
    values = [value for _, value in parse_qsl(query)]
    return [text for text in (query, *values) if len(text) > 5]


def json_of(answer: requests.Response, most: int = LONGEST_MESSAGE) -> Any:
    """The body as JSON, of so many bytes at most.

    Raises
    ------
    ValueError
        if it is none, or a very long one.
    """
    content = b""
    for piece in pieces(answer):
        content += piece
        if len(content) > most:
            raise LongError(f"over {most} bytes")
    try:
        # NaN, as some write, is nothing known; and so is a number that is too large
        return json.loads(
            content, parse_constant=lambda _: None, parse_float=_finite, parse_int=_whole
        )
    except RecursionError:
        raise ValueError("too deep") from None


def pieces(answer: requests.Response) -> Iterator[bytes]:
    """The body, decoded, in pieces of CHUNK bytes; it is never in memory as a whole.

    What has come before the connection breaks is given, and then the error raised.
    """
    start, count, held = time.monotonic(), 0, bytearray()
    broken: requests.RequestException | None = None
    try:
        # read1 comes back with what there is: a body that drips would hold up read for hours
        while not broken and (piece := answer.raw.read1(CHUNK, decode_content=True)):
            count += len(piece)
            held += piece
            if time.monotonic() - start > PATIENCE_S + count / SLOWEST:
                broken = SlowError()
            if len(held) >= CHUNK:
                yield bytes(held)
                held.clear()
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.DecodeError):
        broken = requests.exceptions.ChunkedEncodingError()
    except urllib3.exceptions.HTTPError:
        broken = requests.exceptions.ConnectionError()
    if held:
        yield bytes(held)
    if broken:
        raise broken


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _whole(text: str) -> int | None:
    return int(text) if len(text) < 20 else None  # longer ones are no floats, nor sizes


def kind_of(answer: requests.Response) -> str:
    """Type of an answer, such as `image/tiff`."""
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def length_of(answer: requests.Response) -> int | None:
    """Bytes of the body, where the server tells them."""
    told = answer.headers.get("Content-Length", "")
    plain = re.fullmatch(r"\d{1,18}", told) and "Content-Encoding" not in answer.headers
    return int(told) if plain else None


def write(answer: requests.Response, file: BinaryIO, label: str, left: int, most: int) -> int:
    """Write the body to an open file; its bytes, which may be some more than `most`.

    Parameters
    ----------
    label : what is fetched, for the bar
    left : bytes that are expected, for the bar; 0 if they are not known
    most : the connection is given up when there are more
    """
    count = 0
    for chunk in track(pieces(answer), f"fetch {label}", -(-left // CHUNK), "MiB"):
        file.write(chunk)
        count += len(chunk)
        if count > most:
            break
    return count


def save_body(
    answer: requests.Response, part: Path, label: str, size: int | None, limit: int
) -> str:
    """Write the body to `part`; its sha256.

    Parameters
    ----------
    size : bytes that are expected, where they are known
    limit : more bytes than this are refused

    Raises
    ------
    CatalogueError
        if it has another length than was told or expected.
    """
    expected, url = size or length_of(answer), shown(answer.url)
    if (expected or 0) > limit:
        found = f"{expected} bytes"
        raise CatalogueError(url, found, f"at most {limit} for what was asked", "report this")
    with part.open("wb") as file:
        count = write(answer, file, label, expected or 0, expected or limit)
    if count > limit:
        raise CatalogueError(url, f"over {limit} bytes", "no more than asked for", "report this")
    if expected and count != expected:
        raise CatalogueError(url, f"{count} bytes", f"{expected}", "rerun; if it stays, the size")
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    log.info("%s: %d bytes, sha256 %s", url, count, digest)
    return digest


def asked_wait(answer: requests.Response, unit_s: float) -> float:
    """Seconds that Retry-After asks for: a number, or a date; 0 where it says nothing."""
    text = answer.headers.get("Retry-After", "").strip()
    try:
        wait_s = float(text) * (unit_s if answer.status_code == 429 else 1.0)
        return max(0.0, wait_s)  # 0 for one that is no number
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
