"""search: which scenes are found, and that the pinned answer is plain, portable STAC."""

import datetime
import json
import os
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from making import SMALL_AREA, write_area, write_tif
from rasterio.warp import transform_bounds
from shapely.geometry import box, mapping
from stages.stage_steps import PERIOD, area_with, files, refused, search

UTC = datetime.UTC


def item_of(path, moment, name="scene", bands=("B02", "B03", "B04"), **fields):
    """A STAC item with one local asset."""
    outline = box(0, 41, 1, 42)
    item = pystac.Item(name, mapping(outline), list(outline.bounds), moment, {})
    named = {"bands": [{"name": band} for band in bands]} if bands else {}
    item.add_asset(
        "data", pystac.Asset(str(path), roles=["data"], extra_fields={**named, **fields})
    )
    return item


@pytest.fixture
def stack(small_area):
    """One file with three bands, given by its absolute path."""
    image = np.full((3, 160, 192), 7, np.uint16)
    return write_tif(Path("data/stack.tif"), image, bands=["B02", "B03", "B04"]).resolve()


def stac_area(name, path, **period):
    return area_with(name, search={"periods": {PERIOD: {"stac": str(path), **period}}})


def test_pattern_finds_scenes_and_bands(small_area):
    """Files named by scene and band would be mixed up between scenes."""
    for band in ("B02", "B03", "B04"):
        write_tif(Path(f"data/A_b_{band}.tif"), np.ones((16, 16), np.uint16))
    collection = pystac.ItemCollection.from_dict(search(small_area))
    assert [item.id for item in collection] == ["A_b", "S1"]
    for item in collection:
        assert set(item.assets) == {"B02", "B03", "B04"}
        for band, asset in item.assets.items():
            assert [b["name"] for b in asset.extra_fields["bands"]] == [band]
            path = Path(f"results/small/search/{asset.href}")
            assert path.samefile(f"data/{item.id}_{band}.tif")


def test_items_are_valid_and_say_where_and_when(small_area):
    """Other STAC software could not read the pinned search, or would place the scene wrongly."""
    item = pystac.ItemCollection.from_dict(search(small_area)).items[0]
    item.validate()
    with rasterio.open("data/S1_B02.tif") as source:
        bounds = transform_bounds(source.crs, "EPSG:4326", *source.bounds)
        assert item.assets["B02"].extra_fields["proj:shape"] == list(source.shape)
        assert item.assets["B02"].extra_fields["proj:transform"] == list(source.transform)[:6]
    assert item.bbox == pytest.approx(bounds)
    assert item.properties["proj:code"] == "EPSG:32631"
    common = item.common_metadata
    assert common.start_datetime == datetime.datetime(2018, 4, 1, tzinfo=UTC)
    assert common.end_datetime == datetime.datetime(2018, 4, 30, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "more", "start", "end"),
    [
        ("2018", "", "2018-01-01T00:00:00Z", "2018-12-31T23:59:59Z"),
        ("2018-04-17", "", "2018-04-17T00:00:00Z", "2018-04-17T23:59:59Z"),
        ("2018-02", "", "2018-02-01T00:00:00Z", "2018-02-28T23:59:59Z"),
        (
            "2018-02",
            "start: 2018-02-03T00:00:00Z, ",
            "2018-02-03T00:00:00Z",
            "2018-02-28T23:59:59Z",
        ),
    ],
)
def test_period_by_its_name(small_area, name, more, start, end):
    """A year or a day as YAML reads it, as a number or a date, would be refused as a period."""
    text = SMALL_AREA.replace("2018-04: {", f"{name}: {{{more}")
    (item,) = search(write_area("named", text), name)["features"]
    properties = item["properties"]
    assert (properties["start_datetime"], properties["end_datetime"]) == (start, end)


def test_same_bytes_elsewhere_and_no_absolute_path(small_area, tmp_path, monkeypatch):
    """A moved project would run everything again, or publish the names of a user's folders."""
    search(small_area)
    Path("deeper").mkdir()
    for name in ("data", "config"):
        Path(name).rename(f"deeper/{name}")
    monkeypatch.chdir("deeper")
    search(small_area)
    here, there = (p / f"results/small/search/{PERIOD}.json" for p in (Path(), tmp_path))
    assert here.read_bytes() == there.read_bytes()
    assert str(tmp_path) not in here.read_text()


@pytest.mark.parametrize("described", [False, True])
def test_bands_of_one_file(small_area, stack, described):
    """The bands of a multi-band file would get other bands' names."""
    names = ["B04", "B03", "B02"] if not described else None
    area = area_with("multi", search={"periods": files("data/stack.tif"), "bands": names})
    (item,) = search(area)["features"]
    expected = names or ["B02", "B03", "B04"]
    assert [b["name"] for b in item["assets"]["image"]["bands"]] == expected
    assert item["id"] == PERIOD


def test_number_of_names_must_be_that_of_bands(small_area, stack, capsys):
    """A list of names that is too short would shift all bands after it."""
    section = {"periods": files("data/stack.tif"), "bands": ["B02", "B03"]}
    line = refused(capsys, "search", area_with("few", search=section), PERIOD, "few.json")
    assert "3 bands and 2 names" in line
    assert not Path("few.json").exists()


def test_catalogue_gives_the_items_of_the_period(small_area, stack):
    """Scenes of another month would be mixed into a period."""
    collection = pystac.Collection(
        "scenes",
        "Simulated",
        pystac.Extent(
            pystac.SpatialExtent([[0, 41, 1, 42]]), pystac.TemporalExtent([[None, None]])
        ),
    )
    moments = {
        "late": datetime.datetime(2018, 4, 30, 23, 59, 59, tzinfo=UTC),
        "before": datetime.datetime(2018, 3, 31, 23, 59, 59, tzinfo=UTC),
        "early": datetime.datetime(2018, 4, 1, tzinfo=UTC),
        "after": datetime.datetime(2018, 5, 1, tzinfo=UTC),
    }
    collection.add_items([item_of(stack, moment, name) for name, moment in moments.items()])
    catalogue = pystac.Catalog("root", "Simulated")
    catalogue.add_child(collection)
    catalogue.normalize_and_save("stac", pystac.CatalogType.SELF_CONTAINED)
    found = search(stac_area("april", "stac/catalog.json"))
    assert [item["id"] for item in found["features"]] == ["early", "late"]
    assert found["features"][0]["properties"]["datetime"] == "2018-04-01T00:00:00Z"
    day = {"start": "2018-04-30T00:00:00Z", "end": "2018-05-01T00:00:00Z"}
    found = search(stac_area("day", "stac/scenes/collection.json", **day))
    assert [item["id"] for item in found["features"]] == ["late", "after"]


def test_item_with_its_offset_from_utc(small_area, stack):
    """A scene dated with an offset from UTC would fall into the wrong period."""
    item = item_of(stack, datetime.datetime(2018, 4, 1, tzinfo=UTC)).to_dict()
    item["properties"]["datetime"] = "2018-05-01T01:00:00+02:00"
    Path("item.json").write_text(json.dumps(item))
    assert len(search(stac_area("offset", "item.json"))["features"]) == 1


@pytest.mark.parametrize("relative", [False, True])
def test_item_collection(small_area, stack, relative):
    """A saved answer of a STAC API could not be used as a catalogue."""
    path = os.path.relpath(stack, "saved") if relative else stack
    items = [item_of(path, datetime.datetime(2018, 4, d, tzinfo=UTC), f"d{d}") for d in (1, 2)]
    Path("saved").mkdir()
    pystac.ItemCollection(items).save_object("saved/items.json")
    found = search(stac_area("saved", "saved/items.json"))
    assert [item["id"] for item in found["features"]] == ["d1", "d2"]


@pytest.mark.parametrize(
    ("sections", "period", "said"),
    [
        ({"compose": {"bands": ["B02", "B8A"]}}, PERIOD, "expected B8A"),
        ({"search": {"periods": files("data/{scene}_{band}.jp2")}}, PERIOD, "no file like"),
        ({"search": {"periods": files("data/*_{band}.tif")}}, PERIOD, "both B02"),
        ({}, "2019-01", "2019-01"),
    ],
)
def test_what_is_missing_is_one_line(small_area, capsys, sections, period, said):
    """A typing mistake in the search would end in a page of Python."""
    write_tif(Path("data/S2_B02.tif"), np.ones((16, 16), np.uint16))
    for band in ("B03", "B04"):
        write_tif(Path(f"data/S2_{band}.tif"), np.ones((16, 16), np.uint16))
    line = refused(capsys, "search", area_with("wrong", **sections), period, "out.json")
    assert said in line
    assert not Path("out.json").exists()


def test_period_without_items(small_area, stack, capsys):
    """A period in which nothing was flown would give an empty map instead of a message."""
    item_of(stack, datetime.datetime(2018, 3, 1, tzinfo=UTC)).save_object(False, "item.json")
    line = refused(capsys, "search", stac_area("none", "item.json"), PERIOD, "out.json")
    assert "none in the period" in line
