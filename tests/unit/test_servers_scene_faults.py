"""The faults of the local servers of scenes: each is on the wire what its name says."""

import email.utils
import hashlib
import inspect
import time
import urllib.parse

import numpy as np
import pytest
import rasterio
import requests
from rasterio.errors import RasterioIOError
from servers.bdc import BdcServer
from servers.imagery import simulated
from servers.lgi import LgiServer
from servers.scene_faults import KINDS
from servers.stac import StacServer

BOUNDS = (400_000, 4_599_360, 400_640, 4_600_000)
SIZE = 64
KINDS_OF_SERVERS = {
    StacServer: ("S2A_{}", "sentinel-2-l2a"),
    BdcServer: ("CB_{}", "CB4A-WPM-L4-DN-1"),
    LgiServer: ("CBERS4A_WPM229{}20210830", "CBERS4A_WPM_L4_DN"),
}


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def made(folder, kind=StacServer):
    """Three scenes of two bands."""
    name, collection = KINDS_OF_SERVERS[kind]
    bands = ("B02", "B03") if kind is StacServer else ("BAND1", "BAND3")
    keywords = {"bounds": BOUNDS, "collection": collection, "bands": bands}
    keywords["steps"] = dict.fromkeys(bands, 10)
    names = [name.format(f"{number:03}") for number in (1, 2, 3)]
    return [simulated(folder, id, f"2021-08-{d}", **keywords) for d, id in enumerate(names, 10)]


@pytest.fixture
def server(tmp_path):
    with StacServer(made(tmp_path)) as server:
        yield server


@pytest.fixture(params=KINDS_OF_SERVERS)
def each(request, tmp_path):
    with request.param(made(tmp_path, request.param)) as server:
        yield server


def first(server):
    scene = server.scenes[0]
    return server.href(scene.id, next(iter(scene.files)))


def get(server, wanted=None, url=None, timeout=5, **keywords):
    headers = {"Range": wanted} if wanted else {}
    return requests.get(url or first(server), headers=headers, timeout=timeout, **keywords)


def search(server, **more):
    """Features of a search."""
    body = more | {"limit": more.get("limit", 10)}
    if isinstance(server, LgiServer):
        named = {"name": "LGI-CDSR", "collections": [{"name": server.scenes[0].collection}]}
        answer = requests.post(server.search_url, json=body | {"providers": [named]}, timeout=5)
        return answer.json()["LGI-CDSR"][named["collections"][0]["name"]]["features"]
    return requests.post(server.search_url, json=body, timeout=5).json()["features"]


def read(content):
    with rasterio.MemoryFile(content) as memory, memory.open() as source:
        return source.read(), source.profile


# --------------------------------------------------------------------------- answers
@pytest.mark.parametrize("name", ["400", "401", "403", "404", "429", "500", "502", "503", "504"])
def test_an_error(each, name):
    """An error would have another status than its name says, or the file in its body."""
    each.fault(name)
    each.fault(name, path="search")
    assert get(each).status_code == int(name)
    answer = requests.post(each.search_url, json={}, timeout=5)
    assert answer.status_code == int(name)
    assert get(each).status_code == 200 and len(search(each)) == 3


@pytest.mark.parametrize("retry_after", [7, None, "0.5", "date"])
def test_too_many_requests(each, retry_after):
    """Retry-After would not come as it was asked for."""
    each.fault("429", retry_after=retry_after)
    told = get(each).headers.get("Retry-After")
    if retry_after == "date":
        assert 0 < email.utils.parsedate_to_datetime(told).timestamp() - time.time() <= 2
    else:
        assert told == (None if retry_after is None else str(retry_after))


@pytest.mark.parametrize("name", ["html200", "json200"])
def test_a_page_with_200(each, name):
    """A page in the place of a file would be told by its status or type."""
    each.fault(name, content_type="image/tiff")
    answer = get(each)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "image/tiff"
    assert answer.content[:1] in (b"<", b"{")


def test_a_redirect_to_another_host(server):
    """A client that takes its credentials along would not be found out."""
    server.fault("redirect_elsewhere")
    assert get(server, "bytes=5-9").content == get(server, "bytes=5-9").content
    (arrived,) = server.elsewhere
    assert arrived.query == "" and arrived.range == "bytes=5-9" and arrived.status == 206
    server.fault("redirect_elsewhere", query=True)
    get(server, url=f"{first(server)}?sig=abc")
    assert server.elsewhere[1].args == {"sig": "abc"}


def test_a_redirect_loop(server):
    """A client that follows for ever would not be found out."""
    server.fault("redirect_loop", status=302)
    with pytest.raises(requests.TooManyRedirects):
        get(server)


# --------------------------------------------------------------------------- sending
@pytest.mark.parametrize("wanted", [None, "bytes=0-999"])
@pytest.mark.parametrize("name", ["short_body", "reset"])
def test_a_connection_that_ends(server, name, wanted):
    """A body that breaks off would look whole."""
    server.fault(name, keep=0.5)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        get(server, wanted)
    assert get(server, wanted).status_code == (206 if wanted else 200)


def test_a_slow_connection(server):
    """A client without a timeout, or with one that is too short, would not be found out."""
    server.fault("stall", seconds=30)
    with pytest.raises(requests.Timeout):
        get(server, timeout=0.2)
    server.fault("drip", seconds=0.4)
    start = time.monotonic()
    assert read(get(server).content)[0].any() and time.monotonic() - start >= 0.35


@pytest.mark.parametrize("length", [True, False])
def test_an_oversize_body(server, length):
    """A file without end would not be sent, or not be told."""
    server.fault("oversize", size=2**40, length=length)
    with get(server, stream=True) as answer:
        assert answer.headers.get("Content-Length") == (str(2**40) if length else None)
        assert len(answer.raw.read(2**21)) == 2**21


# --------------------------------------------------------------------------- ranges
def test_a_range_that_is_passed_over(server):
    """A client that takes the whole file for the part would not be found out."""
    server.fault("no_range")
    whole, part = get(server, "bytes=8-15"), get(server, "bytes=8-15")
    assert (whole.status_code, part.status_code) == (200, 206)
    assert whole.content[8:16] == part.content
    assert "Content-Range" not in whole.headers
    assert [r.range for r in server.seen("asset")] == ["bytes=8-15"] * 2


def test_a_wrong_range(server):
    """A part from another place would be told by its length."""
    server.fault("wrong_range")
    server.fault("wrong_range", told=False)
    told, silent, right = (get(server, "bytes=8-15") for _ in range(3))
    assert told.headers["Content-Range"].startswith("bytes 9-16/")
    assert silent.headers["Content-Range"] == right.headers["Content-Range"]
    assert silent.content != right.content and len(silent.content) == len(right.content)
    assert {told.status_code, silent.status_code} == {206}


def test_a_file_that_changes(server):
    """Parts of two files would be put together, with nothing to tell it by."""
    server.fault("changed", after=1)
    before = get(server)
    etag = {"If-Range": before.headers["ETag"], "Range": "bytes=0-9"}
    after = requests.get(first(server), headers=etag, timeout=5)
    assert after.status_code == 200 and after.headers["ETag"] != before.headers["ETag"]
    np.testing.assert_array_equal(read(after.content)[0], read(before.content)[0] + 1)


# --------------------------------------------------------------------------- files
def test_a_truncated_file(each):
    """A file that has lost its end would be told by its length."""
    each.fault("truncated", keep=0.6)
    answer = get(each)
    assert int(answer.headers["Content-Length"]) == len(answer.content) > 0
    with pytest.raises(RasterioIOError):
        read(answer.content)


BAD = {
    "zeros": lambda array, profile: not array.any(),
    "wrong_crs": lambda array, profile: profile["crs"] == "EPSG:32630",
    "wrong_bands": lambda array, profile: profile["count"] == 2,
    "wrong_type": lambda array, profile: profile["dtype"] == "float32",
    "wrong_shape": lambda array, profile: array.shape == (1, SIZE - 1, SIZE - 1),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_is_not_right(each, name):
    """A file that is whole and wrong could not be simulated."""
    each.fault(name)
    assert BAD[name](*read(get(each).content)) and not BAD[name](*read(get(each).content))


def test_a_bad_file_with_the_right_checksum(tmp_path):
    """A client that looks at checksums alone would never be put to the test."""
    with BdcServer(made(tmp_path, BdcServer)) as server:
        server.spoil(server.scenes[0].id, "BAND1", "zeros")
        told = next(f for f in search(server) if f["id"] == server.scenes[0].id)["assets"]["BAND1"]
        content = get(server).content
        assert told["checksum:multihash"] == "1220" + hashlib.sha256(content).hexdigest()
        assert told["bdc:size"] == len(content) and not read(content)[0].any()


# --------------------------------------------------------------------------- documents
@pytest.mark.parametrize("kind", [StacServer, BdcServer])
def test_wrong_sizes_and_checksums(tmp_path, kind):
    """An item that is at odds with its file could not be simulated."""
    with kind(made(tmp_path, kind)) as server:
        right = search(server)[0]["assets"]
        server.fault("wrong_checksum")
        server.fault("wrong_checksum", value="")
        server.fault("wrong_size", by=-3)
        sums, none, sizes = (search(server)[0]["assets"] for _ in range(3))
        for key in set(right) - {"thumbnail"}:
            assert sums[key][server.checksum_key] != right[key][server.checksum_key]
            assert none[key][server.checksum_key] == ""
            assert sizes[key][server.size_key] == right[key][server.size_key] - 3


def test_pages_that_repeat(each):
    """Items that come twice, or never, could not be simulated."""
    each.fault("duplicate_item", after=1)
    each.fault("missing_item", after=2)
    pages = [[f["id"] for f in search(each, limit=2, **more)] for more in ({}, second(each), {})]
    ids = [scene.id for scene in each.scenes[::-1]]
    assert pages == [ids[:2], ids[1:], ids[:1]]


def second(server):
    """What asks for the second page of two."""
    if type(server) is not StacServer:
        return {"page": 2}
    last = server.scenes[1]
    return {"next": f"{last.moment:%Y-%m-%dT%H:%M:%SZ},{last.id},{last.collection}"}


def test_pages_without_end(each):
    """A client that turns pages for ever would not be found out."""
    each.fault("looping_next", times=None)
    if isinstance(each, LgiServer):
        assert search(each, limit=2, page=7) == search(each, limit=2)
        return
    url, body = each.search_url, {"limit": 2}
    seen = []
    for _ in range(3):
        content = requests.post(url, json=body, timeout=5).json()
        link = next(found for found in content["links"] if found["rel"] == "next")
        url, body = link["href"], link["body"]
        seen.append([feature["id"] for feature in content["features"]])
    assert seen[0] == seen[1] == seen[2]


def test_an_item_that_is_not_there(each):
    """A scene that is listed, and gone when it is asked for, could not be simulated."""
    each.fault("missing_item", path="item")
    scene = each.scenes[0]
    base = each.items_url if isinstance(each, LgiServer) else f"{each.api_url}/collections"
    answers = [get(each, url=f"{base}/{scene.collection}/items/{scene.id}") for _ in range(2)]
    assert answers[0].status_code == (200 if isinstance(each, LgiServer) else 404)
    assert answers[0].json().get("id") is None and answers[1].json()["id"] == scene.id


def test_a_renamed_asset(server):
    """An asset under another key could not be simulated."""
    server.fault("renamed_asset", old="blue", new="B02")
    assert list(search(server)[0]["assets"]) == ["B02", "green", "thumbnail"]


def test_names_that_lead_out_of_a_folder(server):
    """A client that writes where a name tells it to would not be found out."""
    for where in ("id", "key", "href"):
        server.fault("path_traversal", where=where, text="../../out")
    by_id, by_key, by_href = (search(server)[0] for _ in range(3))
    assert by_id["id"] == "../../out" and "../../out" in by_key["assets"]
    home = f"{server.api_url}/collections/{by_id['collection']}/items"
    quoted = urllib.parse.quote("../../out", safe="")
    assert get(server, url=f"{home}/{quoted}").json()["id"] == "../../out"
    href = by_href["assets"]["blue"]["href"]
    assert "..%2F..%2Fout.tif" in href and get(server, url=href).status_code == 200


@pytest.mark.parametrize("href", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://10.0.0.1/x"])
def test_addresses_that_nobody_should_ask(server, href):
    """A client that asks whatever it is told would not be found out."""
    server.fault("private_href", href=href, asset="blue")
    assets = search(server)[0]["assets"]
    assert assets["blue"]["href"] == href and assets["green"]["href"].startswith(server.url)


# --------------------------------------------------------------------------- which are there
def test_mistakes_in_faults(each):
    """A misspelt fault, or one that never strikes, would make a test pass that tests nothing."""
    with pytest.raises(ValueError, match="no fault 'html'; there are 400"):
        each.fault("html")
    with pytest.raises(ValueError, match="strikes asset requests alone"):
        each.fault("zeros", path="search")
    with pytest.raises(ValueError, match="strikes search, items requests alone"):
        each.fault("looping_next", path="item")
    for name in each.kinds:
        each.fault(name)


def test_every_fault_is_tested():
    """A fault that does nothing could be relied on."""
    text = inspect.getsource(inspect.getmodule(made)).partition("def test_every_fault")[0]
    elsewhere = {"answer", "unframed", "expired"}  # in other files
    assert {name for name in KINDS if f'"{name}"' not in text} == elsewhere
