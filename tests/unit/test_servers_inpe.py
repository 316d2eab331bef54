"""The local services of INPE: pystac-client and cbers4asat work with them as with the real ones."""

import datetime
import json

import cbers4asat
import numpy as np
import pytest
import rasterio
import requests
from cbers4asat.cbers4a.search import Search, SearchItem
from pystac_client import Client
from pystac_client.warnings import PystacClientWarning
from servers.bdc import BdcServer
from servers.imagery import right, simulated
from servers.lgi import LgiServer
from shapely.geometry import box, shape

BOUNDS = (813_792, 8_597_000, 814_512, 8_597_682)
ZONE = "EPSG:32720"
WPM, DN = "CB4A-WPM-L4-DN-1", "CBERS4A_WPM_L4_DN"
BANDS = ("BAND0", "BAND3")
AROUND = [-60.2, -12.7, -60.0, -12.6]

pytestmark = pytest.mark.filterwarnings("ignore::pystac_client.warnings.PystacClientWarning")


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """No proxy, and GDAL asks for nothing while rasterio holds the lock of the interpreter."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("GDAL_DISABLE_READDIR_ON_OPEN", "EMPTY_DIR")
    # mapmill itself lets GDAL read nothing over the network
    monkeypatch.delenv("CPL_VSIL_CURL_ALLOWED_FILENAME", raising=False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Five days of August 2021; nobody has told the clouds of the third."""
    folder = tmp_path_factory.mktemp("scenes")
    keywords = {"bounds": BOUNDS, "crs": ZONE, "collection": WPM, "bands": BANDS}
    return [
        simulated(
            folder,
            f"CBERS_4A_WPM_2021080{day}_229_124_L4",
            f"2021-08-0{day}T13:00:00Z",
            cloud="none" if day == 3 else 9 + day,
            properties={"bdc:tiles": ["229_124"], "path": "229", "day": str(day * 5)},
            **keywords,
        )
        for day in range(1, 6)
    ]


@pytest.fixture(scope="module")
def originals(scenes):
    """The same as scenes of the other catalogue."""
    return [
        scene.changed(id=f"CBERS4A_WPM2291242021080{day}", collection=DN, properties={})
        for day, scene in enumerate(scenes, 1)
    ]


# --------------------------------------------------------------------------- BDC
@pytest.fixture
def bdc(scenes):
    with BdcServer(scenes, collections=("EMPTY-1",)) as server:
        yield server


def dates(items):
    return [int(item.id.split("_")[3][-2:]) for item in items]


def post(server, **body):
    return requests.post(server.search_url, json=body, timeout=5)


def features(answer):
    return [int(f["id"].split("_")[3][-2:]) for f in answer.json()["features"]]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_client_pages(bdc, method):
    """Tests of our own client would pass against pages that the real one cannot turn."""
    found = Client.open(bdc.api_url).search(method=method, collections=[WPM], limit=2)
    assert dates(found.items()) == [5, 4, 3, 2, 1] and found.matched() == 5
    pages = [r.json["page"] if r.json else r.args["page"] for r in bdc.seen("search")[1:3]]
    assert [int(number) for number in pages] == [2, 3]


def test_the_client_is_not_told_of_post(bdc):
    """The one link to the search would have a method, as that of other services has."""
    client = Client.open(bdc.api_url)
    with pytest.warns(PystacClientWarning, match="'POST' is not advertised"):
        found = list(
            client.search(collections=[WPM], query={"eo:cloud_cover": {"lte": 11}}).items()
        )
    assert dates(found) == [2, 1]


def test_the_client_reads_what_is_null(bdc):
    """Collections would be tidier than the service's, and a client that breaks at them not seen."""
    found = {c.id: c for c in Client.open(bdc.api_url).get_collections()}
    assert set(found) == {"EMPTY-1", WPM}
    told = requests.get(f"{bdc.api_url}/collections/EMPTY-1", timeout=5).json()
    assert told["extent"]["spatial"]["bbox"] == [[None] * 4]
    assert told["summaries"] is told["item_assets"] is told["keywords"] is None
    assert found[WPM].get_item("nothing") is None


def test_items_of_bdc(bdc, scenes):
    """Items would have what INPE's do not have: the CRS, and names of other extensions."""
    path = f"{bdc.api_url}/collections/{WPM}/items"
    item = requests.get(f"{path}/{scenes[2].id}", timeout=5).json()
    assert item["properties"]["eo:cloud_cover"] is None
    assert item["properties"]["datetime"] == "2021-08-03T13:00:00.000000Z"
    assert "proj:" not in json.dumps(item) and "file:" not in json.dumps(item)
    pan = item["assets"]["BAND0"]
    assert pan["eo:bands"][0]["common_name"] == "pan" and pan["created"].endswith("00")
    content = requests.get(pan["href"], timeout=5).content
    assert pan["bdc:size"] == len(content)
    assert pan["checksum:multihash"] == bdc.blob(scenes[2].id, "BAND0").multihash
    with rasterio.open(pan["href"]) as source:
        expected_YX = right("BAND0", BOUNDS, "2021-08-03", crs=ZONE)
        np.testing.assert_array_equal(source.read(1), expected_YX)
        assert source.crs == ZONE and source.dtypes == ("int16",) and source.res == (2, 2)
    missing = requests.get(f"{path}/no", timeout=5)
    assert missing.json() == {
        "code": 404,
        "description": f"Invalid item id 'no' for collection '{WPM}'",
    }
    assert requests.get(f"{path}/%25", timeout=5).json()["id"] == scenes[0].id  # by LIKE


def test_searches_of_bdc(bdc, scenes):
    """Quirks of INPE's service would be missing here, and found there."""
    found = post(bdc, collections=[WPM], limit=5000)
    assert features(found) == [5, 4, 3, 2, 1] and "numberMatched" not in found.json()
    assert found.json()["context"] == {"matched": 5, "returned": 5}
    assert features(post(bdc, collections=["unknown"])) == []
    assert features(post(bdc, ids=["CBERS_4A_WPM_20210802_229_124_L4"], bbox=[0, 0, 1, 1])) == [2]
    assert features(post(bdc, query={"bdc:tile": {"eq": "229_124"}}, limit=1)) == [5]
    assert features(post(bdc, query={"day": {"lt": "3"}})) == [5, 4, 3, 2]  # as texts
    assert features(post(bdc, bbox=AROUND, limit=2, page=3)) == [1]
    narrow = [-60.11124, -12.6757, -60.11123, -12.6755]  # in the corner of the box
    assert not shape(scenes[0].footprint).intersects(box(*narrow))
    assert post(bdc, bbox=narrow).json()["context"]["matched"] == 5
    assert post(bdc, bbox=[1, 2, 1, 3]).status_code == 400
    by_text = requests.post(bdc.search_url, data="{}", timeout=5)
    assert by_text.json()["description"] == "POST Request must be an application/json"
    by_get = requests.get(bdc.search_url, params={"query": "{}"}, timeout=5)
    assert by_get.status_code == 500 and by_get.json()["code"] == 500
    shorter = requests.get(f"{bdc.search_url}?fields=-assets&limit=1", timeout=5).json()
    assert "assets" not in shorter["features"][0]
    assert post(bdc).headers["Content-Encoding"] == "gzip"


def test_tokens_of_bdc(scenes):
    """A token would not be asked for, or not be spread over all addresses as INPE's are."""
    with BdcServer(scenes, token="s3cret", private=(WPM,)) as server:
        href = server.href(scenes[0].id, "BAND0")
        missing, wrong, right_ = (
            requests.get(href, params=params, timeout=5)
            for params in ({}, {"access_token": "no"}, {"access_token": "s3cret"})
        )
        assert missing.status_code == 400
        assert missing.json()["description"] == "Missing access_token parameter."
        assert (wrong.status_code, right_.status_code) == (403, 200)
        assert features(post(server)) == []
        told = requests.post(
            f"{server.search_url}?access_token=s3cret", json={"limit": 1}, timeout=5
        )
        links = [link["href"] for link in told.json()["links"]]
        assets = told.json()["features"][0]["assets"].values()
        assert all("access_token=s3cret" in text for text in [*links, *(a["href"] for a in assets)])
        server.fault("expired")
        assert requests.get(href, params={"access_token": "s3cret"}, timeout=5).status_code == 403


# --------------------------------------------------------------------------- LGI-CDSR
@pytest.fixture
def lgi(originals, monkeypatch):
    with LgiServer(originals) as server:
        monkeypatch.setattr(Search, "BASE_URL_SEARCH", server.search_url)
        monkeypatch.setattr(SearchItem, "BASE_URL_SEARCH_ITEM", server.items_url)
        yield server


def query(server, cloud=100, limit=100, place=None, collection=DN):
    api = cbers4asat.Cbers4aAPI(server.email)
    span = (datetime.date(2021, 8, 1), datetime.date(2021, 8, 31))
    return api, api.query(place or AROUND, *span, cloud, limit, [collection])


def test_the_client_searches(lgi):
    """Tests of our own client would pass against a service that the real one cannot ask."""
    _, found = query(lgi, cloud=12)
    assert [f["id"][-2:] for f in found["features"]] == ["02", "01"]
    assert set(found["features"][0]["assets"]) == {"thumbnail"}
    assert len(query(lgi)[1]["features"]) == 4  # without the one of unknown clouds
    assert len(query(lgi, place=(229, 124), limit=3)[1]["features"]) == 3
    assert query(lgi, place=(229, 125))[1]["features"] == []
    assert query(lgi, collection="CBERS4_MUX_L4_DN")[1]["features"] == []


def test_the_client_downloads(lgi, originals, tmp_path):
    """The way to a file, by an e-mail and over a redirect, would be another."""
    api, found = query(lgi, limit=1)
    api.download(found, ["pan", "red"], threads=1, outdir=str(tmp_path))
    name = "CBERS_4A_WPM_20210805_229_124_L4"
    for band in BANDS:
        with rasterio.open(tmp_path / f"{name}_{band}.tif") as source:
            expected_YX = right(band, BOUNDS, "2021-08-05", crs=ZONE)
            np.testing.assert_array_equal(source.read(1), expected_YX)
    assert [r.args for r in lgi.seen("download", status=302)] == [{"email": lgi.email}] * 2
    assert all(r.query == "" for r in lgi.seen("asset"))


def test_the_client_reads_items(lgi, originals):
    """An item would not have what a search leaves out, or a missing one be an error."""
    api = cbers4asat.Cbers4aAPI(lgi.email)
    (item,) = api.query_by_id(originals[2].id, DN)["features"]
    assert set(item["assets"]) == {"pan", "pan_xml", "red", "red_xml", "thumbnail"}
    assert item["stac_version"] == "0.9.0"
    told = item["properties"]
    assert told["datetime"] == "2021-08-03T13:00:00" and told["cloud_cover"] is None
    assert (told["path"], told["row"], told["satellite"]) == (229, 124, "CBERS4A")
    assert api.query_by_id("nothing", DN) == {"type": "FeatureCollection", "features": []}
    missing = requests.get(f"{lgi.items_url}/{DN}/items/nothing", timeout=5)
    assert (missing.status_code, missing.json()) == (200, {})
    assert len(api.to_geodataframe(query(lgi, limit=2)[1])) == 2


def test_downloads_without_an_email(lgi, originals):
    """A client without a known e-mail would pass."""
    href = lgi.download_href(originals[0].id, "BAND0")
    refused = requests.get(href, timeout=5)
    assert refused.status_code == 400
    assert refused.json() == {"message": "`email` parameter is required!"}
    refused = requests.get(href, params={"email": "x@y"}, timeout=5)
    assert refused.status_code == 403
    assert refused.json() == {"message": "Invalid e-mail: `x@y`"}
    missing = requests.get(href.replace("BAND0", "BAND9"), {"email": lgi.email}, timeout=5)
    assert missing.status_code == 404
    xml = requests.get(href.replace(".tif", ".xml"), params={"email": lgi.email}, timeout=5)
    assert "absoluteCalibrationCoefficient" in xml.text


def test_searches_of_lgi(lgi):
    """Mistakes in a search would be passed over, or told in other words."""
    body = {"providers": [{"name": "LGI-CDSR", "collections": [{"name": DN}]}], "limit": 2}

    def ask(**changes):
        return requests.post(lgi.search_url, json=body | changes, timeout=5)

    pages = [ask(page=number).json()["LGI-CDSR"][DN] for number in (1, 2, 3, 4)]
    assert [page["context"]["returned"] for page in pages] == [2, 2, 1, 0]
    assert pages[0]["context"] == {"page": 1, "limit": 2, "matched": 5, "returned": 2}
    assert "unknown field" in ask(time="2021-08-01T00:00:00").json()["description"]
    assert "does not match" in ask(datetime="2021-08-01/2021-08-02").json()["description"]
    other = ask(providers=[{"name": "INPE-CDSR", "collections": []}])
    assert other.json()["description"] == "Provider `INPE-CDSR` does not exist."
    unnamed = ask(providers=[{"name": "LGI-CDSR"}]).json()
    assert json.loads(unnamed["description"]) == {"collections": ["required field"]}
    assert (unnamed["code"], unnamed["name"]) == (400, "Bad Request")
    moved = requests.post(lgi.search_url[:-1], json=body, allow_redirects=False, timeout=5)
    assert moved.status_code == 301 and moved.headers["Location"] == lgi.search_url
