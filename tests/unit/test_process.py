"""What is asked of the Process API, against its documentation; nothing is sent."""

import copy
import re

import pytest
from servers import evalscript as served
from servers.areas import BANDS, content_of
from servers.orders import EPSG

from mapmill.catalogue.process import TWINS, epsg, evalscript, request, request_digest
from mapmill.config import Area
from mapmill.errors import ConfigError
from mapmill.sections import SentinelHub

TEN = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]


def area(**keywords):
    return Area.model_validate(content_of(**keywords))


def body(block="r000c001", period="2018-04", **keywords):
    chosen = area(**keywords)
    grid = chosen.the_grid()
    return request(chosen, period, grid, grid.block_named(block))


def test_every_field_of_a_request():
    """The service would refuse the request, or serve another place, time or size."""
    asked = body()
    script = asked.pop("evalscript")
    assert script == evalscript(BANDS, False)
    tiff = {"type": "image/tiff"}
    assert asked == {
        "input": {
            "bounds": {
                "properties": {"crs": "http://www.opengis.net/def/crs/EPSG/0/32631"},
                "bbox": [400_640.0, 4_599_360.0, 401_280.0, 4_600_000.0],
            },
            "data": [
                {
                    "type": "sentinel-2-l2a",
                    "dataFilter": {
                        "timeRange": {"from": "2018-04-01T00:00:00Z", "to": "2018-04-30T23:59:59Z"},
                        "maxCloudCoverage": 100,
                        "mosaickingOrder": "leastCC",
                    },
                }
            ],
        },
        "output": {
            "width": 64,
            "height": 64,
            "responses": [
                {"identifier": "bands", "format": tiff},
                {"identifier": "scl", "format": tiff},
                {"identifier": "mask", "format": tiff},
            ],
        },
    }


def test_a_block_at_the_edge():
    """The last row and column would be stretched over a whole block, or asked beyond the grid."""
    asked = body("r001c002", "2018-08")
    assert asked["input"]["bounds"]["bbox"] == [401_280.0, 4_599_040.0, 401_600.0, 4_599_360.0]
    assert (asked["output"]["width"], asked["output"]["height"]) == (32, 32)
    assert asked["input"]["data"][0]["dataFilter"]["timeRange"]["to"] == "2018-08-31T23:59:59Z"


@pytest.mark.parametrize(
    ("mosaic", "order"),
    [("least-cloudy", "leastCC"), ("most-recent", "mostRecent"), ("clear-median", "leastCC")],
)
def test_settings_reach_the_request(mosaic, order):
    """A user's choice among the acquisitions would change nothing."""
    asked = body(mosaic=mosaic, max_cloud=35, collection="sentinel-2-l1c")
    (data,) = asked["input"]["data"]
    assert data["type"] == "sentinel-2-l1c" and data["dataFilter"]["maxCloudCoverage"] == 35
    assert data["dataFilter"]["mosaickingOrder"] == order
    assert ('mosaicking: "ORBIT"' in asked["evalscript"]) is (mosaic == "clear-median")


@pytest.mark.parametrize("bands", [TEN, BANDS, ["B01"]])
def test_the_script_lists_the_bands_in_their_order(bands):
    """Bands would be swapped, scaled to 0..1, or come without classification and mask."""
    script = served.parsed(evalscript(bands, False))
    assert script.inputs == (*bands, "SCL", "dataMask")
    assert script.units == "DN" and script.mosaicking == "SIMPLE"
    types = {o.id: (o.bands, o.sample_type, o.nodata) for o in script.outputs.values()}
    assert types == {
        "bands": (len(bands), "UINT16", 0),
        "scl": (1, "UINT8", 0),
        "mask": (1, "UINT8", None),
    }
    assert script.items["bands"] == [(band, 1.0) for band in bands]
    assert script.items["scl"] == [("SCL", 1.0)] and script.items["mask"] == [("dataMask", 1.0)]


def test_the_script_of_the_clear_median():
    """Clouds would be part of the median, or a pixel without a clear day break the script."""
    text = evalscript(BANDS, True)
    script = served.parsed(text)
    assert script.mosaicking == "ORBIT" and script.inputs == (*BANDS, "SCL", "dataMask")
    assert script.outputs["bands"].bands == 3
    excluded = re.search(r"\[([\d, ]+)\]\.indexOf\(s\.SCL\) < 0", text)[1]
    assert [int(value) for value in excluded.split(",")] == [0, 1, 3, 8, 9, 10]
    assert "samples.filter" in text and "s.dataMask === 1 &&" in text
    nothing = "return { bands: [0, 0, 0], scl: [0], mask: [0] };"
    assert f"if (clear.length === 0) {{\n    {nothing}" in text
    assert '["B04", "B02", "B8A"].map(function (name)' in text and "mask: [1]" in text
    assert "values.sort(function (a, b) { return a - b; })" in text, "as numbers, not as text"
    for opening, closing in ("()", "[]", "{}"):
        assert text.count(opening) == text.count(closing)


def test_etrs89_is_asked_for_by_its_twin():
    """The service does not know EPSG:25831 and would refuse every block of it."""
    asked = body(crs="EPSG:25831")
    assert asked == body()
    assert epsg("EPSG:25831") == epsg("epsg:32631") == 32631
    assert sorted(TWINS) == list(range(25828, 25839))
    assert all(epsg(f"EPSG:{old}") == new == old + 6800 for old, new in TWINS.items())
    for code in (32601, 32660, 32701, 32760, 3035, 3857, 4326):
        assert epsg(f"EPSG:{code}") == code
    assert {epsg(f"EPSG:{code}") for code in (32631, 25830, 2154, 3413, 3416)} <= EPSG


@pytest.mark.parametrize("crs", ["EPSG:27700", "EPSG:25801", "EPSG:32600", "EPSG:32661", "ESRI:1"])
def test_a_crs_that_the_service_does_not_know(crs):
    """Every request would be refused, and only after the first of them was sent."""
    with pytest.raises(ConfigError, match=r"^grid.crs: found .*; expected a UTM zone[^\n]*$"):
        epsg(crs)


def test_a_block_that_is_too_large():
    """The service refuses more than 2,500 px; nobody would be told which key to change."""
    content = content_of()
    content["grid"] |= {"bounds": [400_000, 4_570_000, 430_000, 4_600_000], "block": 2501}
    chosen = Area.model_validate(content)
    grid = chosen.the_grid()
    with pytest.raises(ConfigError, match=r"^grid.block: found 2501 px; expected at most 2500"):
        request(chosen, "2018-04", grid, grid.block_named("r000c000"))
    small = request(chosen, "2018-04", grid, grid.block_named("r001c001"))
    assert small["output"]["width"] == 499, "a small block at the edge is no mistake"


def changed(path, value):
    """The digest of April with one key of the area changed."""
    content = content_of(max_cloud=60)
    section = content
    *above, last = path.split("/")
    for key in above:
        section = section.setdefault(key, {})
    section[last] = copy.deepcopy(value)
    return request_digest(Area.model_validate(content), "2018-04")


OTHER = {
    "grid/crs": "EPSG:25831",
    "grid/bounds": [400_000, 4_599_040, 401_600, 4_600_010],
    "grid/resolution": 20,
    "grid/block": 32,
    "compose/bands": ["B02", "B04", "B8A"],
    "search/periods": {"2018-04": {"start": "2018-03-15T00:00:00Z"}},
    "download/sentinelhub/mosaic": "most-recent",
    "download/sentinelhub/max_cloud": 61,
    "download/sentinelhub/collection": "sentinel-2-l1c",
}
SAME = {
    "title": "Another title",
    "attribution": ["Somebody else"],
    "window": [400_000, 4_599_040, 400_640, 4_600_000],
    "aoi": "config/outlines/other.geojson",
    "download/sentinelhub/deployment": "copernicus",
    "download/sentinelhub/empty": "accept",
    "train/steps": 21,
    "search/periods": {"2018-04": {}, "2018-05": {}},
    "compose/dtype": "float32",
}


@pytest.mark.parametrize("path", OTHER)
def test_another_request_is_another_file(path):
    """Imagery of other settings would be taken from the store."""
    assert changed(path, OTHER[path]) != changed("title", "x")


@pytest.mark.parametrize("path", SAME)
def test_the_same_request_is_the_same_file(path):
    """The same blocks would be paid for again."""
    assert changed(path, SAME[path]) == changed("title", "x")


def test_every_setting_is_known_to_be_part_of_the_digest_or_not():
    """A new setting would be forgotten, and old imagery served for it."""
    named = {path.split("/")[-1] for path in (*OTHER, *SAME) if "sentinelhub" in path}
    assert named == set(SentinelHub.model_fields)


def test_digests_differ_by_period_and_script():
    """Two seasons would be one, or a changed script would go unnoticed."""
    chosen = area()
    assert request_digest(chosen, "2018-04") != request_digest(chosen, "2018-08")
    median = area(mosaic="clear-median")
    assert request_digest(median, "2018-04") != request_digest(chosen, "2018-04")
