"""Scenes of a catalogue, from the search to the composed image: local servers that speak STAC as
Earth Search and Brazil Data Cube do."""

import json
import os
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from making import write_area
from servers.imagery import right, simulated
from servers.stac import StacServer
from stages.stage_steps import area_with, compose, mapmill, refused, search

from mapmill.catalogue import http

PERIOD = "2018-04"
BOUNDS = (400_000, 4_598_400, 401_920, 4_600_000)
WIDE = (399_000, 4_597_900, 402_560, 4_600_460)
"""A scene that is larger than the area, its pixels on the same lattice."""
DAY = "2018-04-12"
BANDS = ["B02", "B03", "B04"]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    """A folder of its own, no proxy, short waits."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http, "BACKOFF_S", 0.01)
    monkeypatch.setattr(http, "TIMEOUT_S", (2, 2))
    return tmp_path


def scene(folder, name="S2A_31TDF", day=DAY, **more):
    return simulated(folder / "scenes", name, day, **{"bounds": WIDE} | more)


def stac_area(server, name="stac", *, download=None, **catalogue):
    """The small area, its imagery in the server's catalogue."""
    chosen = {"api": server.api_url + "/", "collections": ["sentinel-2-l2a"]} | catalogue
    section = {"source": "stac", "catalogue": chosen, "periods": {PERIOD: {}}}
    return area_with(name, search=section, download=download or {})


def expected(day=DAY, bands=BANDS, **more):
    """The area's window of what the scene holds."""
    row, col = round((WIDE[3] - BOUNDS[3]) / 10), round((BOUNDS[0] - WIDE[0]) / 10)
    return np.stack([right(b, WIDE, day, **more)[row : row + 160, col : col + 192] for b in bands])


def everything(folder="."):
    """All that was written, as one text."""
    found = [path for path in Path(folder).rglob("*") if path.is_file()]
    return "".join(path.read_bytes().decode("latin-1") for path in found)


@pytest.mark.parametrize("read", ["whole", "window"])
def test_from_an_api_to_the_composed_image(project, read):
    """Bands, places or scenes would be taken for others, whichever way files are read."""
    with StacServer([scene(project)]) as server:
        area = stac_area(server, download={"read": read})
        np.testing.assert_array_equal(compose(area), expected())
        asked = server.count("asset")
        compose(area)
        assert server.count("asset") == asked, "what is in the store is not asked for again"
        told = list(Path("resources/stac").glob("*/*.tif.json"))
        assert len(told) == 3
        record = json.loads(told[0].read_text())
        assert record["url"].startswith(server.url) and record["baseline"] == 2.14


def test_what_is_pinned_is_stac_and_the_same_again(project):
    """A rerun next year would use other scenes, or nobody could read which ones were used."""
    with StacServer([scene(project)], signed=True) as server:
        first = search(stac_area(server, download={"sign": "item"}))
        second = search(stac_area(server, "again", download={"sign": "item"}))
    assert first == second and "sig=" not in json.dumps(first)
    (item,) = pystac.ItemCollection.from_dict(first).items
    assert set(item.assets) == {"blue", "green", "red"}
    assert all(feature["links"] == [] for feature in first["features"])


def test_a_static_catalogue(project):
    """Archives without a server behind them, of which there are many, could not be used."""
    with StacServer([scene(project)]) as server:
        area = stac_area(server, api=server.static_url)
        np.testing.assert_array_equal(compose(area), expected())
        assert server.count("search") == 0


def test_two_scenes_cover_the_area_together(project):
    """Half of the map would be empty, though its scene is in the catalogue."""
    west = scene(project, "WEST", covers=(399_000, 4_597_900, 400_960, 4_600_460), cloud=5.0,
                 bounds=WIDE)  # fmt: skip
    east = scene(project, "EAST", "2018-04-20", cloud=40.0)
    with StacServer([west, east]) as server:
        one = compose(stac_area(server, layers=0))
    left, rest = expected(), expected("2018-04-20")
    np.testing.assert_array_equal(one[:, :, :96], left[:, :, :96])
    np.testing.assert_array_equal(one[:, :, 96:], rest[:, :, 96:])


def test_the_offset_of_new_baselines_is_taken_out(project):
    """The same field would be brighter by 0.1 since 2022, and the model learn the year."""
    made = scene(project, baseline="05.09", add=1000, arrays=None)
    with StacServer([made]) as server:
        for read in ("whole", "window"):
            area = stac_area(server, f"offset-{read}", download={"read": read})
            np.testing.assert_array_equal(compose(area), np.maximum(expected(), 1))


def test_a_valid_pixel_never_becomes_nodata(project):
    """Dark water would be a hole in the map."""
    dark_YX = np.full((256, 356), 900, np.uint16)
    dark_YX[0, 0] = 0
    made = scene(project, baseline="05.09", arrays=dict.fromkeys(BANDS, dark_YX))
    with StacServer([made.changed(properties={"s2:processing_baseline": "05.09"})]) as server:
        image = compose(stac_area(server))
    assert (image == 1).all()


def test_an_offset_that_the_pixels_deny(project, capsys):
    """A catalogue that is wrong about itself, as some are, would darken half of the scenes."""
    dark_YX = np.full((256, 356), 300, np.uint16)
    made = scene(project, baseline="05.09", arrays=dict.fromkeys(BANDS, dark_YX)).changed(
        properties={"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": False}
    )
    with StacServer([made]) as server:
        area = stac_area(server)
        search(area)
        file = f"{PERIOD}/S2A_31TDF/red.tif"
        line = refused(capsys, "download", area, file, "out/red.tif")
        assert "values below 500" in line and "offset: {S2A_31TDF: 0}" in line
        corrected = stac_area(server, "corrected", offset={"S2A_31TDF": 0})
        assert (compose(corrected) == 300).all()


def test_an_offset_that_may_still_be_in_is_said(project, caplog):
    """A scene that the catalogue calls corrected, and is not, would pass without a word."""
    bright_YX = np.full((256, 356), 1300, np.uint16)
    made = scene(project, baseline="05.09", arrays=dict.fromkeys(BANDS, bright_YX)).changed(
        properties={"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}
    )
    with StacServer([made]) as server, caplog.at_level("WARNING"):
        compose(stac_area(server))
    assert "may still be in" in caplog.text


def test_other_resolutions_and_another_crs(project):
    """20 m bands, and scenes of a neighbouring zone, would be read as if they were the grid's."""
    made = scene(project, bands=("B02", "B05", "SCL"))
    with StacServer([made]) as server:
        section = {"api": server.api_url, "collections": ["sentinel-2-l2a"]}
        area = area_with(
            "mixed",
            search={"source": "stac", "catalogue": section, "periods": {PERIOD: {}}},
            compose={"bands": ["B05", "SCL"], "resampling": "nearest"},
            download={"read": "window"},
        )
        image = compose(area)
    coarse = right("B05", WIDE, DAY)
    fine = np.kron(coarse, np.ones((2, 2), int))[46 : 46 + 160, 100 : 100 + 192]
    np.testing.assert_array_equal(image[0], fine)


@pytest.mark.parametrize("signed", ["item", "planetary-computer"])
@pytest.mark.parametrize("read", ["whole", "window"])
def test_signatures_that_run_out(project, signed, read):
    """Files would be refused in the middle of a night's downloads."""
    kind = True if signed == "item" else "token"
    with StacServer([scene(project)], signed=kind) as server:
        area = stac_area(server, download={"sign": signed, "read": read})
        search(area)
        server.revoke()
        server.fault("expired", path="asset")
        np.testing.assert_array_equal(compose(area), expected())
        assert server.count("asset", status=403) >= 1
    assert "sig=" not in everything("results") + everything("resources")


def test_the_table_and_the_picture(project, capsys, caplog):
    """A user could not see what a search has found, nor why a scene was left out."""
    scenes = [scene(project), scene(project, "CLOUDY", "2018-04-20", cloud=80.0, tile="31TDF")]
    with StacServer(scenes) as server, caplog.at_level("INFO"):
        area = stac_area(server, max_cloud=50)
        mapmill("search", area, PERIOD, "out/s.json", "out/s.png")
        assert Path("out/s.png").read_bytes().startswith(b"\x89PNG")
        assert "S2A_31TDF" in caplog.text and "2018-04-12" in caplog.text
        before = sorted(Path().rglob("*"))
        mapmill("search", area, PERIOD)
        assert sorted(Path().rglob("*")) == before, "without a path nothing is written"


def test_a_hole_is_an_error(project, capsys):
    """A tile that the catalogue lacks would be a hole in the map."""
    half = scene(project, bounds=(399_000, 4_597_900, 400_960, 4_600_460))
    with StacServer([half]) as server:
        line = refused(capsys, "search", stac_area(server), PERIOD, "out/s.json")
        assert "over 50.0 % of the area" in line and "min_coverage" in line
        accepted = stac_area(server, "half", min_coverage=0.3)
        assert len(search(accepted)["features"]) == 1
        assert "0 scenes of 0 that fit" in refused(
            capsys, "search", stac_area(server, "none", max_cloud=0, exclude=["S2A_31TDF"]), PERIOD
        )


def test_nothing_is_asked_of_a_catalogue_that_is_pinned(project):
    """The same command would make another map tomorrow."""
    with StacServer([scene(project)]) as server:
        area = stac_area(server)
        search(area)
        asked = server.count("search")
        for key in ("blue", "green", "red"):
            file = f"{PERIOD}/S2A_31TDF/{key}.tif"
            mapmill("download", area, file, f"results/stac/download/{file}")
        assert server.count("search") == asked


def test_sixteen_bit_numbers_with_a_sign(project):
    """CBERS serves them, and a negative one is no reflectance."""
    arrays = {b: np.full((256, 356), 700, np.int16) for b in BANDS}
    with StacServer([scene(project, arrays=arrays, dtype="int16")]) as server:
        assert (compose(stac_area(server)) == 700).all()


def test_a_file_that_nobody_pinned(project, capsys):
    """A name with .. in it would be looked for outside the folder."""
    with StacServer([scene(project)]) as server:
        area = stac_area(server)
        search(area)
        for name in ("2018-04/S2A_31TDF/nir.tif", "2018-04/../../x.tif"):
            assert "an asset of the search" in refused(capsys, "download", area, name, "out/x")


def test_the_store_is_shared_by_areas(project):
    """Each area would download the same scenes again."""
    with StacServer([scene(project)]) as server:
        compose(stac_area(server))
        asked = server.count("asset")
        compose(stac_area(server, "other"))
        assert server.count("asset") == asked


def test_the_windows_of_another_area_are_its_own(project):
    """A part that was read for one place would be taken for another's."""
    with StacServer([scene(project)]) as server:
        compose(stac_area(server, download={"read": "window"}))
        text = Path("config/areas/stac.yaml").read_text()
        moved = text.replace("400000\n", "400320\n")
        assert moved != text
        area = write_area("moved", moved)
        image = compose(area)
    np.testing.assert_array_equal(image, expected()[:, :, 32:])


def test_addresses_come_from_the_environment(project, monkeypatch):
    """A mirror, or a test, would need another area file."""
    with StacServer([scene(project)]) as server:
        monkeypatch.setenv("STAC_BASE_URL", server.api_url)
        area = stac_area(server, api="https://nowhere.invalid/v1")
        assert len(search(area)["features"]) == 1
        assert os.environ["STAC_BASE_URL"] == server.api_url


def test_composed_files_know_their_crs(project):
    """The images of another zone would lie beside the labels."""
    with StacServer([scene(project)]) as server:
        compose(stac_area(server))
    with rasterio.open(f"results/stac/compose/{PERIOD}/r000c000.tif") as source:
        assert source.crs == "EPSG:32631" and source.descriptions == tuple(BANDS)


def test_nodata_that_the_catalogue_alone_tells(project):
    """The fill would be brighter than any cloud, and no other scene be looked at there."""
    values_YX = np.full((256, 356), 700, np.uint16)
    values_YX[:, 200:] = 65535
    made = scene(
        project, arrays=dict.fromkeys(BANDS, values_YX), nodata=None, raster={"nodata": 65535}
    )
    with StacServer([made]) as server:
        for read in ("whole", "window"):
            image = compose(stac_area(server, f"told-{read}", download={"read": read}))
            assert set(np.unique(image)) == {0, 700}


def test_what_is_in_the_store_is_looked_at_again(project, capsys):
    """An area whose offset is wrong would pass once another one has fetched the files."""
    dark_YX = np.full((256, 356), 300, np.uint16)
    made = scene(project, baseline="05.09", arrays=dict.fromkeys(BANDS, dark_YX)).changed(
        properties={"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": False}
    )
    with StacServer([made]) as server:
        for read in ("whole", "window"):
            compose(stac_area(server, f"right-{read}", offset=0, download={"read": read}))
            area = stac_area(server, f"wrong-{read}", download={"read": read})
            search(area)
            line = refused(capsys, "download", area, f"{PERIOD}/S2A_31TDF/red.tif", "out/r.tif")
            assert "values below 500" in line


def test_classes_have_no_middle(project):
    """Between cloud and vegetation lies bare soil, if one counts so."""
    scl_YX = np.where(np.arange(178)[None, :] % 2, 4, 9) * np.ones((128, 1), int)
    made = scene(project, bands=("B02", "SCL"), arrays={"SCL": scl_YX})
    with StacServer([made]) as server:
        section = {"api": server.api_url, "collections": ["sentinel-2-l2a"]}
        area = area_with(
            "scl",
            search={"source": "stac", "catalogue": section, "periods": {PERIOD: {}}},
            compose={"bands": ["B02", "SCL"], "resampling": "bilinear"},
        )
        assert set(np.unique(compose(area)[1])) == {4, 9}


def test_pixels_that_are_missing_within_a_footprint(project, caplog):
    """A scene that is half empty, though it says otherwise, would be half a map."""
    half = scene(project, covers=(399_000, 4_597_900, 400_960, 4_600_460))
    with StacServer([half]) as server, caplog.at_level("WARNING"):
        compose(stac_area(server))
    assert "are said to cover 100 % of the block, and 50 %" in caplog.text


def test_a_window_in_which_there_is_nothing(project, capsys):
    """A pilot over the empty half of a scene would be a map of nothing."""
    west = (397_440, 4_597_900, 402_560, 4_600_460)  # 4 by 2 tiles of 128 px
    half = scene(project, bounds=west, covers=(397_440, 4_597_900, 398_700, 4_600_460))
    with StacServer([half]) as server:
        area = stac_area(server, download={"read": "window"})
        search(area)
        line = refused(capsys, "download", area, f"{PERIOD}/S2A_31TDF/red.tif", "out/r.tif")
    assert "no pixel with data" in line


@pytest.mark.parametrize("address", ["https://me:word@x.org/v1", "https://x.org/v1?key=word"])
def test_an_account_in_an_address_of_the_environment(project, capsys, monkeypatch, address):
    """The landing page would be seen, and every later request be refused."""
    with StacServer([scene(project)]) as server:
        monkeypatch.setenv("STAC_BASE_URL", address)
        line = refused(capsys, "search", stac_area(server), PERIOD)
    assert line.startswith("mapmill search: STAC_BASE_URL: ") and "word" not in line
