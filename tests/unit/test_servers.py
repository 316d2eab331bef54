"""The local Sentinel Hub that other tests ask: the real client works with it, and each fault is
on the wire what its name says."""

import base64
import datetime
import email.utils
import io
import itertools
import json
import socket
import tarfile
import threading
import time

import numpy as np
import oauthlib.oauth2
import pytest
import rasterio
import requests
import sentinelhub
from making import write_tif
from rasterio.errors import RasterioIOError
from sentinelhub.exceptions import DownloadFailedException, OutOfRequestsException
from servers.answers import NO_TOKEN
from servers.faults import KINDS
from servers.scenes import coordinate_scene
from servers.sentinel_hub import PROCESS, SentinelHub

BOX = (400_000.0, 4_597_440.0, 400_640.0, 4_598_080.0)
SIZE = 64
SPAN = ("2018-04-01T00:00:00Z", "2018-04-30T23:59:59Z")
BANDS = ("B02", "B03", "B04")
SCRIPT = """//VERSION=3
function setup() {
  return {
    input: [{ bands: ["B02", "B03", "B04", "SCL", "dataMask"], units: "DN" }], // as they are
    output: [
      { id: "bands", bands: 3, sampleType: "UINT16", nodataValue: 0 },
      { id: "scl", bands: 1, sampleType: "UINT8", nodataValue: 0 },
      { id: "mask", bands: 1, sampleType: "UINT8" }
    ],
    mosaicking: "SIMPLE"
  };
}
function evaluatePixel(s) {
  return { bands: [s.B02, s.B03, s.B04], scl: [s.SCL], mask: [s.dataMask] };
}
"""
ORBIT = SCRIPT.replace('"SIMPLE"', '"ORBIT"')
ALL = ("bands", "scl", "mask")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No proxy, no configuration of the user's, and plain HTTP is good enough."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.delenv("SH_CLIENT_ID", raising=False)
    monkeypatch.delenv("SH_CLIENT_SECRET", raising=False)
    sentinelhub.SentinelHubDownloadClient.clear_cache()


@pytest.fixture
def server():
    with SentinelHub() as server:
        yield server


# ------------------------------------------------------------------------- with the real client
def config(server, **changes):
    known = {
        "sh_client_id": server.client_id,
        "sh_client_secret": server.client_secret,
        "sh_base_url": server.url,
        "sh_token_url": server.token_url,
        "max_retries": 3,
        "download_sleep_time": 0.05,
        "max_download_attempts": 3,
        "download_timeout_seconds": 10,
    }
    return sentinelhub.SHConfig(use_defaults=True, **(known | changes))


def collection(server):
    """Sentinel-2 L2A of this server; the name has the port, since names are kept for ever."""
    name = f"S2L2A_LOCAL_{server.port}"
    return sentinelhub.DataCollection.SENTINEL2_L2A.define_from(name, service_url=server.url)


def client_request(server, identifiers=ALL, script=SCRIPT, folder=None, **changes):
    tiff, make = sentinelhub.MimeType.TIFF, sentinelhub.SentinelHubRequest
    span = ("2018-04-01", "2018-04-30")
    return make(
        evalscript=script,
        input_data=[make.input_data(collection(server), time_interval=span, maxcc=0.3)],
        responses=[make.output_response(name, tiff) for name in identifiers],
        bbox=sentinelhub.BBox(BOX, sentinelhub.CRS.UTM_31N),
        size=(SIZE, SIZE),
        config=config(server, **changes),
        data_folder=folder,
    )


def scene(month=4, box=BOX, size=SIZE, bands=BANDS):
    """What the server should show, (band, y, x)."""
    moment = datetime.datetime(2018, month, 1, tzinfo=datetime.UTC)
    return coordinate_scene("EPSG:32631", box, size, size, bands, moment, moment)


def test_the_client_gets_one_response(server):
    """Tests of our own client would pass against a server that the real one cannot talk to."""
    (image,) = client_request(server, ["bands"]).get_data()
    np.testing.assert_array_equal(np.moveaxis(image, -1, 0), scene())
    assert [r.endpoint for r in server.seen()] == ["token", "process"]
    assert server.seen("process")[0].headers["Accept"] == "image/tiff"
    assert "sentinelhub-py" in server.seen("process")[0].headers["User-Agent"]


def test_the_client_gets_an_archive(server):
    """Several responses would come in a form that the real service does not use."""
    (found,) = client_request(server).get_data()
    assert sorted(found) == ["bands.tif", "mask.tif", "scl.tif"]
    np.testing.assert_array_equal(np.moveaxis(found["bands.tif"], -1, 0), scene())
    assert (found["mask.tif"] == 1).all() and (found["scl.tif"] == 4).all()
    assert server.units == pytest.approx(SIZE * SIZE / 262_144 * 4 / 3)


def test_the_client_uses_one_token(server):
    """A token for each request would go unnoticed, and the token endpoint is limited too."""
    for name in ("bands", "scl", "mask"):
        client_request(server, [name]).get_data()
    assert server.count("token") == 1 and server.count("process", status=200) == 3


def test_the_client_renews_a_short_token():
    """A token that is about to expire could not be simulated."""
    with SentinelHub(expires_in=100) as server:
        client_request(server, ["bands"]).get_data()
        assert server.count("token") == 2  # this client: within two minutes of its end


@pytest.mark.filterwarnings("ignore:Download rate limit hit")
def test_the_client_waits_after_429(server):
    """Milliseconds taken for seconds would make a thousandfold too long or too short a wait."""
    server.fault("429", retry_after=400, times=2)
    (image,) = client_request(server, ["bands"]).get_data()
    assert image.any()
    times = [request.at for request in server.seen("process")]
    gaps = np.diff(times)
    assert len(gaps) == 2 and (gaps >= 0.4).all() and (gaps < 3).all()


@pytest.mark.filterwarnings("ignore:Download rate limit hit")
def test_the_client_gives_up_after_429s(server):
    """A server that never lets anybody in could not be simulated."""
    server.fault("429", retry_after=10, times=None, wrapped=False)
    with pytest.raises(OutOfRequestsException):
        client_request(server, ["bands"]).get_data()
    assert server.count("process", status=429) == 3


@pytest.mark.filterwarnings("ignore:Download rate limit hit")
@pytest.mark.parametrize("retry_after", ["1.5", "date"])
def test_the_client_breaks_at_another_retry_after(server, retry_after):
    """Values that are known to break clients would not arrive as they are."""
    server.fault("429", retry_after=retry_after)
    with pytest.raises(ValueError, match="invalid literal for int"):
        client_request(server, ["bands"]).get_data()


def test_the_client_with_a_wrong_secret(server):
    """A wrong secret would be told in other words than the real service's."""
    with pytest.raises(oauthlib.oauth2.InvalidClientError, match="Invalid client credentials"):
        client_request(server, sh_client_secret="wrong").get_data()
    assert server.count("token", status=401) == 1 and server.count("process") == 0


def test_the_client_with_the_other_realm(server):
    """The address of the Copernicus Data Space would not work."""
    (image,) = client_request(server, ["bands"], sh_token_url=server.cdse_token_url).get_data()
    assert image.any() and "/realms/CDSE/" in server.seen("token")[0].path


def test_the_client_tries_again(server):
    """Faults that pass would not pass."""
    server.fault("502")
    server.fault("short_body")
    (image,) = client_request(server, ["bands"]).get_data()
    assert image.any()
    assert [r.fault for r in server.seen("process")] == ["502", "short_body", None]


def test_the_client_does_not_renew_a_refused_token(server):
    """A token that ends in the middle of a run could not be simulated."""
    server.fault("expired", after=1)
    client_request(server, ["bands"]).get_data()
    with pytest.raises(DownloadFailedException, match="401"):
        client_request(server, ["scl"]).get_data()


def test_the_client_keeps_a_page_as_an_image(server, tmp_path):
    """The best known trap of caches would not be there: a page with 200 that stays for ever."""
    server.fault("html200")
    for _ in range(2):
        with pytest.raises(Exception, match="TIFF"):
            client_request(server, ["bands"], folder=str(tmp_path)).get_data(save_data=True)
    assert server.count("process") == 1


def test_the_client_searches_by_pages(server):
    """Paging by context.next would differ from what the real service does."""
    catalog = sentinelhub.SentinelHubCatalog(config=config(server))
    box = sentinelhub.BBox((0.5, 41.0, 1.0, 41.5), sentinelhub.CRS.WGS84)
    found = list(
        catalog.search("sentinel-2-l2a", bbox=box, time=("2018-04-01", "2018-05-31"), limit=5)
    )
    assert len({item["id"] for item in found}) == len(found) == 13
    assert [r.json.get("next") for r in server.seen("catalog")] == [None, 5, 10]
    moments = [item["properties"]["datetime"] for item in found]
    assert moments == sorted(moments, reverse=True) and moments[-1] >= "2018-04-01"


def test_the_client_filters_by_clouds():
    """Every pass would be found, however cloudy."""
    with SentinelHub(clouds=lambda moment: 0.9 if moment.day < 15 else 0.1) as server:
        catalog = sentinelhub.SentinelHubCatalog(config=config(server))
        span = ("2018-04-01", "2018-04-30")
        found = catalog.search("sentinel-2-l2a", time=span, filter="eo:cloud_cover < 20")
        days = [item["properties"]["datetime"][8:10] for item in found]
        assert days and all(day >= "15" for day in days)


# ------------------------------------------------------------------------------ on the wire
def token(server):
    form = {"grant_type": "client_credentials", "client_id": server.client_id}
    form["client_secret"] = server.client_secret
    return requests.post(server.token_url, data=form, timeout=10)


def order(identifiers=("bands",), script=SCRIPT, span=SPAN, output=None, bounds=None, **dataset):
    """The body of a process request."""
    crs = {"crs": "http://www.opengis.net/def/crs/EPSG/0/32631"}
    wanted = {"timeRange": {"from": span[0], "to": span[1]}} | dataset
    listed = [{"identifier": n, "format": {"type": "image/tiff"}} for n in identifiers]
    return {
        "input": {
            "bounds": {"properties": crs, "bbox": BOX} | (bounds or {}),
            "data": [{"type": "sentinel-2-l2a", "dataFilter": wanted}],
        },
        "evalscript": script,
        "output": (output or {"width": SIZE, "height": SIZE}) | {"responses": listed},
    }


def ask(server, body=None, *, bearer=None, accept=None, timeout=10, **keywords):
    """A process request, with a token of its own."""
    body = body or order()
    several = len(body["output"]["responses"]) > 1
    accept = accept or ("application/x-tar" if several else "image/tiff")
    bearer = bearer or token(server).json()["access_token"]
    headers = {"Authorization": f"Bearer {bearer}", "Accept": accept}
    return requests.post(
        server.process_url, json=body, headers=headers, timeout=timeout, **keywords
    )


def read(content):
    """Array (band, y, x) and profile of a GeoTIFF in memory."""
    with rasterio.MemoryFile(content) as memory, memory.open() as source:
        return source.read(), source.profile


def members(content):
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar}


def refusal(answer, status=400, code="COMMON_BAD_PAYLOAD"):
    """The message of an error in the shape of the Process API."""
    assert answer.status_code == status and answer.headers["Content-Type"].startswith(
        "application/json"
    )
    error = answer.json()["error"]
    assert error["status"] == status and error["code"] == code and error["reason"]
    return error["message"]


def exchange(server, body=b"", timeout=5):
    """All bytes that follow a process request, and how the connection ended."""
    bearer = token(server).json()["access_token"]
    body = body or json.dumps(order()).encode()
    head = f"POST {PROCESS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\n"
    head += f"Content-Type: application/json\r\nAccept: image/tiff\r\nContent-Length: {len(body)}"
    got = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode() + body)
        try:
            while piece := connection.recv(65_536):
                got += piece
        except ConnectionResetError:
            return got, "reset"
        except TimeoutError:
            return got, "open"
    return got, "closed"


def parts(got):
    """Headers (lower case) and body of what `exchange` got."""
    head, _, body = got.partition(b"\r\n\r\n")
    lines = [line.partition(": ") for line in head.decode().split("\r\n")[1:]]
    return {name.lower(): value for name, _, value in lines}, body


def test_a_token_looks_like_one(server):
    """A client that looks into its token would find nothing there."""
    answer = token(server)
    content = answer.json()
    assert content["expires_in"] == 3600 and content["token_type"] == "Bearer"
    payload = content["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["azp"] == server.client_id
    assert claims["exp"] - claims["iat"] == 3600 and abs(claims["iat"] - time.time()) < 5


def test_a_token_by_the_header(server):
    """A client that sends its secret in the header, as OAuth allows, would be refused."""
    pair = (server.client_id, server.client_secret)
    form = {"grant_type": "client_credentials"}
    assert requests.post(server.token_url, data=form, auth=pair, timeout=5).status_code == 200
    answer = requests.post(server.token_url, data=form, auth=(pair[0], "no"), timeout=5)
    assert answer.status_code == 401 and answer.json()["error"] == "invalid_client"
    form = {"grant_type": "password"}
    answer = requests.post(server.token_url, data=form, auth=pair, timeout=5)
    assert answer.status_code == 400 and answer.json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize("bearer", ["", "Bearer x.y.z", "Basic abc", "bearer"])
def test_no_pixels_without_a_token(server, bearer):
    """A client that forgets its token would pass."""
    answer = requests.post(
        server.process_url, json=order(), headers={"Authorization": bearer}, timeout=5
    )
    assert refusal(answer, 401, "COMMON_UNAUTHORIZED") == NO_TOKEN
    answer = requests.post(server.catalog_url, json={}, timeout=5)
    assert answer.status_code == 401
    assert answer.json() == {"code": 401, "description": NO_TOKEN}


def test_a_token_that_has_expired():
    """A client that never renews its token would pass."""
    with SentinelHub(lifetime=0.6) as server:
        bearer = token(server).json()["access_token"]
        assert ask(server, bearer=bearer).status_code == 200
        time.sleep(0.65)
        refusal(ask(server, bearer=bearer), 401, "COMMON_UNAUTHORIZED")
        assert ask(server).status_code == 200


def test_a_geotiff_is_in_its_place(server):
    """Misregistration of our own would be blamed on the server, or hidden by it."""
    answer = ask(server)
    assert answer.headers["Content-Type"] == "image/tiff"
    array_BYX, profile = read(answer.content)
    np.testing.assert_array_equal(array_BYX, scene())
    assert profile["crs"] == "EPSG:32631" and profile["nodata"] == 0
    assert profile["compress"] == "deflate" and profile["interleave"] == "pixel"
    transform = profile["transform"]
    assert (transform.c, transform.f, transform.a, transform.e) == (BOX[0], BOX[3], 10, -10)
    assert float(answer.headers["X-ProcessingUnits-Spent"]) == pytest.approx(
        SIZE * SIZE / 262_144 * 4 / 3
    )


def test_values_tell_place_band_and_month(server):
    """A shift by one pixel, swapped bands or another month would look the same."""
    right = scene()
    assert right.min() >= 1 and right.max() <= 10_000
    for east, south in itertools.product((-10, 0, 10), repeat=2):
        if east or south:
            moved = np.add(BOX, (east, -south, east, -south))
            assert not np.array_equal(scene(box=moved), right)
    assert not (scene(month=8) == right).any()
    for one, other in itertools.combinations(scene(bands=("B02", "B03", "B04", "B8A", "B12")), 2):
        assert not np.array_equal(one, other)
    inner = (BOX[0] + 160, BOX[1] + 160, BOX[2] - 160, BOX[3] - 160)
    np.testing.assert_array_equal(scene(box=inner, size=32), right[:, 16:-16, 16:-16])


def test_an_archive_of_three(server):
    """Identifiers and members would not match."""
    answer = ask(server, order(ALL))
    assert answer.headers["Content-Type"] == "application/x-tar"
    found = members(answer.content)
    assert list(found) == ["bands.tif", "scl.tif", "mask.tif"]
    types = {name: read(content)[1]["dtype"] for name, content in found.items()}
    assert types == {"bands.tif": "uint16", "scl.tif": "uint8", "mask.tif": "uint8"}
    assert read(found["mask.tif"])[1].get("nodata") is None


def test_an_area_without_imagery():
    """The sea beside the archive would be an error, while the service serves zeros."""
    with SentinelHub(coverage=(BOX[0], BOX[1], BOX[0] + 320, BOX[3])) as server:
        found = {k: read(v)[0] for k, v in members(ask(server, order(ALL)).content).items()}
        np.testing.assert_array_equal(found["bands.tif"][..., :32], scene()[..., :32])
        assert not any(array[..., 32:].any() for array in found.values())
        assert (found["mask.tif"][..., :32] == 1).all()
        empty = order(span=("2018-04-01T00:00:00Z", "2018-04-01T01:00:00Z"))
        answer = ask(server, empty)
        assert answer.status_code == 200 and not read(answer.content)[0].any()


def test_a_scene_of_the_test(server):
    """Pixels could not be chosen."""
    called = []

    def chosen(crs, bbox, width, height, bands, time_from, time_to):
        called.append((crs, bbox, width, height, tuple(bands), time_from.isoformat()))
        return np.full((len(bands), height, width), 77, np.uint16)

    with SentinelHub(chosen) as server:
        assert (read(ask(server).content)[0] == 77).all()
    assert called == [("EPSG:32631", BOX, SIZE, SIZE, BANDS, "2018-04-01T00:00:00+00:00")]


def test_a_scene_that_fails():
    """A mistake in a test's scene would look like a fault of the service."""
    with pytest.raises(ZeroDivisionError), SentinelHub(lambda *_: 1 / 0) as server:
        refusal(ask(server), 500, "RENDERER_EXCEPTION")


@pytest.mark.parametrize("separate", [True, False])
def test_rasters_from_disk(tmp_path, separate):
    """Real imagery could not be served, or that of another month would be."""
    everything = {}
    for month in (4, 8):
        image = scene(month, size=96, box=(BOX[0] - 160, BOX[1] - 160, BOX[2] + 160, BOX[3] + 160))
        everything[month] = image[:, 16:-16, 16:-16]
        place = {"left": BOX[0] - 160, "top": BOX[3] + 160}
        if separate:
            for band, plane in zip(BANDS, image, strict=True):
                write_tif(tmp_path / f"2018-{month:02d}/S1_{band}.tif", plane, **place)
            scl = np.full((96, 96), 6, np.uint8)
            write_tif(tmp_path / f"2018-{month:02d}/S1_SCL.tif", scl, **place)
        else:
            write_tif(tmp_path / f"2018-{month:02d}.tif", image, bands=BANDS, **place)
    with SentinelHub(rasters=tmp_path) as server:
        for month, image in everything.items():
            span = (f"2018-{month:02d}-01T00:00:00Z", f"2018-{month:02d}-30T00:00:00Z")
            found = members(ask(server, order(ALL, span=span)).content)
            np.testing.assert_array_equal(read(found["bands.tif"])[0], image)
            assert (read(found["scl.tif"])[0] == (6 if separate else 4)).all()
        span = ("2019-01-01T00:00:00Z", "2019-01-31T00:00:00Z")
        assert not read(ask(server, order(span=span)).content)[0].any()


def test_clouds_of_each_pass():
    """A script that looks through the clouds could not be told from one that does not."""
    with SentinelHub(clouds=0.5) as server:
        simple = {k: read(v)[0] for k, v in members(ask(server, order(ALL)).content).items()}
        cloudy = simple["scl.tif"][0] == 9
        assert 0.2 < cloudy.mean() < 0.8 and (simple["bands.tif"][:, cloudy] == 9000).all()
        spent = server.seen("process")[-1].units
        body = order(ALL, script=ORBIT)
        orbit = {k: read(v)[0] for k, v in members(ask(server, body).content).items()}
        clear = orbit["mask.tif"][0] == 1
        assert clear.mean() > 0.9 and (orbit["scl.tif"][0] == np.where(clear, 4, 0)).all()
        np.testing.assert_array_equal(orbit["bands.tif"], scene() * clear)
        assert server.seen("process")[-1].units == pytest.approx(6 * spent)
        answer = ask(server, order(maxCloudCoverage=40))
        assert not read(answer.content)[0].any()


def test_an_order_of_passes():
    """mosaickingOrder would change nothing."""

    def day(crs, bbox, width, height, bands, time_from, time_to):
        return np.full((len(bands), height, width), time_from.day, np.uint16)

    with SentinelHub(day, clouds=lambda moment: 0.1 * (moment.day % 3)) as server:
        found = {}
        for first in ("mostRecent", "leastRecent"):
            body = order(script=ORBIT, mosaickingOrder=first)
            values, counts = np.unique(read(ask(server, body).content)[0], return_counts=True)
            found[first] = values[counts.argmax()]
        assert found["leastRecent"] < 6 and found["mostRecent"] > 25


def test_a_script_that_does_more():
    """Scripts that regular expressions cannot read would be out of reach."""
    script = ORBIT.replace("[s.B02, s.B03, s.B04]", "s.map(x => median(x))")
    with SentinelHub() as server:
        message = refusal(ask(server, order(script=script)), 400, "RENDERER_EXCEPTION")
        assert "evaluate=" in message

    def evaluate(samples):
        best = np.stack([np.stack([s[b] for b in BANDS]) for s in samples]).max(axis=0)
        return {"bands": best, "scl": samples[0]["SCL"][None], "mask": best[:1] > 0}

    with SentinelHub(evaluate=evaluate) as server:
        np.testing.assert_array_equal(read(ask(server, order(script=script)).content)[0], scene())


def test_units_and_types_of_a_script(server):
    """Reflectances in UINT16, the classic mistake, would come out as DN."""
    unit = SCRIPT.replace(', units: "DN"', "")
    assert set(np.unique(read(ask(server, order(script=unit)).content)[0])) <= {0, 1}
    scaled = unit.replace("[s.B02, s.B03, s.B04]", "[10000 * s.B02, s.B03 * 10000, 10000*s.B04]")
    np.testing.assert_array_equal(read(ask(server, order(script=scaled)).content)[0], scene())
    real = unit.replace('"UINT16"', '"FLOAT32"')
    found = read(ask(server, order(script=real)).content)[0]
    np.testing.assert_allclose(found, scene() / 10_000, rtol=1e-6)
    assert server.seen("process")[-1].units == pytest.approx(2 * SIZE * SIZE / 262_144 * 4 / 3)
    auto = SCRIPT.replace('sampleType: "UINT16", ', "")
    assert set(np.unique(read(ask(server, order(script=auto)).content)[0])) == {255}


def test_units_of_a_large_request():
    """Plans for a budget would rest on another formula than the service's."""
    ten = SCRIPT.replace('"B04", "SCL"', '"B04","B05","B06","B07","B08","B8A","B11","B12","SCL"')
    with SentinelHub(lambda c, b, w, h, bands, *_: np.ones((len(bands), h, w), "u2")) as server:
        size = {"width": 2500, "height": 2500}
        assert ask(server, order(["mask"], ten, output=size)).status_code == 200
        assert server.units == pytest.approx(87.42, abs=0.01)


def test_sizes_by_resolution(server):
    """resx and resy, which the service takes as well, would be refused."""
    answer = ask(server, order(output={"resx": 10, "resy": 10}))
    np.testing.assert_array_equal(read(answer.content)[0], scene())


def test_an_outline_is_cut_out(server):
    """A request by geometry would return what is beyond it."""
    left, bottom, _, top = BOX
    ring = [[left, bottom], [left + 320, bottom], [left + 320, top], [left, top], [left, bottom]]
    body = order(bounds={"geometry": {"type": "Polygon", "coordinates": [ring]}})
    array_BYX = read(ask(server, body).content)[0]
    np.testing.assert_array_equal(array_BYX[..., :32], scene()[..., :32])
    assert not array_BYX[..., 32:].any()


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_png_unless_told(server):
    """A client that forgets to say GeoTIFF would get one all the same."""
    body = order(["scl"])
    del body["output"]["responses"][0]["format"]
    answer = ask(server, body, accept="*/*")
    assert answer.headers["Content-Type"] == "image/png" and answer.content[:4] == b"\x89PNG"
    assert ask(server, body, accept="image/tiff").content[:2] == b"II"
    assert ask(server, order(), accept="application/tar").headers["Content-Type"].endswith("tar")


UTM = "http://www.opengis.net/def/crs/EPSG/0/25831"
MISTAKES = {
    "a crs that is not served": (order(bounds={"properties": {"crs": UTM}}), "25831 is not supp"),
    "a crs by its short name": (order(bounds={"properties": {"crs": "EPSG:32631"}}), "not supp"),
    "a box upside down": (order(bounds={"bbox": [0, 10, 10, 0]}), "min x, min y"),
    "a box of three": (order(bounds={"bbox": [0, 10, 10]}), "four numbers"),
    "too wide": (order(output={"width": 2501, "height": 1}), "2501` is larger than allowed 2500"),
    "no height": (order(output={"width": 1, "height": 0}), "0` is smaller than allowed 1"),
    "half a pixel": (order(output={"width": 1.5, "height": 1}), "1.5` is not an integer"),
    "too fine": (order(output={"resx": 0.1, "resy": 10}), "`width = 6400`, calculated from resx"),
    "both sizes": (order(output={"width": 64, "resx": 10}), "Only width and height or resx"),
    "no version": (order(script=SCRIPT[2:]), "//VERSION=3"),
    "no setup": (order(script="//VERSION=3\nfunction evaluatePixel(s) {}"), "function setup()"),
    "no such output": (order(["ndvi"]), "Output ndvi requested but missing from function setup()"),
    "an output twice": (order(["scl", "scl"]), "requested twice"),
    "no such band": (order(script=SCRIPT.replace('"B03"', '"B99"')), "Band B99"),
    "a day without a time": (order(span=("2018-04-01", SPAN[1])), "not a valid time"),
    "time backwards": (order(span=SPAN[::-1]), "from must be before to"),
    "no such order": (order(mosaickingOrder="best"), "best is not an order"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_refused(server, mistake):
    """A request that the real service refuses would pass here."""
    body, said = MISTAKES[mistake]
    assert said in refusal(ask(server, body))
    assert server.units == 0 and server.count("process", status=400) == 1


def test_several_responses_need_an_archive(server):
    """A client with the wrong Accept header would pass here."""
    assert "application/tar" in refusal(ask(server, order(ALL), accept="image/tiff"))


def test_other_ways_to_ask(server):
    """Methods, types and addresses that do not exist would be answered."""
    bearer = {"Authorization": f"Bearer {token(server).json()['access_token']}"}
    found = requests.get(server.process_url, headers=bearer, timeout=5)
    refusal(found, 405, "COMMON_METHOD_NOT_ALLOWED")
    found = requests.post(server.process_url, data=b"{}", headers=bearer, timeout=5)
    refusal(found, 415, "COMMON_UNSUPPORTED_MEDIA_TYPE")
    bearer["Content-Type"] = "application/json"
    found = requests.post(server.process_url, headers=bearer, timeout=5)
    assert refusal(found) == "Request body should be non-empty."
    found = requests.post(server.process_url, data=b"{", headers=bearer, timeout=5)
    assert "not valid JSON" in refusal(found)
    refusal(requests.get(f"{server.url}/no", headers=bearer, timeout=5), 404, "COMMON_NOT_FOUND")


def test_requests_of_a_minute():
    """The service's own limit could not be simulated, nor that it passes."""
    with SentinelHub(requests_per_minute=2, minute=1.0) as server:
        bearer = token(server).json()["access_token"]
        assert [ask(server, bearer=bearer).status_code for _ in range(3)] == [200, 200, 429]
        answer = ask(server, bearer=bearer)
        assert refusal(answer, 429, "RATE_LIMIT_EXCEEDED")
        wait_ms = int(answer.headers["Retry-After"])
        assert 0 < wait_ms <= 1000
        time.sleep(wait_ms / 1000)
        assert ask(server, bearer=bearer).status_code == 200


def test_units_of_a_minute():
    """A budget of processing units could not be simulated."""
    with SentinelHub(units_per_minute=0.03, wrapped=False) as server:
        assert [ask(server).status_code for _ in range(2)] == [200, 429]
        content = ask(server).json()
        assert content["status"] == 429 and content["code"] == "RATE_LIMIT_EXCEEDED"
        large = ask(server, order(output={"width": 256, "height": 256}))
        assert large.json()["code"] == "RATE_LIMIT_TOKEN_COUNT_EXCEEDS_CAPACITY"


def test_a_search_by_address(server):
    """A search by GET would fail, or a page that is too large pass."""
    bearer = {"Authorization": f"Bearer {token(server).json()['access_token']}"}
    query = {"collections": "sentinel-2-l2a", "bbox": "0.5,41,1,41.5", "limit": 4}
    query["datetime"] = "/".join(SPAN)
    found = requests.get(server.catalog_url, params=query, headers=bearer, timeout=5).json()
    assert found["context"] == {"next": 4, "limit": 4, "returned": 4}
    assert any(link["rel"] == "next" for link in found["links"])
    query["next"] = 4
    found = requests.get(server.catalog_url, params=query, headers=bearer, timeout=5).json()
    assert found["context"] == {"limit": 4, "returned": 2}
    query["limit"] = 101
    answer = requests.get(server.catalog_url, params=query, headers=bearer, timeout=5)
    assert answer.status_code == 400 and answer.json()["code"] == 400


# ------------------------------------------------------------------------------ faults
@pytest.mark.parametrize("name", ["400", "401", "403", "500"])
def test_a_fault_with_a_status(server, name):
    """An error would come in another shape than the service's."""
    server.fault(name)
    codes = {"400": "COMMON_BAD_PAYLOAD", "401": "COMMON_UNAUTHORIZED"}
    codes |= {"403": "COMMON_INSUFFICIENT_PERMISSIONS", "500": "RENDERER_EXCEPTION"}
    assert refusal(ask(server), int(name), codes[name])
    assert ask(server).status_code == 200
    assert [r.fault for r in server.seen("process")] == [name, None]


@pytest.mark.parametrize("name", ["502", "503", "504"])
def test_a_fault_of_a_gateway(server, name):
    """The page of a proxy would come as the service's own JSON."""
    server.fault(name, times=2)
    answers = [ask(server) for _ in range(3)]
    assert [a.status_code for a in answers] == [int(name), int(name), 200]
    assert answers[0].headers["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("retry_after", [3398, None, "1.5", "date"])
def test_a_fault_of_too_many_requests(server, retry_after, wrapped):
    """Retry-After would not come as it was asked for, or in one shape only."""
    server.fault("429", retry_after=retry_after, wrapped=wrapped)
    answer = ask(server)
    content = answer.json()["error"] if wrapped else answer.json()
    assert answer.status_code == content["status"] == 429
    assert content["code"] == "RATE_LIMIT_EXCEEDED"
    told = answer.headers.get("Retry-After")
    if retry_after == "date":
        ahead = email.utils.parsedate_to_datetime(told).timestamp() - time.time()
        assert 0 < ahead <= 2
    else:
        assert told == (None if retry_after is None else str(retry_after))


def test_faults_of_tokens(server):
    """Faults of the token endpoint would come in the shape of another, or strike another."""
    server.fault("401", path="token")
    server.fault("429", path="token")
    server.fault("html200", path="token")
    answers = [token(server) for _ in range(4)]
    assert [a.status_code for a in answers] == [401, 429, 200, 200]
    assert [a.json()["error"] for a in answers[:2]] == ["invalid_client", "RATE_LIMIT_EXCEEDED"]
    assert answers[2].text.startswith("<html>") and "access_token" in answers[3].json()


def test_a_token_that_ends_after_some_requests(server):
    """The middle of a long run could not be reached."""
    server.fault("expired", after=2)
    bearer = token(server).json()["access_token"]
    assert [ask(server, bearer=bearer).status_code for _ in range(4)] == [200, 200, 401, 401]
    assert ask(server).status_code == 200


@pytest.mark.parametrize("name", ["html200", "json200"])
@pytest.mark.parametrize("content_type", [None, "image/tiff"])
def test_a_fault_with_200(server, name, content_type):
    """A page in the place of an image would be told by its status or type."""
    server.fault(name, content_type=content_type)
    answer = ask(server)
    kind = {"html200": "text/html", "json200": "application/json"}[name]
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith(content_type or kind)
    assert answer.content[:1] in (b"<", b"{")


def test_any_answer(server):
    """What nobody has thought of yet could not be answered."""
    server.fault("answer", status=418, body=b"tea", headers={"X-Pot": "1"})
    server.fault("answer", content={"token_type": "Bearer"}, path="token")
    bearer = token(server)
    assert bearer.json() == {"token_type": "Bearer"}
    answer = ask(server)
    assert (answer.status_code, answer.content, answer.headers["X-Pot"]) == (418, b"tea", "1")


def test_a_short_body(server):
    """The connection would not break off, and a client need not notice."""
    server.fault("short_body", keep=0.25)
    got, end = exchange(server)
    headers, body = parts(got)
    assert end == "closed" and len(body) == int(headers["content-length"]) // 4 > 0
    server.fault("short_body")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        ask(server)


def test_a_short_body_in_chunks(server):
    """The last chunk, which alone tells the end, would be there."""
    server.fault("short_body", chunked=True)
    headers, body = parts(exchange(server)[0])
    assert headers["transfer-encoding"] == "chunked" and "content-length" not in headers
    assert not body.endswith(b"0\r\n\r\n") and len(body) > 1000
    server.fault("short_body", chunked=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        ask(server)


def test_an_unframed_body(server):
    """A client that trusts the end of the connection would never be put to the test."""
    whole = ask(server).content
    server.fault("unframed", keep=0.5)
    got, end = exchange(server)
    headers, body = parts(got)
    assert end == "closed" and body == whole[: len(whole) // 2]
    assert not {"content-length", "transfer-encoding"} & set(headers)


@pytest.mark.parametrize("identifiers", [("bands",), ALL])
def test_a_truncated_file(server, identifiers):
    """A file that has lost its end would be told by its length."""
    server.fault("truncated", keep=0.6)
    answer = ask(server, order(identifiers))
    assert len(answer.content) == int(answer.headers["Content-Length"])
    found = {"bands.tif": answer.content} if len(identifiers) == 1 else members(answer.content)
    with rasterio.MemoryFile(found["bands.tif"]) as memory, memory.open() as source:
        assert source.shape == (SIZE, SIZE)
        with pytest.raises(RasterioIOError):
            source.read()


def test_a_missing_member(server):
    """An archive that lacks a file could not be simulated."""
    server.fault("missing_member")
    server.fault("missing_member", member="bands.tif")
    assert list(members(ask(server, order(ALL)).content)) == ["bands.tif", "scl.tif"]
    assert list(members(ask(server, order(ALL)).content)) == ["scl.tif", "mask.tif"]


PICTURES = {
    "wrong_bands": ({}, lambda array, profile: profile["count"] == 2),
    "wrong_crs": ({}, lambda array, profile: profile["crs"] == "EPSG:32630"),
    "wrong_size": ({}, lambda array, profile: array.shape == (3, SIZE - 1, SIZE - 1)),
    "wrong_place": ({"south": 2}, lambda _, p: p["transform"][2:6:3] == (BOX[0] + 10, BOX[3] - 20)),
    "wrong_type": ({}, lambda array, profile: profile["dtype"] == "float32"),
    "zeros": ({}, lambda array, profile: not array.any()),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_is_not_right(server, name):
    """A file that is whole and wrong could not be simulated."""
    options, check = PICTURES[name]
    server.fault(name, **options)
    answer = ask(server)
    array_BYX, profile = read(answer.content)
    assert answer.status_code == 200 and check(array_BYX, profile)
    array_BYX, profile = read(ask(server).content)
    assert not check(array_BYX, profile)


def test_zeros_that_the_mask_denies(server):
    """Bands that are empty where the mask says otherwise could not be simulated."""
    server.fault("zeros", only=("bands",))
    found = members(ask(server, order(ALL)).content)
    assert not read(found["bands.tif"])[0].any() and read(found["mask.tif"])[0].all()


def test_more_bands_and_pixels(server):
    """Images that are too large, rather than too small, could not be simulated."""
    server.fault("wrong_bands", bands=5)
    server.fault("wrong_size", by=3)
    assert read(ask(server).content)[0].shape == (5, SIZE, SIZE)
    assert read(ask(server).content)[0].shape == (3, SIZE + 3, SIZE + 3)


@pytest.mark.parametrize("keep", [None, 0.5])
def test_a_reset(server, keep):
    """The connection would end as if nothing were wrong."""
    server.fault("reset", keep=keep)
    got, end = exchange(server)
    assert end == "reset" and bool(got) is (keep is not None)
    server.fault("reset", keep=keep)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        ask(server)


@pytest.mark.parametrize("keep", [None, 0.5])
def test_a_stall(server, keep):
    """A client without a timeout would never wait in vain."""
    server.fault("stall", seconds=30, keep=keep)
    got, end = exchange(server, timeout=0.6)
    assert end == "open" and bool(got) is (keep is not None)
    server.fault("stall", seconds=0.3, keep=keep)
    start = time.monotonic()
    np.testing.assert_array_equal(read(ask(server).content)[0], scene())
    assert time.monotonic() - start >= 0.3


def test_a_stall_does_not_hold_the_test():
    """A test would wait for the end of each stall."""
    start = time.monotonic()
    with SentinelHub() as server:
        server.fault("stall", seconds=240)
        with pytest.raises(requests.Timeout):
            ask(server, timeout=0.2)
    assert time.monotonic() - start < 240


def test_a_drip(server):
    """A body that comes slowly, but never stops, would come at once."""
    server.fault("drip", seconds=3, pieces=10)
    with ask(server, stream=True) as answer:
        first = answer.raw.read(100)
        start = time.monotonic()
        rest = answer.raw.read()
    assert time.monotonic() - start >= 0.3
    np.testing.assert_array_equal(read(first + rest)[0], scene())


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_loop(server, status):
    """A client that follows for ever would not be found out."""
    server.fault("redirect_loop", status=status)
    with pytest.raises(requests.TooManyRedirects):
        ask(server)
    assert server.count("loop", status=status) == 30
    assert server.seen("loop")[-1].method == ("POST" if status == 307 else "GET")


def test_a_redirect_to_another_host(server):
    """A client that gives its token away would not be found out."""
    server.fault("redirect_elsewhere", times=2)
    np.testing.assert_array_equal(read(ask(server).content)[0], scene())
    (arrived,) = server.elsewhere
    assert arrived.authorization is None and arrived.method == "POST"
    answer = ask(server, allow_redirects=False)
    assert answer.status_code == 307 and answer.headers["Location"].startswith(server.elsewhere_url)
    requests.post(answer.headers["Location"], headers={"Authorization": "Bearer abc"}, timeout=5)
    assert server.elsewhere[1].authorization == "Bearer abc"


@pytest.mark.parametrize("length", [True, False])
def test_an_oversize_body(server, length):
    """A body without end would not be sent, or the server would hold it in memory."""
    server.fault("oversize", size=2**40, length=length)
    with ask(server, stream=True) as answer:
        told = answer.headers.get("Content-Length")
        assert told == (str(2**40) if length else None)
        assert len(answer.raw.read(2**22)) == 2**22
    server.fault("oversize", size=2**20, length=length)
    assert len(ask(server).content) == 2**20


# ------------------------------------------------------------------------ which request is meant
def test_faults_by_number_block_and_match(server):
    """A fault would strike another request than the one that is meant."""
    other = (BOX[0] + 640, *BOX[1:2], BOX[2] + 640, BOX[3])
    server.fault("500", number=2)
    server.fault("502", block=other, times=None)
    server.fault("403", match=lambda request: request.json["output"]["width"] == 32)
    elsewhere = order(bounds={"bbox": other})
    small = order(output={"width": 32, "height": 32})
    bodies = [order(), order(), elsewhere, order(), elsewhere, small, small]
    assert [ask(server, body).status_code for body in bodies] == [200, 500, 502, 200, 502, 403, 200]


def test_faults_come_in_turn(server):
    """A story of several faults could not be told."""
    server.fault("429", times=2)
    server.fault("reset")
    server.fault("zeros")
    struck = []
    for _ in range(5):
        try:
            struck.append(ask(server).status_code)
        except requests.ConnectionError:
            struck.append("reset")
    assert struck == [429, 429, "reset", 200, 200]
    faults = [r.fault for r in server.seen("process")]
    assert faults == ["429", "429", "reset", "zeros", None]


def test_a_fault_that_stays(server):
    """A service that is down for good could not be simulated, nor brought up again."""
    fault = server.fault("503", times=None, path="*", retry_after=1)
    assert token(server).headers["Retry-After"] == "1"
    assert token(server).status_code == 503 and fault.struck == 2
    server.clear()
    assert token(server).status_code == 200


def test_mistakes_in_faults(server):
    """A misspelt fault or option would make a test pass that tests nothing."""
    with pytest.raises(ValueError, match="no fault 'html'; there are expired, 400"):
        server.fault("html")
    with pytest.raises(TypeError, match="retries"):
        server.fault("429", retries=1)
    with pytest.raises(ValueError, match="process requests alone"):
        server.fault("zeros", path="token")
    for name in KINDS:
        server.fault(name)


def test_many_at_once(server):
    """Requests would be lost, counted twice or answered one by one."""
    bearer = token(server).json()["access_token"]
    server.fault("stall", seconds=0.4, times=None)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(server, bearer=bearer).status_code))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.settle()
    assert answers == [200] * 16 and server.busiest > 4
    assert sorted(r.number for r in server.seen("process")) == list(range(1, 17))
    assert all(r.took >= 0.4 for r in server.seen("process", fault="stall"))


def test_one_connection_for_many(server, caplog):
    """Connections would not be kept open, as the service keeps them."""
    caplog.set_level("DEBUG", "urllib3.connectionpool")
    bearer = {"Authorization": f"Bearer {token(server).json()['access_token']}"}
    caplog.clear()
    with requests.Session() as session:
        session.headers.update(bearer)
        for _ in range(10):
            assert session.get(server.process_url, timeout=5).status_code == 405
    said = [record.message for record in caplog.records]
    assert sum('"GET ' in line for line in said) == 10
    assert sum("Starting new HTTP connection" in line for line in said) == 1


def test_the_server_is_for_this_machine_alone(server):
    """Others on the network could ask it."""
    assert server.url.startswith("http://127.0.0.1:")
    url = server.url
    server.stop()
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=1)
