"""A local BDC STAC (data.inpe.br), with the quirks of INPE's service and its files.

    scene = simulated(folder, "CBERS_4A_WPM_20210830_229_124_L4", "2021-08-30T13:00:00Z",
                      collection="CB4A-WPM-L4-DN-1", bands=("BAND0", "BAND1"), ...)
    with BdcServer([scene]) as server:
        ...  # ask server.api_url

Items tell nothing of the CRS; sizes and checksums are bdc:size and checksum:multihash; the place
is compared with boxes, not with footprints; pages have numbers.
"""

import gzip
import re
import urllib.parse
from dataclasses import replace

from servers import stac_search
from servers.answers import RefusedError, json_answer, page
from servers.blobs import TIFF
from servers.imagery import COMMON
from servers.stac import GEOJSON, JSON, StacServer
from shapely.geometry import box

CORE = "https://api.stacspec.org/v1.0.0"
CONFORMS = [f"{CORE}/{n}" for n in ("core", "collections", "item-search#sort", "item-search")]
CONFORMS += [f"{CORE}/item-search#{name}" for name in ("fields", "query", "filter")]
CONFORMS += [f"{CORE}/ogcapi-features/"]
WFS = "http://www.opengis.net/spec"
CONFORMS += [f"{WFS}/ogcapi-features-1/1.0/conf/{name}" for name in ("core", "oas30", "geojson")]
OLD = [f"{WFS}/wfs-1/3.0/req/{name}" for name in ("core", "oas30", "html", "geojson")]
FAILED = (
    "The server encountered an internal error and was unable to complete your request. Either the "
    "server is overloaded or there is an error in the application."
)
HOME = "/bdc/stac/v1"


class BdcServer(StacServer):
    """The server; a context manager.

    Parameters
    ----------
    scenes : see imagery.py; `bdc:tiles` of their properties are compared as bdc:tile too
    token : what `access_token` of a request for a file must be; None: files are open
    private : collections that only somebody with the token sees
    checksums : False: they are "", as the service has been seen to write
    others : ranges and collections, as of StacServer
    """

    largest = 1000
    checksum_key, size_key = "checksum:multihash", "bdc:size"
    prefix = HOME

    def __init__(self, scenes=(), *, token=None, private=(), checksums=True, **others):
        self.token, self.private, self.revoked = token, tuple(private), False
        super().__init__(scenes, keys={}, checksums=checksums, projection=None, **others)

    # ----------------------------------------------------------------- addresses
    def asset_path(self, scene, band, suffix=".tif"):
        folder = f"/bdc/data/{scene.collection}/{scene.moment:%Y_%m}/{scene.id}"
        return f"{folder}/{scene.id}{suffix if band == 'thumbnail' else f'_{band}{suffix}'}"

    def endpoint(self, path):
        return "asset" if path.startswith("/bdc/data/") else self._route(path)[0]

    # ----------------------------------------------------------------- rights
    def authorize(self, request):
        if self.token is None or request.path.endswith(".png"):
            return
        if "access_token" not in request.args:
            raise RefusedError(400, "Missing access_token parameter.")
        self._may_see(request)

    def _may_see(self, request):
        """Whether the request has the token; refused where it has another one."""
        given = request.args.get("access_token")
        if given is not None and (self.revoked or given != self.token):
            raise RefusedError(403, "Forbidden")
        return given is not None

    def revoke(self):
        self.revoked = True

    def error(self, request, refused, *, wrapped=None):
        if request.endpoint == "asset" and refused.status not in (400, 401, 403):
            return page(refused.status, refused.message, refused.headers)
        message = FAILED if refused.status == 500 else refused.message
        content = {"code": refused.status, "description": message}
        return json_answer(refused.status, content, refused.headers)

    def answer(self, request):
        found = super().answer(request)
        if request.endpoint == "asset":
            return found
        headers = found.headers | {"Access-Control-Allow-Origin": "*"}
        takes = "gzip" in (request.headers.get("Accept-Encoding") or "")
        if not takes or len(found.body) < 500:
            return replace(found, headers=headers)
        headers |= {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        return replace(found, body=gzip.compress(found.body, 1), headers=headers)

    # ----------------------------------------------------------------- documents
    def names(self, request=None):
        found = super().names()
        shown = request is None or (self.token and self._may_see(request))
        return found if shown else [name for name in found if name not in self.private]

    def _with_token(self, request, href):
        """The address as it is told to this request: with its token, if it has one."""
        given = request.args.get("access_token")
        return href if given is None else f"{href}?access_token={urllib.parse.quote(given)}"

    def _linked(self, request, rel, path, kind=JSON, **more):
        return self.link(rel, self._with_token(request, self.api_url + path), kind, **more)

    def item(self, scene, request):
        home = f"/collections/{scene.collection}"
        links = [self._linked(request, "self", f"{home}/items/{scene.id}", GEOJSON)]
        links += [self._linked(request, rel, home) for rel in ("parent", "collection")]
        moment = f"{scene.moment:%Y-%m-%dT%H:%M:%S.%f}Z"
        times = ("datetime", "start_datetime", "end_datetime", "created", "updated")
        properties = dict.fromkeys(times, moment) | {"eo:cloud_cover": scene.cloud}
        assets = {band: self._asset_of(scene, band, request) for band in scene.files}
        assets["thumbnail"] = self._file(scene, "thumbnail", request, ".png")
        return {
            "type": "Feature",
            "id": scene.id,
            "collection": scene.collection,
            "stac_version": "1.0.0",
            "stac_extensions": ["https://stac-extensions.github.io/eo/v1.0.0/schema.json"],
            "geometry": scene.footprint,
            "bbox": scene.bbox,
            "links": [*links, self._linked(request, "root", "/")],
            "properties": properties | scene.properties,
            "assets": assets,
        }

    def _file(self, scene, band, request, suffix=".tif"):
        path = self.asset_path(scene, band, suffix)
        told = {"href": self._with_token(request, self.url + path)}
        told |= {"type": "image/png" if suffix == ".png" else TIFF}
        told |= {"roles": ["thumbnail" if suffix == ".png" else "data"]}
        told |= {"bdc:size": self.blobs[path].size}
        told |= {"checksum:multihash": self.blobs[path].multihash if self.checksums else ""}
        return told | dict.fromkeys(("created", "updated"), f"{scene.moment:%Y-%m-%dT%H:%M:%S}")

    def _asset_of(self, scene, band, request):
        profile = scene.profiles[band]
        told = self._file(scene, band, request)
        told["bdc:raster_size"] = {"x": profile["width"], "y": profile["height"]}
        told["bdc:chunk_size"] = {"x": profile["blockxsize"], "y": profile["blockysize"]}
        described = {"name": band, "common_name": COMMON.get(band), "min": 0.0, "max": 10000.0}
        described |= {"nodata": profile["nodata"], "scale": 0.0001, "scale_add": None}
        described |= {"data_type": profile["dtype"], "resolution_x": profile["transform"].a}
        return told | {"eo:bands": [described]}

    def _collection_of(self, name, request):
        held = [scene for scene in self.scenes if scene.collection == name]
        boxes = [s.bbox for s in held]
        sides = [(min, 0), (min, 1), (max, 2), (max, 3)]
        around = [f(b[i] for b in boxes) if boxes else None for f, i in sides]
        days = sorted(f"{s.moment:%Y-%m-%dT%H:%M:%SZ}" for s in held) or [None]
        links = [self._linked(request, "self", f"/collections/{name}")]
        links += [self._linked(request, rel, "/") for rel in ("parent", "root")]
        links += [self._linked(request, "items", f"/collections/{name}/items", GEOJSON)]
        nothing = dict.fromkeys(("summaries", "item_assets", "keywords"))
        return nothing | {
            "id": name,
            "type": "Collection",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "title": name.rpartition("-")[0],
            "version": name.rpartition("-")[2],
            "deprecated": False,
            "description": f"Scenes of {name}",
            "license": "",
            "properties": {"eo:gsd": None, "eo:bands": []},
            "bdc:type": "collection",
            "bdc:public": name not in self.private,
            "extent": {
                "spatial": {"bbox": [around]},
                "temporal": {"interval": [[days[0], days[-1]]]},
            },
            "links": links,
        }

    def _landing(self, request):
        links = [self._linked(request, "self", "/"), self._linked(request, "service-doc", "/docs")]
        links += [self._linked(request, "conformance", "/conformance")]
        links += [self._linked(request, "data", "/collections")]
        links += [self._linked(request, "search", "/search", GEOJSON)]
        for name in self.names(request):
            links.append(self._linked(request, "child", f"/collections/{name}", title=name))
        content = {"type": "Catalog", "id": "INPE", "stac_version": "1.0.0", "conformsTo": CONFORMS}
        content |= {"title": "INPE STAC Server", "description": "This is the landing page"}
        return json_answer(200, content | {"links": links}, JSON)

    def _conformance(self, request):
        return json_answer(200, {"conformsTo": OLD}, JSON)

    def _collections(self, request):
        found = [self._collection_of(name, request) for name in self.names(request)]
        links = [self._linked(request, "self", "/collections"), self._linked(request, "root", "/")]
        return json_answer(200, {"collections": found, "links": links}, JSON)

    def _collection(self, request):
        return json_answer(200, self._collection_of(self._known(request), request), JSON)

    def _known(self, request):
        (name, *_) = self._route(request.path)[1]
        if name not in self.names(request):
            raise RefusedError(404, "Collection not found.")
        return name

    def _item(self, request):
        name, (_, id) = self._known(request), self._route(request.path)[1]
        like = re.escape(self.aliases.get(id, id)).replace("%", ".*").replace("_", ".")
        found = [s for s in self._shown(request) if s.collection == name]
        found = [scene for scene in found if re.fullmatch(like, scene.id, re.DOTALL)]
        content = self.item(found[0], request) if found else {}
        content |= {"id": id} if id in self.aliases else {}
        content = self.document(request, content)
        if not content:
            raise RefusedError(404, f"Invalid item id '{id}' for collection '{name}'")
        return json_answer(200, content, GEOJSON)

    def _shown(self, request):
        names = self.names(request)
        return [scene for scene in self.scenes if scene.collection in names]

    # ----------------------------------------------------------------- searching
    def _search(self, request):
        kind = request.headers.get("Content-Type") or ""
        if request.method == "POST" and not kind.startswith("application/json"):
            raise RefusedError(400, "POST Request must be an application/json")
        if "query" in request.args:
            raise RefusedError(500, FAILED)  # a text where a mapping is expected
        wanted = stac_search.asked(request) | stac_search.of_query(request.args)
        return self._page(request, wanted)

    def _page(self, request, wanted):
        if wanted.get("collection_id") and wanted.get("collections"):
            raise RefusedError(400, "collection_id and collections are exclusive")
        limit = stac_search.whole(wanted, "limit", 10, self.largest)
        number = stac_search.whole(wanted, "page", 1, 10**9)
        found = self._found(request, wanted)
        start = limit * (number - 1)
        shown = found[start : start + limit]
        features = [self.item(scene, request) for scene in shown]
        for name in str(request.args.get("fields", "")).split(","):
            for feature in features if name.startswith("-") else ():
                feature.pop(name[1:], None)
        links = [self._linked(request, "self", "/search"), self._linked(request, "root", "/")]
        links += [self._turn(request, "prev", number - 1)] if number > 1 else []
        links += [self._turn(request, "next", number + 1)] if start + limit < len(found) else []
        content = {"type": "FeatureCollection", "links": links}
        content |= {"context": {"matched": len(found), "returned": len(shown)}}
        content |= {"features": features}
        return json_answer(200, self.document(request, content), GEOJSON)

    def _found(self, request, wanted):
        scenes = self._shown(request)
        if wanted.get("ids"):
            found = [scene for scene in scenes if scene.id in wanted["ids"]]
            return stac_search.in_order(found, None)
        if wanted.get("bbox"):
            west, south, east, north = wanted["bbox"][:4]
            if west == east or south == north:
                raise RefusedError(400, f"[{west}, {south}, {east}, {north}] is not a valid bbox.")
        wanted = {k: v for k, v in wanted.items() if k not in ("ids", "sortby")}
        wanted |= {"bbox": wanted["bbox"][:4]} if wanted.get("bbox") else {}
        query = wanted.pop("query", None) or {}
        found = stac_search.fitting(scenes, wanted, outline=lambda scene: box(*scene.bbox))
        return [scene for scene in found if stac_search.matches(scene, *_compared(query))]

    def _turn(self, request, rel, number):
        """The link to a page."""
        if request.method == "GET":
            query = urllib.parse.urlencode(request.args | {"page": number})
            return self.link(rel, f"{self.url}{request.path}?{query}", GEOJSON)
        href = self._with_token(request, self.url + request.path)
        body = request.json | {"page": number}
        return {"href": href, "rel": rel, "method": "POST", "body": body, "merge": True}

    def loop(self, request, content):
        asked = request.args if request.method == "GET" else request.json
        links = [link for link in content["links"] if link["rel"] != "next"]
        content["links"] = [*links, self._turn(request, "next", int(asked.get("page", 1)))]


def _compared(query):
    """A query, and how its values are found: all but clouds and tiles are compared as texts."""
    named = {"bdc:tile": "bdc:tiles"}

    def held(scene, name):
        name = named.get(name, name)
        value = stac_search.held_by(scene, name)
        if name == "bdc:tiles":
            return value[0] if value else None
        return value if name == "eo:cloud_cover" or value is None else str(value)

    return query, held
