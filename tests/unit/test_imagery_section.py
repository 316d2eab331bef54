"""Sources of imagery in an area file: what goes with what, and mistakes in one line."""

from pathlib import Path

import pytest
import yaml
from running import ROOT
from stages.stage_steps import area_with, refused

from mapmill.areafile import load_area
from mapmill.settings import settings

STAC = {"source": "stac", "periods": {"2018-04": {}}}
CHOSEN = {"api": "https://x.org/v1", "collections": ["c"]}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("search", "said"),
    [
        (STAC, "catalogue"),
        ({"source": "files", "catalogue": CHOSEN}, "catalogue"),
        (STAC | {"catalogue": {"collections": ["c"]}}, "catalogue.api"),
        ({"source": "bdc", "periods": {"2018-04": {}}, "catalogue": CHOSEN}, "catalogue.api"),
        (STAC | {"catalogue": CHOSEN | {"api": "ftp://x.org"}}, "api"),
        (STAC | {"catalogue": CHOSEN | {"api": "https://me:word@x.org/v1"}}, "api"),
        (STAC | {"catalogue": CHOSEN | {"api": "https://x.org/v1?token=1"}}, "api"),
        (STAC | {"catalogue": CHOSEN | {"collections": []}}, "collections"),
        (STAC | {"catalogue": CHOSEN | {"collection": ["c"]}}, "collection"),
        (STAC | {"catalogue": CHOSEN | {"max_cloud": 130}}, "max_cloud"),
        (STAC | {"catalogue": CHOSEN | {"exclude": ["../x\n"]}}, "exclude"),
        (STAC | {"catalogue": CHOSEN | {"min_coverage": 99}}, "min_coverage"),
        (
            {**STAC, "catalogue": CHOSEN, "periods": {"2018-04": {"files": "a.tif"}}},
            "files or stac",
        ),
    ],
)
def test_mistakes_are_one_line(capsys, search, said):
    """A user would find out after the search, or never."""
    line = refused(capsys, "check", area_with("wrong", search=search))
    assert said in line


def test_every_choice_of_the_catalogue_asks_for_a_new_search():
    """A lower cloud limit, or another place, would still give the scenes of before."""
    one = load_area(area_with("one", search=STAC | {"catalogue": CHOSEN}))
    for change in (
        {"search": STAC | {"catalogue": CHOSEN | {"max_cloud": 20}}},
        {"search": STAC | {"catalogue": CHOSEN}, "compose": {"bands": ["B02", "B08", "B04"]}},
        {
            "search": STAC | {"catalogue": CHOSEN},
            "window": [400_000, 4_599_360, 400_640, 4_600_000],
        },
    ):
        two = load_area(area_with("two", **change))
        assert settings(one, "search", "2018-04") != settings(two, "search", "2018-04")


def test_how_files_are_read_asks_for_them_again_and_nothing_else_does():
    """A changed loss would fetch gigabytes, or a larger window leave holes."""
    given = {"search": STAC | {"catalogue": CHOSEN}}
    file = "2018-04/a/red.tif"
    whole = settings(load_area(area_with("one", **given)), "download", file)
    other = settings(load_area(area_with("two", **given, train={"loss": "dice"})), "download", file)
    part = settings(
        load_area(area_with("three", **given, download={"read": "window"})), "download", file
    )
    assert whole == other and whole != part


def test_the_commented_alternative_of_catalonia():
    """What a user uncomments would not be read."""
    text = (ROOT / "config/areas/catalonia.yaml").read_text(encoding="utf-8")
    lines, content = text.splitlines(), yaml.safe_load(text)
    start = lines.index("#search:")
    told = [line[1:] for line in lines[start:] if line.startswith("#")]
    content |= yaml.safe_load("\n".join(told))
    (Path("config") / "areas").mkdir(parents=True)
    for name in ("outlines", "classes"):
        Path("config", name).symlink_to(ROOT / "config" / name)
    path = Path("config/areas/catalonia.yaml")
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    area = load_area(path)
    assert area.source == "stac" and area.download.read == "window" and len(area.periods) == 2
