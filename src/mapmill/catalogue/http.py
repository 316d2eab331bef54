"""The network: requests with bounded patience, and files that are kept whole or not at all."""

import email.utils
import hashlib
import json
import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
import urllib3

from mapmill.atomic import whole_file
from mapmill.errors import CatalogueError
from mapmill.layout import RESOURCES
from mapmill.progress import track

log = logging.getLogger(__name__)
logging.getLogger("urllib3").setLevel(logging.ERROR)  # its warnings hold whole addresses
CHUNK = 2**20
TIMEOUT_S = (10, 120)
"""To connect, and between two pieces of the answer."""
PATIENCE_S, SLOWEST = 120.0, 1000
"""A body that has come more slowly than so many bytes a second, after so long, breaks off."""
ATTEMPTS = 5
DAMAGED = 3
"""Answers that are damaged before the last one is told."""
BACKOFF_S = 1.0
"""Wait before the second attempt; each later one waits twice as long, give or take a quarter."""
LONGEST_WAIT_S = 120.0
"""A server that asks to wait longer is an error: the same command goes on later."""
AGAIN = (429, 500, 502, 503, 504)
"""Answers after which the same request may succeed."""
HOPELESS = (
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
    requests.exceptions.TooManyRedirects,
)
"""Errors that the same request gives again."""
AGENT = {"User-Agent": "Mozilla/5.0 (compatible; mapmill)", "Accept-Encoding": "identity"}
"""Some public servers turn away whoever does not look like a browser."""
NEVER = ("text/html", "application/json", "text/plain", "application/xml", "text/xml")
"""Types of an answer that is a message and not the file."""
PAGE = (b"<!doctype html", b"<html")
"""How a page begins, whatever type it is said to be."""
LONGEST = 120
"""Letters of a file's name that are kept, its suffix among them; a path's part has 255."""
LONGEST_MESSAGE = 2**20
"""Bytes of JSON that are read."""
JSON = (".json", ".geojson")
"""Suffixes of files that servers rightly give some of these types: polygons as GeoJSON."""


class DamagedError(CatalogueError):
    """What came is damaged: the same request may succeed."""


class SlowError(requests.RequestException):
    """The body comes too slowly to wait for its end."""


def send(
    method: str,
    url: str,
    use: Callable[[requests.Response], Any],
    *,
    wait_unit_s: float = 1.0,
    hidden: str = "",
    **more: Any,
) -> Any:
    """What `use` makes of the server's answer, asking again where that may help.

    Parameters
    ----------
    use : called with the answer of any status but those of `AGAIN`, its body not yet read; it
        may raise a DamagedError
    wait_unit_s : unit of a number in the Retry-After of a 429, in seconds
    hidden : a secret that no message may repeat
    more : passed to requests: headers, json, data, allow_redirects

    Raises
    ------
    CatalogueError
        when patience is at an end.
    """
    found, where, damaged = "", shown(url), 0
    for attempt in range(ATTEMPTS):
        wait_s = BACKOFF_S * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311
        try:
            with requests.request(method, url, stream=True, timeout=TIMEOUT_S, **more) as answer:
                if answer.status_code not in AGAIN:
                    return use(answer)
                wait_s = max(wait_s, _asked_wait(answer, wait_unit_s))
                found = status_of(answer, hidden)
        except DamagedError as error:
            damaged += 1
            if damaged == DAMAGED:
                raise
            found = str(error)
        except HOPELESS as error:
            found = f"no answer ({type(error).__name__})"
            raise CatalogueError(where, found, "an answer", "check the address") from None
        except requests.RequestException as error:
            found = _trouble(error)
        if wait_s > LONGEST_WAIT_S:
            raise CatalogueError(
                where, f"{found}, to wait {wait_s:.0f} s", "an answer", "rerun after that time"
            )
        if attempt + 1 < ATTEMPTS:
            log.info("%s: %s; asking again in %.1f s", where, found, wait_s)
            time.sleep(wait_s)
    raise CatalogueError(
        where, f"{found}, {ATTEMPTS} times", "an answer", "check the network and rerun"
    )


def _trouble(error: requests.RequestException) -> str:
    """What went wrong with a connection; never the error's own text, which holds addresses."""
    if isinstance(error, SlowError):
        return f"an answer slower than {SLOWEST} bytes a second"
    broken = isinstance(error, requests.exceptions.ChunkedEncodingError)
    return f"{'an answer that breaks off' if broken else 'no answer'} ({type(error).__name__})"


def shown(url: str) -> str:
    """An address without its query and without a user, which may hold a secret."""
    return re.sub(r"^(\w+://)[^/]*@", r"\1", url.partition("?")[0].partition("#")[0])


def status_of(answer: requests.Response, hidden: str = "") -> str:
    """Status of an answer and what the server says about it, in a few words."""
    found = f"status {answer.status_code} {answer.reason or ''}".strip()
    try:
        content = json_of(answer)
        error = content.get("error", content)
        texts = [error] if isinstance(error, str) else [error.get(k) for k in ("message", "code")]
        texts = [content.get("error_description"), *texts]
        found += f" ({next(text for text in texts if text)})"
    except (ValueError, AttributeError, StopIteration):
        found += f", a page of {kind_of(answer)}" if kind_of(answer) else ""
    found = found.replace(hidden, "...") if hidden else found
    return "".join(letter if letter.isprintable() else " " for letter in found[:300])


def json_of(answer: requests.Response) -> Any:
    """The body as JSON.

    Raises
    ------
    ValueError
        if it is none, or a very long one.
    """
    content = b""
    for piece in pieces(answer):
        content += piece
        if len(content) > LONGEST_MESSAGE:
            raise ValueError("too long")
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("too deep") from None


def pieces(answer: requests.Response) -> Iterator[bytes]:
    """The body, decoded, in pieces of CHUNK bytes; it is never in memory as a whole."""
    start, count, held = time.monotonic(), 0, bytearray()
    try:
        # read1 comes back with what there is: a body that drips would hold up read for hours
        while piece := answer.raw.read1(CHUNK, decode_content=True):
            count += len(piece)
            held += piece
            if time.monotonic() - start > PATIENCE_S + count / SLOWEST:
                raise SlowError
            if len(held) >= CHUNK:
                yield bytes(held)
                held.clear()
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.DecodeError) as error:
        raise requests.exceptions.ChunkedEncodingError(error) from None
    except urllib3.exceptions.HTTPError as error:
        raise requests.exceptions.ConnectionError(error) from None
    if held:
        yield bytes(held)


def _asked_wait(answer: requests.Response, unit_s: float) -> float:
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


def fetch(url: str, size: int | None, sha256: str | None, key: str) -> Path:
    """Path of what `url` serves in the store, after fetching it if it is not there.

    Parameters
    ----------
    size, sha256 : what is expected, where it is known
    key : of the area file, for messages

    Raises
    ------
    CatalogueError
        if the server does not answer with the whole file that is expected.
    """
    kept = kept_file(url, size, sha256)
    if kept.exists():
        log.info("%s is in the store; nothing to download", kept)
        return kept

    def save(answer: requests.Response) -> None:
        _check_answer(answer, url, size)
        with whole_file(kept) as part:
            digest = save_body(answer, part, _name(url), size)
            _check_start(part, url)
            if sha256 and digest != sha256:
                raise CatalogueError(
                    shown(url), f"sha256 {digest}", sha256, f"correct {key}.sha256, or the address"
                )

    send("GET", url, save, headers=AGENT)
    return kept


def kept_file(url: str, size: int | None, sha256: str | None) -> Path:
    """Where in the store the file of an address is kept."""
    request = hashlib.sha256(f"{url}\n{size}\n{sha256}".encode()).hexdigest()[:16]
    return RESOURCES / "url" / request / _name(url)


def _name(url: str) -> str:
    """Last part of an address, fit for a path."""
    name = url.partition("?")[0].rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-LONGEST:].lstrip(".") or "file"


def _check_answer(answer: requests.Response, url: str, size: int | None) -> None:
    where = shown(url)
    if answer.status_code != 200:
        raise CatalogueError(where, status_of(answer), "200", "check the address")
    kind = kind_of(answer)
    is_json = _name(url).lower().endswith(JSON) and "html" not in kind and "xml" not in kind
    if kind in NEVER and not is_json:
        raise CatalogueError(
            where, f"a page of {kind}", "the file", "open the address in a browser"
        )
    told = _length(answer)
    if size and told and told != size:
        raise CatalogueError(where, f"{told} bytes", f"{size}", "correct size, or the address")


def _check_start(part: Path, url: str) -> None:
    """The page of a log-in is not the file, though it is called one."""
    with part.open("rb") as file:
        start = file.read(512)
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(PAGE):
        raise CatalogueError(
            shown(url), "a page of HTML", "the file", "open the address in a browser"
        )


def kind_of(answer: requests.Response) -> str:
    """Type of an answer, such as `image/tiff`."""
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _length(answer: requests.Response) -> int | None:
    """Bytes of the body, where the server tells them."""
    told = answer.headers.get("Content-Length", "")
    plain = re.fullmatch(r"\d{1,18}", told) and "Content-Encoding" not in answer.headers
    return int(told) if plain else None


def save_body(
    answer: requests.Response, part: Path, label: str, size: int | None, limit: int | None = None
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
    expected, url = size or _length(answer), shown(answer.url)
    if limit and (expected or 0) > limit:
        found = f"{expected} bytes"
        raise CatalogueError(url, found, f"at most {limit} for what was asked", "report this")
    digest, count = hashlib.sha256(), 0
    with part.open("wb") as file:
        for chunk in track(pieces(answer), f"fetch {label}", -(-(expected or 0) // CHUNK), "MiB"):
            file.write(chunk)
            digest.update(chunk)
            count += len(chunk)
            if count > (expected or limit or count):
                break
    if limit and count > limit:
        raise CatalogueError(url, f"over {limit} bytes", "no more than asked for", "report this")
    if expected and count != expected:
        raise CatalogueError(url, f"{count} bytes", f"{expected}", "rerun; if it stays, the size")
    log.info("%s: %d bytes, sha256 %s", url, count, digest.hexdigest())
    return digest.hexdigest()
