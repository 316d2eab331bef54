"""INPE's catalogue of CBERS and Amazonia scenes (DGI): its own search, and items of STAC 0.9.

The search answers with features that hold a thumbnail alone; each item is then asked for by its
name, and brought to the form of today's STAC.
"""

import re
import urllib.parse
from collections.abc import Iterator

from mapmill.catalogue import http
from mapmill.catalogue.stac import PAGES, Json, Question, Server
from mapmill.errors import CatalogueError

SEARCH = "/stac-compose/stac/search/"
ITEMS = "/lgi-stac/collections"
PROVIDER = "LGI-CDSR"
PAGE = 100


def find(base: str, question: Question) -> list[Json]:
    """Items that the catalogue has for a question.

    Raises
    ------
    CatalogueError
        if it does not answer as it is known to.
    """
    server = Server(base, {})
    names = {(c, i) for c in question.collections for i in _names(server, c, question)}
    wanted = sorted(each for each in names if each[1] not in question.exclude)
    return [_item(server, collection, name) for collection, name in wanted]


def _names(server: Server, collection: str, question: Question) -> Iterator[str]:
    """Names of a collection's scenes, page by page, until one adds nothing."""
    url, seen = server.base + SEARCH, set[str]()
    for page in range(1, PAGES):
        answer = server.ask("POST", url, _body(collection, question, page))
        listed, matched = _listed(answer, collection, url)
        new = [name for name in listed if name not in seen]
        seen.update(new)
        yield from new
        if not listed or (len(seen) >= matched if matched is not None else not new):
            return
        if not new:
            found = f"a page that was there before, {len(seen)} scenes of {matched}"
            raise CatalogueError(http.shown(url), found, "the next one", "report it there")
    raise CatalogueError(http.shown(url), f"over {PAGES} pages", "fewer", "ask for less")


def _body(collection: str, question: Question, page: int) -> Json:
    provider: Json = {
        "name": PROVIDER,
        "method": "POST",
        "collections": [{"name": collection}],
    }
    body: Json = {
        "bbox": list(question.bbox),
        "datetime": f"{_moment(question.start)}/{_moment(question.end)}",
        "fromCatalog": "yes",
        "limit": PAGE,
        "providers": [provider],
    }
    return body | ({"page": page} if page > 1 else {})


def _moment(text: str) -> str:
    return text.removesuffix("Z")  # its times have no zone


def _listed(answer: Json, collection: str, url: str) -> tuple[list[str], int | None]:
    """Names on a page, and how many there are in all, where that is told."""
    try:
        found = answer[PROVIDER][collection]
        names = [str(feature["id"]) for feature in found["features"]]
        matched = (found.get("context") or {}).get("matched")
        return names, None if matched is None else int(matched)
    except (KeyError, TypeError, ValueError, AttributeError):
        told = ", ".join(sorted(str(key) for key in answer))[:100]
        raise CatalogueError(
            http.shown(url),
            f"an answer with {told or 'nothing'}",
            f"{PROVIDER} with {collection}",
            "check search.catalogue.collections",
        ) from None


def _item(server: Server, collection: str, name: str) -> Json:
    """One item; the catalogue answers `{}` where there is none."""
    quoted = (urllib.parse.quote(part, safe="") for part in (collection, name))
    url = server.base + ITEMS + "/{}/items/{}".format(*quoted)
    item = server.get(url)
    if not isinstance(item.get("properties"), dict) or not isinstance(item.get("assets"), dict):
        raise CatalogueError(
            http.shown(url),
            f"no item {name}",
            "what its search has named",
            f"rerun later, or add {name} to search.catalogue.exclude",
        )
    return _as_today(item, collection)


def _as_today(item: Json, collection: str) -> Json:
    """The item with today's names: cloud in percent, a zone in its times, bands by name."""
    own = item["properties"]
    moment = str(own.get("datetime") or "")
    properties = {
        **{key: own[key] for key in ("path", "row", "satellite", "sensor") if key in own},
        "datetime": moment if re.search(r"(Z|[+-]\d\d:\d\d)$", moment) else f"{moment}Z",
        "eo:cloud_cover": own.get("cloud_cover"),
        "bdc:tiles": [f"{own.get('path')}/{own.get('row')}"],
    }
    assets = {
        key: asset | {"eo:bands": [{"name": key, "common_name": _common(asset, own) or key}]}
        for key, asset in item["assets"].items()
        if isinstance(asset, dict)
    }
    return item | {"collection": collection, "properties": properties, "assets": assets}


def _common(asset: Json, properties: Json) -> str:
    """Common name of the band of a file: the item lists all bands, the asset says which."""
    try:
        (number,) = asset["eo:bands"]
        return str(properties["eo:bands"][number]["common_name"])
    except (KeyError, IndexError, TypeError, ValueError):
        return ""
