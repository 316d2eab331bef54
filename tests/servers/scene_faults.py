"""What can go wrong between a catalogue of scenes and a map, by name; see also faults.py.

Faults of documents strike what a search or an item tells; those of files, one answer of a file
(use `server.spoil` where the item should agree with the bad file).
"""

import copy
import email.utils
import time
import urllib.parse
from dataclasses import replace
from email.message import Message

import numpy as np
from rasterio.io import MemoryFile
from servers import faults
from servers.answers import Answer, RefusedError, json_answer
from servers.blobs import Blob
from servers.faults import kind

COMMON = ("400", "500", "502", "503", "504", "html200", "answer", "redirect_loop")
COMMON += ("short_body", "unframed", "reset", "stall", "drip", "oversize", "expired")
KINDS = {name: faults.KINDS[name] for name in COMMON}


# --------------------------------------------------------------------------- answers
@kind("answer", "401", kinds=KINDS)
def unauthorized(hub, request, /, message="Authentication is required"):
    headers = {"WWW-Authenticate": "Bearer"}
    return hub.error(request, RefusedError(401, message, headers=headers))


@kind("answer", "403", kinds=KINDS)
def forbidden(hub, request, /, message="You have no right to this."):
    return hub.error(request, RefusedError(403, message))


@kind("answer", "404", kinds=KINDS)
def not_found(hub, request, /, message="Not found"):
    return hub.error(request, RefusedError(404, message))


@kind("answer", "429", kinds=KINDS)
def too_many(hub, request, /, retry_after=1):
    """retry_after: seconds; None: no header; 'date': an HTTP-date two seconds ahead; other text
    (such as '0.5') as it is."""
    if retry_after == "date":
        retry_after = email.utils.formatdate(time.time() + 2, usegmt=True)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return hub.error(request, RefusedError(429, "Too Many Requests", headers=headers))


@kind("answer", "json200", kinds=KINDS)
def json_with_200(hub, request, /, message="Internal error", content_type=None):
    headers = {"Content-Type": content_type} if content_type else {}
    return json_answer(200, {"code": 500, "description": message}, headers)


@kind("answer", "redirect_elsewhere", kinds=KINDS)
def redirect_elsewhere(hub, request, /, status=302, query=False):
    """To another port, which answers as this one would have; `query`: the address takes the query
    along. See `hub.elsewhere`, and the `query` of each request there."""

    def answered(arrived):
        return hub.answer(replace(request, method=arrived.method, headers=arrived.headers))

    name = "/" + request.path.rpartition("/")[2]
    address = hub.keep_elsewhere(answered, name)
    return Answer(status, b"", {"Location": f"{address}?{request.query}" if query else address})


@kind("answer", "no_range", kinds=KINDS)
def no_range(hub, request, /):
    """A part is asked for, and the whole file comes."""
    headers = Message()
    for name, value in request.headers.items():
        if name.lower() != "range":
            headers[name] = value
    return hub.answer(replace(request, headers=headers))


@kind("answer", "wrong_range", kinds=KINDS)
def wrong_range(hub, request, /, told=True, shift=1):
    """Another part than that asked for comes; `told`: and Content-Range says so."""
    answer = hub.answer(request)
    if answer.status != 206:
        return answer
    if not told:
        return replace(answer, body=answer.body[::-1])
    unit, _, rest = answer.headers["Content-Range"].partition(" ")
    span, _, total = rest.partition("/")
    first, last = (int(text) + shift for text in span.split("-"))
    return replace(
        answer, headers=answer.headers | {"Content-Range": f"{unit} {first}-{last}/{total}"}
    )


@kind("before", "changed", kinds=KINDS)
def changed(hub, request, /):
    """From this request on the file is another one, of the same shape; use `after`."""
    path = urllib.parse.unquote(request.path)
    if path in hub.blobs:
        hub.blobs[path] = Blob(rewritten(hub.blobs[path].content, lambda pixels, _: pixels + 1))


# --------------------------------------------------------------------------- files
@kind("file", "truncated", kinds=KINDS)
def truncated(hub, content, /, keep=0.5):
    """The file has lost its end; its length agrees with that."""
    return content[: int(len(content) * keep)]


@kind("file", "zeros", kinds=KINDS)
def zeros(hub, content, /):
    return rewritten(content, lambda pixels, _: np.zeros_like(pixels))


@kind("file", "wrong_crs", kinds=KINDS)
def wrong_crs(hub, content, /, crs="EPSG:32630"):
    return rewritten(content, lambda pixels, profile: profile.update(crs=crs))


@kind("file", "wrong_bands", kinds=KINDS)
def wrong_bands(hub, content, /, bands=2):
    return rewritten(content, lambda pixels, _: np.resize(pixels, (bands, *pixels.shape[1:])))


@kind("file", "wrong_type", kinds=KINDS)
def wrong_type(hub, content, /, dtype="float32"):
    return rewritten(content, lambda pixels, _: pixels.astype(dtype))


@kind("file", "wrong_shape", kinds=KINDS)
def wrong_shape(hub, content, /, by=1):
    """Rows and columns that the file has fewer."""
    return rewritten(content, lambda pixels, _: pixels[:, :-by, :-by])


def rewritten(content, change):
    """Bytes of a GeoTIFF after `change` of its pixels (band, y, x) or profile."""
    with MemoryFile(content) as memory, memory.open() as source:
        pixels, profile = source.read(), source.profile
    new = change(pixels, profile)
    pixels = pixels if new is None else new.astype(new.dtype)
    count, height, width = pixels.shape
    profile.update(count=count, height=height, width=width, dtype=pixels.dtype.name)
    with MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(pixels)
        return bytes(memory.read())


# --------------------------------------------------------------------------- documents
def feature_lists(content):
    """The lists of features in a document, whatever it wraps them in."""
    if not isinstance(content, dict) or content.get("type") == "Feature":
        return [[content]] if content else []
    if isinstance(content.get("features"), list):
        return [content["features"]]
    return [found for value in content.values() if isinstance(value, dict)
            for found in feature_lists(value)]  # fmt: skip


def _assets(content, key=None):
    for features in feature_lists(content):
        for feature in features:
            for name, asset in feature.get("assets", {}).items():
                if key in (None, name) and name != "thumbnail":
                    yield feature, name, asset


def _path(request, told):
    """Path of the file of an asset, whose address may be relative."""
    return urllib.parse.urlsplit(urllib.parse.urljoin(request.path, told["href"])).path


@kind("document", "wrong_checksum", kinds=KINDS)
def wrong_checksum(hub, request, content, /, asset=None, value="1220" + "ab" * 32):
    for *_, told in _assets(content, asset):
        told[hub.checksum_key] = value


@kind("document", "wrong_size", kinds=KINDS)
def wrong_size(hub, request, content, /, asset=None, by=1):
    """Bytes that the item tells more than there are."""
    for *_, told in _assets(content, asset):
        held = hub.blobs[_path(request, told)]
        told[hub.size_key] = held.size + by


@kind("page", "looping_next", kinds=KINDS)
def looping_next(hub, request, content, /):
    """The next page is this one; with times=None there is no end."""
    hub.loop(request, content)


@kind("page", "duplicate_item", kinds=KINDS)
def duplicate_item(hub, request, content, /):
    """The page begins with the last item of the page before; the first page: with its own last."""
    for features in feature_lists(content):
        before = hub.shown[-1:] or features[-1:]
        features[:0] = copy.deepcopy(before)


@kind("document", "missing_item", kinds=KINDS)
def missing_item(hub, request, content, /, id=None):
    """An item is not listed, by default the last; asked for by its id, it is not there."""
    if content.get("type") == "Feature":
        content.clear()
    for features in feature_lists(content):
        features[:] = [f for f in features if f["id"] != id] if id else features[:-1]


@kind("document", "renamed_asset", kinds=KINDS)
def renamed_asset(hub, request, content, /, old=None, new="renamed"):
    """An asset (by default the first) has another key."""
    for features in feature_lists(content):
        for feature in features:
            assets = feature.get("assets", {})
            name = old or next(iter(assets), None)
            if name in assets:
                feature["assets"] = {new if k == name else k: v for k, v in assets.items()}


@kind("document", "path_traversal", kinds=KINDS)
def path_traversal(hub, request, content, /, where="id", text="../../../traversed"):
    """`where`: the id, an asset's key, or the name at the end of an asset's address has ../ in it.

    What is asked for by that name is there.
    """
    for feature, name, told in list(_assets(content)):
        if where == "id" and "../" not in feature["id"]:
            hub.aliases[text] = feature["id"]
            feature["id"] = text
        elif where == "key":
            feature["assets"][text] = feature["assets"].pop(name)
        elif where == "href":
            split = urllib.parse.urlsplit(told["href"])
            path = split.path.rpartition("/")[0] + f"/{text}.tif"
            hub.blobs[path] = hub.blobs[split.path]
            quoted = (
                split.path.rpartition("/")[0] + "/" + urllib.parse.quote(f"{text}.tif", safe=".")
            )
            told["href"] = urllib.parse.urlunsplit(split._replace(path=quoted))


@kind("document", "private_href", kinds=KINDS)
def private_href(hub, request, content, /, href="file:///etc/passwd", asset=None):
    """Addresses of assets that no client should ask: file://, ftp://, a private network."""
    for *_, told in _assets(content, asset):
        told["href"] = href
