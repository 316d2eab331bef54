"""The class table as a file: read whole, or refused in one line."""

from pathlib import Path

import pytest
import yaml
from making import SMALL_AREA, write_area

from mapmill.areafile import load_area
from mapmill.codes import read_codes
from mapmill.errors import ConfigError
from mapmill.settings import settings

TABLE = "# a remark\n# another\ncode,class,name\n1,1,field\n2,2,oak\n3,2,beech\n9,0,unknown\n"


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def area_of(**labels):
    content = yaml.safe_load(SMALL_AREA)
    content["labels"] |= labels
    return load_area(write_area("small", yaml.safe_dump(content)))


def line_of(work, *arguments, **keywords):
    with pytest.raises(ConfigError) as caught:
        work(*arguments, **keywords)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_codes_become_classes():
    """A code would fall on the class of its neighbour."""
    Path("codes.csv").write_text(TABLE)
    assert read_codes(Path("codes.csv")) == {"1": 1, "2": 2, "3": 2, "9": 0}


@pytest.mark.parametrize("written", [TABLE.replace("\n", "\r\n"), "\ufeff" + TABLE])
def test_a_table_as_spreadsheets_write_it(written):
    """A table saved on another system would be refused for a reason nobody can see."""
    Path("codes.csv").write_text(TABLE)
    Path("other.csv").write_bytes(written.encode())
    assert read_codes(Path("other.csv")) == read_codes(Path("codes.csv"))


def test_colours_are_codes():
    """The colours of a mask of three bands would be taken for remarks, and be left out."""
    Path("codes.csv").write_text("# of ISPRS\ncode,class\n#ffffff,1\n#0000ff,2\n")
    assert read_codes(Path("codes.csv")) == {"#ffffff": 1, "#0000ff": 2}


def test_the_table_is_a_setting_of_downsample():
    """A changed table would leave the labels as they were on the grid."""
    Path("codes.csv").write_text(TABLE)
    by_table, inline = area_of(table="codes.csv"), area_of(codes={1: 1, 2: 2, 3: 2, 9: 0})
    assert settings(by_table, "downsample")["labels.codes"] == {"1": 1, "2": 2, "3": 2, "9": 0}
    assert by_table.labels.codes == inline.labels.codes
    Path("codes.csv").write_text(TABLE.replace("3,2", "3,3"))
    changed = area_of(table="codes.csv")
    stages = {"compose": None, "downsample": None, "select": None, "pack": None}
    stages |= {"download": "labels.tif", "train": "unet-1", "predict": "landcover"}
    differ = {s for s, n in stages.items() if settings(by_table, s, n) != settings(changed, s, n)}
    assert differ == {"downsample"}


MISTAKES = {
    "a code twice": (TABLE + "2,1,maple\n", ["code 2 twice", "each code once", "take one row out"]),
    "a code twice, spaced": (TABLE + " 2 ,1,maple\n", ["code 2 twice"]),
    "no column of classes": (TABLE.replace("class", "klass"), ["code, klass", "columns code and"]),
    "semicolons": (TABLE.replace(",", ";"), ["code;class;name", "columns code and class"]),
    "no header": ("1,1\n2,2\n", ["found 1", "columns code and class"]),
    "no number": (TABLE.replace("3,2,", "3,wood,"), ["code '3', class 'wood' in row 3"]),
    "a fraction": (TABLE.replace("3,2,", "3,2.5,"), ["class '2.5' in row 3"]),
    "a negative class": (TABLE.replace("3,2,", "3,-2,"), ["class '-2' in row 3"]),
    "no class": (TABLE.replace("3,2,beech", "3"), ["code '3', class '' in row 3"]),
    "no code": (TABLE.replace("3,2,", ",2,"), ["code '', class '2' in row 3"]),
    "nothing": ("", ["no rows"]),
    "a header alone": ("code,class\n", ["no rows"]),
    "a null": ("code,class\n1,\0\n", ["codes.csv"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_the_table_is_one_line(case):
    """A wrong table would end in a page of Python, or one of two classes be taken silently."""
    text, words = MISTAKES[case]
    Path("codes.csv").write_text(text)
    line = line_of(area_of, table="codes.csv")
    assert line.startswith("codes.csv: found ")
    assert all(word in line for word in words), line


def test_no_table():
    """A wrong path would end in a page of Python."""
    assert "none.csv: found no such file; expected" in line_of(area_of, table="none.csv")
    assert "." in line_of(area_of, table=".")
    Path("codes.csv").write_bytes("code,class\n1,1\n# Fürth\n".encode("latin-1"))
    assert "UTF-8" in line_of(area_of, table="codes.csv")


def test_codes_beside_the_table():
    """One of two tables would be obeyed, and nobody know which."""
    Path("codes.csv").write_text(TABLE)
    line = line_of(area_of, table="codes.csv", codes={1: 1})
    assert "codes and table" in line and "small.yaml: labels" in line


def test_a_code_that_yaml_holds_twice():
    """Of 5 and "5", two keys to YAML, the last would win in silence."""
    line = line_of(area_of, codes={5: 1, "5": 2})
    assert "labels.codes" in line and "each code once" in line


def test_a_class_that_does_not_exist():
    """A pixel would get a class without name and colour."""
    Path("codes.csv").write_text(TABLE.replace("3,2,", "3,4,"))
    assert "labels.codes.3: found 4, which is no class" in line_of(area_of, table="codes.csv")
