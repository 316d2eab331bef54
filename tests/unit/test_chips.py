"""Which chips there are, what their table says, and how they are dealt to the parts."""

from collections import Counter
from pathlib import Path

import pytest

from mapmill.chips import Chip, chip_named, column_of, find_chips
from mapmill.dealing import chip_parts, deal
from mapmill.errors import ConfigError
from mapmill.sections import Chips, Split


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def touch(*paths):
    """Make empty files: names alone are looked at."""
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def chips(*images, masks=None, table=None):
    """The section for some patterns."""
    entries = [{"files": files, "bands": [f"b{n}"]} for n, files in enumerate(images)]
    return Chips.model_validate(
        {"images": entries, "masks": masks and {"files": masks}, "table": table}
    )


def refusal(error):
    """The message, which must be one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


def test_images_and_masks_are_matched_by_name():
    """A chip would be learnt with the mask of another place."""
    touch(*(f"img/image_{n}.h5" for n in (1, 2, 3)), *(f"m/mask_{n}.h5" for n in (3, 1, 2)))
    found = find_chips(chips("img/image_{chip}.h5", masks="m/mask_{chip}.h5"))
    assert [(c.name, c.images, c.mask) for c in found] == [
        (f"{n}", (Path(f"img/image_{n}.h5"),), Path(f"m/mask_{n}.h5")) for n in (1, 2, 3)
    ]
    assert found[0].files == ["img/image_1.h5", "m/mask_1.h5"]


def test_names_are_in_natural_order():
    """The order of chips, and so their parts, would depend on the disk or look scrambled."""
    names = ["10", "9", "a10b2", "a2b10", "a10b1", "1", "B7", "area", "area1"]
    touch(*(f"img/{name}.tif" for name in names))
    expected = ["1", "9", "10", "B7", "a2b10", "a10b1", "a10b2", "area", "area1"]
    assert [c.name for c in find_chips(chips("img/{chip}.tif"))] == expected


def test_several_images_of_a_chip_stay_in_order():
    """Bands of two files would be swapped, or be those of two places."""
    touch("top/a1.tif", "top/a2.tif", "dsm/x_a2_v1.tif", "dsm/x_a1_v2.tif")
    found = find_chips(chips("top/{chip}.tif", "dsm/x_{chip}_*.tif"))
    assert [list(map(str, c.images)) for c in found] == [
        ["top/a1.tif", "dsm/x_a1_v2.tif"],
        ["top/a2.tif", "dsm/x_a2_v1.tif"],
    ]


def test_a_folder_may_be_the_name_of_a_chip():
    """Chips with a folder each (BigEarthNet and its like) could not be used."""
    touch("d/s1/image.tif", "d/s2/image.tif", "d/s1/mask.tif", "d/.hidden/image.tif")
    found = find_chips(chips("d/{chip}/image.tif", masks="d/{chip}/mask.tif"))
    assert [(c.name, c.mask) for c in found] == [("s1", Path("d/s1/mask.tif")), ("s2", None)]


def test_masks_beside_their_images_are_no_images():
    """`a_mask.png` beside `a.png` would be taken for one more chip, and mapped."""
    touch("d/a.png", "d/a_mask.png", "d/b.png", "d/b_mask.png")
    found = find_chips(chips("d/{chip}.png", masks="d/{chip}_mask.png"))
    assert [(c.name, str(c.images[0]), str(c.mask)) for c in found] == [
        ("a", "d/a.png", "d/a_mask.png"),
        ("b", "d/b.png", "d/b_mask.png"),
    ]


def test_a_chip_may_lack_its_mask_but_a_mask_not_its_image():
    """Places to be mapped could not be given; or a wrongly named image would go unnoticed."""
    touch("img/a.tif", "img/b.tif", "m/a.tif")
    assert [c.mask for c in find_chips(chips("img/{chip}.tif", masks="m/{chip}.tif"))] == [
        Path("m/a.tif"),
        None,
    ]
    touch("m/c.tif")
    with pytest.raises(ConfigError) as error:
        find_chips(chips("img/{chip}.tif", masks="m/{chip}.tif"))
    assert refusal(error).startswith("m/c.tif: found no counterpart of chip c; expected one like")
    assert "img/{chip}.tif" in refusal(error)


@pytest.mark.parametrize(("lonely", "wanted"), [("top/b.tif", "dsm/"), ("dsm/b.tif", "top/")])
def test_an_image_without_its_second_file_is_named(lonely, wanted):
    """The message would name the file that is there as the one that is missing."""
    touch("top/a.tif", "dsm/a.tif", lonely)
    with pytest.raises(ConfigError) as error:
        find_chips(chips("top/{chip}.tif", "dsm/{chip}.tif"))
    assert refusal(error).startswith(f"{lonely}: found no counterpart of chip b; expected one like")
    assert f"like {wanted}{{chip}}.tif" in refusal(error)


def test_two_files_for_one_chip_are_refused():
    """Which of two versions is learnt from would be left to chance."""
    touch("d/x_1_old.tif", "d/x_1_new.tif")
    with pytest.raises(ConfigError) as error:
        find_chips(chips("d/x_{chip}_*.tif"))
    assert "d/x_1_old.tif: found 1 also in d/x_1_new.tif" in refusal(error)


@pytest.mark.parametrize("name", ["a b", "-a", "a'b", "a$(x)", "a..b", "ü", "a;b"])
def test_unsafe_names_are_refused(name):
    """A name would reach a shell command or climb out of the folder of results."""
    touch(f"d/{name}.tif")
    with pytest.raises(ConfigError) as error:
        find_chips(chips("d/{chip}.tif"))
    assert f"the name {name!r}" in refusal(error) and "rename" in refusal(error)


def test_no_file_names_the_pattern():
    """Someone who has not got the data yet would not learn where it belongs."""
    touch("m/a.tif")
    with pytest.raises(ConfigError) as error:
        find_chips(chips("data/img/{chip}.tif", masks="m/{chip}.tif"))
    assert "chips.images: found no file like data/img/{chip}.tif" in refusal(error)
    touch("data/img/a.tif")
    with pytest.raises(ConfigError) as error:
        find_chips(chips("data/img/{chip}.tif", masks="none/{chip}.tif"))
    assert "chips.masks: found no file like none/{chip}.tif" in refusal(error)


@pytest.mark.parametrize("pattern", ["d/image.tif", "d/{chip}/{chip}.tif", "d/*.tif"])
def test_a_pattern_names_the_chip_once(pattern):
    """All files would be one chip."""
    touch("d/image.tif")
    with pytest.raises(ConfigError) as error:
        find_chips(chips(pattern))
    assert "{chip} once" in refusal(error)


def test_brackets_in_a_folder_are_letters():
    """A folder like `data [old]` would match nothing or something else."""
    touch("data [old]/a+1.tif", "data o/z.tif")
    with pytest.raises(ConfigError, match="the name 'a\\+1'"):
        find_chips(chips("data [old]/{chip}.tif"))


def table(text, encoding="utf-8"):
    """A table of chips on disk, and the section that names it."""
    Path("t.csv").write_bytes(text.encode(encoding))
    return chips("d/{chip}.tif", table="t.csv")


def test_a_column_is_read_by_chip():
    """Chips would be split by the wrong rows; a table saved by Excel would not be understood."""
    text = "chip,area,event\nb,1,Kodagu\na,2,Iburi\nother,3,\n"
    for encoding in ("utf-8", "utf-8-sig"):
        assert column_of(table(text, encoding), "event", ["a", "b"]) == {
            "a": "Iburi",
            "b": "Kodagu",
        }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "columns nothing; expected chip"),
        ("chip,event\n", "no event of chip a"),
        ("name,event\na,x\n", "columns name, event; expected chip"),
        ("chip;event\na;x\n", "columns chip;event; expected chip"),
        ("chip,place\na,x,y\n", "columns chip, place; expected event"),
        ("chip,event\na,x\na,y\n", "chip a twice"),
        ("chip,event\na,\n", "no event of chip a"),
        ("chip,event\na\n", "no event of chip a"),
        ("chip,event\nb,x\n", "no event of chip a"),
    ],
)
def test_mistakes_in_the_table_are_one_line(text, says):
    """A wrong table would end in a page of Python, or in chips without a part."""
    with pytest.raises(ConfigError) as error:
        column_of(table(text), "event", ["a"])
    assert refusal(error).startswith("t.csv: ") and says in refusal(error)


def test_a_table_that_cannot_be_read_is_one_line():
    """A missing table, or one in another encoding, would end in a page of Python."""
    with pytest.raises(ConfigError) as error:
        column_of(table("chip,event\na,Åre\n", "latin-1"), "event", ["a"])
    assert refusal(error).startswith("t.csv: ")
    Path("t.csv").unlink()
    with pytest.raises(ConfigError) as error:
        column_of(chips("d/{chip}.tif", table="t.csv"), "event", ["a"])
    assert "t.csv" in refusal(error)


def test_an_unknown_chip_is_one_line():
    """A typing error in a name would train for hours before it is found."""
    known = [Chip(name, (Path("a.tif"),), None) for name in ("a", "b")]
    assert chip_named(known, "b") is known[1]
    with pytest.raises(ConfigError) as error:
        chip_named(known, "z")
    assert refusal(error) == "chip z: found no such chip; expected one of a, b; check the name"


NAMES = [f"c{number}" for number in range(23)]


def test_folds_partition_the_chips():
    """A chip would be scored twice or never over the folds, or scored by what it taught."""
    tested = Counter()
    for fold in range(5):
        parts = chip_parts(Split(method="chip", folds=5, fold=fold), NAMES, {})
        assert set(parts) == set(NAMES)
        held = {name: number for name, (_, number) in parts.items()}
        by_part = {
            p: {c for c, (part, _) in parts.items() if part == p} for p in ("train", "val", "test")
        }
        assert all(held[chip] == fold for chip in by_part["test"])
        assert all(held[chip] == (fold + 1) % 5 for chip in by_part["val"])
        assert 4 <= len(by_part["test"]) <= 5 and 4 <= len(by_part["val"]) <= 5
        tested.update(by_part["test"])
    assert tested == Counter(NAMES)


def test_a_chip_keeps_its_part_whatever_the_order_of_the_day():
    """The same area would be split otherwise at the next run, or not otherwise by another seed."""
    first, again = (chip_parts(Split(method="chip"), NAMES, {}) for _ in range(2))
    assert first == again != chip_parts(Split(method="chip", seed=1), NAMES, {})
    assert Counter(part for part, _ in first.values()) == {"train": 14, "val": 5, "test": 4} or (
        Counter(part for part, _ in first.values()) == {"train": 14, "val": 4, "test": 5}
    )


def test_groups_of_a_column_stay_together():
    """An event would be in training and test: the score would not be that of a new event."""
    events = {name: f"event {number % 7}" for number, name in enumerate(NAMES)}
    for folds in (None, 3):
        split = Split(method="column", column="event", folds=folds)
        parts = chip_parts(split, NAMES, {"event": events})
        of_event = {e: {parts[c] for c in NAMES if events[c] == e} for e in events.values()}
        assert all(len(given) == 1 for given in of_event.values())
        assert {part for part, _ in parts.values()} == {"train", "val", "test"}


def test_a_column_of_parts_is_used_as_it_is():
    """A published split (Sen1Floods11's, Vaihingen's) could not be reproduced."""
    given = {name: ("train", "test", "val")[number % 3] for number, name in enumerate(NAMES)}
    parts = chip_parts(Split(method="column", column="part"), NAMES, {"part": given})
    assert parts == {name: (part, None) for name, part in given.items()}


@pytest.mark.parametrize("folds", [None, 3])
def test_strata_give_each_part_its_share(folds):
    """A rare kind of place would be in training alone, or never be learnt."""
    kinds = {name: "rare" if number < 5 else "common" for number, name in enumerate(NAMES)}
    split = Split(method="chip", strata="kind", folds=folds)
    parts = chip_parts(split, NAMES, {"kind": kinds})
    for kind, members in (("rare", 5), ("common", 18)):
        counted = Counter(parts[chip][0] for chip in NAMES if kinds[chip] == kind)
        assert sum(counted.values()) == members and set(counted) == {"train", "val", "test"}
        if folds is None:
            assert abs(counted["train"] - 0.6 * members) <= 1
    assert set(parts) == set(NAMES)


@pytest.mark.parametrize(
    ("split", "count", "columns", "says"),
    [
        ({"method": "chip"}, 2, {}, "2 chips; expected at least 3, one for each part"),
        ({"method": "chip", "folds": 5}, 4, {}, "4 chips; expected at least 5, one for each fold"),
        (
            {"method": "column", "column": "e"},
            9,
            {"e": "xxxxyyyyy"},
            "2 values of e; expected at least 3",
        ),
        (
            {"method": "chip", "strata": "e"},
            9,
            {"e": "xxxxxxxyy"},
            "2 chips with e y; expected at least 3",
        ),
    ],
)
def test_too_few_chips_are_one_line(split, count, columns, says):
    """A part would be empty, and training or scores fail hours later."""
    names = NAMES[:count]
    given = {name: dict(zip(names, values, strict=True)) for name, values in columns.items()}
    with pytest.raises(ConfigError) as error:
        chip_parts(Split(**split), names, given)
    assert says in refusal(error)


def test_parts_that_are_not_asked_for_need_no_chip():
    """Two chips, one to learn from and one to be scored by, would be refused."""
    split = Split(method="chip", train=0.5, val=0, test=0.5)
    parts = chip_parts(split, NAMES[:2], {})
    assert Counter(part for part, _ in parts.values()) == {"train": 1, "test": 1}
    assert deal(split, 0) == []
