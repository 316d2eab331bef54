"""The scenes of a search as a table and as a picture: what is in them, and that they are stable."""

import numpy as np
import pytest
import shapely
from matplotlib.image import imread

from mapmill.footprints import Footprint, draw, table
from mapmill.mapsheet import depth, view_of

AREA = shapely.box(2.0, 41.3, 2.5, 41.7)
CREDITS = ["Contains modified Copernicus Sentinel data 2018"]


def scene(name, x=1.6, *, day=3, why="", cloud=3.0, tile="31TDF", y=41.1):
    """A scene of 1.3 x 1 degrees."""
    box, kept = shapely.box(x, y, x + 1.3, y + 1.0), not why
    moment = f"2018-04-{day:02d}T10:50:31Z"
    share = shapely.intersection(box, AREA).area / AREA.area
    return Footprint(name, moment, cloud, tile, share, box, kept, why)


def test_table_says_why_a_scene_is_missing():
    """Nobody could tell why a season has holes."""
    found = [scene("S2A_1"), scene("S2B_22", why="too cloudy", cloud=None, tile="")]
    lines = table(found).splitlines()
    assert lines[0].split() == ["date", "cloud", "tile", "coverage", "scene"]
    assert lines[1].split() == [
        "2018-04-03",
        "10:50",
        "3",
        "%",
        "31TDF",
        "100",
        "%",
        "S2A_1",
        "taken",
    ]
    assert lines[2].endswith("S2B_22  too cloudy") and "  -  -  " in lines[2]
    assert (
        len({line.index(word) for line, word in zip(lines[1:], ("S2A", "S2B"), strict=True)}) == 1
    )


def test_long_table_is_cut_but_keeps_what_is_taken():
    """A year of scenes would push what matters off the screen."""
    taken = [scene(f"T{n}") for n in range(40)]
    others = [scene(f"X{n}", why="nothing new") for n in range(51)]
    lines = table([*others, *taken]).splitlines()
    assert [line.split()[-2] for line in lines[1:41]] == [f"T{n}" for n in range(40)]
    assert len(lines) == 1 + 40 + 20 + 1 and lines[-1] == "and 31 more left out"
    assert table([]) == "no scene found"


def test_shares_near_all_and_nothing_are_not_rounded_away():
    """A hole of a few pixels would read as full coverage."""
    shares = {0.9993: "> 99 %", 0.001: "< 1 %", 1.0: "100 %", 0.0: "0 %"}
    for share, said in shares.items():
        found = Footprint("A", "", None, "", share, AREA, True, "")
        assert f"  {said}  A" in table([found])


def test_picture_counts_scenes_where_they_lie():
    """The shades would say that a hole is covered, or lie upside down."""
    north, east = shapely.box(1, 41.5, 3, 43), shapely.box(2.25, 41, 3, 43)
    view = view_of(AREA, [north, east])
    depth_YX = depth([north, east], AREA, view)
    assert set(np.unique(depth_YX)) == {-1, 0, 1, 2}
    (row, col), (middle, centre) = (
        np.argwhere(part).mean(axis=0) for part in (depth_YX == 2, depth_YX >= 0)
    )
    assert row < middle and col > centre  # in the north-east
    inside = depth_YX >= 0
    shares = [(depth_YX == count).sum() / inside.sum() for count in (0, 1, 2)]
    assert shares == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


@pytest.mark.parametrize("area", [AREA, shapely.box(-10, 70, 20, 71), shapely.box(8, -5, 8.2, 5)])
def test_map_is_as_wide_as_it_is_there(area):
    """A place in the north would look twice as wide as it is."""
    view = view_of(area, [shapely.box(*area.bounds).buffer(0.5)])
    depth_YX = depth([], area, view)
    rows, cols = (np.nonzero((depth_YX == 0).any(axis=axis))[0] for axis in (1, 0))
    west, south, east, north = area.bounds
    middle = (view[1] + view[3]) / 2
    expected = (east - west) * np.cos(np.radians(middle)) / (north - south)
    assert len(cols) / len(rows) == pytest.approx(expected, rel=0.08)


def test_area_stays_visible_within_a_large_scene():
    """A village in a swath of 300 km would be a dot."""
    village = shapely.box(2, 41.3, 2.1, 41.4)
    view = view_of(village, [shapely.box(-1, 39, 5, 44)])
    assert (view[3] - view[1]) < 5 * 0.1
    assert (depth([], village, view) == 0).mean() > 0.04


def picture(path):
    """A PNG as (y, x, 3) int."""
    return (imread(path)[..., :3] * 255).round().astype(int)


SETS = {
    "none": [],
    "one": [scene("A")],
    "five": [scene(f"S{n}", 1.2 + 0.2 * n, day=1 + n) for n in range(5)],
    "same": [scene(f"S{n}", day=1 + n) for n in range(7)],
    "forty": [scene(f"S{n}", 0.5 + 0.1 * n, day=1 + n // 8, tile=f"T{n}") for n in range(40)],
    "days": [scene(f"S{n}", day=1 + n % 28) for n in range(40)],
    "left out": [scene("A", why="too cloudy", cloud=None), scene("B", day=9)],
    "nameless": [Footprint("LC08", "", None, "", 1.0, AREA.buffer(1), True, "")],
    "parts": [
        Footprint("M", "", 1.0, "", 1.0, shapely.union(AREA, shapely.box(4, 42, 5, 43)), True, "")
    ],
}


@pytest.mark.parametrize("name", SETS)
def test_picture_is_drawn_and_stable(name, tmp_path):
    """Equal searches would give other bytes, and the workflow would run again."""
    found = SETS[name]
    for path in (tmp_path / "a.png", tmp_path / "b.png"):
        draw(found, AREA, path, "Barcelona, 2018-04", CREDITS)
    content = (tmp_path / "a.png").read_bytes()
    assert content == (tmp_path / "b.png").read_bytes()
    assert b"Software" not in content and b"matplotlib" not in content.lower()
    image_YX3 = picture(tmp_path / "a.png")
    assert 300 < image_YX3.shape[0] < 1400 and 700 < image_YX3.shape[1] < 1700
    assert len(np.unique(image_YX3.reshape(-1, 3), axis=0)) > 10


def test_scenes_under_one_another_are_all_seen(tmp_path):
    """Of a tile that was taken on several days one would see the last one alone."""
    draw(SETS["same"][:3], AREA, tmp_path / "a.png", "One tile", CREDITS)
    image_YX3 = picture(tmp_path / "a.png")
    frame_YX3 = image_YX3[:, : image_YX3.shape[1] // 2]  # without the legend
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x9E, 0x73)):
        assert (np.abs(frame_YX3 - colour).sum(axis=2) < 30).sum() > 300, colour


def test_holes_are_hatched(tmp_path):
    """Ground without a scene would look like ground beside the area."""
    for name, found in {"hole": [scene("A", 2.25)], "full": [scene("A")]}.items():
        draw(found, AREA, tmp_path / f"{name}.png", name, CREDITS)
    counts = {}
    for name in ("hole", "full"):
        brown = np.abs(picture(tmp_path / f"{name}.png") - (0xA6, 0x61, 0x1A)).sum(axis=2) < 40
        counts[name] = int(brown.sum())
    assert counts["hole"] > 500 and counts["full"] == 0
