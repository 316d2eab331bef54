"""Which scenes are taken, where in them the bands are, and what is pinned: no catalogue needed."""

import json

import numpy as np
import pystac
import pytest
import shapely
from shapely.geometry import mapping

from mapmill.catalogue import scenes
from mapmill.catalogue.bands import asset_of
from mapmill.catalogue.baseline import baseline_of, offset_of
from mapmill.catalogue.pin import pinned
from mapmill.catalogue.scenes import choose, covered
from mapmill.catalogue.sources import account, plain
from mapmill.catalogue.stac import Question
from mapmill.errors import MapmillError
from mapmill.sections import Catalogue

AREA = shapely.box(1.0, 41.0, 2.0, 42.0)
ASKED = Question(("c",), AREA.bounds, "2023-06-01T00:00:00Z", "2023-06-30T23:59:59Z", 60)
TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def asset(name, *bands, kind=TIFF, **more):
    listed = [{"name": n, "common_name": c} for n, c in bands]
    return {"href": f"https://x.org/{name}.tif", "type": kind, "eo:bands": listed} | more


def item(name="a", box=(1.0, 41.0, 2.0, 42.0), cloud=10.0, day=15, **properties):
    own = {"datetime": f"2023-06-{day:02d}T10:00:00Z", "eo:cloud_cover": cloud} | properties
    return {
        "type": "Feature",
        "id": name,
        "collection": "c",
        "geometry": mapping(shapely.box(*box)),
        "bbox": list(box),
        "properties": own,
        "assets": {"red": asset("red", ("B04", "red")), "scl": {"href": "https://x.org/scl.tif"}},
    }


def chosen(**settings):
    return Catalogue(collections=["c"], **settings)


def taken(*items, **settings):
    return [c.name for c in choose(items, chosen(**settings), AREA, ASKED) if c.kept]


# ------------------------------------------------------------------------------------- choosing
def test_the_least_cloudy_scene_comes_first_and_those_that_add_nothing_are_left_out():
    """Gigabytes of clouds would be fetched, or lie over the clear scene."""
    cloudy, clear, silent = item("a", cloud=50), item("b", cloud=2), item("c", cloud=None)
    assert taken(cloudy, clear, silent) == ["b"]
    assert taken(cloudy, clear, silent, layers=2) == ["b", "a"]
    assert taken(cloudy, clear, silent, layers=0) == ["b", "a", "c"]


def test_the_newest_first():
    """A user who wants this week's fields would get those of a clear day long ago."""
    assert taken(item("a", day=3, cloud=0), item("b", day=20, cloud=50), order="newest") == ["b"]


def test_scenes_side_by_side_cover_the_area_together():
    """Half of the area would be left without imagery."""
    west, east = item("w", (0.5, 40.5, 1.5, 42.5)), item("e", (1.4, 40.5, 2.5, 42.5), cloud=20)
    beside = item("far", (3.0, 41.0, 4.0, 42.0), cloud=0)
    found = choose([beside, east, west], chosen(), AREA, ASKED)
    assert [c.name for c in found if c.kept] == ["w", "e"]
    assert covered(found, AREA) == pytest.approx(1.0)
    assert next(c.why for c in found if c.name == "far") == "beside the area"
    assert covered(choose([west], chosen(), AREA, ASKED), AREA) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("given", "settings", "why"),
    [
        (item(cloud=61), {}, "too cloudy"),
        (item(datetime="2023-07-01T00:00:00Z"), {}, "another time"),
        (item(**{"s2:mgrs_tile": "31TDF"}), {"tiles": ["31TCF"]}, "another tile"),
        (item() | {"collection": "d"}, {}, "another collection"),
    ],
)
def test_what_was_not_asked_for_is_left_out(given, settings, why):
    """Servers that ignore a filter, as some do, would fill the map with clouds of another year."""
    (found,) = choose([given], chosen(**settings), AREA, ASKED)
    assert (found.kept, found.why) == (False, why)


@pytest.mark.parametrize("tile", [{"s2:mgrs_tile": "31TDF"}, {"grid:code": "MGRS-31TDF"},
                                  {"bdc:tiles": ["31TDF"]}])  # fmt: skip
def test_a_tile_by_any_of_its_names(tile):
    """Each catalogue calls tiles otherwise."""
    assert taken(item(**tile), tiles=["31TDF"]) == ["a"]


def test_a_composite_of_many_days_belongs_to_every_one_of_them():
    """A cube of 16 days that begins before the period would be lost."""
    span = {"start_datetime": "2023-05-25T00:00:00Z", "end_datetime": "2023-06-09T00:00:00Z"}
    assert taken(item(**span, datetime="2023-05-25T00:00:00Z")) == ["a"]


def test_two_scenes_of_one_name_are_refused():
    """One scene's files would be taken for the other's."""
    two = Catalogue(collections=["c", "d"], layers=0)
    with pytest.raises(MapmillError, match="two of that name"):
        choose([item(), item() | {"collection": "d"}], two, AREA,
               Question(("c", "d"), AREA.bounds, ASKED.start, ASKED.end))  # fmt: skip


@pytest.mark.parametrize(
    "spoilt",
    [
        {"geometry": None, "bbox": None},
        {"geometry": {"type": "Point", "coordinates": [1, 41]}},
        {"geometry": {"type": "Polygon", "coordinates": "?"}},
        {"assets": None},
        {"properties": []},
        {"id": "../../x"},
        {"id": "a/b"},
        {"id": "a\nb"},
    ],
)
def test_items_that_are_none_are_one_line(spoilt):
    """A page of Python, or a file outside the project, for a catalogue's mistake."""
    with pytest.raises(MapmillError) as caught:
        (found,) = choose([item() | spoilt], chosen(), AREA, ASKED)
        pinned(found, ["B04"], chosen())
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------- bands
EARTH = {
    "blue": asset("B02", ("blue", "blue")),
    "blue-jp2": asset("B02", ("blue", "blue"), kind="image/jp2"),
    "red": asset("B04", ("red", "red")),
    "visual": asset("TCI", ("red", "red"), ("green", "green"), ("blue", "blue"), roles=["visual"]),
    "rededge1": asset("B05", ("rededge1", "rededge")),
    "rededge2": asset("B06", ("rededge2", "rededge")),
    "nir08": asset("B8A", ("nir08", "nir08")),
    "scl": asset("SCL"),
    "thumbnail": {"href": "https://x.org/t.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
}
PLANETARY = {name: asset(name, (name, "red" if name == "B04" else "")) for name in ("B04", "B05")}
WPM = {f"BAND{n}": asset(f"BAND{n}", (f"BAND{n}", c)) for n, c in enumerate(
    ("pan", "blue", "green", "red", "nir"))}  # fmt: skip
STACKED = {"image": asset("image", ("B02", "blue"), ("B03", "green"), ("B04", "red"))}


@pytest.mark.parametrize(
    ("assets", "band", "given", "place"),
    [
        (EARTH, "B02", {}, ("blue", 1)),
        (EARTH, "B04", {}, ("red", 1)),
        (EARTH, "B05", {}, ("rededge1", 1)),
        (EARTH, "B06", {}, ("rededge2", 1)),
        (EARTH, "B8A", {}, ("nir08", 1)),
        (EARTH, "SCL", {}, ("scl", 1)),
        (EARTH, "blue", {}, ("blue", 1)),
        (EARTH, "B02", {"B02": "blue-jp2"}, ("blue-jp2", 1)),
        (PLANETARY, "B04", {}, ("B04", 1)),
        (PLANETARY, "B05", {}, ("B05", 1)),
        (WPM, "blue", {"blue": "BAND1"}, ("BAND1", 1)),
        (WPM, "nir", {}, ("BAND4", 1)),
        (STACKED, "B03", {}, ("image", 2)),
        (STACKED, "green", {}, ("image", 2)),
    ],
)
def test_where_a_band_is(assets, band, given, place):
    """The red band would be taken for the blue one, or a renamed asset end a season of maps."""
    found = asset_of({"id": "a", "assets": assets}, band, given)
    assert (found.key, found.number) == place


@pytest.mark.parametrize(
    ("assets", "band", "given"),
    [(EARTH, "B12", {}), (EARTH, "rededge", {}), (WPM, "B02", {"B02": "BAND9"}), ({}, "B02", {})],
)
def test_a_band_that_is_nowhere_or_in_several_places(assets, band, given):
    """Any band of the right common name would do."""
    with pytest.raises(MapmillError, match=r"search\.catalogue\.assets") as caught:
        asset_of({"id": "a", "assets": assets}, band, given)
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------------- offset
@pytest.mark.parametrize(
    ("properties", "settings", "offset"),
    [
        ({"s2:processing_baseline": "03.01"}, {}, 0),
        ({"s2:processing_baseline": "04.00"}, {}, -1000),
        ({"s2:processing_baseline": "05.09", "datetime": "2018-04-01T00:00:00Z"}, {}, -1000),
        ({"s2:processing_baseline": "02.14", "datetime": "2023-04-01T00:00:00Z"}, {}, 0),
        ({"processing:version": "N0510"}, {}, -1000),
        ({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": True}, {}, 0),
        ({"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": False}, {}, -1000),
        ({"s2:processing_baseline": "05.09"}, {"offset": 0}, 0),
        ({"s2:processing_baseline": "05.09"}, {"offset": {"a": 0}}, 0),
        ({"s2:processing_baseline": "05.09"}, {"offset": {"b": 0}}, -1000),
        ({}, {}, 0),
        ({"processing:version": "2.1.3"}, {}, 0),
    ],
)
def test_the_baseline_decides_the_offset(properties, settings, offset):
    """Half of the scenes would be brighter by 0.1, and the model learn the year."""
    given = item("a", **({"platform": "sentinel-2a"} | properties))
    assert offset_of(given, chosen(**settings)) == offset


def test_a_version_that_is_no_baseline():
    """A version of some other software would shift the values."""
    assert baseline_of(item("S2A_x", **{"processing:version": "v1.2"})) is None
    assert baseline_of(item(**{"s2:processing_baseline": "05.11"})) == 5.11
    landsat = {"processing:version": "05.20", "platform": "landsat-9"}
    assert baseline_of(item("LC09_1", **landsat)) is None


def test_a_baseline_that_only_the_name_tells():
    """A catalogue that leaves the property out would give brighter scenes without a word."""
    name = "S2B_MSIL2A_20230615T105619_N0509_R094_T31TDF_20230615T140000"
    assert baseline_of(item(name)) == 5.09 and offset_of(item(name), chosen()) == -1000


def test_an_offset_that_is_told_without_a_baseline(caplog):
    """It would be taken for removed, and nobody know."""
    given = item()
    given["assets"]["red"]["raster:bands"] = [{"offset": -0.1, "scale": 0.0001}]
    assert offset_of(given, chosen()) == 0 and "tells an offset of -0.1" in caplog.text


# --------------------------------------------------------------------------------------- pinned
def pin(given, bands=("B04",), signed=False, **settings):
    (found,) = choose([given], chosen(**settings), AREA, ASKED)
    return pinned(found, bands, chosen(**settings), signed).to_dict()


def test_what_is_pinned_holds_no_secret():
    """A token would be published with the results."""
    given = item(**{"s2:processing_baseline": "05.09"})
    given["assets"]["red"]["href"] = "https://me:word@x.org/a/red.tif?access_token=SECRET&sig=S#S"
    given["links"] = [{"rel": "self", "href": "https://x.org/i?access_token=SECRET"}]
    given["properties"]["note"] = "SECRET"
    found = pin(given, signed=True)
    assert "SECRET" not in json.dumps(found) and "word" not in json.dumps(found)
    assert found["assets"]["red"]["href"] == "https://x.org/a/red.tif"
    assert found["assets"]["red"]["mapmill:offset"] == -1000
    assert found["assets"]["red"]["bands"] == [{"name": "B04"}]


def test_what_is_pinned_is_stac():
    """Nobody else's tools could read which scenes a map was made from."""
    found = pin(item(), ("B04", "scl"))
    again = pystac.Item.from_dict(found)
    assert again.id == "a" and set(again.assets) == {"red", "scl"}
    assert "mapmill:offset" not in found["assets"]["scl"], "a classification has no offset"


def test_the_file_of_several_bands_keeps_their_order():
    """Green would be read where red is."""
    given = item() | {"assets": STACKED}
    listed = pin(given, ("red", "blue"))["assets"]["image"]["bands"]
    assert [band["name"] for band in listed] == ["blue", "image#2", "red"]


def test_an_address_that_needs_its_query():
    """All bands of a scene would be one file."""
    given = item()
    given["assets"]["red"]["href"] = "https://x.org/get?file=B04.tif"
    with pytest.raises(MapmillError, match="address with a query"):
        pin(given)


def test_the_band_of_another_name_in_the_same_file():
    """The file's own `nir` would be read where `nir` is said to be its fourth band."""
    file = asset("f", ("blue", ""), ("green", ""), ("nir", ""), ("rededge", ""))
    found = pin(item() | {"assets": {"f": file}}, ("nir",), assets={"nir": "rededge"})
    assert [b["name"] for b in found["assets"]["f"]["bands"]] == ["f#1", "f#2", "f#3", "nir"]


def test_the_offset_of_assets_that_tell_nothing_of_their_bands():
    """The offset, even one that the user has set, would not be added to them."""
    plain_assets = {name: {"href": f"https://x.org/{name}.tif"} for name in ("nir", "scl", "wvp")}
    given = item(**{"s2:processing_baseline": "05.09"}) | {"assets": plain_assets}
    assets = pin(given, ("nir", "scl", "wvp"))["assets"]
    assert assets["nir"]["mapmill:offset"] == -1000 and "mapmill:nearest" not in assets["nir"]
    assert "mapmill:offset" not in assets["scl"] and assets["scl"]["mapmill:nearest"] is True
    assert "mapmill:offset" not in assets["wvp"]
    assert pin(given, ("nir",), offset=-50)["assets"]["nir"]["mapmill:offset"] == -50


def test_a_scene_that_is_excluded_may_be_none():
    """One broken item would block a region for good."""
    broken = item("bad", cloud=1) | {"geometry": None, "bbox": None}
    assert taken(broken, item("good"), exclude=["bad"]) == ["good"]


@pytest.mark.parametrize(("cloud", "names"), [(-1, ["b"]), ("88.5", ["b"]), ("n/a", ["b"])])
def test_clouds_that_are_no_percentage(cloud, names):
    """A scene whose clouds nobody knows would come first, as the clearest of all."""
    assert taken(item("a", cloud=cloud), item("b", cloud=30)) == names


def test_moments_of_other_zones():
    """The last night of a month would belong to the next one."""
    late = item(datetime="2023-07-01T01:30:00+02:00")
    assert taken(late) == ["a"]


def test_of_two_versions_of_one_scene_the_newer():
    """A scene would be read as it was before it was processed again."""
    old = item("S2_0", **{"s2:processing_baseline": "02.14"})
    new = item("S2_1", **{"s2:processing_baseline": "05.00"})
    assert taken(old, new) == ["S2_1"]


def test_secrets_go_to_their_own_host_alone(monkeypatch):
    """A catalogue could send us, with the token, to anybody's server."""
    monkeypatch.setenv("BDC_ACCESS_TOKEN", "SECRET")
    base = "https://data.inpe.br/bdc/stac/v1"
    assert account("bdc", "https://data.inpe.br/bdc/data/x.tif", base) == {"access_token": "SECRET"}
    for url in ("https://data.inpe.br.evil.org/x", "http://data.inpe.br/x", "https://inpe.br/x",
                "https://data.inpe.br:444/x"):  # fmt: skip
        assert account("bdc", url, base) == {}
    assert account("stac", base, base) == {}


def test_an_email_that_is_missing_is_told(monkeypatch):
    """The server would say so for each file, in its own words."""
    monkeypatch.delenv("INPE_EMAIL", raising=False)
    with pytest.raises(MapmillError, match="INPE_EMAIL"):
        account("dgi", "https://www.dgi.inpe.br/x", "https://www.dgi.inpe.br")


def test_plain_addresses():
    """What is pinned would not be what is asked for."""
    assert plain("https://u:p@x.org:81/a%20b/c.tif?x=1#y") == "https://x.org:81/a%20b/c.tif"


def test_every_scene_is_reasoned():
    """A user would wonder where a scene has gone."""
    found = choose([item("a"), item("b", cloud=20)], chosen(), AREA, ASKED)
    assert [(c.name, c.why) for c in found] == [("a", ""), ("b", "nothing new")]
    assert np.isclose(found[0].coverage, 1) and scenes.covered(found, AREA) == pytest.approx(1)
