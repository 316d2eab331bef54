"""Searching STAC: an API page by page, or a static catalogue document by document.

What comes back are items as the server gave them, each once; what is made of them is the
matter of `scenes`.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import requests

from mapmill.catalogue import http
from mapmill.catalogue.addresses import cleaned, holds, joined, origin, shown
from mapmill.catalogue.answers import LongError
from mapmill.errors import CatalogueError

log = logging.getLogger(__name__)
Json = dict[str, Any]
PAGE = 100
"""Items in one answer."""
PAGES, DOCUMENTS = 1000, 20_000
"""More pages of a search, or documents of a static catalogue, are a mistake in the question."""
EMPTY = 3
"""Pages without items, one after the other, after which there will be none."""
LARGEST = 64 * 2**20
"""Bytes of one page."""


@dataclass(frozen=True)
class Question:
    """What is searched for."""

    collections: tuple[str, ...]
    bbox: tuple[float, float, float, float]
    """west, south, east, north in degrees."""
    start: str
    end: str
    """First and last moment, RFC 3339 in UTC."""
    max_cloud: int = 100
    """In percent."""
    exclude: tuple[str, ...] = ()
    """Names of scenes that are not asked for."""

    @property
    def datetime(self) -> str:
        """As STAC writes it."""
        return f"{self.start}/{self.end}"


def find(base: str, question: Question, params: Mapping[str, str] | None = None) -> list[Json]:
    """Items that a catalogue has for a question.

    Parameters
    ----------
    base : address of an API's landing page, or of a static catalogue
    params : account, added to the query of requests to the catalogue's own host

    Raises
    ------
    CatalogueError
        if the catalogue does not answer as a STAC catalogue does.
    """
    server = Server(base, dict(params or {}))
    landing = server.get(base)
    conforms = str(landing.get("conformsTo"))
    search = next((k["href"] for k in _links(landing) if k.get("rel") == "search"), None)
    if search or "item-search" in conforms:
        found = _pages(server, joined(f"{base}/", search or "search"), question)
    else:
        found = _walk(server, base, landing, question)
    return _each_once(found)


class Server:
    """One catalogue: its address, and what is added to each question."""

    def __init__(self, base: str, params: dict[str, str]) -> None:
        self.base, self.params = base, params

    def get(self, url: str) -> Json:
        """The JSON object at an address."""
        return self.ask("GET", url, None)

    def ask(self, method: str, url: str, body: Json | None) -> Json:
        """The JSON object that answers a request."""
        own = origin(url) == origin(self.base)
        more: Json = {"params": self.params if own else {}, "headers": http.AGENT}
        if body is not None:
            more["json"] = body
        hidden = tuple(self.params.values())
        where = cleaned(shown(url), hidden)
        if not own and holds(url, hidden):
            found = "a link to another host that would be given a secret"
            raise CatalogueError(where, found, "one without", "report it there")
        content: Json = http.send(
            method,
            url,
            lambda answer: _object(answer, where, hidden),
            hidden=hidden,
            base=self.base,
            **more,
        )
        return content


def _object(answer: requests.Response, where: str, hidden: tuple[str, ...]) -> Json:
    if answer.status_code != 200:
        found = http.status_of(answer, hidden)
        raise CatalogueError(where, found, "200", "check the address, and your rights")
    try:
        content = http.json_of(answer, LARGEST)
    except LongError as error:
        raise CatalogueError(where, str(error), "less", "ask for less, or report it") from None
    except ValueError:
        found = f"no JSON in an answer of {http.kind_of(answer) or 'no type'}"
        raise http.DamagedError(where, found, "STAC", "check the address, rerun later") from None
    if not isinstance(content, dict):
        raise CatalogueError(where, "no JSON object", "STAC", "check the address")
    if "code" in content and "description" in content and "type" not in content:
        found = cleaned(str(content["description"])[:200], hidden) or "a message"
        raise http.DamagedError(where, found, "STAC", "see the reason, rerun later")
    return content


# ------------------------------------------------------------------------------------ an API
def _pages(server: Server, url: str, question: Question) -> Iterator[Json]:
    """Items of all pages; a page that comes again ends in an error.

    Clouds are no part of what is asked: catalogues filter them each in its own way, and drop
    the scenes that do not tell theirs.
    """
    body: Json | None = {
        "collections": list(question.collections),
        "bbox": list(question.bbox),
        "datetime": question.datetime,
        "limit": PAGE,
    }
    method, seen, empty = "POST", set[str](), 0
    for _ in range(PAGES):
        asked = json.dumps([method, url, body], sort_keys=True)
        if asked in seen:
            raise CatalogueError(
                http.shown(url), "a next page that was there before", "an end", "report it there"
            )
        seen.add(asked)
        page = server.ask(method, url, body)
        features = page.get("features")
        if not isinstance(features, list):
            raise CatalogueError(http.shown(url), "no features", "items", "check the address")
        yield from (_with_absolute(each, url) for each in features)
        follow = next((link for link in _links(page) if link.get("rel") == "next"), None)
        empty = 0 if features else empty + 1
        if follow is None or empty > EMPTY:
            return
        method, url, body = _following(follow, url, body)
    raise CatalogueError(http.shown(url), f"over {PAGES} pages", "fewer", "ask for less")


def _following(link: Json, url: str, body: Json | None) -> tuple[str, str, Json | None]:
    method = str(link.get("method", "GET")).upper()
    there = joined(url, str(link.get("href", "")))
    if method != "POST":
        return "GET", there, None
    given = link.get("body")
    more = given if isinstance(given, dict) else {}
    return "POST", there, {**(body or {}), **more} if link.get("merge") else more


def _links(document: Json) -> list[Json]:
    links = document.get("links")
    if not isinstance(links, list):
        return []
    return [link for link in links if isinstance(link, dict) and isinstance(link.get("href"), str)]


def _each_once(items: Iterator[Json]) -> list[Json]:
    """By collection and name: items that are added while pages are read come twice."""
    found: dict[tuple[str, str], Json] = {}
    for item in items:
        if not isinstance(item, dict) or not item.get("id"):
            raise CatalogueError("the catalogue", "an item without id", "STAC items", "report it")
        found.setdefault((str(item.get("collection")), str(item["id"])), item)
    return list(found.values())


# ---------------------------------------------------------------------------- a static catalogue
def _walk(server: Server, base: str, top: Json, question: Question) -> Iterator[Json]:
    """Items below a catalogue; collections that say that they lie elsewhere are not opened."""
    waiting: list[tuple[str, Json | None]] = [(base, top)]
    seen = {base}
    while waiting:
        url, document = waiting.pop()
        document = document or server.get(url)
        kind = document.get("type")
        if kind == "Feature":
            yield _with_absolute(document, url)
        elif kind == "FeatureCollection":
            yield from (_with_absolute(each, url) for each in document.get("features") or [])
        elif kind in ("Catalog", "Collection"):
            if kind == "Collection" and not _asked_for(document, question):
                continue
            for there in _below(document, url):
                if there not in seen:
                    seen.add(there)
                    waiting.append((there, None))
        else:
            raise CatalogueError(
                http.shown(url), f"type {kind}", "a STAC document", "check the address"
            )
        if len(seen) > DOCUMENTS:
            found = f"over {DOCUMENTS} documents"
            raise CatalogueError(http.shown(base), found, "fewer", "name a collection's address")


def _below(document: Json, url: str) -> list[str]:
    rels = ("item", "child")
    return [joined(url, link["href"]) for link in _links(document) if link.get("rel") in rels]


def _asked_for(collection: Json, question: Question) -> bool:
    """Whether a collection is one of those named, and may lie over the area."""
    if collection.get("id") not in question.collections:
        return False
    try:
        box = [float(value) for value in collection["extent"]["spatial"]["bbox"][0]]  # that of all
        half = len(box) // 2
        west, south, east, north = question.bbox
        beside = box[0] > east or box[half] < west or box[1] > north or box[half + 1] < south
        return not beside
    except (KeyError, TypeError, IndexError, ValueError):
        return True


def _with_absolute(item: Json, url: str) -> Json:
    """The same item, the addresses of its assets in full; those that are none stay as they are."""
    assets = item.get("assets") if isinstance(item, dict) else None
    if isinstance(assets, dict):
        for asset in assets.values():
            href = asset.get("href") if isinstance(asset, dict) else None
            if isinstance(href, str) and href:
                with suppress(CatalogueError):  # told where the file is wanted
                    asset["href"] = joined(url, href)
    return item
