"""What an area will ask for, against figures of the service's documentation and by hand."""

from pathlib import Path

import pytest
import yaml
from making import SMALL_AREA, write_area
from pinning import catalogue_area, place

from mapmill.areafile import load_area
from mapmill.cli import main
from mapmill.errors import ConfigError
from mapmill.estimate import estimate, told, units_of
from mapmill.layout import Layout

NOWHERE = Layout("never-made")
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
    found = estimate(catalonia, NOWHERE)
    assert (found.blocks, len(found.skipped), found.requests) == (75, 69, 150)
    assert found.units == pytest.approx(150 * 87.42, rel=1e-4)
    text = told(catalonia, found)
    assert "150 requests" in text and "13,113 processing units" in text
    assert "r011c011" in text and "r006c006" not in text
    assert "about 44 min at a free account's 300 units" in text and "10,000 units a month" in text
    raw = 75 * 2500**2 * 2 * 20
    assert 0.4 * raw < found.disk_bytes["compose"] < raw


def test_files_on_disk_are_not_asked_for(tmp_path, monkeypatch, capsys):
    """A user with scenes of their own would be told of requests and units."""
    monkeypatch.chdir(tmp_path)
    area = load_area(write_area("small", SMALL_AREA))
    found = estimate(area, NOWHERE)
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
    disk = estimate(area, NOWHERE).disk_bytes
    assert disk["pack"] == disk["downsample"] == 0 and disk["predict"] > 0


def test_chips_have_nothing_to_estimate(tmp_path, monkeypatch):
    """A traceback would be the answer to a fair question."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="chips"):
        estimate(load_area(CATALONIA.with_name("luzon.yaml")), NOWHERE)


def test_labels_and_weights_are_downloads_too(catalonia):
    """The label map of 1.8 GB would come as a surprise."""
    found = estimate(catalonia, NOWHERE)
    blocks = found.download.size - 102_530_333  # the weights, whose size is in the area file
    assert found.download.files == 152 and found.download.unknown == ["labels.tif"]
    assert 0.4 < blocks / (150 * 2500**2 * 24) < 1
    assert found.disk_bytes["download"] == found.download.size
    text = told(catalonia, found)
    assert "to download: 151 files, about" in text and "of unknown size: labels.tif" in text


def test_catalogue_that_was_not_searched_says_how_to_find_out(tmp_path, monkeypatch):
    """`0 GB to download` would be believed."""
    monkeypatch.chdir(tmp_path)
    area, layout = catalogue_area(None)
    text = told(area, estimate(area, layout))
    assert "snakemake --cores 1 results/stac/search/2018-04.json" in text
    assert "about 0" not in text and "files" not in text


def test_pinned_search_is_added_up(tmp_path, monkeypatch, capsys):
    """The disk would be full in the middle of the night."""
    monkeypatch.chdir(tmp_path)
    area, layout = catalogue_area({"A": 5_000_000_000, "B": 7_000_000_000, "C": None})
    found = estimate(area, layout)
    assert found.download.size == found.disk_bytes["download"] == 12_000_000_000
    assert found.download.unknown == ["2018-04/C/B02.tif"]
    assert main(["estimate", "config/areas/stac.yaml"]) == 0
    said = capsys.readouterr().out
    assert "to download: 2 files, about 12.0 GB" in said
    assert "of unknown size: 2018-04/C/B02.tif" in said and "snakemake" not in said


def test_parts_of_files_are_at_most_the_files(tmp_path, monkeypatch):
    """Reading a tenth of each file would be promised to take as long as all of it."""
    monkeypatch.chdir(tmp_path)
    area, layout = catalogue_area({"A": 5_000_000_000}, read="window")
    assert "1 files, at most 5.0 GB" in told(area, estimate(area, layout))


def test_files_that_are_there_are_told(tmp_path, monkeypatch):
    """A run that was broken off would seem to begin again."""
    monkeypatch.chdir(tmp_path)
    area, layout = catalogue_area({"A": 5_000_000, "B": 7_000_000})
    place(layout, "2018-04/A/B02.tif", 5_000_000)
    found = estimate(area, layout)
    assert (found.download.present, found.download.present_size) == (1, 5_000_000)
    assert "there already: 1 files, 5.0 MB" in told(area, found)
