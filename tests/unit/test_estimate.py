"""What an area will ask for, against figures of the service's documentation and by hand."""

from pathlib import Path

import pytest
import yaml
from making import SMALL_AREA, write_area

from mapmill.areafile import load_area
from mapmill.cli import main
from mapmill.errors import ConfigError
from mapmill.estimate import estimate, told, units_of

CATALONIA = Path(__file__).parents[2] / "config/areas/catalonia.yaml"


@pytest.fixture
def catalonia(monkeypatch):
    """The shipped area; its paths are relative to the project's folder."""
    monkeypatch.chdir(CATALONIA.parents[2])
    return load_area(CATALONIA)


def test_a_full_block_costs_what_the_documentation_says(catalonia):
    """Users would run out of their month's units in the middle of a map."""
    block = catalonia.the_grid().block_named("r006c006")
    assert units_of(catalonia, block) == pytest.approx(87.42, abs=0.01)


def test_catalonia_asks_for_land_alone(catalonia):
    """The sea would be paid for."""
    found = estimate(catalonia)
    assert (found.blocks, len(found.skipped), found.requests) == (75, 69, 150)
    assert found.units == pytest.approx(150 * 87.42, rel=1e-4)
    text = told(catalonia, found)
    assert "150 requests" in text and "13,113 processing units" in text
    assert "r011c011" in text and "r006c006" not in text
    raw = 75 * 2500**2 * 2 * 20
    assert 0.4 * raw < found.disk_bytes["compose"] < raw


def test_files_on_disk_are_not_asked_for(tmp_path, monkeypatch, capsys):
    """A user with scenes of their own would be told of requests and units."""
    monkeypatch.chdir(tmp_path)
    area = load_area(write_area("small", SMALL_AREA))
    found = estimate(area)
    assert (found.blocks, found.requests, found.units, found.skipped) == (9, 0, 0.0, [])
    assert found.disk_bytes["download"] == 0
    assert main(["estimate", "config/areas/small.yaml"]) == 0
    said = capsys.readouterr().out
    assert "9 blocks" in said and "Sentinel Hub" not in said and "download" not in said


def test_a_place_without_labels_packs_nothing(tmp_path, monkeypatch):
    """A borrowed model would be counted as if it were trained here."""
    monkeypatch.chdir(tmp_path)
    write_area("small", SMALL_AREA)
    content = yaml.safe_load(SMALL_AREA) | {"model": "small/unet", "maps": {"landcover": {}}}
    for section in ("labels", "select", "train", "runs"):
        del content[section]
    area = load_area(write_area("other", yaml.safe_dump(content)))
    disk = estimate(area).disk_bytes
    assert disk["pack"] == disk["downsample"] == 0 and disk["predict"] > 0


def test_chips_have_nothing_to_estimate(tmp_path, monkeypatch):
    """A traceback would be the answer to a fair question."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="chips"):
        estimate(load_area(CATALONIA.with_name("luzon.yaml")))
