"""sample and areas: from a map to points, and from interpreted points to accuracy and areas."""

import csv
import json
import shutil
from itertools import pairwise
from pathlib import Path

import geopandas
import matplotlib.image
import numpy as np
import pytest
import rasterio
from making import LEFT, STEP, TOP, simulated_scene, write_tif
from shapely.geometry import box
from stages.stage_steps import PERIOD, area_with, mapmill, refused, write_blocks

NAMES = ["field", "wood", "lake"]


def mapped(name, seed=5, **sections):
    """A simulated place, a map of it with errors and a strip of nodata, and its imagery."""
    area = area_with(name, **sections)
    truth_YX, image_BYX = simulated_scene()
    random = np.random.default_rng(seed)
    noise_YX = random.integers(1, 4, truth_YX.shape)
    map_YX = np.where(random.random(truth_YX.shape) < 0.15, noise_YX, truth_YX).astype(np.uint8)
    map_YX[:, :7] = 0
    write_tif(Path(f"results/{name}_landcover.tif"), map_YX, nodata=0, bands=["class"])
    write_blocks(area, f"compose/{PERIOD}", image_BYX, ["B02", "B03", "B04"])
    return area, truth_YX, map_YX


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pixel(row):
    """Row and column of a point of the table."""
    return int((TOP - float(row["y"])) // STEP), int((float(row["x"]) - LEFT) // STEP)


def fill_in(folder, truth_YX, leave_out=()):
    """Interpret every point as the simulated truth has it."""
    rows = rows_of(folder / "points.csv")
    for row in rows:
        code = int(truth_YX[pixel(row)])
        known = NAMES[code - 1].upper() if code != 2 else "2.0"
        row["reference"] = "" if row["point"] in leave_out else known
    with (folder / "done.csv").open("w", newline="", encoding="utf-8-sig") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=";")
        table.writeheader()
        table.writerows(rows)
    return folder / "done.csv"


def test_the_sample_is_drawn_within_classes_and_told_to_nobody(small_area):
    """Points would miss classes, lie on nodata, or tell the interpreter what the map says."""
    area, _, map_YX = mapped("drawn", sample={"size": 240, "least": 60, "chip": 0})
    mapmill("sample", area, "landcover")
    folder = Path("results/drawn/sample/landcover")
    rows = rows_of(folder / "points.csv")
    found = [int(map_YX[pixel(row)]) for row in rows]
    counts = np.bincount(found, minlength=4)
    assert counts[0] == 0 and counts.sum() == 240 and counts[1:].min() >= 60
    assert len({(row["x"], row["y"]) for row in rows}) == 240
    assert set(rows[0]) == {
        "point", "x", "y", "longitude", "latitude", "reference", "comment",
    }  # fmt: skip
    assert all(row["reference"] == "" for row in rows)
    assert sum(a != b for a, b in pairwise(found)) > 80  # in no order
    design = json.loads((folder / "design.json").read_text())
    assert design["units"] == np.bincount(map_YX.ravel(), minlength=4).tolist()
    assert design["hectares"] == pytest.approx([n / 100 for n in design["units"]])
    layer = geopandas.read_file(folder / "points.gpkg")
    assert layer.crs.to_epsg() == 32631 and list(layer["point"]) == list(range(1, 241))
    assert layer.geometry.x.tolist() == [float(row["x"]) for row in rows]


def test_chips_frame_the_point(small_area):
    """The interpreter would look at another place than the point."""
    area, *_ = mapped("chips", sample={"size": 12, "least": 2, "chip": 32})
    random = np.random.default_rng(0)
    image_BYX = random.integers(500, 2500, (3, 160, 192)).astype(np.uint16)
    write_blocks(area, f"compose/{PERIOD}", image_BYX, ["B02", "B03", "B04"])
    mapmill("sample", area, "landcover")
    folder = Path("results/chips/sample/landcover")
    for row in rows_of(folder / "points.csv"):
        picture = matplotlib.image.imread(folder / "chips" / f"{int(row['point']):02d}.png")
        assert picture.shape[:2] == (128, 128)
        y, x = pixel(row)
        red = image_BYX[2].astype(float)
        inside = (slice(max(y - 16, 0), y + 16), slice(max(x - 16, 0), x + 16))
        low, high = np.percentile(red[inside], [2, 98])
        shade = np.clip((red[y, x] - low) / (high - low), 0, 1)
        assert picture[65, 65, 0] == pytest.approx(shade, abs=0.02)
        frame = picture[[62, 62, 68], [62, 68, 62], :3]
        assert (frame == [1, 1, 0]).all()


def test_equal_seeds_draw_equal_bytes_and_work_is_not_overwritten(small_area, capsys):
    """A sample could not be told again, or a second call would destroy weeks of interpretation."""
    area, *_ = mapped("again", sample={"size": 20, "least": 5})
    mapmill("sample", area, "landcover")
    folder = Path("results/again/sample/landcover")
    first = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert "may be in work" in refused(capsys, "sample", area, "landcover")
    shutil.rmtree(folder)
    mapmill("sample", area, "landcover")
    assert first == {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    area, *_ = mapped("again", sample={"size": 20, "least": 5, "seed": 1})
    shutil.rmtree(folder)
    mapmill("sample", area, "landcover")
    assert first["points.csv"] != (folder / "points.csv").read_bytes()


def test_every_pixel_of_a_class_is_drawn_as_often(small_area):
    """The sample would not be one of equal probability: areas would be biased unseen."""
    from mapmill.draw import ClassMap, draw

    map_YX = np.ones((8, 1030), np.uint8)  # two windows
    map_YX[:, 1020:] = 2
    source = ClassMap(write_tif(Path("flat.tif"), map_YX), 2)
    times = np.zeros(map_YX.shape, int)
    for seed in range(300):
        points = draw(source, np.array([0, 40, 8]), seed)
        assert (map_YX[points.row, points.col] == points.stratum).all()
        times[points.row, points.col] += 1
    lakes = times[:, 1020:]  # 80 pixels in both windows, each to be drawn 30 times
    assert lakes.sum() == 2400
    assert 45 < ((lakes - 30) ** 2 / 27).sum() < 125  # chi-square of 79 degrees of freedom
    assert times[:, :510].sum() == pytest.approx(6000, rel=0.04)


def test_pixels_in_degrees_count_by_their_ground(small_area):
    """A map in degrees would have too many points, and too much area, near the pole."""
    from mapmill.draw import ClassMap, draw

    map_YX = np.ones((100, 20), np.uint8)
    path = write_tif(Path("deg.tif"), map_YX, left=10, top=80, step=0.5, crs="EPSG:4326")
    source = ClassMap(path, 1)
    a, b = 6378137.0, 6356752.314245  # area of a zone of the ellipsoid, in closed form
    e = np.sqrt(1 - (b / a) ** 2)
    s = np.sin(np.radians(80 - 0.5 * np.arange(101)))
    zone = s / (2 * (1 - (e * s) ** 2)) + np.arctanh(e * s) / (2 * e)
    expected = b**2 * np.radians(0.5) * -np.diff(zone) / 1e4
    np.testing.assert_allclose(source.hectares_Y, expected, rtol=1e-4)
    rows = np.concatenate([draw(source, np.array([0, 30]), s).row for s in range(200)])
    north = expected[:50].sum() / expected.sum()
    assert (rows < 50).mean() == pytest.approx(north, abs=0.03) and north < 0.4


def test_areas_hold_the_truth_and_tell_both_accuracies(small_area):
    """Published areas would be pixel counts, or their intervals would not hold the truth."""
    area, truth_YX, map_YX = mapped("areas", sample={"size": 300, "least": 60, "chip": 0})
    mapmill("sample", area, "landcover")
    folder = Path("results/areas/sample/landcover")
    mapmill("areas", area, "landcover", fill_in(folder, truth_YX))
    results = Path("results/areas/areas/landcover")
    used = map_YX > 0
    for value, row in enumerate(rows_of(results / "areas.csv"), 1):
        truth = ((truth_YX == value) & used).sum() / 100
        assert float(row["low_ha"]) < truth < float(row["high_ha"])
        assert float(row["ha"]) == pytest.approx(truth, rel=0.2)
        assert float(row["pixel_count_ha"]) == (map_YX == value).sum() / 100
    rows = {(row["what"], row["class"]): row for row in rows_of(results / "accuracy.csv")}
    true_accuracy = (truth_YX == map_YX)[used].mean()
    row = rows["overall accuracy", "all"]
    assert float(row["low"]) < true_accuracy < float(row["high"])
    assert len(rows) == 7
    matrix = [list(row.values())[2:] for row in rows_of(results / "confusion.csv")]
    assert np.array(matrix, int).sum() == 300 and matrix[0] == ["0", "0", "0"]
    assert "Olofsson" in (results / "summary.txt").read_text()


def test_a_sample_of_one_map_judges_another(small_area):
    """Each new map would need a new sample, or would be judged by wrong strata."""
    area, truth_YX, map_YX = mapped("other", sample={"size": 300, "least": 60, "chip": 0})
    mapmill("sample", area, "landcover")
    table = fill_in(Path("results/other/sample/landcover"), truth_YX, leave_out={"3", "5"})
    better_YX = np.where(map_YX > 0, truth_YX, 0).astype(np.uint8)
    better_YX[:40] = 0
    write_tif(Path("results/other_landcover.tif"), better_YX, nodata=0, bands=["class"])
    mapmill("areas", area, "landcover", table)
    results = Path("results/other/areas/landcover")
    said = (results / "summary.txt").read_text()
    assert "Stehman 2014" in said and "2 of 300 points have no reference" in said
    assert "lie where the map says nothing" in said
    row = rows_of(results / "accuracy.csv")[0]
    assert float(row["value"]) == 1 and 0.9 < float(row["low"]) < 1


def test_areas_of_units_add_up_to_their_ground(small_area):
    """Municipalities would get areas of the wrong place."""
    area, truth_YX, map_YX = mapped("units", sample={"size": 400, "least": 60, "chip": 0})
    mapmill("sample", area, "landcover")
    table = fill_in(Path("results/units/sample/landcover"), truth_YX)
    middle = LEFT + 96 * STEP
    shapes = [box(LEFT, TOP - 1600, middle, TOP), box(middle, TOP - 1600, LEFT + 1920, TOP)]
    far = box(0, 0, 1, 1)
    layer = geopandas.GeoDataFrame({"town": ["West", "East", "Far"]}, geometry=[*shapes, far])
    layer.set_crs(32631).to_crs(4326).to_file("towns.gpkg")
    mapmill("areas", area, "landcover", table, "--units", "towns.gpkg", "--name", "town")
    rows = rows_of(Path("results/units/areas/landcover/units.csv"))
    assert [row["unit"] for row in rows] == ["East"] * 3 + ["West"] * 3
    for unit, part in (("West", slice(0, 96)), ("East", slice(96, 192))):
        mine = [row for row in rows if row["unit"] == unit]
        used = map_YX[:, part] > 0
        assert sum(float(row["ha"]) for row in mine) == pytest.approx(used.sum() / 100)
        for value, row in enumerate(mine, 1):
            assert float(row["pixel_count_ha"]) == (map_YX[:, part] == value).sum() / 100
            truth = ((truth_YX[:, part] == value) & used).sum() / 100
            assert abs(float(row["ha"]) - truth) < 4 * float(row["standard_error_ha"])
            assert float(row["low_ha"]) < float(row["ha"]) < float(row["high_ha"])


def test_mistakes_in_the_table_are_one_line(small_area, capsys):
    """A typing error of an interpreter would end in a page of Python, or be counted as a class."""
    area, truth_YX, _ = mapped("wrong", sample={"size": 30, "least": 5, "chip": 0})
    mapmill("sample", area, "landcover")
    folder = Path("results/wrong/sample/landcover")
    good = fill_in(folder, truth_YX).read_text(encoding="utf-8-sig")
    bad = folder / "bad.csv"

    def line_for(text):
        bad.write_text(text)
        return refused(capsys, "areas", area, "landcover", bad)

    header, first, second, *rest = good.splitlines()
    assert "row 3" in line_for("\n".join([header, first, first, *rest]))
    typo = first.replace(first.split(";")[5], "feild")
    assert "feild" in line_for("\n".join([header, typo, second, *rest]))
    assert "column 'reference'" in line_for(good.replace("reference", "seen"))
    empty = "\n".join([header, *(f"{number};;;;;;" for number in range(1, 31))])
    assert "no reference in class" in line_for(empty)
    elsewhere = Path("points.csv")
    shutil.copy(good_path := folder / "done.csv", elsewhere)
    assert "no such file" in refused(capsys, "areas", area, "landcover", elsewhere)
    units = ("--units", "none.gpkg")
    assert "none.gpkg" in refused(capsys, "areas", area, "landcover", good_path, *units)


def test_the_geopackage_can_be_filled_in_too(small_area):
    """People who interpret in a GIS would have to type everything again."""
    area, truth_YX, _ = mapped("gis", sample={"size": 60, "least": 10, "chip": 0})
    mapmill("sample", area, "landcover")
    folder = Path("results/gis/sample/landcover")
    mapmill("areas", area, "landcover", fill_in(folder, truth_YX))
    expected = (Path("results/gis/areas/landcover/areas.csv")).read_bytes()
    layer = geopandas.read_file(folder / "points.gpkg")
    with rasterio.open("data/labels.tif") as source:
        codes = [int(v[0]) for v in source.sample(zip(layer.geometry.x, layer.geometry.y))]
    layer["reference"] = [NAMES[code - 1] for code in codes]
    layer.to_file(folder / "points.gpkg")
    mapmill("areas", area, "landcover", folder / "points.gpkg")
    assert (Path("results/gis/areas/landcover/areas.csv")).read_bytes() == expected
