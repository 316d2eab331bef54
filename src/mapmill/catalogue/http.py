"""The network: requests with bounded patience, and files that are kept whole or not at all."""

import email.utils
import hashlib
import logging
import random
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

from mapmill.atomic import whole_file
from mapmill.errors import CatalogueError
from mapmill.layout import RESOURCES
from mapmill.progress import track

log = logging.getLogger(__name__)
CHUNK = 2**20
TIMEOUT_S = (10, 60)
"""To connect, and between two pieces of the answer."""
ATTEMPTS = 5
BACKOFF_S = 1.0
"""Wait before the second attempt; each later one waits twice as long, give or take a quarter."""
LONGEST_WAIT_S = 120.0
"""A server that asks to wait longer is an error: the same command goes on later."""
AGAIN = (429, 500, 502, 503, 504)
"""Answers after which the same request may succeed."""
AGENT = {"User-Agent": "Mozilla/5.0 (compatible; mapmill)"}
"""Some public servers turn away whoever does not look like a browser."""
NEVER = ("text/html", "application/json", "text/plain", "application/xml", "text/xml")
"""Types of an answer that is a message and not the file."""
LONGEST = 120
"""Letters of a file's name that are kept, its suffix among them; a path's part has 255."""
JSON = (".json", ".geojson")
"""Suffixes of files that servers rightly give some of these types: polygons as GeoJSON."""


def send(
    method: str,
    url: str,
    use: Callable[[requests.Response], Any],
    *,
    wait_unit_s: float = 1.0,
    **more: Any,
) -> Any:
    """What `use` makes of the server's answer, asking again where that may help.

    Parameters
    ----------
    use : called with the answer of any status but those of `AGAIN`, its body not yet read
    wait_unit_s : unit of a number in Retry-After, in seconds
    more : passed to requests: headers, json, data, allow_redirects

    Raises
    ------
    CatalogueError
        when patience is at an end.
    """
    found, where = "", shown(url)
    for attempt in range(ATTEMPTS):
        wait_s = BACKOFF_S * 2**attempt * random.uniform(0.75, 1.25)  # noqa: S311
        try:
            with requests.request(method, url, stream=True, timeout=TIMEOUT_S, **more) as answer:
                if answer.status_code not in AGAIN:
                    return use(answer)
                found = f"status {answer.status_code} {answer.reason}"
                wait_s = _asked_wait(answer, wait_unit_s) or wait_s
        except requests.RequestException as error:
            broken = isinstance(error, requests.exceptions.ChunkedEncodingError)
            kind = "an answer that breaks off" if broken else "no answer"
            found = f"{kind} ({type(error).__name__})"
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


def shown(url: str) -> str:
    """An address without its query, which may hold a secret."""
    return url.partition("?")[0]


def _asked_wait(answer: requests.Response, unit_s: float) -> float | None:
    """Seconds that Retry-After asks for: a number, or a date."""
    text = answer.headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(text) * unit_s)
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


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
        raise CatalogueError(
            where, f"status {answer.status_code} {answer.reason}", "200", "check the address"
        )
    kind = kind_of(answer)
    is_json = _name(url).lower().endswith(JSON) and "html" not in kind and "xml" not in kind
    if kind in NEVER and not is_json:
        raise CatalogueError(
            where, f"a page of {kind}", "the file", "open the address in a browser"
        )
    told = _length(answer)
    if size and told and told != size:
        raise CatalogueError(where, f"{told} bytes", f"{size}", "correct size, or the address")


def kind_of(answer: requests.Response) -> str:
    """Type of an answer, such as `image/tiff`."""
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _length(answer: requests.Response) -> int | None:
    """Bytes of the body, where the server tells them."""
    told = answer.headers.get("Content-Length", "")
    return int(told) if told.isdecimal() and "Content-Encoding" not in answer.headers else None


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
    expected = size or _length(answer)
    digest, count = hashlib.sha256(), 0
    with part.open("wb") as file:
        chunks: Iterator[bytes] = answer.iter_content(CHUNK)
        for chunk in track(chunks, f"fetch {label}", -(-(expected or 0) // CHUNK), "MiB"):
            file.write(chunk)
            digest.update(chunk)
            count += len(chunk)
            if count > (expected or limit or count):
                break
    url = shown(answer.url)
    if limit and count > limit:
        raise CatalogueError(url, f"over {limit} bytes", "no more than asked for", "report this")
    if expected and count != expected:
        raise CatalogueError(url, f"{count} bytes", f"{expected}", "rerun; if it stays, the size")
    log.info("%s: %d bytes, sha256 %s", url, count, digest.hexdigest())
    return digest.hexdigest()
