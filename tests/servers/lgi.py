"""A local LGI-CDSR of INPE: stac-compose to search, lgi-stac for items, downloads by e-mail.

    scene = simulated(folder, "CBERS4A_WPM22912420210830", "2021-08-30T13:00:00Z",
                      collection="CBERS4A_WPM_L4_DN", bands=("BAND0", "BAND1"), ...)
    with LgiServer([scene]) as server:
        ...  # ask server.search_url, server.items_url, and files with ?email={server.email}

A search shows no more than thumbnails; an item that is not there is 200 and {}.
"""

import json
import re
import urllib.parse

from servers import stac_search
from servers.answers import Answer, RefusedError, json_answer, page
from servers.asset_server import SceneServer
from servers.blobs import Blob
from servers.scene_faults import KINDS
from servers.stac_items import EARTH_SEARCH

SEARCH = "/stac-compose/stac/search/"
DOWNLOAD = "/api/download/TIFF/"
STORE = "/datastore/TIFF/"
ITEM = re.compile(r"/lgi-stac/collections/([^/]+)/items/([^/]+)")
PROVIDERS = ("LGI-CDSR", "LGI-CDSR-ACERVO")
SPAN = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
FIELDS = {"bbox": list, "datetime": str, "fromCatalog": str, "limit": int, "page": int}
FIELDS |= {"providers": list, "intersects": dict, "ids": list}
CALIBRATION = """<?xml version="1.0" encoding="UTF-8"?>
<prdf><satellite><name>{satellite}</name></satellite><image><path>{path}</path><row>{row}</row>
<absoluteCalibrationCoefficient><band name="{band}">0.25</band></absoluteCalibrationCoefficient>
</image></prdf>
"""


class LgiServer(SceneServer):
    """The server; a context manager.

    Parameters
    ----------
    scenes : see imagery.py; path and row are in their properties or in their ids
    emails : addresses that may download; the first is `email`
    ranges : whether a part of a file can be asked for
    """

    kinds = {  # noqa: RUF012
        name: how for name, how in KINDS.items() if name not in ("wrong_checksum", "wrong_size")
    }

    def __init__(self, scenes=(), *, emails=("someone@example.org",), ranges=True):
        self.emails, self.email = set(emails), next(iter(emails), None)
        super().__init__(scenes, ranges=ranges)

    # ----------------------------------------------------------------- addresses
    @property
    def search_url(self):
        return self.url + SEARCH

    @property
    def items_url(self):
        """Where items are: {items_url}/{collection}/items/{id}."""
        return f"{self.url}/lgi-stac/collections"

    def endpoint(self, path):
        if ITEM.fullmatch(path):
            return "item"
        if path.startswith("/api/download/"):
            return "download"
        if path.startswith("/datastore/"):
            return "asset"
        named = {SEARCH: "search", SEARCH[:-1]: "moved", "/lgi-stac/": "landing"}
        return named.get(path)

    def asset_path(self, scene, band, suffix=".tif"):
        satellite, sensor, level, path, row = _known(scene)
        name = f"{re.sub(r'(?<=[A-Z])(?=[0-9])', '_', satellite)}_{sensor}"
        pass_ = f"{name}_RAW_{scene.moment:%Y_%m_%d.%H_%M_%S}_ETC2/{path:03}_{row:03}_0"
        folder = f"{STORE}{satellite}/{scene.moment:%Y_%m}/{pass_}/{level}_BC_UTM_WGS84"
        last = "" if band == "thumbnail" else f"_{band}"
        return f"{folder}/{name}_{scene.moment:%Y%m%d}_{path:03}_{row:03}_L{level}{last}{suffix}"

    def add(self, scene):
        super().add(scene)
        satellite, _, _, path, row = _known(scene)
        for band in scene.files:
            text = CALIBRATION.format(satellite=satellite, path=path, row=row, band=band)
            with self.lock:
                self.blobs[self.asset_path(scene, band, ".xml")] = Blob(text.encode())

    def download_href(self, id, band):
        """The address that the item tells, to which the e-mail is added."""
        return self.href(id, band).replace(STORE, DOWNLOAD)

    # ----------------------------------------------------------------- rights
    def revoke(self):
        """Know no e-mail any more."""
        self.emails.clear()

    def error(self, request, refused, *, wrapped=None):
        if request.endpoint == "download":
            content = {"message": refused.message}
        elif request.endpoint == "asset":
            return page(refused.status, refused.message, refused.headers)
        else:
            names = {400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}
            name = names.get(refused.status, "Internal Server Error")
            content = {"code": refused.status, "name": name, "description": refused.message}
        return json_answer(refused.status, content, refused.headers)

    def _download(self, request):
        email = request.args.get("email")
        if not email:
            raise RefusedError(400, "`email` parameter is required!")
        if email not in self.emails:
            raise RefusedError(403, f"Invalid e-mail: `{email}`")
        location = request.path.replace(DOWNLOAD, STORE)
        if urllib.parse.unquote(location) not in self.blobs:
            raise RefusedError(404, "Not found")
        return Answer(302, b"", {"Location": location})

    # ----------------------------------------------------------------- documents
    def item(self, scene, *, whole=True):
        """The item of a scene; not `whole`: as a search shows it."""
        satellite, sensor, _, path, row = _known(scene)
        home = f"{self.items_url}/{scene.collection}"
        named = [{"name": band, "common_name": EARTH_SEARCH[band]} for band in scene.files]
        assets = {}
        for number, band in enumerate(scene.files if whole else ()):
            href, key = self.download_href(scene.id, band), EARTH_SEARCH[band]
            kind = "image/tiff; application=geotiff"
            assets[key] = {"href": href, "type": kind, "eo:bands": [number]}
            xml = {"href": href.replace(".tif", ".xml"), "type": "application/xml"}
            assets[f"{key}_xml"] = xml
        png = self.url + self.asset_path(scene, "thumbnail", ".png")
        assets["thumbnail"] = {"href": png, "type": "image/png"}
        properties = {"datetime": f"{scene.moment:%Y-%m-%dT%H:%M:%S}", "path": path, "row": row}
        properties |= {"satellite": satellite, "sensor": sensor, "cloud_cover": scene.cloud}
        properties |= {"sync_loss": None, "eo:gsd": -1, "eo:bands": named}
        return {
            "stac_version": "0.9.0",
            "stac_extensions": ["eo", "query"],
            "type": "Feature",
            "id": scene.id,
            "collection": scene.collection,
            "geometry": scene.footprint,
            "bbox": scene.bbox,
            "properties": properties | scene.properties,
            "assets": assets,
            "links": [
                {"rel": "self", "href": f"{home}/items/{scene.id}"},
                {"rel": "parent", "href": home},
                {"rel": "collection", "href": home},
                {"rel": "root", "href": f"{self.url}/lgi-stac/"},
            ],
        }

    def _landing(self, request):
        links = [{"rel": "self", "href": f"{self.url}/lgi-stac/"}]
        return json_answer(200, [{"stac_version": "0.9.0", "id": "lgi-stac", "links": links}])

    def _item(self, request):
        collection, id = (urllib.parse.unquote(v) for v in ITEM.fullmatch(request.path).groups())
        scene = self.scene(id, collection)
        content = self.item(scene) | {"id": id} if scene else {}
        return json_answer(200, self.document(request, content))

    # ----------------------------------------------------------------- searching
    def _moved(self, request):
        return Answer(301, b"", {"Location": self.search_url})

    def _search(self, request):
        if request.method != "POST":
            raise RefusedError(405, "Method Not Allowed", headers={"Allow": "POST"})
        content = {}
        for provider in _providers(request.json):
            named = [collection["name"] for collection in provider["collections"]]
            own = provider["name"] == PROVIDERS[0]
            content[provider["name"]] = {
                name: self._found(request.json, provider, name if own else None) for name in named
            }
        return json_answer(200, self.document(request, content))

    def _found(self, wanted, provider, name):
        """The features of one collection, and how many there are."""
        limit, number = (stac_search.whole(wanted, k, v, 10**6) for k, v in
                         (("limit", 10), ("page", 1)))  # fmt: skip
        asked = {key: wanted[key] for key in ("bbox", "datetime") if key in wanted}
        held = [scene for scene in self.scenes if scene.collection == name]
        found = [
            scene
            for scene in stac_search.fitting(held, asked)
            if stac_search.matches(scene, provider.get("query") or {}, _held)
        ]
        shown = found[limit * (number - 1) :][:limit]
        context = {"page": number, "limit": limit, "matched": len(found), "returned": len(shown)}
        features = [self.item(scene, whole=False) for scene in shown]
        return {"type": "FeatureCollection", "features": features, "context": context}

    def loop(self, request, content):
        """Give the first page, whichever is asked for."""
        first = request.json | {"page": 1}
        for provider in _providers(first):
            for name, listed in content[provider["name"]].items():
                listed["features"] = self._found(first, provider, name)["features"]


def _known(scene):
    """Satellite, sensor, level, path and row."""
    satellite, sensor, level, *_ = scene.collection.split("_")
    numbers = re.search(r"(\d{3})(\d{3})\d{8}", scene.id)
    path, row = (int(text) for text in numbers.groups()) if numbers else (0, 0)
    told = scene.properties
    return satellite, sensor, level[1:], int(told.get("path", path)), int(told.get("row", row))


def _held(scene, name):
    _, _, _, path, row = _known(scene)
    return {"cloud_cover": scene.cloud, "path": path, "row": row}.get(
        name, stac_search.held_by(scene, name)
    )


def _providers(body):
    """The providers of a search.

    Raises
    ------
    RefusedError
        if the service would not take the body.
    """
    if not isinstance(body, dict):
        raise RefusedError(400, "Failed to decode JSON object")
    wrong = _wrong_fields(body)
    if wrong:
        raise RefusedError(400, json.dumps(wrong))
    for provider in body["providers"]:
        if provider["name"] not in PROVIDERS:
            raise RefusedError(400, f"Provider `{provider['name']}` does not exist.")
    return body["providers"]


def _wrong_fields(body):
    """Names of fields -> what is wrong with them, in the words of its validator."""
    wrong = {name: ["unknown field"] for name in body if name not in FIELDS}
    for name, kind in FIELDS.items():
        if name in body and not isinstance(body[name], kind):
            wrong[name] = [f"must be of {kind.__name__} type"]
    if isinstance(body.get("bbox"), list) and len(body["bbox"]) != 4:
        wrong["bbox"] = [f"length of list should be 4, it is {len(body['bbox'])}"]
    if not re.fullmatch(rf"{SPAN}(/{SPAN})?", str(body.get("datetime", "2000-01-01T00:00:00"))):
        wrong["datetime"] = [f"value does not match regex '{SPAN}/{SPAN}'"]
    providers = body.get("providers")
    if providers is None:
        return wrong | {"providers": ["required field"]}
    for provider in () if "providers" in wrong else providers:
        wrong |= {n: ["required field"] for n in ("name", "collections") if n not in provider}
    return wrong
