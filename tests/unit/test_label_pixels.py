"""Label pixels are read whole, in order, and each stored piece once."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from making import CRS, LEFT, TOP, write_tif
from rasterio.transform import from_origin

from mapmill.grid import Grid, Window
from mapmill.raster import label_pixels
from mapmill.raster.label_pixels import shares, strips
from mapmill.raster.lattice import LabelFile, Lattice, describe, lattice_of, same_system

quick = settings(deadline=None, derandomize=True, max_examples=60)
HIGH, WIDE = 200, 176


@pytest.fixture(scope="module")
def tiled(tmp_path_factory):
    """A raster in pieces of 16 x 32 px, whose values tell their places."""
    path = tmp_path_factory.mktemp("tiled") / "labels.tif"
    code_YX = np.add.outer(np.arange(HIGH) * 7, np.arange(WIDE) * 3).astype(np.uint8)
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": CRS, "tiled": True}
    profile |= {"height": HIGH, "width": WIDE, "blockysize": 16, "blockxsize": 32}
    transform = from_origin(LEFT, TOP, 1, 1)
    with rasterio.open(path, "w", transform=transform, **profile) as target:
        target.write(code_YX, 1)
    return describe(path), code_YX


def around(code_YX, part, fill):
    """A part of an array that may reach beyond it."""
    rows, cols = np.arange(part.row, part.row_end), np.arange(part.col, part.col_end)
    inside = np.logical_and.outer((rows >= 0) & (rows < HIGH), (cols >= 0) & (cols < WIDE))
    values = code_YX[np.clip(rows, 0, HIGH - 1)[:, None], np.clip(cols, 0, WIDE - 1)]
    return np.where(inside, values, fill)


@quick
@given(
    st.integers(-40, 60), st.integers(-40, 60), st.integers(1, 25), st.integers(1, 25),
    st.integers(1, 16), st.integers(1, 4), st.sampled_from([2**8, 2**11, 2**20]),
)  # fmt: skip
def test_all_pixels_come_once_wherever_the_part_lies(
    tiled, row, col, high, wide, factor, threads, room
):
    """Otherwise cells at the seams of what is read would get other labels, or none."""
    file, code_YX = tiled
    whole = Window(row, col, high * factor, wide * factor)
    found_YX, seen_YX = np.zeros((2, whole.height, whole.width), np.uint8)
    for part in shares(file, whole, factor, threads):
        for done, strip_YX in strips(file, part, factor, room, 99, None):
            assert strip_YX.shape[0] % factor == 0 and strip_YX.shape[1] == part.width
            place = Window(part.row + done, part.col, *strip_YX.shape).slices(whole)
            found_YX[place], seen_YX[place] = strip_YX, seen_YX[place] + 1
    assert (seen_YX == 1).all()
    assert np.array_equal(found_YX, around(code_YX, whole, 99))


@pytest.mark.parametrize(("row", "factor"), [(0, 10), (6, 10), (3, 10), (5, 7), (0, 16)])
@pytest.mark.parametrize("threads", [1, 2])
def test_each_piece_is_decoded_once(tiled, monkeypatch, row, factor, threads):
    """Otherwise reading would take longer than it needs: most of the time is decoding."""
    file, _ = tiled
    windows = []
    read = label_pixels._read

    def noted(source, part, *rest):
        windows.append(part)
        read(source, part, *rest)

    monkeypatch.setattr(label_pixels, "_read", noted)
    whole = Window(row, 0, (HIGH - row) // factor * factor, WIDE // factor * factor)
    for part in shares(file, whole, factor, threads):
        for _ in strips(file, part, factor, 2**12, 0, None):
            pass
    pieces = Counter(
        (y, x)
        for part in windows
        for y in range(part.row // 16, (part.row_end - 1) // 16 + 1)
        for x in range(part.col // 32, (part.col_end - 1) // 32 + 1)
    )
    twice = [piece for piece, count in pieces.items() if count > 1]
    # rows of cells that meet no piece's edge are cut once for each further thread
    meet = any((row + at) % 16 == 0 for at in range(0, 16 * factor, factor))
    assert len(windows) > 3
    assert not twice if meet or threads == 1 else len({y for y, _ in twice}) == 1


def label_file(crs=CRS, left=LEFT, top=TOP, step=1.0):
    return LabelFile(
        Path("x.tif"), crs, (step, 0, left, 0, -step, top), 100, 100, "uint8", None, (16, 16)
    )


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        (label_file(), Lattice(10, 0, 0)),
        (label_file(left=LEFT - 3, top=TOP + 4), Lattice(10, 4, 3)),
        (label_file(left=LEFT + 3, top=TOP - 4), Lattice(10, -4, -3)),
        (label_file(crs="EPSG:25831"), Lattice(10, 0, 0)),
        (label_file(step=2.5), Lattice(4, 0, 0)),
        (label_file(step=2.51), None),
        (label_file(step=1.0001), None),  # a pixel off at the grid's far side
        (label_file(left=LEFT + 0.5), None),
        (label_file(crs="EPSG:32630"), None),
        (label_file(crs="EPSG:25830"), None),
        (label_file(step=30), None),
    ],
)
def test_lattice_is_found_or_refused(file, expected):
    """Otherwise labels would be shifted by part of a pixel, or read the slow way for nothing."""
    assert lattice_of(file, Grid(CRS, LEFT, TOP, 10, 500, 500, 100)) == expected


def test_systems_that_are_one():
    """Otherwise maps of Spain's and Catalonia's mapping agencies would take the slow route."""
    for zone in range(28, 39):
        assert same_system(f"EPSG:258{zone}", f"EPSG:326{zone}")
        assert same_system(f"EPSG:326{zone}", f"EPSG:258{zone}")
        assert not same_system(f"EPSG:258{zone}", f"EPSG:326{zone + 1}")
        assert not same_system(f"EPSG:258{zone}", f"EPSG:327{zone}")
    assert not same_system("EPSG:4258", "EPSG:4326")


def test_overviews_are_never_read(tmp_path):
    """Otherwise a file with overviews would give other labels than one without."""
    code_YX = np.random.default_rng(0).integers(1, 4, (64, 64), dtype=np.uint8)
    path = write_tif(tmp_path / "labels.tif", code_YX, step=1)
    with rasterio.open(path, "r+") as target:
        target.build_overviews([2, 4, 8], rasterio.enums.Resampling.nearest)
    with rasterio.open(path, "r+", OVERVIEW_LEVEL=0) as overview:
        assert overview.shape == (32, 32)
    file, grid = describe(path), Grid(CRS, LEFT, TOP, 8, 8, 8, 8)
    found = label_pixels.read_nearest(file, grid, Window(0, 0, 8, 8), 2, 0, "uint8")
    assert np.array_equal(found, code_YX[2::4, 2::4])
