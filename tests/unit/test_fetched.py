"""How far the downloads of an area are, told from the files alone."""

import sys
import time
from pathlib import Path

import pytest
from pinning import catalogue_area, place
from servers.areas import hub_area

from mapmill import fetched
from mapmill.areafile import load_area
from mapmill.fetched import standing, wanted
from mapmill.layout import Layout


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Six blocks in two periods, from Sentinel Hub."""
    monkeypatch.chdir(tmp_path)
    return load_area(hub_area()), Layout("hub")


def test_blocks_of_all_periods_are_wanted(hub):
    """A run would be called done when its first season is."""
    area, layout = hub
    names = list(wanted(area, layout).images)
    assert len(names) == 12 and names[0] == "2018-04/r000c000.tif"
    assert standing(area, layout, time.time()) == "0 of 12 files, 0 kB of an unknown size"


def test_rate_and_time_are_those_of_this_run(hub):
    """Files of last week, or a night's pause, would make the time left nonsense."""
    area, layout = hub
    names, now = list(wanted(area, layout).images), time.time()
    place(layout, names[0], at=now - 500_000)
    for number, name in enumerate(names[1:5]):
        place(layout, name, at=now - 1000 + 20 * (number + 1))
    said = standing(area, layout, now - 1000)
    assert said.startswith("5 of 12 files, 5.0 MB of about 12.0 MB, 50.0 kB/s")
    assert said.endswith("about 140 s left") or said.endswith("about 2 min left")
    place(layout, names[5], at=now + 4000)  # after a pause
    assert "50.0 kB/s" in standing(area, layout, now - 1000)


def test_slow_large_files_have_a_rate_too(hub):
    """Files that take longer than the longest gap would never be counted."""
    area, layout = hub
    names, now = list(wanted(area, layout).images), time.time()
    for number, name in enumerate(names[:3]):
        place(layout, name, at=now - 10_000 + 1000 * (number + 1))
    assert "1.0 kB/s; about 2 h left" in standing(area, layout, now - 10_000)


def test_nothing_is_divided_by_zero(hub):
    """A log line would end a download that had worked."""
    area, layout = hub
    now = time.time()
    for name in wanted(area, layout).images:
        place(layout, name, at=now)
    assert standing(area, layout, now) == "12 of 12 files, 12.0 MB"
    assert standing(area, layout, now + 1e6) == "12 of 12 files, 12.0 MB"


def test_files_of_no_size_and_broken_links_do_not_fail(hub):
    """The same, where another process clears up at this moment."""
    area, layout = hub
    names = list(wanted(area, layout).images)
    place(layout, names[0], size=0)
    place(layout, names[1])
    (Path("resources") / names[1]).unlink()
    assert standing(area, layout, 0.0).startswith("1 of 12 files, 0 kB")


def test_it_never_raises(hub, monkeypatch):
    """Whatever happens, the file that was just fetched is there."""
    area, layout = hub

    def broken(*_):
        raise RuntimeError("a secret")

    monkeypatch.setattr(fetched, "wanted", broken)
    said = standing(area, layout, 0.0)
    assert said == "how far the downloads are is not known (RuntimeError)"


def test_damaged_search_does_not_fail_a_download(tmp_path, monkeypatch):
    """The same, for the pinned search."""
    monkeypatch.chdir(tmp_path)
    area, layout = catalogue_area({})
    layout.search("2018-04").write_text("{")
    assert "not known (ContractError)" in standing(area, layout, 0.0)


def test_pinned_search_says_what_is_wanted_and_how_much(tmp_path, monkeypatch):
    """The time left would be told from the files that are there alone."""
    monkeypatch.chdir(tmp_path)
    area, layout = catalogue_area({"A": 5_000_000, "B": 7_000_000})
    assert wanted(area, layout).images == {"2018-04/A/B02.tif": 5e6, "2018-04/B/B02.tif": 7e6}
    now = time.time()
    place(layout, "2018-04/A/B02.tif", 5_000_000, at=now)
    said = standing(area, layout, now - 10)
    assert said == "1 of 2 files, 5.0 MB of about 12.0 MB, 0.5 MB/s; about 14 s left"


def test_unknown_sizes_are_told_from_those_there(tmp_path, monkeypatch):
    """Parts of files would be taken for whole ones, and the end told hours too late."""
    monkeypatch.chdir(tmp_path)
    area, layout = catalogue_area({"A": 5_000_000, "B": None}, read="window")
    place(layout, "2018-04/A/B02.tif", 2_000_000)
    assert "1 of 2 files, 2.0 MB of about 4.0 MB" in standing(area, layout, time.time() + 9)


def test_period_that_is_not_searched_is_named(tmp_path, monkeypatch):
    """`2 of 2 files` would read as done."""
    monkeypatch.chdir(tmp_path)
    area, layout = catalogue_area(None)
    assert standing(area, layout, 0.0) == "0 of 0 files; those of 2018-04 not searched yet"


def test_blocks_outside_the_area_are_counted(monkeypatch):
    """Somebody would wait for 144 blocks, of which 69 are sea; labels and weights come too."""
    monkeypatch.chdir(Path(__file__).parents[2])
    area = load_area(Path("config/areas/catalonia.yaml"))
    said = standing(area, Layout("never-made"), 0.0)
    assert "69 blocks outside the area of interest skipped" in said
    assert said.startswith("0 of 15") and "labels.tif" in wanted(area, Layout("x")).others


def _calls_for(count, folder, monkeypatch):
    """Calls of functions, of Python and of C, that the line about `count` files takes."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    area, layout = catalogue_area({f"S{n}": 1000 for n in range(count)})
    for name in wanted(area, layout).images:
        link = layout.download(name)
        link.parent.mkdir(parents=True)
        link.symlink_to("/dev/null")
    calls = 0

    def seen(frame, event, of):
        nonlocal calls
        calls += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        said = standing(area, layout, 0.0)
    finally:
        sys.setprofile(before)
    assert said.startswith(f"{count} of {count} files")
    return calls


def test_work_grows_as_the_files_do(tmp_path, monkeypatch):
    """Each file would wait for the line about it: of 10,000 files as long as for all of them."""
    few, many = (_calls_for(n, tmp_path / str(n), monkeypatch) for n in (500, 4000))
    assert many < 8.5 * few and many < 1000 * 4000
