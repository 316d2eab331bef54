"""The local STAC API: pystac-client, rasterio and GDAL work with it as with the real ones."""

import itertools
import subprocess
import sys
import time

import numpy as np
import pystac
import pytest
import rasterio
import requests
from pystac_client import Client
from pystac_client.exceptions import APIError
from rasterio.windows import Window
from servers.imagery import from_files, right, simulated
from servers.stac import StacServer

BOUNDS = (400_000, 4_599_040, 401_600, 4_600_000)
COLLECTION = "sentinel-2-l2a"
AROUND = [1.79, 41.53, 1.83, 41.55]
HEAD = ["bytes=0-1", "bytes=5-", "bytes=-7", "bytes=0-99999999"]


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No proxy, and GDAL asks for nothing while rasterio holds the lock of the interpreter."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    # mapmill itself lets GDAL read nothing over the network
    monkeypatch.delenv("CPL_VSIL_CURL_ALLOWED_FILENAME", raising=False)
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "10")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Seven days of April 2018; the n-th has n per cent of clouds."""
    folder, keywords = tmp_path_factory.mktemp("scenes"), {"bounds": BOUNDS, "tile": "31TDF"}
    days = [f"2018-04-{day:02d}" for day in range(1, 8)]
    names = [f"S2A_31TDF_{day.replace('-', '')}_0_L2A" for day in days]
    keywords["bands"] = ("B02", "B05", "SCL")
    return [
        simulated(folder, name, f"{day}T10:50:31Z", cloud=number, **keywords)
        for number, (name, day) in enumerate(zip(names, days, strict=True), 1)
    ]


@pytest.fixture
def server(scenes):
    with StacServer(scenes) as server:
        yield server


def search(server, **keywords):
    return Client.open(server.api_url).search(collections=[COLLECTION], **keywords)


def days(items):
    return [int(item.id.split("_")[2][-2:]) for item in items]


# --------------------------------------------------------------------------- pystac-client
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("more", [{}, {"paging": "token"}, {"merge": True}])
def test_the_client_pages(scenes, method, more):
    """Tests of our own client would pass against pages that the real one cannot turn."""
    with StacServer(scenes, **more) as server:
        found = search(server, method=method, bbox=AROUND, limit=3)
        assert days(found.items()) == [7, 6, 5, 4, 3, 2, 1]
        assert server.count("search", method=method) == 3
        assert found.matched() == 7


@pytest.mark.parametrize(
    "asked, expected",
    [
        ({"query": {"eo:cloud_cover": {"lt": 3}}}, [2, 1]),
        ({"query": {"grid:code": {"eq": "MGRS-31TDF"}}, "max_items": 1}, [7]),
        ({"datetime": "2018-04-02/2018-04-03"}, [3, 2]),
        ({"datetime": "2018-04-06/.."}, [7, 6]),
        ({"ids": ["S2A_31TDF_20180404_0_L2A"]}, [4]),
        ({"bbox": [2, 41, 3, 42]}, []),
        ({"bbox": AROUND, "sortby": "+properties.eo:cloud_cover"}, [1, 2, 3, 4, 5, 6, 7]),
        ({"intersects": {"type": "Point", "coordinates": [1.81, 41.54]}, "max_items": 2}, [7, 6]),
    ],
)
def test_the_client_searches(server, asked, expected):
    """A filter would be passed over, and a test of it would show nothing."""
    assert days(search(server, **asked).items()) == expected


def test_the_client_asks_by_name(server):
    """What is not there would be told in another way than by 404."""
    client = Client.open(server.api_url)
    assert [found.id for found in client.get_collections()] == [COLLECTION]
    held = client.get_collection(COLLECTION)
    assert held.get_item("S2A_31TDF_20180404_0_L2A").properties["eo:cloud_cover"] == 4
    assert held.get_item("S2A_31TDF_20180411_0_L2A") is None
    assert len(list(held.get_items())) == 7
    assert client.get_collection("sentinel-2-l1c") is None
    refused = requests.get(f"{server.api_url}/collections/sentinel-2-l1c", timeout=5)
    assert refused.json() == {"code": "NotFound", "description": "Collection not found"}


def test_an_item_tells_what_its_files_are(server):
    """Size, checksum and place would be others than those of the file."""
    item = next(search(server).items())
    blue, content = item.assets["blue"], requests.get(item.assets["blue"].href, timeout=5).content
    assert set(item.assets) == {"blue", "rededge1", "scl", "thumbnail"}
    assert blue.extra_fields["file:size"] == len(content)
    assert blue.extra_fields["file:checksum"] == server.blob(item.id, "B02").multihash
    assert item.properties["proj:code"] == "EPSG:32631"
    with rasterio.open(blue.href) as source:
        assert list(source.shape) == blue.extra_fields["proj:shape"]
        assert list(source.transform)[:6] == blue.extra_fields["proj:transform"]
        west, south, east, north = item.bbox
        corners = rasterio.warp.transform_bounds(source.crs, "EPSG:4326", *source.bounds)
        np.testing.assert_allclose((west, south, east, north), corners, atol=1e-5)
    assert item.assets["rededge1"].extra_fields["gsd"] == 20


def test_the_client_loops_for_ever(server):
    """The best known trap of paging would not be there."""
    server.fault("looping_next", times=None)
    found = list(itertools.islice(search(server, limit=2).items(), 9))
    assert days(found) == [7, 6, 7, 6, 7, 6, 7, 6, 7]


def test_the_client_breaks_at_one_502(server):
    """A fault in the middle of the pages could not be simulated."""
    server.fault("502", path="search", after=1)
    with pytest.raises(APIError, match="502"):
        list(search(server, limit=3).items())
    assert server.count("search") == 2


def test_a_static_catalogue(server):
    """Relative addresses would lead nowhere."""
    root = pystac.Catalog.from_file(server.static_url)
    found = sorted(root.get_items(recursive=True), key=lambda item: item.id)
    assert days(found) == [1, 2, 3, 4, 5, 6, 7]
    href = found[0].assets["blue"].get_absolute_href()
    assert href == server.href(found[0].id, "B02")


# --------------------------------------------------------------------------- files
def test_a_window_by_ranges(tmp_path):
    """The whole file would be read where a part is asked for."""
    noise_YX = np.random.default_rng(1).integers(1, 10_000, (512, 512)).astype(np.uint16)
    box = (400_000, 4_594_880, 405_120, 4_600_000)
    arrays = {"arrays": {"B02": noise_YX}, "bands": ("B02",)}
    scene = simulated(tmp_path, "noise", "2018-04-01", bounds=box, **arrays)
    with StacServer([scene]) as server:
        with rasterio.open(server.href("noise", "B02")) as source:
            part_YX = source.read(1, window=Window(130, 70, 60, 50))
        np.testing.assert_array_equal(part_YX, noise_YX[70:120, 130:190])
        assert {r.status for r in server.seen("asset", method="GET")} == {206}
        assert sum(r.sent for r in server.seen("asset")) < server.blob("noise", "B02").size / 4


def test_gdal_as_it_is(server, scenes):
    """A GDAL that looks around in the folder would find what is not there."""
    code = "import rasterio, sys; print(rasterio.open(sys.argv[1]).read(1).sum())"
    call = [sys.executable, "-c", code, server.href(scenes[0].id, "B02")]
    plain = {"NO_PROXY": "127.0.0.1", "PATH": ""}
    told = subprocess.run(call, check=False, capture_output=True, text=True, env=plain)
    assert int(told.stdout) == right("B02", BOUNDS, "2018-04-01").sum(), told.stderr


@pytest.mark.parametrize("wanted", HEAD)
def test_parts_of_a_file(server, scenes, wanted):
    """A part would be another, or its header would say so."""
    href, whole = server.href(scenes[0].id, "B02"), server.blob(scenes[0].id, "B02").content
    answer = requests.get(href, headers={"Range": wanted}, timeout=5)
    unit, _, told = answer.headers["Content-Range"].partition(" ")
    first, last = (int(text) for text in told.partition("/")[0].split("-"))
    assert answer.status_code == 206 and told.endswith(f"/{len(whole)}") and unit == "bytes"
    assert answer.content == whole[first : last + 1]
    assert int(answer.headers["Content-Length"]) == len(answer.content) > 0


def test_conditions(server, scenes):
    """A file that has changed would be mixed with what it was."""
    href, size = server.href(scenes[0].id, "B02"), server.blob(scenes[0].id, "B02").size
    head = requests.head(href, timeout=5)
    etag, part = head.headers["ETag"], {"Range": "bytes=0-9"}
    assert head.headers["Accept-Ranges"] == "bytes" and not head.content
    assert int(head.headers["Content-Length"]) == size

    def status(**headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.get(href, headers=part | named, timeout=5).status_code

    assert (status(If_Range=etag), status(If_Range='"other"')) == (206, 200)
    assert (status(If_Match=etag), status(If_Match='"other"')) == (206, 412)
    assert status(If_None_Match=etag) == 304
    refused = requests.get(href, headers={"Range": f"bytes={size}-"}, timeout=5)
    assert refused.status_code == 416 and refused.headers["Content-Range"] == f"bytes */{size}"


def test_a_server_without_ranges(scenes):
    """A server that always gives the whole file could not be simulated."""
    with StacServer(scenes[:1], ranges=False) as server:
        href = server.href(scenes[0].id, "B02")
        answer = requests.get(href, headers={"Range": "bytes=0-9"}, timeout=5)
        assert answer.status_code == 200 and "Accept-Ranges" not in answer.headers
        assert len(answer.content) == server.blob(scenes[0].id, "B02").size


# --------------------------------------------------------------------------- signatures
def blue(server, id):
    home = f"{server.api_url}/collections/{COLLECTION}/items/{id}"
    return requests.get(home, timeout=5).json()["assets"]["blue"]["href"]


def test_signed_addresses_end(scenes):
    """Addresses that end in the middle of a run could not be simulated."""
    with StacServer(scenes, signed=True, lifetime=0.5) as server:
        href = blue(server, scenes[0].id)
        assert requests.get(href, timeout=5).status_code == 200
        time.sleep(0.55)
        refused = requests.get(href, timeout=5)
        assert refused.status_code == 403 and "Signature not valid in the spec" in refused.text
        assert "<Code>AuthenticationFailed</Code>" in refused.text
        assert requests.get(blue(server, scenes[0].id), timeout=5).status_code == 200
        plain = requests.get(server.href(scenes[0].id, "B02"), timeout=5)
        assert plain.status_code == 403 and "Signature did not match" in plain.text


def test_signed_addresses_are_used_up(scenes):
    """An exact number of requests before the end could not be told."""
    with StacServer(scenes, signed=True, uses=2) as server:
        href = blue(server, scenes[0].id)
        assert [requests.get(href, timeout=5).status_code for _ in range(3)] == [200, 200, 403]
        href = blue(server, scenes[0].id)
        server.fault("expired", path="asset")
        assert requests.get(href, timeout=5).status_code == 403


def test_tokens_of_a_container(scenes):
    """A client that signs addresses itself would find no token."""
    with StacServer(scenes, signed="token") as server:
        href = blue(server, scenes[0].id)
        assert "?" not in href and requests.get(href, timeout=5).status_code == 403
        account, container = href.split("/")[3:5]
        sas = f"{server.url}/api/sas/v1/token"
        told = requests.get(f"{sas}/{account}/{container}", timeout=5).json()
        assert set(told) == {"msft:expiry", "token"} and told["msft:expiry"].endswith("Z")
        assert requests.get(f"{href}?{told['token']}", timeout=5).status_code == 200
        assert requests.get(f"{sas}/{account}/other", timeout=5).status_code == 404


# --------------------------------------------------------------------------- scenes
def test_simulated_scenes(tmp_path):
    """Clouds, the offset, or what a scene does not cover would not be in its files."""
    half = (400_000, 4_599_040, 400_800, 4_600_000)
    keywords = {"bounds": BOUNDS, "cloudy": 0.4, "add": 1000, "covers": half, "baseline": "05.10"}
    made = simulated(tmp_path, "made", "2018-04-01", **keywords)
    expected_YX = right("B02", BOUNDS, "2018-04-01", cloudy=0.4, add=1000)
    with rasterio.open(made.files["B02"]) as source:
        blue_YX = source.read(1)
        assert source.profile["tiled"] and source.dtypes == ("uint16",) and source.nodata == 0
    np.testing.assert_array_equal(blue_YX[:, :80], expected_YX[:, :80])
    assert not blue_YX[:, 80:].any()
    with rasterio.open(made.files["SCL"]) as source:
        assert set(np.unique(source.read(1)[:, :40])) == {4, 9}
        assert source.res == (20, 20)
    assert made.raster["offset"] == -0.1 and made.cloud == 40
    assert made.properties["earthsearch:boa_offset_applied"] is False


def test_real_files(real_data):
    """Real imagery could not be served."""
    name = "CBERS4A_WPM22912420210830"
    scene = from_files(real_data / "cbers4a_wpm", name, "2021-08-30T13:00:00Z", "wpm")
    assert set(scene.files) == {"BAND0", "BAND1", "BAND2", "BAND3"}
    with StacServer([scene]) as server:
        with rasterio.open(server.href(name, "BAND3")) as source:
            assert source.dtypes == ("int16",) and source.read(1).any()
        told = requests.get(f"{server.api_url}/collections/wpm/items/{name}", timeout=5).json()
        assert {"pan", "blue", "green", "red"} < set(told["assets"])
        assert -62 < told["bbox"][0] < told["bbox"][2] < -60
