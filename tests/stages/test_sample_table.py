"""Tables of points as people hand them in: from spreadsheets, from a GIS, of the wrong sample."""

import csv
import json
import shutil
from pathlib import Path

import geopandas
import pytest
import shapely
from making import CRS, write_tif
from stages.stage_steps import mapmill, refused
from stages.test_sample_areas import NAMES, mapped, pixel, rows_of

from mapmill.errors import ContractError
from mapmill.sample_table import _code, _plain


@pytest.fixture
def drawn(small_area):
    """An area whose map was sampled; (area, folder, rows with the simulated truth)."""
    area, truth_YX, _ = mapped("table", sample={"size": 60, "least": 10, "chip": 0})
    mapmill("sample", area, "landcover")
    folder = Path("results/table/sample/landcover")
    rows = rows_of(folder / "points.csv")
    for row in rows:
        row["reference"] = NAMES[int(truth_YX[pixel(row)]) - 1]
    return area, folder, rows


def write(folder, rows, delimiter=",", name="done.csv"):
    """The table as a spreadsheet writes it."""
    with (folder / name).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        table.writeheader()
        table.writerows(rows)
    return folder / name


def areas_of(area, table):
    """The table of areas, as bytes."""
    mapmill("areas", area, "landcover", table)
    return Path("results/table/areas/landcover/areas.csv").read_bytes()


def test_what_spreadsheets_make_of_a_table_is_read(drawn):
    """Decimal commas, empty rows or line breaks in a comment would cost the table, or a point."""
    area, folder, rows = drawn
    expected = areas_of(area, write(folder, rows))
    rows[4]["comment"] = 'field,\n"wet" \x0b\u2028 in spring'
    for row in rows:
        row["x"], row["y"] = row["x"].replace(".", ",") + ",00", row["y"]
        row["reference"] = f"{NAMES.index(row['reference']) + 1},0"
    table = write(folder, rows, ";")
    with table.open("a") as file:
        file.write(";;;;;;\r\n" * 3)
    assert areas_of(area, table) == expected
    short = [{key: row[key] for key in ("reference", "point")} for row in rows]
    assert areas_of(area, write(folder, short, ";")) == expected


def test_a_table_of_another_sample_is_refused(drawn, capsys):
    """Points would be judged by the strata of others: every number wrong, and none missing."""
    area, folder, rows = drawn
    one, other = folder, folder.with_name("older")
    shutil.move(one, other)
    mapped("table", sample={"size": 60, "least": 10, "chip": 0, "seed": 1})
    mapmill("sample", area, "landcover")
    line = refused(capsys, "areas", area, "landcover", write(folder, rows))
    assert "from where it was drawn" in line and "row 2" in line
    layer = geopandas.read_file(other / "points.gpkg")
    layer["reference"] = [row["reference"] for row in rows]
    layer.to_file(folder / "points.gpkg")
    assert "from where" in refused(capsys, "areas", area, "landcover", folder / "points.gpkg")


def test_a_geopackage_in_another_crs_and_order_is_read(drawn, capsys):
    """A GIS that works in degrees would lose the sample, or a moved point would go unseen."""
    area, folder, rows = drawn
    expected = areas_of(area, write(folder, rows))
    layer = geopandas.read_file(folder / "points.gpkg")
    layer["reference"] = [row["reference"] for row in rows]
    shuffled = layer.to_crs(4326).sample(frac=1, random_state=0)
    shuffled.to_file(folder / "degrees.gpkg")
    assert areas_of(area, folder / "degrees.gpkg") == expected
    layer.loc[7, "geometry"] = shapely.Point()  # untold, as in row 8
    layer.loc[8, "geometry"] = None
    layer.loc[9, "geometry"] = layer.geometry[10]
    layer.to_file(folder / "moved.gpkg")
    assert "point 10 " in refused(capsys, "areas", area, "landcover", folder / "moved.gpkg")


def test_more_mistakes_in_the_table_are_one_line(drawn, capsys):
    """A point would count twice under two spellings, or the table end in a page of Python."""
    area, folder, rows = drawn

    def line_for(change):
        found = [{k: v for k, v in row.items() if k not in "xy"} for row in rows]
        change(found)
        return refused(capsys, "areas", area, "landcover", write(folder, found))

    assert "point 02 again" in line_for(lambda found: found[2].update(point="02"))
    assert "point 0;" in line_for(lambda found: found[0].update(point="0"))
    long = line_for(lambda found: found[0].update(comment="x" * 200_000))
    assert "field larger than field limit" in long
    text = write(folder, rows).read_text()
    bad = folder / "bad.csv"
    for old, new, part in (
        ("\n2,", "wet, or not\n2,", "row 2: found 8 cells; expected 7"),
        ("comment\n", "reference\n", "two columns 'reference'"),
        (f"\n1,{rows[0]['x']}", "\n1,here", "coordinate 'here'"),
    ):
        assert old in text
        bad.write_text(text.replace(old, new, 1))
        assert part in refused(capsys, "areas", area, "landcover", bad)


def test_a_reference_that_may_be_two_classes_is_refused():
    """`2` would be the second class, or the one that is called 2; `wood` would be Wood."""
    assert [_plain(each) for each in (2.0, "2,0", "v1.0", None)] == ["2", "2", "v1.0", ""]
    names = ["2", "Wood", "wood", "lake"]
    assert [_code("", text, names) for text in ("wood", "Wood", "LAKE", "4", "", "0")] == [
        3, 2, 4, 4, 0, 0,
    ]  # fmt: skip
    for text in ("2", "WOOD", "5", "sea"):
        with pytest.raises(ContractError, match="expected one of 2, Wood, wood, lake"):
            _code("row 2", text, names)


def test_a_damaged_design_or_other_classes_are_one_line(drawn, capsys):
    """Points would be weighed by wrong strata, or classes that changed places be mixed up."""
    area, folder, rows = drawn
    table, path = write(folder, rows), folder / "design.json"
    good = path.read_text()
    for change in (
        lambda c: c["points"][0].__setitem__(0, 9),
        lambda c: c["points"][0].__setitem__(0, -1),
        lambda c: c["units"].__setitem__(1, 3),
        lambda c: c["units"].__setitem__(1, -3),
        lambda c: c["hectares"].__setitem__(1, None),
        lambda c: c["hectares"].pop(),
    ):
        content = json.loads(good)
        change(content)
        path.write_text(json.dumps(content))
        assert "the design of the sample" in refused(capsys, "areas", area, "landcover", table)
    content = json.loads(good)
    content["classes"] = ["wood", "field", "lake"]
    path.write_text(json.dumps(content))
    line = refused(capsys, "areas", area, "landcover", table)
    assert "found classes wood, field, lake" in line


def test_a_map_that_changed_since_it_was_sampled_is_named(drawn):
    """A reader would take the strata for those of the map that is there now."""
    area, folder, rows = drawn
    _, truth_YX, map_YX = mapped("table")
    truth_YX[map_YX == 0] = 0
    truth_YX[truth_YX == 3] = 1
    write_tif(Path("results/table_landcover.tif"), truth_YX, nodata=0, crs=CRS)
    areas_of(area, write(folder, rows))
    said = Path("results/table/areas/landcover/summary.txt").read_text()
    assert "an earlier file of this map: it has changed" in said
    assert "no point is mapped as lake: its user's accuracy is unknown" in said
    assert "a standard error of 0: its points agree" in said
    assert f"without {7 * 160 / 100:.1f} ha" in said
