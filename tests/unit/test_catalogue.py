"""Names of scenes and bands, catalogues on disk and pinned searches: nothing odd gets through."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapmill.catalogue.files import in_catalogue, match_pattern, on_disk
from mapmill.catalogue.items import Scene, read_scenes, safe_name, wanted_files
from mapmill.errors import CatalogueError, ConfigError, ContractError


def found(pattern, *names, period="2018-04"):
    return [(f.scene, f.asset, f.path) for f in match_pattern(pattern, names, period)]


def line_of(error, work, *arguments):
    """The one line that a mistake is told in."""
    with pytest.raises(error) as caught:
        work(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_scene_and_band_are_read_from_a_name():
    """Otherwise bands would be mixed up between scenes."""
    names = ["d/S2_a_B03.tif", "d/S2_a_B02.tif", "d/S1_B02.tif", "d/S1_B02.tif.bak", "e/S1_B02.tif"]
    assert found("d/{scene}_{band}.tif", *names) == [
        ("S1", "B02", "d/S1_B02.tif"),
        ("S2_a", "B02", "d/S2_a_B02.tif"),
        ("S2_a", "B03", "d/S2_a_B03.tif"),
    ]


def test_a_star_stands_for_part_of_one_name():
    """Otherwise a pattern would reach into folders, or miss dates in file names."""
    names = ["d/S1/IMG_B02_10m.jp2", "d/S1/IMG_B03_20m.jp2", "d/S1/QI/IMG_B02_10m.jp2"]
    assert found("d/{scene}/*_{band}_*.jp2", *names) == [
        ("S1", "B02", names[0]),
        ("S1", "B03", names[1]),
    ]
    assert found("*/x.tif", "a/x.tif", "a/b/x.tif") == [("2018-04", "image", "a/x.tif")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a_{band}.tif", ("2018-04", "B02", "a_B02.tif")),
        ("{scene}_B02.tif", ("a", "image", "a_B02.tif")),
        ("a_B02.tif", ("2018-04", "image", "a_B02.tif")),
    ],
)
def test_what_a_pattern_does_not_name_is_the_period_and_all_bands(pattern, expected):
    """Otherwise one mosaic a year, or one file of many bands, could not be used."""
    assert found(pattern, "a_B02.tif") == [expected]


def test_a_pattern_means_its_letters():
    """Otherwise a dot or a bracket in a path would match other files."""
    assert found("a+(1).tif", "a+(1).tif", "aa1xtif", "aa(1)xtif") == [
        ("2018-04", "image", "a+(1).tif")
    ]


def test_the_order_of_names_does_not_matter():
    """Otherwise a rerun on another disk would compose the scenes in another order."""
    names = [f"{scene}_{band}.tif" for scene in "cab" for band in ("B4", "B2")]
    assert found("{scene}_{band}.tif", *names) == found("{scene}_{band}.tif", *sorted(names))


def test_two_files_for_one_band_are_refused():
    """Otherwise one of two would be taken without a word."""
    line = line_of(CatalogueError, found, "*_{band}.tif", "new_B02.tif", "old_B02.tif")
    assert "new_B02.tif and old_B02.tif" in line
    assert "B02 of 2018-04" in line


def test_nothing_found_is_one_line():
    """Otherwise an empty season would go on to fail somewhere else."""
    line = line_of(CatalogueError, found, "{scene}.tif", "a.jp2")
    assert "2018-04" in line and "{scene}.tif" in line


def test_a_token_twice_is_one_line():
    """Otherwise the user would read the message of a regular expression."""
    assert "{band} twice" in line_of(ConfigError, found, "{band}/{band}.tif", "a/a.tif")


@pytest.mark.parametrize("name", ["..a/B02.tif", "S1 (copy)/B02.tif", "-rf/B02.tif", "ü/B02.tif"])
def test_a_scene_whose_name_is_no_path_is_refused(name):
    """Otherwise a folder could escape the results, or break a command line."""
    line_of(ContractError, found, "{scene}/{band}.tif", name)


def test_files_on_disk_are_found_by_the_same_pattern(tmp_path, monkeypatch):
    """Otherwise brackets in a folder's name, or other files beside, would spoil a search."""
    monkeypatch.chdir(tmp_path)
    for name in ("d[1]/S1_B02.tif", "d[1]/S1_B03.tif", "d[1]/notes.txt", "d1/S9_B02.tif"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    listed = on_disk("d[1]/{scene}_{band}.tif", "2018-04")
    assert [f.path for f in listed] == ["d[1]/S1_B02.tif", "d[1]/S1_B03.tif"]


GOOD = ["S2A_MSIL1C_20170216T102101_N0204", "B02", "a.b", "2018-04", "x" * 200]
EVIL = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "/etc",
    "a..b",
    ".hidden",
    "-x",
    "a b",
    "a\nb",
    "a\0b",
]


@pytest.mark.parametrize("name", [*EVIL, "x" * 201, "é", "$HOME", "a;b", "~", "C:"])
def test_names_that_lead_elsewhere_are_refused(name):
    """Otherwise a catalogue could have files written outside the project."""
    line_of(ContractError, safe_name, "catalogue.json", name)


@pytest.mark.parametrize("name", GOOD)
def test_plain_names_pass_unchanged(name):
    """Otherwise scenes of known satellites would be refused or renamed."""
    assert safe_name("catalogue.json", name) == name


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.text(alphabet="./\\ab -~\0\n", max_size=8))
def test_a_name_that_passes_stays_in_its_folder(name):
    """Otherwise some name nobody thought of would escape."""
    try:
        safe_name("here", name)
    except ContractError:
        return
    assert Path("/results", name).resolve().parent == Path("/results")


def feature(identifier="S1", **assets):
    return {"type": "Feature", "id": identifier, "assets": assets}


def listing(tmp_path, content):
    path = tmp_path / "2018-04.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_pinned_scenes_are_read_in_their_order(tmp_path):
    """Otherwise another scene would be on top of the composed image."""
    items = [
        feature("b", image={"href": "../x/b.TIF", "bands": [{"name": "B02"}, {"name": "B03"}]}),
        feature("a", B02={"href": "w.whl#d/a_B02.jp2"}, B03={"href": "a", "eo:bands": [{}]}),
    ]
    scenes = read_scenes(listing(tmp_path, {"type": "FeatureCollection", "features": items}))
    assert [scene.id for scene in scenes] == ["b", "a"]
    asset, number = scenes[0].find("B03")
    assert (asset.file_name, number) == ("image.TIF", 2)
    asset, number = scenes[1].find("B02")
    assert (asset.file_name, asset.href, number) == ("B02.jp2", "w.whl#d/a_B02.jp2", 1)
    assert scenes[1].find("B03") is None


def test_only_files_that_hold_a_wanted_band_are_downloaded(tmp_path):
    """Otherwise all bands would be fetched, or one that is needed left out."""
    items = [
        feature("a", B02={"href": "1.tif"}, B03={"href": "2.tif"}),
        feature("b", all={"href": "3.tif", "bands": [{"name": "B03"}, {"name": "B04"}]}),
    ]
    scenes = read_scenes(listing(tmp_path, {"features": items}))
    assert list(wanted_files("2018-04", scenes, ["B03", "B04"])) == [
        "2018-04/a/B03.tif",
        "2018-04/b/all.tif",
    ]
    assert list(wanted_files("2018-04", [Scene("c", ())], ["B03"])) == []


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        {},
        {"features": None},
        {"features": ["a"]},
        {"features": [{"id": "a"}]},
        {"features": [{"assets": {}}]},
        {"features": [{"id": "a", "assets": []}]},
        {"features": [feature("a", B02={})]},
        {"features": [feature("a", B02=None)]},
        {"features": [feature("a", B02={"href": "x", "bands": ["B02"]})]},
        {"features": [feature("a", B02={"href": "x", "bands": 3})]},
        {"features": [feature("../../a", B02={"href": "x"})]},
        {"features": [feature("a", **{"../../B02": {"href": "x"}})]},
    ],
    ids=lambda content: json.dumps(content)[-40:],
)
def test_a_file_that_is_no_pinned_search_is_one_line(tmp_path, content):
    """Otherwise planning the workflow would end in a traceback, or write outside the project."""
    path = listing(tmp_path, content)
    assert str(path) in line_of(ContractError, read_scenes, path)


def test_a_missing_search_is_one_line(tmp_path):
    """Otherwise a stage that is called too early would end in a traceback."""
    line_of(ContractError, read_scenes, tmp_path / "2018-04.json")


APRIL = ("2018-04-01T00:00:00Z", "2018-04-30T23:59:59Z")


def item(identifier="a", moment="2018-04-10T10:00:00Z", **assets):
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": identifier,
        "geometry": None,
        "properties": {"datetime": moment},
        "links": [],
        "assets": assets or {"B02": {"href": f"./{identifier}/B02.tif"}},
    }


def in_april(path):
    return [(f.scene, f.asset, Path(f.path)) for f in in_catalogue(path, "2018-04", APRIL)]


def test_a_catalogue_an_item_and_an_item_collection_give_the_same(tmp_path):
    """Otherwise imagery that the documentation calls usable could not be used."""
    one = listing(tmp_path, item())
    expected = [("a", "B02", tmp_path / "a/B02.tif")]
    assert in_april(one) == expected
    catalogue = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "c"}
    catalogue["links"] = [{"rel": "item", "href": f"./{one.name}"}]
    (tmp_path / "catalog.json").write_text(json.dumps(catalogue))
    assert in_april(tmp_path / "catalog.json") == expected
    collection = {"type": "FeatureCollection", "features": [item()]}
    (tmp_path / "items.json").write_text(json.dumps(collection))
    assert in_april(tmp_path / "items.json") == expected


@pytest.fixture
def abroad(monkeypatch):
    """A machine whose clock is set to New York."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("abroad")
@pytest.mark.parametrize(
    ("moment", "inside"),
    [
        ("2018-04-01T00:00:00Z", True),
        ("2018-04-30T23:59:59Z", True),
        ("2018-03-31T23:59:59Z", False),
        ("2018-05-01T00:00:00Z", False),
        ("2018-05-01T01:00:00+02:00", True),
        ("2018-04-01T01:00:00+02:00", False),
        ("2018-04-30T23:30:00", True),
        ("2018-03-31T23:30:00", False),
    ],
)
def test_an_item_belongs_to_the_period_of_its_moment_in_utc(tmp_path, moment, inside):
    """Otherwise scenes of the next month would be mixed in, or differ from machine to machine."""
    path = listing(tmp_path, item(moment=moment))
    if inside:
        assert in_april(path)
    else:
        assert "none in the period" in line_of(CatalogueError, in_april, path)


def test_bands_are_named_by_the_catalogue_and_thumbnails_left_out(tmp_path):
    """Otherwise the bands of one file would be unknown, or a preview be taken for imagery."""
    bands = [{"name": "B02"}, {"name": "B03"}]
    assets = {
        "data": {"href": "a.tif", "bands": bands},
        "thumb": {"href": "a.png", "roles": ["thumbnail"]},
    }
    (found_one,) = in_catalogue(listing(tmp_path, item(**assets)), "2018-04", APRIL)
    assert (found_one.asset, found_one.bands) == ("data", ("B02", "B03"))


@pytest.mark.parametrize(
    "content",
    [
        "{",
        {},
        [],
        None,
        {"type": "Polygon", "coordinates": []},
        {**item(), "assets": None},
        {**item(), "properties": {}},
        item(moment="yesterday"),
        item(B02={}),
        item(B02={"href": "https://example.org/B02.tif"}),
        {"type": "FeatureCollection", "features": [{}]},
    ],
    ids=lambda content: json.dumps(content)[-40:],
)
def test_a_file_that_is_no_catalogue_on_disk_is_one_line(tmp_path, content):
    """Otherwise a wrong path or a foreign file would end in the traceback of a library."""
    line_of(CatalogueError, in_april, listing(tmp_path, content))
