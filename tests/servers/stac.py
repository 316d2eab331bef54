"""A local STAC API such as Earth Search v1, with the files of its scenes, signed or not.

    with StacServer([simulated(folder, "S2A_31TDF_20180412_0_L2A", "2018-04-12", ...)]) as server:
        server.fault("short_body", match=lambda request: request.path.endswith("B02.tif"))
        ...  # ask server.api_url
        assert server.count("search") == 1 and server.count("asset", status=200) == 4

The same items are a static catalogue at `server.static_url`, by relative addresses. Tokens for
signed files come as Planetary Computer gives them: GET /api/sas/v1/token/{account}/{container},
where an asset's path begins with /{account}/{container}/ .

Where GDAL reads files in the server's own process, set GDAL_DISABLE_READDIR_ON_OPEN=EMPTY_DIR:
rasterio holds the lock of the interpreter while GDAL looks for neighbours, and waits for ever.
"""

import re
import urllib.parse

from servers import blobs, stac_items, stac_search
from servers.answers import RefusedError, json_answer
from servers.asset_server import SceneServer
from servers.blobs import Signatures

CORE = "https://api.stacspec.org/v1.0.0"
CONFORMS = [f"{CORE}/{n}" for n in ("core", "collections", "ogcapi-features", "item-search")]
CONFORMS += [f"{CORE}/item-search#{name}" for name in ("query", "sort")]
CONFORMS += [f"{CORE}/ogcapi-features#{name}" for name in ("query", "sort")]
CONFORMS += [
    f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{n}" for n in ("core", "geojson")
]
GEOJSON = {"Content-Type": "application/geo+json; charset=utf-8"}
JSON = {"Content-Type": "application/json; charset=utf-8"}
CODES = {400: "BadRequest", 404: "NotFound", 500: "InternalServerError"}
ACCOUNT = "assets"
PATHS = (
    ("landing", r"/?"),
    ("conformance", r"/conformance"),
    ("collections", r"/collections"),
    ("collection", r"/collections/([^/]+)"),
    ("items", r"/collections/([^/]+)/items"),
    ("item", r"/collections/([^/]+)/items/([^/]+)"),
    ("search", r"/search"),
)


class StacServer(SceneServer):
    """The server; a context manager.

    Parameters
    ----------
    scenes : see imagery.py
    ranges : whether a part of a file can be asked for
    signed : True: items give signed addresses of files; "token": they do not, and a client has to
        ask for a token itself
    lifetime, uses : seconds that a signature is good for, and requests (None: any number)
    keys : band -> key of its asset; by default those of Earth Search; {}: the bands
    checksums : whether assets tell file:size and file:checksum
    projection : proj:code, proj:epsg, or None: items tell nothing of the CRS
    paging : "next" or "token": what the next page is asked by
    merge : whether that is all that the body of the next link has
    collections : more of them, without scenes
    """

    largest = 10_000
    checksum_key, size_key = "file:checksum", "file:size"
    prefix = ""
    """Path of the landing page."""

    def __init__(
        self,
        scenes=(),
        *,
        ranges=True,
        signed=False,
        lifetime=3600.0,
        uses=None,
        keys=None,
        checksums=True,
        projection="proj:code",
        paging="next",
        merge=False,
        collections=(),
    ):
        self.signed, self.signatures = signed, Signatures(lifetime, uses)
        self.keys = stac_items.EARTH_SEARCH if keys is None else keys
        self.checksums, self.projection = checksums, projection
        self.paging, self.merge, self.more = paging, merge, tuple(collections)
        super().__init__(scenes, ranges=ranges)

    # ----------------------------------------------------------------- addresses
    @property
    def api_url(self):
        """The landing page."""
        return self.url + self.prefix

    @property
    def search_url(self):
        return f"{self.api_url}/search"

    @property
    def static_url(self):
        """The root of the static catalogue."""
        return f"{self.url}/static/catalog.json"

    def asset_path(self, scene, band, suffix=".tif"):
        return f"/{ACCOUNT}/{scene.collection}/{scene.id}/{band}{suffix}"

    def key(self, band):
        """The key of a band's asset."""
        return self.keys.get(band, band)

    def endpoint(self, path):
        if path.startswith(("/assets/", "/static/", "/api/sas/")):
            return {"assets": "asset", "static": "static", "api": "sas"}[path.split("/")[1]]
        return self._route(path)[0]

    def _route(self, path):
        """Endpoint and names at a path of the API."""
        rest = path.removeprefix(self.prefix)
        for name, pattern in PATHS if path.startswith(self.prefix) else ():
            found = re.fullmatch(pattern, rest)
            if found:
                return name, [urllib.parse.unquote(text) for text in found.groups()]
        return None, []

    # ----------------------------------------------------------------- rights
    def authorize(self, request):
        if self.signed:
            self.signatures.check(request.path.split("/")[2], request.args)

    def revoke(self):
        self.signatures.revoke()

    def sign(self, collection):
        """A query that lets somebody read the files of a collection, and the end that it tells."""
        return self.signatures.issue(collection)

    def error(self, request, refused, *, wrapped=None):
        if request.endpoint == "asset":
            return blobs.xml_error(refused)
        content = {"code": CODES.get(refused.status, str(refused.status))}
        if request.endpoint == "sas":
            content = {"detail": refused.message}
        return json_answer(
            refused.status, content | {"description": refused.message}, refused.headers
        )

    # ----------------------------------------------------------------- documents
    def names(self):
        """All collections."""
        return list(dict.fromkeys([*self.more, *(scene.collection for scene in self.scenes)]))

    def item(self, scene, request):
        """The item of a scene."""
        query = f"?{self.sign(scene.collection)[0]}" if self.signed is True else ""
        home = f"{self.api_url}/collections/{scene.collection}"
        links = [self.link("self", f"{home}/items/{scene.id}", GEOJSON)]
        links += [self.link(rel, home) for rel in ("parent", "collection")]

        def href(band, suffix=".tif"):
            return self.url + self.asset_path(scene, band, suffix) + query

        return stac_items.item(self, scene, href, [*links, self.link("root", self.api_url)])

    def link(self, rel, href, kind=JSON, **more):
        return {"rel": rel, "type": kind["Content-Type"].partition(";")[0], "href": href} | more

    def collection(self, name):
        """The document of a collection."""
        home = f"{self.api_url}/collections/{name}"
        links = [self.link("self", home), self.link("parent", self.api_url)]
        links += [self.link("items", f"{home}/items", GEOJSON), self.link("root", self.api_url)]
        return stac_items.collection(self, name, links)

    def _landing(self, request):
        home = self.api_url
        links = [self.link(rel, home) for rel in ("self", "root")]
        links += [self.link("conformance", f"{home}/conformance")]
        links += [self.link("data", f"{home}/collections")]
        links += [self.link("search", self.search_url, GEOJSON, method=m) for m in ("GET", "POST")]
        links += [self.link("child", f"{home}/collections/{name}") for name in self.names()]
        content = {"stac_version": "1.0.0", "type": "Catalog", "id": "local-stac"}
        content |= {"title": "Local STAC API", "description": "Scenes of a test"}
        return json_answer(200, content | {"links": links, "conformsTo": CONFORMS}, JSON)

    def _conformance(self, request):
        return json_answer(200, {"conformsTo": CONFORMS}, JSON)

    def _collections(self, request):
        links = [self.link(rel, self.api_url) for rel in ("self", "root")]
        found = [self.collection(name) for name in self.names()]
        return json_answer(200, {"collections": found, "links": links}, JSON)

    def _collection(self, request):
        return json_answer(200, self.collection(self._known(request)), JSON)

    def _known(self, request):
        (name, *_) = self._route(request.path)[1]
        if name not in self.names():
            raise RefusedError(404, "Collection not found")
        return name

    def _item(self, request):
        name, id = self._route(request.path)[1]
        scene = self.scene(id, name)
        if scene is None:
            raise RefusedError(404, "Item not found")
        content = self.document(request, self.item(scene, request) | {"id": id})
        if not content:
            raise RefusedError(404, "Item not found")
        return json_answer(200, content, GEOJSON)

    # ----------------------------------------------------------------- searching
    def _items(self, request):
        wanted = stac_search.of_query(request.args) | {"collections": [self._known(request)]}
        return self._page(request, wanted)

    def _search(self, request):
        return self._page(request, stac_search.asked(request))

    def _page(self, request, wanted):
        limit = stac_search.whole(wanted, "limit", 10, self.largest)
        found = stac_search.fitting(self.scenes, wanted)
        marks = [f"{s.moment:%Y-%m-%dT%H:%M:%SZ},{s.id},{s.collection}" for s in found]
        mark = wanted.get(self.paging)
        if mark is not None and mark not in marks:
            raise RefusedError(400, f"Invalid {self.paging}")
        start = 0 if mark is None else marks.index(mark) + 1
        shown = found[start : start + limit]
        links = [self.link("root", self.api_url)]
        if start + limit < len(found):
            links.append(self._next(request, marks[start + limit - 1]))
        counts = {"limit": limit, "matched": len(found), "returned": len(shown)}
        content = {"type": "FeatureCollection", "stac_version": "1.0.0", "context": counts}
        content |= {"numberMatched": len(found), "numberReturned": len(shown)}
        content |= {"features": [self.item(s, request) for s in shown], "links": links}
        return json_answer(200, self.document(request, content), GEOJSON)

    def _next(self, request, mark):
        """The link to the page after the item of a mark; None: to the page of the request."""
        if mark is None:
            mark = (request.args if request.method == "GET" else request.json).get(self.paging)
        href, more = self.url + request.path, {} if mark is None else {self.paging: mark}
        if request.method == "GET":
            href = f"{href}?{urllib.parse.urlencode(request.args | more)}"
            return self.link("next", href, GEOJSON, method="GET")
        body = more if self.merge else request.json | more
        return self.link("next", href, GEOJSON, method="POST", merge=self.merge, body=body)

    def loop(self, request, content):
        links = [link for link in content.get("links", []) if link["rel"] != "next"]
        content["links"] = [*links, self._next(request, None)]

    # ----------------------------------------------------------------- static catalogue, tokens
    def _static(self, request):
        parts = [urllib.parse.unquote(text) for text in request.path.split("/")[2:]]
        if parts == ["catalog.json"]:
            links = [self.link(rel, "./catalog.json") for rel in ("self", "root")]
            links += [self.link("child", f"./{name}/collection.json") for name in self.names()]
            content = {"stac_version": "1.0.0", "type": "Catalog", "id": "local-static"}
            return json_answer(200, content | {"description": "Scenes", "links": links}, JSON)
        if len(parts) == 2 and parts[0] in self.names() and parts[1] == "collection.json":
            held = [s for s in self.scenes if s.collection == parts[0]]
            links = [self.link(rel, "../catalog.json") for rel in ("root", "parent")]
            links += [self.link("item", f"./{s.id}/{s.id}.json", GEOJSON) for s in held]
            return json_answer(200, stac_items.collection(self, parts[0], links), JSON)
        scene = self.scene(parts[1], parts[0]) if len(parts) == 3 else None
        if scene is None:
            raise RefusedError(404, "Not Found")
        query = f"?{self.sign(scene.collection)[0]}" if self.signed is True else ""
        links = [self.link("root", "../../catalog.json")]
        links += [self.link(rel, "../collection.json") for rel in ("parent", "collection")]

        def href(band, suffix=".tif"):
            return "../../.." + self.asset_path(scene, band, suffix) + query

        content = stac_items.item(self, scene, href, links)
        return json_answer(200, self.document(request, content), GEOJSON)

    def _sas(self, request):
        parts = request.path.split("/")[4:]
        if (
            len(parts) != 3
            or parts[0] != "token"
            or parts[1] != ACCOUNT
            or parts[2] not in self.names()
        ):
            raise RefusedError(404, "No collection found for the specified account and container")
        token, end = self.sign(parts[2])
        return json_answer(200, {"msft:expiry": end, "token": token}, JSON)
