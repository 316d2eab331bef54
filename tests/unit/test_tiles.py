"""The table of tiles: what is written is what is read."""

import csv

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapmill.errors import ContractError
from mapmill.grid import Window
from mapmill.tiles import Tile, read_tiles, write_tiles

CLASSES = 3
shares = st.integers(0, 1_000_000).map(lambda n: n / 1_000_000)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
tables = st.lists(
    st.builds(
        Tile,
        period=st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True),
        window=st.builds(
            lambda row, col, size: Window(row, col, size, size),
            st.integers(0, 10**6),
            st.integers(0, 10**6),
            st.integers(16, 2048),
        ),
        valid=shares,
        cloud=shares,
        snow=shares,
        labelled=shares,
        chip=st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True)),
        split=st.sampled_from(["train", "val", "test", ""]),
        fold=st.one_of(st.none(), st.integers(0, 9)),
        dropped=st.one_of(st.sampled_from(["", "no labels", 'a, "b"']), texts),
        counts=st.tuples(*[st.integers(0, 2**31)] * CLASSES),
    ),
    max_size=5,
)


@settings(deadline=None, derandomize=True, max_examples=80)
@given(tables)
def test_what_is_written_is_read(tmp_path_factory, tiles):
    """Otherwise tiles would be packed from other places than those that were chosen."""
    path = tmp_path_factory.mktemp("tiles") / "tiles.csv"
    write_tiles(path, tiles, CLASSES)
    assert read_tiles(path) == tiles
    first = path.read_bytes()
    write_tiles(path, tiles, CLASSES)
    assert path.read_bytes() == first


def test_the_table_opens_in_other_programs(tmp_path):
    """Otherwise nobody could see in a spreadsheet why a tile was dropped."""
    path = tmp_path / "tiles.csv"
    tile = Tile(
        *("2018-04", "", Window(64, 32, 16, 16), 1.0, 0.5, 0.125, 0.25),
        *("train", None, "few, or none", (60, 0, 4)),
    )
    write_tiles(path, [tile], CLASSES)
    with path.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "tile": "y64x32",
        "period": "2018-04",
        "chip": "",
        "row": "64",
        "col": "32",
        "size": "16",
        "valid": "1.000000",
        "cloud": "0.500000",
        "snow": "0.125000",
        "labelled": "0.250000",
        "split": "train",
        "fold": "",
        "dropped": "few, or none",
        "class_1": "60",
        "class_2": "0",
        "class_3": "4",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a,b,c\n1,2,3\n",
        "tile,period,row,col,size,valid,labelled,dropped,split,class_1\n",
        "period,tile,row,col,size,valid,labelled,split,dropped,class_1\n",
        "tile,period,row,col\ny0x0,a,0,0\n",
    ],
)
def test_a_table_with_other_columns_is_refused_in_one_line(tmp_path, text):
    """Otherwise a table of an older version would be read with its columns mixed up."""
    path = tmp_path / "tiles.csv"
    path.write_text(text)
    with pytest.raises(ContractError, match="other columns") as caught:
        read_tiles(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
