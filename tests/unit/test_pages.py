"""Pages of tables: whole, safe to open, and silent about the machine."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from making import SMALL_AREA, write_area

from mapmill.areafile import load_area
from mapmill.class_areas import ClassAreas, write_areas
from mapmill.layout import Layout
from mapmill.pages import Table, write_page
from mapmill.provenance_page import provenance_tables
from mapmill.score_pages import downsampling_table


class Cells(HTMLParser):
    """Tags that are open, and the text and class of each cell."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append((tag, dict(attrs).get("class")))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if self.open and self.open[-1][0] in ("td", "th"):
            self.cells.append((data, self.open[-1][1] == "number"))


def test_text_stays_text_and_numbers_stand_to_the_right(tmp_path):
    """A class called <b> would break the page, or columns of numbers could not be read."""
    rows = [["<b>&", "-1.5 %", "0.5 (0.4 to 0.6)", "2018-04"], ["x", "1,000", "undefined", "b"]]
    table = Table("a < b", "", ["name", "n", "score", "when"], rows)
    write_page(tmp_path / "p.html", "<title>", [table], ["© somebody & others"])
    read = Cells((tmp_path / "p.html").read_text(encoding="utf-8"))
    assert read.open == []
    assert [cell for cell, _ in read.cells[4:]] == [cell for row in rows for cell in row]
    assert [right for _, right in read.cells[4:8]] == [False, True, True, False]


def test_downsampling_tells_what_a_class_loses(tmp_path, monkeypatch):
    """A method that destroys a class would look harmless, or a missing class be divided by."""
    monkeypatch.chdir(tmp_path)
    area = write_area("small", SMALL_AREA.replace("block: 64", "block: 192"))
    path = Path("results/small/downsample/r000c000.csv")
    columns = [[0, 400, 1000, 0], [0, 100, 1300, 0], [0, 50, 990, 0], [0, 0, 650, 0]]
    write_areas(path, ClassAreas(*(np.array(each, float) for each in columns)))
    table = downsampling_table(load_area(area), Layout("small"))
    assert [list(row) for row in table.rows] == [
        ["no label", "0", "0", "none before", "", "", ""],
        ["field", "400", "100", "-75.0 %", "12.5 %", "50.0 %", "0.0 %"],
        ["wood", "1,000", "1,300", "+30.0 %", "99.0 %", "76.2 %", "50.0 %"],
        ["lake", "0", "0", "none before", "", "", ""],
    ]


def test_provenance_tells_settings_and_no_path(tmp_path, monkeypatch):
    """A report that is passed on would tell where its author keeps data; or not how it was made."""
    monkeypatch.chdir(tmp_path)
    text = SMALL_AREA.replace("data/labels.tif", "/home/somebody/secret/labels.tif")
    text = text.replace("data/{scene}", "~/imagery/{scene}")
    area = write_area("small", text)
    tables = provenance_tables(area, load_area(area), "landcover")
    cells = [cell for table in tables for row in table.rows for cell in row]
    assert not [cell for cell in cells if "somebody" in cell or "imagery" in cell]
    assert not [cell for cell in cells if str(tmp_path) in cell]
    (settings,) = [dict(table.rows) for table in tables if table.heading == "Settings"]
    assert re.fullmatch(r"\.\.\./labels\.tif \([0-9a-f]{8}\)", settings["labels.file"])
    assert settings["train.steps"] == "20" and settings["compose.bands"] == "B02, B03, B04"
    (software,) = [dict(table.rows) for table in tables if table.heading == "Software"]
    assert software["torch"][0].isdigit() and software["GDAL"][0].isdigit()
