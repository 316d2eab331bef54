"""Which blocks are worked on: those of the window and of the outline, none beside, none missing."""

import json
import re
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import rasterio.warp
import shapely
import yaml
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from making import SMALL_AREA, write_area
from rasterio.features import rasterize
from rasterio.transform import from_origin
from shapely.geometry import mapping, shape

from mapmill.areafile import load_area
from mapmill.cli import main
from mapmill.config import Area
from mapmill.errors import ConfigError
from mapmill.extent import blocks_of, extent_of, grid_block, skipped_blocks
from mapmill.grid import Window
from mapmill.settings import settings

LEFT, TOP, STEP, BLOCK = 400_000, 4_600_000, 10, 64
WIDTH, HEIGHT = 192, 160
ALL = {f"r00{row}c00{col}" for row in range(3) for col in range(3)}
NUMBERS = count()
IN_METRES = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def area_of(**sections):
    content = yaml.safe_load(SMALL_AREA) | sections
    return load_area(write_area("small", yaml.safe_dump(content)))


SMALL = Area.model_validate(yaml.safe_load(SMALL_AREA))


def outline(*geometries, crs=IN_METRES, folder=Path()):
    """Write polygons as GeoJSON; its path, never used before."""
    features = [
        {"type": "Feature", "properties": {}, "geometry": g if g is None else mapping(g)}
        for g in geometries
    ]
    content = {"type": "FeatureCollection", "features": features} | ({"crs": crs} if crs else {})
    path = folder / f"outline{next(NUMBERS)}.geojson"
    path.write_text(json.dumps(content))
    return str(path)


def named(area):
    """Names of the blocks that are worked on; together with the skipped ones they are all."""
    used, skipped = ([b.name for b in each(area)] for each in (blocks_of, skipped_blocks))
    assert sorted(used) == used and not set(used) & set(skipped)
    extent = {b.name for b in area.the_grid().blocks_touching(extent_of(area))}
    assert set(used) | set(skipped) == extent
    return set(used)


def box(left, bottom, right, top):
    """A box in pixels from the north-western corner, as (left, bottom, right, top) in metres."""
    return LEFT + left * STEP, TOP - bottom * STEP, LEFT + right * STEP, TOP - top * STEP


def by_pixels(*shapes):
    """Blocks with a pixel whose centre lies in a shape: rasterio's answer."""
    burnt_YX = rasterize(shapes, (HEIGHT, WIDTH), transform=from_origin(LEFT, TOP, STEP, STEP))
    rows, cols = np.nonzero(burnt_YX)
    return {f"r{row:03d}c{col:03d}" for row, col in set(zip(rows // BLOCK, cols // BLOCK))}


def refused(**sections):
    with pytest.raises(ConfigError) as caught:
        blocks_of(area_of(**sections))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@st.composite
def boxes(draw):
    """A box of whole pixels that shares ground with the grid, in pixels."""
    left, top = draw(st.integers(-30, WIDTH - 1)), draw(st.integers(-30, HEIGHT - 1))
    right = draw(st.integers(max(left, 0) + 1, WIDTH + 30))
    return left, draw(st.integers(max(top, 0) + 1, HEIGHT + 30)), right, top


@examples(max_examples=150, deadline=None)
@given(boxes())
def test_a_window_takes_the_blocks_that_it_touches(chosen):
    """A pilot would lack imagery at its edge, or ask for blocks that it does not need."""
    area = SMALL.model_copy(update={"window": box(*chosen)})
    assert named(area) == by_pixels(shapely.box(*box(*chosen)))
    extent, size = extent_of(area), SMALL.the_grid().blocks()
    covered = [b.window for b in size if b.name in named(area)]
    assert (extent.row, extent.col) == (min(w.row for w in covered), min(w.col for w in covered))
    assert extent.row_end == max(w.row_end for w in covered)
    assert extent.col_end == max(w.col_end for w in covered)


@examples(max_examples=100, deadline=None)
@given(st.lists(boxes(), min_size=1, max_size=4))
def test_an_outline_takes_the_blocks_that_share_ground_with_it(tmp_path_factory, chosen):
    """A block of the map would be missing, or paid for in vain."""
    shapes = [shapely.box(*box(*each)) for each in chosen]
    file = outline(*shapes, folder=tmp_path_factory.getbasetemp())
    assert named(SMALL.model_copy(update={"aoi": file})) == by_pixels(*shapes)


@examples(max_examples=60, deadline=None)
@given(boxes(), st.lists(boxes(), min_size=1, max_size=2))
def test_a_window_and_an_outline_take_what_both_do(tmp_path_factory, window, chosen):
    """A pilot within a coast would ask for the sea, or for the whole country."""
    shapes = [shapely.box(*box(*each)) for each in chosen]
    file = outline(*shapes, folder=tmp_path_factory.getbasetemp())
    both = by_pixels(shapely.box(*box(*window))) & by_pixels(*shapes)
    area = SMALL.model_copy(update={"aoi": file, "window": box(*window)})
    if both:
        assert named(area) == both
    else:
        with pytest.raises(ConfigError, match="no block touched"):
            blocks_of(area)


degrees = st.tuples(
    st.floats(1.79, 1.84), st.floats(41.52, 41.56), st.floats(0.001, 0.03), st.floats(0.001, 0.03)
)


@examples(max_examples=100, deadline=None)
@given(degrees)
def test_degrees_are_put_on_the_grid(tmp_path_factory, place):
    """An outline in longitude and latitude would be laid kilometres away."""
    left, bottom, width, height = place
    ring = shapely.segmentize(shapely.box(left, bottom, left + width, bottom + height), 1e-4)
    on_grid = shape(rasterio.warp.transform_geom("EPSG:4326", "EPSG:32631", mapping(ring)))
    grid = SMALL.the_grid()
    shared = {
        b.name: on_grid.intersection(shapely.box(*grid.bounds(b.window))).area
        for b in grid.blocks()
    }
    file = outline(
        shapely.box(left, bottom, left + width, bottom + height),
        crs=None,
        folder=tmp_path_factory.getbasetemp(),
    )
    if any(shared.values()):
        found = named(SMALL.model_copy(update={"aoi": file}))
        assert {name for name, area in shared.items() if area > 1} <= found
        assert found <= {name for name, area in shared.items() if area > 0}


def test_long_edges_in_degrees_are_curves_on_the_grid():
    """A box of four corners would lose the blocks below the bow of its parallel."""
    big = {"crs": "EPSG:32631", "resolution": 1000, "bounds": [250000, 4400000, 750000, 4700000]}
    file = outline(shapely.box(1.0, 40.6, 5.0, 41.0), crs=None)
    area = area_of(grid=big | {"block": 16}, aoi=file)
    fine = shapely.segmentize(shapely.box(1.0, 40.6, 5.0, 41.0), 0.001)
    on_grid = shape(rasterio.warp.transform_geom("EPSG:4326", "EPSG:32631", mapping(fine)))
    grid = area.the_grid()
    expected = {
        b.name for b in grid.blocks() if on_grid.intersects(shapely.box(*grid.bounds(b.window)))
    }
    assert named(area) == expected


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ((0, 64, 64, 0), {"r000c000"}),
        ((64, 128, 128, 64), {"r001c001"}),
        ((63, 65, 65, 63), {"r000c000", "r000c001", "r001c000", "r001c001"}),
        ((63.5, 10, 64.5, 9.5), {"r000c000", "r000c001"}),
        ((63.9999999, 64.0000001, 128.0000001, 10), {"r000c001"}),
        ((-50, 500, 500, -50), ALL),
        ((130, 159, 131, 150), {"r002c002"}),
    ],
)
def test_edges_of_a_window(chosen, names):
    """A window drawn along block edges would take in the neighbours, up to eight for one."""
    area = area_of(window=list(box(*chosen)))
    assert named(area) == names
    grid = area.the_grid()
    assert all(grid.block_named(b.name) == b for b in blocks_of(area))


@pytest.mark.parametrize(
    "window",
    [
        box(192, 64, 300, 0),
        box(-90, 64, 0, 0),
        box(0, -1, 64, -64),
        box(0, 300, 64, 160),
        box(64, 64, 0, 0),
        box(0, 0, 64, 64),
        box(10, 20, 10, 10),
    ],
)
@pytest.mark.parametrize("labelled", [True, False])
def test_a_window_outside_is_one_line(window, labelled):
    """A window with two numbers swapped would end in a page of Python, or in an empty map."""
    write_area("other", SMALL_AREA)
    borrowed = {"labels": None, "select": None, "runs": {}, "model": "other/unet"}
    borrowed |= {"maps": {"landcover": {}}}
    line = refused(window=list(window), **({} if labelled else borrowed))
    assert line.startswith("config/areas/small.yaml: window: found [")
    assert "within the grid's bounds" in line


def test_a_window_that_is_no_box():
    """A word in the place of a number would end in a page of Python."""
    assert "window" in refused(window=[1, 2, 3])
    assert "window" in refused(window=[1, 2, 3, float("nan")])


def test_holes_are_outside():
    """The blocks of a lake, or of an enclave, would be asked for."""
    ring = shapely.box(*box(0, 160, 192, 0)) - shapely.box(*box(64, 128, 128, 64))
    assert named(area_of(aoi=outline(ring))) == ALL - {"r001c001"}
    smaller = shapely.box(*box(0, 160, 192, 0)) - shapely.box(*box(65, 128, 128, 64))
    assert named(area_of(aoi=outline(smaller))) == ALL


def test_polygons_that_touch_one_another_and_the_blocks():
    """Two communes with a common border would be refused, or take blocks that they only touch."""
    parts = shapely.box(*box(64, 100, 100, 64)), shapely.box(*box(100, 128, 128, 64))
    assert named(area_of(aoi=outline(*parts))) == {"r001c001"}
    corner = shapely.box(*box(128, 160, 192, 128))
    assert named(area_of(aoi=outline(*parts, corner))) == {"r001c001", "r002c002"}
    assert named(area_of(aoi=outline(shapely.union_all([*parts, corner])))) == {
        "r001c001",
        "r002c002",
    }


def test_outlines_that_cross_themselves_or_one_another():
    """An outline drawn by hand would end in a page of Python."""
    bow = shapely.Polygon([(x * STEP + LEFT, TOP - y * STEP) for x, y in BOW])
    assert not bow.is_valid
    assert named(area_of(aoi=outline(bow, shapely.box(*box(0, 9, 9, 0))))) == by_pixels(bow) | {
        "r000c000"
    }


BOW = [(140, 10), (180, 50), (180, 10), (140, 50)]


def test_other_things_in_the_file_are_left_out():
    """A way across the sea, or a feature without geometry, would take in blocks of the sea."""
    place = shapely.box(*box(10, 20, 20, 10))
    way = shapely.LineString([(LEFT, TOP), (LEFT + 1900, TOP - 1500)])
    both = shapely.GeometryCollection([place, way])
    for shapes in ([place, way, None], [both], [shapely.MultiPolygon([place]), way.centroid]):
        assert named(area_of(aoi=outline(*shapes))) == {"r000c000"}
    geometry = mapping(place) | {"crs": IN_METRES}
    for content in (geometry, {"type": "Feature", "geometry": mapping(place), "crs": IN_METRES}):
        path = Path(f"alone{next(NUMBERS)}.geojson")
        path.write_text(json.dumps(content))
        assert named(area_of(aoi=str(path))) == {"r000c000"}


POLYGON = mapping(shapely.box(1.8, 41.5, 1.9, 41.6))
BROKEN = {
    "nothing": "",
    "no JSON": "{",
    "another file": "PK\x03\x04",
    "a list": "[]",
    "a number": "3",
    "no type": "{}",
    "no features": '{"type": "FeatureCollection"}',
    "features of nothing": '{"type": "FeatureCollection", "features": [3]}',
    "an empty collection": '{"type": "FeatureCollection", "features": []}',
    "no geometry": '{"type": "Feature", "geometry": null}',
    "a point": '{"type": "Point", "coordinates": [1.8, 41.5]}',
    "a line": '{"type": "LineString", "coordinates": [[1.8, 41.5], [1.9, 41.6]]}',
    "an unknown shape": '{"type": "Circle", "coordinates": [1.8, 41.5]}',
    "two points": '{"type": "Polygon", "coordinates": [[[1.8, 41.5], [1.9, 41.6]]]}',
    "words": '{"type": "Polygon", "coordinates": [[["a", "b"], ["c", "d"], ["a", "b"]]]}',
    "no ground": '{"type": "Polygon", "coordinates": [[[1, 41], [2, 41], [3, 41], [1, 41]]]}',
    "no numbers": json.dumps(mapping(shapely.box(1.8, 41.5, 1.9, 41.6))).replace("1.8", "NaN"),
    "an unknown CRS": json.dumps(POLYGON | {"crs": {"properties": {"name": "EPSG:99999"}}}),
    "a CRS that is none": json.dumps(POLYGON | {"crs": "EPSG:32631"}),
    "metres for degrees": json.dumps(mapping(shapely.box(*box(0, 64, 64, 0)))),
    "another place": json.dumps(mapping(shapely.box(9, 41.5, 9.1, 41.6))),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_outline_is_one_line(case):
    """An outline of another kind would end in a page of Python, or in a map of nothing."""
    path = Path(f"broken{next(NUMBERS)}.geojson")
    path.write_text(BROKEN[case])
    line = refused(aoi=str(path))
    assert re.match(rf"{path}: found .*; expected .*; give a GeoJSON file of polygons", line), line


def test_no_outline():
    """A wrong path would end in a page of Python."""
    assert refused(aoi="none.geojson") == (
        "none.geojson: found no such file; expected the area of interest; correct aoi"
    )
    assert "no GeoJSON" in refused(aoi=".")


def test_a_block_that_is_not_worked_on(capsys):
    """A job for a block at sea would be paid for, since its name exists."""
    area = area_of(aoi=outline(shapely.box(*box(70, 100, 100, 70))))
    assert grid_block(area, "r001c001").window == Window(64, 64, 64, 64)
    with pytest.raises(ConfigError, match="r000c000: found outside window or aoi"):
        grid_block(area, "r000c000")
    with pytest.raises(ConfigError, match="r009c000: found no such block"):
        grid_block(area, "r009c000")
    Path("data").mkdir()
    Path("data/labels.tif").touch()
    assert main(["check", "config/areas/small.yaml"]) == 0
    said = capsys.readouterr().err
    assert "192 x 160 px, 1 blocks; 8 outside outline" in said
    assert said.count("r00") == 8 and "r001c001" not in said


def test_what_is_downloaded_does_not_depend_on_the_extent():
    """Widening a pilot to the whole would ask, and pay, for its blocks again."""
    search = {"source": "sentinelhub", "periods": {"2018-04": {}}}
    whole = area_of(search=search)
    part = area_of(
        search=search,
        window=list(box(0, 64, 64, 0)),
        aoi=outline(shapely.box(*box(0, 20, 20, 0))),
    )
    assert named(part) == {"r000c000"} and named(whole) == ALL
    for stage, name in (
        ("download", "2018-04/r000c000.tif"),
        ("download", "labels.tif"),
        ("compose", None),
        ("downsample", None),
    ):
        assert settings(part, stage, name) == settings(whole, stage, name)
    for stage, name in (("select", None), ("predict", "landcover"), ("mosaic", "landcover")):
        assert settings(part, stage, name) != settings(whole, stage, name)
