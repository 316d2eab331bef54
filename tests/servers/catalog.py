"""Searches of the Catalog API: one scene for each pass, in pages by number."""

import datetime
import json
import re
import urllib.parse

from servers.answers import RefusedError, json_answer
from servers.orders import refuse
from servers.scenes import orbits_between

LARGEST_PAGE = 100
TILE = "31TDF"
WORLD = [-180.0, -90.0, 180.0, 90.0]


def answer(request, hub):
    """The page that is asked for."""
    asked = _asked(request)
    collections = asked.get("collections")
    if not isinstance(collections, list) or len(collections) != 1:
        raise refuse("collections", "collections must have one collection")
    if collections[0] != "sentinel-2-l2a":
        raise RefusedError(404, f"Collection {collections[0]} not found.")
    limit, start = _whole(asked, "limit", 10), _whole(asked, "next", 0)
    if not 1 <= limit <= LARGEST_PAGE:
        raise refuse("limit", f"limit must be between 1 and {LARGEST_PAGE}")
    box = asked.get("bbox") or WORLD
    if not isinstance(box, list) or len(box) != 4 or not -180 <= box[0] <= box[2] <= 180:
        raise refuse("bbox", "bbox must be west, south, east, north")
    found = [_item(orbit, box) for orbit in _passes(asked, hub)]
    page = found[start : start + limit]
    context = {"limit": limit, "returned": len(page)}
    links = [{"rel": "self", "href": hub.catalog_url, "method": "POST"}]
    if start + limit < len(found):
        context = {"next": start + limit} | context
        body = {"next": start + limit}
        link = {"rel": "next", "href": hub.catalog_url, "method": "POST", "body": body}
        links.append(link | {"merge": True})
    content = {"type": "FeatureCollection", "features": page, "links": links, "context": context}
    return json_answer(200, content, {"Content-Type": "application/geo+json;charset=utf-8"})


def _asked(request):
    if request.method == "GET":
        asked = dict(urllib.parse.parse_qsl(request.query))
        other = set(asked) - {"bbox", "datetime", "collections", "limit", "next"}
        if other:
            raise refuse(min(other), f"unknown parameter {min(other)}")
        asked |= {k: asked[k].split(",") for k in ("bbox", "collections") if k in asked}
        asked |= {"bbox": [float(v) for v in asked["bbox"]]} if "bbox" in asked else {}
        return asked | {k: json.loads(asked[k]) for k in ("limit", "next") if k in asked}
    if not isinstance(request.json, dict):
        raise RefusedError(400, "Request body is not valid JSON.")
    if "query" in request.json:
        raise refuse("query", "query is not supported; use filter")
    return request.json


def _whole(asked, name, default):
    value = asked.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise refuse(name, f"{name} must be a whole number")
    return value


def _passes(asked, hub):
    """Passes in the interval that the filter leaves, the latest first."""
    try:
        first, _, last = asked.get("datetime", "").partition("/")
        span = [datetime.datetime.fromisoformat(text) for text in (first, last or first)]
    except (TypeError, ValueError):
        raise refuse("datetime", "datetime must be an interval such as a/b") from None
    found = orbits_between(*span, hub.clouds)[::-1]
    if not asked.get("filter"):
        return found
    cloudy = re.fullmatch(r"eo:cloud_cover\s*(<=|<)\s*(\d+(?:\.\d+)?)", str(asked["filter"]))
    if not cloudy:
        raise refuse("filter", f"filter {asked['filter']} is not understood")
    most = float(cloudy[2])
    equal = cloudy[1] == "<="
    return [o for o in found if o.cloudy * 100 < most or (equal and o.cloudy * 100 == most)]


def _item(orbit, box):
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    moment = orbit.moment.astimezone(datetime.UTC)
    name = f"S2A_MSIL2A_{moment:%Y%m%dT%H%M%S}_N0207_R051_T{TILE}_{moment:%Y%m%dT%H%M%S}.SAFE"
    properties = {"datetime": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "eo:cloud_cover": orbit.cloudy * 100}
    properties |= {"platform": "sentinel-2a", "instruments": ["msi"], "constellation": "sentinel-2"}
    return {
        "stac_version": "1.0.0",
        "type": "Feature",
        "id": name,
        "collection": "sentinel-2-l2a",
        "bbox": list(box),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": properties,
        "assets": {},
        "links": [],
    }
