"""areas --units: what a unit lacks is told, and its numbers are of the map that they name."""

from pathlib import Path

import geopandas
import numpy as np
import pyogrio
import pytest
import shapely
from making import LEFT, STEP, TOP, write_tif
from pyproj import Transformer
from shapely.geometry import box
from stages.stage_steps import mapmill, refused
from stages.test_sample_areas import fill_in, mapped, rows_of

W, H = 192 * STEP, 160 * STEP
WHOLE = box(LEFT, TOP - H, LEFT + W, TOP)


@pytest.fixture
def interpreted(small_area):
    """An area, its table of 240 points, its simulated truth and map."""
    area, truth_YX, map_YX = mapped("town", sample={"size": 240, "least": 20, "chip": 0})
    mapmill("sample", area, "landcover")
    table = fill_in(Path("results/town/sample/landcover"), truth_YX)
    return area, table, truth_YX, map_YX


def units(area, table, names, shapes, name="landcover"):
    """The table of units."""
    layer = geopandas.GeoDataFrame({"name": names}, geometry=shapes, crs=32631)
    layer.to_file("towns.gpkg")
    mapmill("areas", area, name, table, "--units", "towns.gpkg")
    return rows_of(Path(f"results/town/areas/{name}/units.csv"))


def test_ground_that_the_map_does_not_tell_is_told(interpreted):
    """The part of a town that is on the map would be told as the area of the town."""
    area, table, _, map_YX = interpreted
    half = box(LEFT - W, TOP - H, LEFT + W / 2, TOP)
    dry = box(LEFT, TOP - H, LEFT + 7 * STEP, TOP)  # nodata
    beside = box(LEFT + W, TOP - H, LEFT + 2 * W, TOP)
    rows = units(area, table, ["half", "dry", "all", "beside"], [half, dry, WHOLE, beside])
    found = {row["unit"]: row for row in rows}
    assert set(found) == {"half", "dry", "all"}
    assert float(found["half"]["mapped_percent"]) == pytest.approx(100 * (96 - 7) / 288)
    assert float(found["all"]["mapped_percent"]) == pytest.approx(100 * (map_YX > 0).mean())
    assert (found["dry"]["mapped_percent"], found["dry"]["ha"]) == ("0", "")
    said = Path("results/town/areas/landcover/summary.txt").read_text()
    assert "3 units lie partly where the map has no class" in said


def test_units_that_overlap_or_share_a_name_count_each_place_once(interpreted):
    """Ground that two polygons of a town share would count twice in it, or once in one of two."""
    area, table, _, map_YX = interpreted
    west, east = box(LEFT, TOP - H, LEFT + 800, TOP), box(LEFT + 600, TOP - H, LEFT + W, TOP)
    rows = units(area, table, ["one", "one", "other"], [west, east, west])
    counts = {row["unit"]: 0.0 for row in rows}
    for row in rows:
        counts[row["unit"]] += float(row["pixel_count_ha"])
    assert counts["one"] == pytest.approx((map_YX > 0).sum() / 100)
    assert counts["other"] == pytest.approx((map_YX[:, :80] > 0).sum() / 100)
    bow = shapely.Polygon([(LEFT, TOP), (LEFT + W, TOP - H), (LEFT + W, TOP), (LEFT, TOP - H)])
    rows = units(area, table, ["bow"], [bow])
    assert sum(float(row["pixel_count_ha"]) for row in rows) == pytest.approx(W * H / 2e4, rel=0.1)


def test_pixel_counts_of_units_are_of_the_map_that_is_judged(interpreted):
    """The count beside an area would be that of the map which the sample was drawn from."""
    area, table, truth_YX, map_YX = interpreted
    text = area.read_text().replace("maps:", "maps:\n  better:\n    run: unet")
    area.write_text(text)
    better_YX = np.where(map_YX > 0, truth_YX, 0).astype(np.uint8)
    write_tif(Path("results/town_better.tif"), better_YX, nodata=0, bands=["class"])
    rows = units(area, table, ["all"], [WHOLE], "better")
    for value, row in enumerate(rows, 1):
        assert float(row["pixel_count_ha"]) == pytest.approx((better_YX == value).sum() / 100)
        assert (better_YX == value).sum() != (map_YX == value).sum()
        drawn = units(area, table, ["all"], [WHOLE])[value - 1]
        assert row["ha"] == drawn["ha"]  # strata are those of the map that was drawn from


def test_units_of_an_older_run_do_not_stay(interpreted, capsys):
    """A table of units from fewer points would stand beside areas from more."""
    area, table, *_ = interpreted
    assert units(area, table, ["all"], [WHOLE])
    mapmill("areas", area, "landcover", table)
    assert not Path("results/town/areas/landcover/units.csv").exists()
    layer = geopandas.GeoDataFrame({"name": ["a"]}, geometry=[shapely.Point(LEFT, TOP)], crs=32631)
    layer.to_file("points.gpkg")
    line = refused(capsys, "areas", area, "landcover", table, "--units", "points.gpkg")
    assert "found a Point; expected polygons; check --units and --layer" in line


def test_a_file_of_units_with_several_layers_is_told_which(interpreted, capsys):
    """The first of several layers would be taken for the towns; a table of styles is no layer."""
    area, table, *_ = interpreted
    two = Path("two.gpkg")
    for layer, shape in (("provinces", WHOLE), ("towns", box(LEFT, TOP - H, LEFT + 800, TOP))):
        frame = geopandas.GeoDataFrame({"name": [layer]}, geometry=[shape], crs=32631)
        frame.to_file(two, layer=layer)
    line = refused(capsys, "areas", area, "landcover", table, "--units", two)
    assert "found layers provinces, towns; expected one layer" in line
    mapmill("areas", area, "landcover", table, "--units", two, "--layer", "towns")
    rows = rows_of(Path("results/town/areas/landcover/units.csv"))
    assert {row["unit"] for row in rows} == {"towns"}
    frame.to_file("styled.gpkg", layer="towns")
    frame.drop(columns="geometry").to_csv("styles.csv", index=False)
    styles = pyogrio.read_dataframe("styles.csv")
    pyogrio.write_dataframe(styles, "styled.gpkg", layer="layer_styles")
    mapmill("areas", area, "landcover", table, "--units", "styled.gpkg")


def test_long_edges_in_degrees_bend_as_parallels_do(interpreted):
    """A cell of a degree would lie hundreds of metres off in UTM, where its edge is no chord."""
    area, table, _, map_YX = interpreted
    rows, cols = np.indices(map_YX.shape) + 0.5
    to_degrees = Transformer.from_crs(32631, 4326, always_xy=True)
    _, latitude_YX = to_degrees.transform(LEFT + cols * STEP, TOP - rows * STEP)
    west, south = 1.3, float(np.median(latitude_YX))
    frame = geopandas.GeoDataFrame(
        {"name": ["cell"]}, geometry=[box(west, south, west + 1, south + 1)], crs=4326
    )
    frame.to_file("cell.gpkg")
    mapmill("areas", area, "landcover", table, "--units", "cell.gpkg")
    found = rows_of(Path("results/town/areas/landcover/units.csv"))
    inside_YX = (latitude_YX > south) & (map_YX > 0)
    count = sum(float(row["pixel_count_ha"]) for row in found)
    assert count == pytest.approx(inside_YX.sum() / 100, abs=0.03)
