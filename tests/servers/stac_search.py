"""Searches of a STAC API: what is asked for, and which scenes fit."""

import datetime
import json

from servers.answers import RefusedError
from servers.imagery import moment_of
from shapely.geometry import box, shape

EVER = (datetime.datetime.min.replace(tzinfo=datetime.UTC),)
EVER += (datetime.datetime.max.replace(tzinfo=datetime.UTC),)
COMPARED = {
    "eq": lambda held, wanted: held == wanted,
    "neq": lambda held, wanted: held != wanted,
    "lt": lambda held, wanted: held < wanted,
    "lte": lambda held, wanted: held <= wanted,
    "gt": lambda held, wanted: held > wanted,
    "gte": lambda held, wanted: held >= wanted,
    "startsWith": lambda held, wanted: str(held).startswith(str(wanted)),
    "endsWith": lambda held, wanted: str(held).endswith(str(wanted)),
    "contains": lambda held, wanted: str(wanted) in str(held),
    "in": lambda held, wanted: held in wanted,
}


def bad(message):
    return RefusedError(400, message)


def asked(request):
    """Names and values of a search, from the query or the body."""
    if request.method == "POST":
        if not isinstance(request.json, dict):
            raise bad("Invalid JSON in the body")
        return dict(request.json)
    if request.method != "GET":
        raise RefusedError(405, "Method Not Allowed", headers={"Allow": "GET, POST"})
    return of_query(request.args)


def of_query(args):
    """Names and values of a query, in the types of a body."""
    found = dict(args)
    try:
        for name in {"collections", "ids", "bbox", "sortby"} & set(found):
            found[name] = [text.strip() for text in found[name].split(",") if text.strip()]
        if "bbox" in found:
            found["bbox"] = [float(value) for value in found["bbox"]]
        for name in {"intersects", "query"} & set(found):
            found[name] = json.loads(found[name])
    except ValueError:
        raise bad(f"Invalid {name}") from None
    return found


def whole(wanted, name, default, most):
    """A whole number from 1 on, at most `most`."""
    try:
        value = int(wanted.get(name, default))
    except (TypeError, ValueError):
        raise bad(f"Invalid {name} value") from None
    if value < 1:
        raise bad(f"Invalid {name} value, must be between 1 and {most} inclusive")
    return min(value, most)


def fitting(scenes, wanted, *, outline=None):
    """Scenes that a search finds, the latest first.

    `outline` gives the geometry of a scene that is compared, by default its footprint.
    """
    outline = outline or (lambda scene: shape(scene.footprint))
    area, (first, last) = area_of(wanted), span_of(wanted.get("datetime"))
    found = [
        scene
        for scene in scenes
        if ("collections" not in wanted or scene.collection in wanted["collections"])
        and (not wanted.get("ids") or scene.id in wanted["ids"])
        and first <= end_of(scene)
        and scene.moment <= last
        and (area is None or outline(scene).intersects(area))
        and matches(scene, wanted.get("query") or {})
    ]
    return in_order(found, wanted.get("sortby"))


def end_of(scene):
    """The last moment of a scene or a composite."""
    return moment_of(scene.properties.get("end_datetime", scene.moment))


def area_of(wanted):
    """The geometry that is asked for, or None."""
    if wanted.get("bbox") and wanted.get("intersects"):
        raise bad("Expected bbox OR intersects, not both")
    if wanted.get("bbox"):
        values = wanted["bbox"]
        if len(values) == 6:
            values = [*values[:2], *values[3:5]]
        if len(values) != 4:
            raise bad("Invalid bbox, must have 4 or 6 points")
        if values[0] > values[2] or values[1] > values[3]:
            raise bad("Invalid bbox, SW latitude must be less than NE latitude")
        return box(*values)
    if not wanted.get("intersects"):
        return None
    try:
        return shape(wanted["intersects"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise bad("Expected GeoJSON geometry in intersects") from None


def span_of(text):
    """The first and the last moment of a datetime parameter."""
    if not text:
        return EVER
    first, slash, last = str(text).partition("/")
    try:
        ends = [
            ever if end in ("", "..") else moment_of(end)
            for end, ever in zip((first, last if slash else first), EVER, strict=True)
        ]
    except ValueError:
        raise bad("datetime value is invalid, does not match RFC3339") from None
    if ends[0] > ends[1]:
        raise bad("datetime value is invalid, start datetime must be before end datetime")
    return ends


def held_by(scene, name):
    """A property of the scene's item."""
    if name == "eo:cloud_cover":
        return scene.cloud
    if name == "datetime":
        return f"{scene.moment:%Y-%m-%dT%H:%M:%SZ}"
    return {"id": scene.id, "collection": scene.collection}.get(name, scene.properties.get(name))


def matches(scene, query, held=held_by):
    """Whether a scene fits all comparisons; what it lacks never fits."""
    if not isinstance(query, dict) or not all(isinstance(v, dict) for v in query.values()):
        raise bad("Invalid query")
    for name, comparisons in query.items():
        value = held(scene, name)
        for operator, wanted in comparisons.items():
            if operator not in COMPARED:
                raise bad(f"Invalid operator {operator}")
            try:
                if value is None or not COMPARED[operator](value, wanted):
                    return False
            except TypeError:
                return False
    return True


def in_order(scenes, sortby):
    """Scenes as `sortby` says, after that the latest first."""
    found = sorted(scenes, key=lambda s: (s.moment, s.id, s.collection), reverse=True)
    for rule in reversed(sortby or []):
        if isinstance(rule, str):
            rule = {"field": rule.lstrip("+-"), "direction": "desc" if rule[0] == "-" else "asc"}
        name = str(rule.get("field", "")).removeprefix("properties.")
        falling = rule.get("direction") == "desc"
        known = [s for s in found if held_by(s, name) is not None]
        rest = [s for s in found if held_by(s, name) is None]
        found = sorted(known, key=lambda s: held_by(s, name), reverse=falling) + rest
    return found
