"""Files by their address: fetched once, checked, and kept in the store."""

import hashlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from mapmill.atomic import whole_file
from mapmill.errors import CatalogueError
from mapmill.layout import RESOURCES
from mapmill.progress import track

log = logging.getLogger(__name__)
CHUNK = 2**20
TIMEOUT_S = (10, 60)
"""To connect, and between two pieces of the answer."""
RETRY = Retry(
    total=4,
    backoff_factor=1,
    status_forcelist=(429, 500, 502, 503, 504),
    raise_on_status=False,  # the last answer tells its status better than an exception
)
AGENT = {"User-Agent": "Mozilla/5.0 (compatible; mapmill)"}
"""Some public servers turn away whoever does not look like a browser."""
NEVER = ("text/html", "application/json", "text/plain", "application/xml", "text/xml")
"""Types of an answer that is a message and not the file."""
LONGEST = 120
"""Letters of a file's name that are kept, its suffix among them; a path's part has 255."""
JSON = (".json", ".geojson")
"""Suffixes of files that servers rightly give some of these types: polygons as GeoJSON."""


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
    request = hashlib.sha256(f"{url}\n{size}\n{sha256}".encode()).hexdigest()[:16]
    kept = RESOURCES / "url" / request / _name(url)
    if kept.exists():
        log.info("%s is in the store; nothing to download", kept)
        return kept
    try:
        with requests.Session() as session, whole_file(kept) as part:
            session.mount("https://", HTTPAdapter(max_retries=RETRY))
            session.mount("http://", HTTPAdapter(max_retries=RETRY))
            with session.get(url, stream=True, timeout=TIMEOUT_S, headers=AGENT) as answer:
                _check_answer(answer, url, size)
                _save(answer, url, part, size, sha256, key)
    except requests.RequestException as error:
        broken = isinstance(error, requests.exceptions.ChunkedEncodingError)
        found = "an answer that breaks off" if broken else "no answer"
        raise CatalogueError(
            url, f"{found} ({type(error).__name__})", "the file", "check the network and rerun"
        ) from None
    return kept


def _name(url: str) -> str:
    """Last part of an address, fit for a path."""
    name = url.partition("?")[0].rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[-LONGEST:].lstrip(".") or "file"


def _check_answer(answer: Any, url: str, size: int | None) -> None:
    if answer.status_code != 200:
        raise CatalogueError(
            url, f"status {answer.status_code} {answer.reason}", "200", "check the address"
        )
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    is_json = _name(url).lower().endswith(JSON) and "html" not in kind and "xml" not in kind
    if kind in NEVER and not is_json:
        raise CatalogueError(url, f"a page of {kind}", "the file", "open the address in a browser")
    told = answer.headers.get("Content-Length")
    if size and told and "Content-Encoding" not in answer.headers and int(told) != size:
        raise CatalogueError(url, f"{told} bytes", f"{size}", "correct size, or the address")


def _save(
    answer: Any, url: str, part: Path, size: int | None, sha256: str | None, key: str
) -> None:
    """Write the body and compare it with what is expected."""
    told = answer.headers.get("Content-Length")
    expected = size or (int(told) if told and "Content-Encoding" not in answer.headers else None)
    digest, count = hashlib.sha256(), 0
    total = -(-expected // CHUNK) if expected else 0
    with part.open("wb") as file:
        chunks: Iterator[bytes] = answer.iter_content(CHUNK)
        for chunk in track(chunks, f"fetch {_name(url)}", total, "MiB"):
            file.write(chunk)
            digest.update(chunk)
            count += len(chunk)
            if expected and count > expected:
                break
    if expected and count != expected:
        raise CatalogueError(url, f"{count} bytes", f"{expected}", "rerun; if it stays, the size")
    if sha256 and digest.hexdigest() != sha256:
        raise CatalogueError(
            url, f"sha256 {digest.hexdigest()}", sha256, f"correct {key}.sha256, or the address"
        )
    log.info("%s: %d bytes, sha256 %s", url, count, digest.hexdigest())
