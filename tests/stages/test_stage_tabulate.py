"""tabulate: areas in units against polygons cut pixel by pixel, and changes against a loop."""

import csv
from itertools import product
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from making import LEFT, STEP, TOP, simulated_scene, write_tif
from pyproj import Geod
from shapely.geometry import box
from stages.stage_steps import area_with, mapmill, refused

NAMES = ["no data", "field", "wood", "lake"]
OUTSIDE = "outside the map"
TWO = {"maps": {"later": {"run": "unet"}}}


def maps_of(name, **place):
    """Two simulated maps; they differ in a tenth of the pixels."""
    before_YX, _ = simulated_scene()
    before_YX[:5] = 0
    random = np.random.default_rng(1)
    noise_YX = random.integers(0, 4, before_YX.shape, dtype=np.uint8)
    after_YX = np.where(random.random(before_YX.shape) < 0.1, noise_YX, before_YX)
    for map_name, class_YX in (("landcover", before_YX), ("later", after_YX)):
        write_tif(Path(f"results/{name}_{map_name}.tif"), class_YX, nodata=0, **place)
    return before_YX, after_YX


def tabulate(area):
    """Both tables."""
    folder = Path(f"results/{area.stem}/tabulate")
    mapmill("tabulate", area, folder / "areas.csv", folder / "changes.csv")
    for name in ("areas.csv", "changes.csv"):
        with (folder / name).open(newline="") as file:
            yield list(csv.DictReader(file))


def cut(class_YX, polygon, value):
    """Hectares of a class in a polygon, pixel by pixel."""
    rows, cols = np.nonzero(class_YX == value)
    x, y = LEFT + cols * STEP, TOP - rows * STEP
    return (
        shapely.area(shapely.intersection(shapely.box(x, y - STEP, x + STEP, y), polygon)).sum()
        / 1e4
    )


def test_units_have_the_ground_that_they_cover(small_area):
    """Areas of small municipalities would be wrong by whole pixels, or their parts be lost."""
    area = area_with("units", tabulate={"units": "towns.gpkg", "name": "town"}, **TWO)
    before_YX, after_YX = maps_of("units")
    round_town = shapely.Point(LEFT + 700.3, TOP - 555.5).buffer(333.3)
    parts = [box(LEFT + 3, TOP - 48, LEFT + 41, TOP - 5), box(LEFT + 1800, TOP - 900, 1e6, TOP)]
    shapes = [round_town, *parts]
    layer = geopandas.GeoDataFrame({"town": ["Round", "Two", "Two"]}, geometry=shapes, crs=32631)
    layer.to_file("towns.gpkg")
    rows, _ = tabulate(area)
    assert len(rows) == 2 * 2 * 5
    place = box(LEFT, TOP - 1600, LEFT + 1920, TOP)
    for row in rows:
        class_YX = before_YX if row["map"] == "landcover" else after_YX
        mine = [round_town] if row["unit"] == "Round" else parts
        if row["class"] == OUTSIDE:
            expected = sum(each.difference(place).area for each in mine) / 1e4
        else:
            expected = sum(cut(class_YX, each, NAMES.index(row["class"])) for each in mine)
        assert float(row["pixel_count_ha"]) == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert float(row["pixel_count_km2"]) == pytest.approx(expected / 100, rel=1e-6, abs=1e-8)
        assert row["periods"] == "2018-04"
    for unit, name in product(("Round", "Two"), ("landcover", "later")):
        part = [float(r["percent"]) for r in rows if (r["unit"], r["map"]) == (unit, name)]
        assert sum(part) == pytest.approx(100, abs=1e-3)


def test_without_units_the_map_is_one_and_changes_are_counted(small_area):
    """A table of changes would have rows and columns swapped, or lose what has no data."""
    area = area_with("whole", **TWO)
    before_YX, after_YX = maps_of("whole")
    rows, changes = tabulate(area)
    assert {row["unit"] for row in rows} == {"the whole map"}
    found = {(row["map"], row["class"]): float(row["pixel_count_ha"]) for row in rows}
    for value, name in enumerate(NAMES):
        assert found["landcover", name] == pytest.approx((before_YX == value).sum() / 100)
    assert len(changes) == 16
    for row in changes:
        one, other = NAMES.index(row["from_class"]), NAMES.index(row["to_class"])
        expected = ((before_YX == one) & (after_YX == other)).sum()
        assert int(row["pixels"]) == expected
        assert float(row["pixel_count_ha"]) == pytest.approx(expected / 100)
        assert (row["from_map"], row["to_map"]) == ("landcover", "later")


def test_in_degrees_areas_are_those_on_the_ellipsoid(small_area):
    """A map in degrees would be told in square degrees, or larger towards the pole."""
    area = area_with("degrees", tabulate={"units": "box.geojson"}, **TWO)
    before_YX, _ = maps_of("degrees", left=10.0, top=70.0, step=0.01, crs="EPSG:4326")
    layer = geopandas.GeoDataFrame({"name": ["All"]}, geometry=[box(9, 60, 15, 80)], crs=4326)
    layer.to_file("box.geojson")
    rows, _ = tabulate(area)
    expected = [0.0] * 4
    for row, class_X in enumerate(before_YX):
        n, s = 70 - 0.01 * row, 69.99 - 0.01 * row
        ring = [10, 10.01, 10.01, 10], [n, n, s, s]
        pixel = abs(Geod(ellps="WGS84").polygon_area_perimeter(*ring)[0]) / 1e4
        for value in range(4):
            expected[value] += pixel * (class_X == value).sum()
    found = [float(row["pixel_count_ha"]) for row in rows if row["map"] == "landcover"]
    assert found[:4] == pytest.approx(expected, rel=1e-6)
    e = np.sqrt(1 - (6356752.314245 / 6378137.0) ** 2)  # a zone of the ellipsoid, in closed form
    s = np.sin(np.radians([60.0, 80.0]))
    zone = np.diff(s / (2 * (1 - (e * s) ** 2)) + np.arctanh(e * s) / (2 * e))[0]
    whole = 6356752.314245**2 * np.radians(6) * zone / 1e4
    assert found[4] == pytest.approx(whole - sum(expected), rel=1e-5)


def test_units_whose_edges_touch_the_map_or_a_window_are_counted(small_area):
    """A neighbour that shares an edge with the map, or with a window of it, would end the stage."""
    class_YX = np.ones((1034, 1034), np.uint8)  # four windows
    class_YX[1024:] = 2
    side, step = 1024 * STEP, 100
    east, south = LEFT + side, TOP - side
    shapes = {
        "north-west": box(LEFT, south, east, TOP),
        "east": box(east, south, east + step, TOP),
        "corner": box(east, south - step, east + step, south),
        "tip": shapely.Polygon([(east, TOP - 100), (east + 50, TOP - 50), (east + 50, TOP - 150)]),
        "beside the map": box(east + step, south, east + 2 * step, TOP),
        "past its corner": box(east + step, TOP, east + 2 * step, TOP + step),
    }
    layer = geopandas.GeoDataFrame({"town": list(shapes)}, geometry=list(shapes.values()))
    layer.set_crs(32631).to_file("towns.gpkg")
    area = area_with("touching", tabulate={"units": "towns.gpkg", "name": "town"})
    write_tif(Path("results/touching_landcover.tif"), class_YX, nodata=0)
    rows, _ = tabulate(area)
    assert {row["unit"] for row in rows} == {"north-west", "east", "corner", "tip"}
    far = LEFT + 1034 * STEP
    ground = {"field": box(LEFT, south, far, TOP), "wood": box(LEFT, south - step, far, south)}
    for row in rows:
        where = ground.get(row["class"], shapely.Polygon())
        expected = shapes[row["unit"]].intersection(where).area / 1e4
        assert float(row["pixel_count_ha"]) == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_names_are_safe_in_a_spreadsheet_and_never_lost(small_area):
    """A name would be run as a program, or polygons without one be told under no name."""
    names = ["=cmd|' /C calc'!A0", "-", "Sant Julià 東", None]
    shapes = [box(LEFT + 100 * n, TOP - 300, LEFT + 100 * n + 90, TOP) for n in range(4)]
    geopandas.GeoDataFrame({"name": names}, geometry=shapes, crs=32631).to_file("towns.gpkg")
    area = area_with("names", tabulate={"units": "towns.gpkg"}, **TWO)
    maps_of("names")
    rows, _ = tabulate(area)
    expected = {"'=cmd|' /C calc'!A0", "'-", "Sant Julià 東", "(no name)"}
    assert {row["unit"] for row in rows} == expected


def test_a_plane_that_is_far_from_the_ground_is_told(small_area, caplog):
    """Areas in Web Mercator would be four times too large at 60 degrees, without a word."""
    place = {"crs": "EPSG:3857", "bounds": [0, 8398400, 1920, 8400000]}
    area = area_with("mercator", grid=place)
    class_YX, _ = simulated_scene()
    path = Path("results/mercator_landcover.tif")
    write_tif(path, class_YX, left=0, top=8400000, crs="EPSG:3857")
    mapmill("tabulate", area, "out/areas.csv", "out/changes.csv")
    assert "up to 298." in caplog.text


def test_a_unit_that_the_maps_crs_does_not_reach_is_refused(small_area, capsys):
    """A unit that goes round a pole would lose corners in the map's CRS, and its area with them."""
    bounds = [650_000, 6_858_400, 651_920, 6_860_000]
    area = area_with(
        "lambert", grid={"crs": "EPSG:2154", "bounds": bounds}, tabulate={"units": "world.gpkg"}
    )
    class_YX, _ = simulated_scene()
    path = Path("results/lambert_landcover.tif")
    write_tif(path, class_YX, left=bounds[0], top=bounds[3], crs="EPSG:2154")
    world = geopandas.GeoDataFrame({"name": ["world"]}, geometry=[box(-180, -90, 180, 90)])
    world.set_crs(4326).to_file("world.gpkg")
    line = refused(capsys, "tabulate", area, "out/areas.csv", "out/changes.csv")
    assert "found 'world', beyond EPSG:2154; expected units near the map" in line


def test_mistakes_are_one_line(small_area, capsys):
    """A wrong attribute, or a place without units, would end in a page of Python."""
    maps_of("wrong")
    outputs = ("out/areas.csv", "out/changes.csv")
    geopandas.GeoDataFrame({"town": ["A"]}, geometry=[box(0, 0, 1, 1)], crs=32631).to_file("a.gpkg")
    for chosen, part in (
        ({"units": "none.gpkg"}, "none.gpkg"),
        ({"units": "a.gpkg"}, "no attribute 'name'"),
        ({"units": "a.gpkg", "name": "town"}, "no polygon on the map"),
    ):
        assert part in refused(
            capsys, "tabulate", area_with("wrong", tabulate=chosen, **TWO), *outputs
        )
    for shape in (shapely.Point(LEFT, TOP), shapely.LineString([(LEFT, TOP), (LEFT + 9, TOP - 9)])):
        geopandas.GeoDataFrame({"name": ["A"]}, geometry=[shape], crs=32631).to_file("b.gpkg")
        line = refused(
            capsys, "tabulate", area_with("wrong", tabulate={"units": "b.gpkg"}, **TWO), *outputs
        )
        assert f"found a {shape.geom_type}; expected polygons" in line
    class_YX, _ = simulated_scene()
    write_tif(Path("results/wrong_later.tif"), class_YX[:90], nodata=0)
    assert "make both maps again" in refused(
        capsys, "tabulate", area_with("wrong", **TWO), *outputs
    )
