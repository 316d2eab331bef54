"""Does the network answer? Short questions with little patience, for `mapmill doctor`."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from mapmill.catalogue import answers, http
from mapmill.catalogue.sentinelhub import access_token, addresses
from mapmill.errors import CatalogueError
from mapmill.sections import SentinelHub

PAGES = ("text/html", "application/xml", "text/xml", "application/json")
"""Types of an answer that is a message and not a file."""
SHORT: tuple[tuple[Any, str, Any], ...] = (
    (http, "ATTEMPTS", 1),
    (http, "DAMAGED", 1),
    (http, "TIMEOUT_S", (4, 6)),
    (answers, "PATIENCE_S", 5.0),
)
"""Each question is asked once, and its answer waited for no longer."""


@contextmanager
def impatient() -> Iterator[None]:
    """Within, each request of this process is made once, and waits for seconds only."""
    before = [(module, name, getattr(module, name)) for module, name, _ in SHORT]
    _set(SHORT)
    try:
        yield
    finally:
        _set(before)


def _set(values: Iterable[tuple[Any, str, Any]]) -> None:
    for module, name, value in values:
        setattr(module, name, value)


def size_at(url: str) -> int | None:
    """Bytes of the file at an address, None if the server does not say; one is asked for.

    Raises
    ------
    CatalogueError
        if there is none, or a page instead.
    """

    def use(answer: requests.Response) -> int | None:
        if answer.status_code not in (200, 206):
            found = http.status_of(answer)
            raise CatalogueError(http.shown(url), found, "the file", "check the address")
        kind, is_json = http.kind_of(answer), url.partition("?")[0].lower().endswith("json")
        if kind in PAGES and not (is_json and "json" in kind):
            remedy = "open the address in a browser"
            raise CatalogueError(http.shown(url), f"a page of {kind}", "the file", remedy)
        if answer.status_code == 200:
            return http.length_of(answer)
        match = re.fullmatch(r"bytes \d+-\d+/(\d{1,18})", answer.headers.get("Content-Range", ""))
        return int(match[1]) if match else None

    headers = http.AGENT | {"Range": "bytes=0-0"}
    size: int | None = http.send("GET", url, use, headers=headers)
    return size


def landing(url: str) -> str:
    """What a catalogue calls itself, or its address.

    Raises
    ------
    CatalogueError
        if there is no JSON.
    """

    def use(answer: requests.Response) -> str:
        where, kind = http.shown(url), http.kind_of(answer) or "no type"
        if answer.status_code != 200:
            raise CatalogueError(where, http.status_of(answer), "a catalogue", "check its address")
        start = next(http.pieces(answer), b"").lstrip()[:1]
        if start not in (b"{", b"["):
            raise CatalogueError(where, f"an answer of {kind}", "JSON", "check its address")
        return where

    name: str = http.send("GET", url, use, headers=http.AGENT)
    return name


def account(chosen: SentinelHub) -> str:
    """Where Sentinel Hub accepts the account in the environment.

    Raises
    ------
    CatalogueError
        if it does not.
    """
    base, token_url = addresses(chosen)
    access_token(token_url)
    return http.shown(base)
