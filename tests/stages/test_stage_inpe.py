"""CBERS scenes of INPE, from the search to the composed image: Brazil Data Cube, which serves open
files, and the catalogue of DGI, which wants an e-mail. Local servers, with the services' quirks."""

import json
from pathlib import Path

import numpy as np
import pystac
import pytest
from servers.bdc import BdcServer
from servers.imagery import from_files, right, simulated
from servers.lgi import LgiServer
from stages.stage_steps import area_with, compose, refused, search

from mapmill.catalogue import http

PERIOD = "2021-08"
CRS = "EPSG:32723"
BOUNDS = [200_000, 8_230_464, 201_536, 8_232_000]
"""192 x 192 px of 8 m."""
WIDE = (199_200, 8_229_664, 202_336, 8_232_800)
DAY = "2021-08-30T13:01:00Z"
BANDS = ("BAND1", "BAND2", "BAND3", "BAND4")
NAMES = ["blue", "green", "red", "nir"]
BDC_ID, LGI_ID = "CBERS_4A_WPM_20210830_200_140_L4", "CBERS4A_WPM20014020210830"
SECRET = "tok-5ecret"
EMAIL = "someone@example.org"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder of its own, no proxy, no account, short waits."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("BDC_ACCESS_TOKEN", "INPE_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(http, "BACKOFF_S", 0.01)
    monkeypatch.setattr(http, "TIMEOUT_S", (2, 2))
    return tmp_path


def wpm(folder, name, collection, day=DAY, **more):
    chosen = {"bounds": WIDE, "bands": BANDS, "crs": CRS, "collection": collection} | more
    return simulated(folder / "scenes", name, day, **chosen)


def wpm_area(source, name="wpm", *, download=None, **catalogue):
    assets = dict(zip(NAMES, BANDS, strict=True)) if source == "bdc" else {}
    collection = "CB4A-WPM-L4-DN-1" if source == "bdc" else "CBERS4A_WPM_L4_DN"
    chosen = {"collections": [collection], "assets": assets} | catalogue
    return area_with(
        name,
        grid={"crs": CRS, "resolution": 8, "bounds": BOUNDS},
        search={"source": source, "catalogue": chosen, "periods": {PERIOD: {}}},
        compose={"bands": NAMES},
        download=download or {},
    )


def expected(day=DAY):
    return np.stack([right(b, WIDE, day, crs=CRS)[100:292, 100:292] for b in BANDS])


def written():
    """All that was written, as one text."""
    found = [path for path in Path().rglob("*") if path.is_file()]
    return "".join(path.read_bytes().decode("latin-1") for path in found)


def bdc(project, monkeypatch, *scenes, **options):
    found = scenes or [wpm(project, BDC_ID, "CB4A-WPM-L4-DN-1")]
    server = BdcServer(found, **options).start()
    monkeypatch.setenv("BDC_BASE_URL", server.api_url)
    return server


def dgi(project, monkeypatch, *scenes, **options):
    server = LgiServer(scenes or [wpm(project, LGI_ID, "CBERS4A_WPM_L4_DN")], **options).start()
    monkeypatch.setenv("INPE_BASE_URL", server.url)
    return server


@pytest.mark.parametrize("read", ["whole", "window"])
def test_brazil_data_cube(project, monkeypatch, read):
    """The mission's first catalogue: bands, place and values of CBERS-4A."""
    with bdc(project, monkeypatch) as server:
        area = wpm_area("bdc", download={"read": read})
        np.testing.assert_array_equal(compose(area, PERIOD), expected())
        (item,) = pystac.ItemCollection.from_dict(search(area, PERIOD)).items
        assert item.id == BDC_ID and item.properties["mapmill:collection"] == "CB4A-WPM-L4-DN-1"
        assert set(item.assets) == set(BANDS)
        assert server.count("search", status=200) == 2


@pytest.mark.parametrize("read", ["whole", "window"])
def test_a_token_is_used_and_never_kept(project, monkeypatch, capsys, caplog, read):
    """The token would be published with the results, in a log, or be missing where it is needed."""
    monkeypatch.setenv("BDC_ACCESS_TOKEN", SECRET)
    with bdc(project, monkeypatch, token=SECRET) as server, caplog.at_level("DEBUG"):
        np.testing.assert_array_equal(
            compose(wpm_area("bdc", download={"read": read}), PERIOD), expected()
        )
        assert all(r.args.get("access_token") == SECRET for r in server.seen("asset"))
    assert SECRET not in written() + caplog.text + str(capsys.readouterr())


@pytest.mark.parametrize(("token", "said"), [(None, "400"), ("wrong-5ecret", "403")])
def test_a_token_that_is_missing_or_wrong(project, monkeypatch, capsys, token, said):
    """A user would not learn what to do, or find the token in the message."""
    if token:
        monkeypatch.setenv("BDC_ACCESS_TOKEN", token)
    with bdc(project, monkeypatch, token=SECRET):
        area = wpm_area("bdc")
        if token:  # the search itself is refused
            line = refused(capsys, "search", area, PERIOD, "out/s.json")
        else:
            search(area, PERIOD)
            line = refused(capsys, "download", area, f"{PERIOD}/{BDC_ID}/BAND1.tif", "out/b.tif")
    assert said in line and "5ecret" not in line


def test_pages_duplicates_and_clouds_that_nobody_knows(project, monkeypatch):
    """A scene would be taken twice, or be lost with its page, or for a cloud cover of null."""
    first = wpm(project, "CBERS_4A_WPM_20210830_200_140_L4", "CB4A-WPM-L4-DN-1", cloud="none")
    more = [first.changed(id=f"CBERS_4A_WPM_202108{n:02d}_200_140_L4") for n in range(1, 30)]
    with bdc(project, monkeypatch, first, *more) as server:
        monkeypatch.setattr("mapmill.catalogue.stac.PAGE", 7)
        server.fault("duplicate_item", path="search", times=None)
        found = search(wpm_area("bdc", layers=0, max_cloud=20), PERIOD)
        assert sorted(f["id"] for f in found["features"]) == sorted(
            {first.id, *(m.id for m in more)}
        )
        assert server.count("search") >= 5


@pytest.mark.parametrize("read", ["whole", "window"])
def test_the_catalogue_of_dgi(project, monkeypatch, read):
    """CBERS and Amazonia originals, which are nowhere else."""
    monkeypatch.setenv("INPE_EMAIL", EMAIL)
    with dgi(project, monkeypatch) as server:
        area = wpm_area("dgi", download={"read": read})
        np.testing.assert_array_equal(compose(area, PERIOD), expected())
        (item,) = pystac.ItemCollection.from_dict(search(area, PERIOD)).items
        assert item.id == LGI_ID and set(item.assets) == set(NAMES)
        assert item.datetime.isoformat() == "2021-08-30T13:01:00+00:00"
        assert all("email" not in r.args for r in server.seen("asset")), "the redirect is plain"
    assert EMAIL not in written()


@pytest.mark.parametrize("email", [None, "nobody@example.org"])
def test_an_email_that_is_missing_or_unknown(project, monkeypatch, capsys, email):
    """The server repeats the address in its answer, and the message would publish it."""
    if email:
        monkeypatch.setenv("INPE_EMAIL", email)
    with dgi(project, monkeypatch) as server:
        area = wpm_area("dgi")
        search(area, PERIOD)
        line = refused(capsys, "download", area, f"{PERIOD}/{LGI_ID}/blue.tif", "out/b.tif")
        assert ("INPE_EMAIL" in line) if email is None else ("403" in line)
        assert "example.org" not in line and server.count("asset") == 0


def test_an_item_that_its_catalogue_lacks(project, monkeypatch, capsys):
    """An item that is `{}` would be a scene without bands."""
    with dgi(project, monkeypatch) as server:
        server.fault("answer", path="item", content={}, times=None)
        line = refused(capsys, "search", wpm_area("dgi"), PERIOD, "out/s.json")
        assert f"no item {LGI_ID}" in line and "exclude" in line


def test_many_scenes_on_pages(project, monkeypatch):
    """Scenes beyond the first page would be lost without a word."""
    first = wpm(project, LGI_ID, "CBERS4A_WPM_L4_DN")
    more = [first.changed(id=f"CBERS4A_WPM200140202108{n:02d}") for n in range(1, 25)]
    with dgi(project, monkeypatch, first, *more):
        monkeypatch.setattr("mapmill.catalogue.dgi.PAGE", 10)
        assert len(search(wpm_area("dgi", layers=0), PERIOD)["features"]) == 25


def test_a_collection_that_nobody_knows(project, monkeypatch, capsys):
    """A typing error would be a season without imagery."""
    with dgi(project, monkeypatch):
        area = wpm_area("dgi", collections=["CBERS4A_WPN_L4_DN"])
        assert "0 scenes of 0" in refused(capsys, "search", area, PERIOD, "out/s.json")


def test_real_bands_of_cbers(project, monkeypatch, real_data):
    """What INPE really serves, int16 and without declared nodata, could not be composed."""
    files = {b: real_data / f"cbers4a_wpm/{b}.tif" for b in BANDS[:3]}
    scene = from_files(files, BDC_ID, DAY, "CB4A-WPM-L4-DN-1")
    import rasterio

    with rasterio.open(files["BAND1"]) as source:
        left, _, _, top = source.bounds
        crs, step, image = source.crs.to_string(), source.res[0], source.read(1)
    with bdc(project, monkeypatch, scene):
        area = area_with(
            "real",
            grid={"crs": crs, "resolution": step, "bounds": [left, top - 128 * step,
                                                             left + 128 * step, top]},
            search={"source": "bdc", "periods": {PERIOD: {}}, "catalogue": {
                "collections": ["CB4A-WPM-L4-DN-1"], "assets": {"blue": "BAND1"}}},
            compose={"bands": ["blue", "green", "red"]},
        )  # fmt: skip
        found = compose(area, PERIOD)
    np.testing.assert_array_equal(found[0], image[:128, :128])
    assert json.loads(Path(f"results/real/search/{PERIOD}.json").read_text())["features"]
