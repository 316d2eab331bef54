"""The shift between labels and image, on scenes of known shift and on real ones."""

from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from making import simulated_scene

from mapmill.figures import shift_figure
from mapmill.shift import Shift, ShiftFinder, image_edges, label_edges


def found(image_BYX, label_YX, valid_YX=None, tile=256):
    """The finder after all whole tiles of a scene."""
    finder = ShiftFinder()
    valid_YX = np.ones(label_YX.shape, bool) if valid_YX is None else valid_YX
    height, width = label_YX.shape
    for row in range(0, max(height - tile, 0) + 1, tile):
        for col in range(0, max(width - tile, 0) + 1, tile):
            place = slice(row, row + tile), slice(col, col + tile)
            finder.add(image_BYX[:, *place], valid_YX[place], label_YX[place])
    return finder


def patches(side, wavelength, seed):
    """Four classes (side, side) in irregular patches, nothing finer than a wavelength in pixels."""
    random = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(random.normal(size=(4, side, side)))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    fields = np.fft.irfft2(spectrum * (frequency < 1 / wavelength), (side, side))
    return (fields.argmax(axis=0) + 1).astype(np.uint8)


def fine_scene(side=224, factor=4):
    """Classes (y, x) and their brightness (3, y, x), `factor` times as fine as a pixel."""
    fine_YX = patches(side * factor + 128, 80, seed=0)
    spectra = np.random.default_rng(0).uniform(300, 2000, (5, 3))
    return fine_YX, spectra[fine_YX].transpose(2, 0, 1)


def coarsened(fine_BYX, south, east, side=224, factor=4):
    """Means of factor x factor cells, from an origin given in fine pixels, 64 of them inwards."""
    end = side * factor
    part = fine_BYX[:, 64 + south : 64 + south + end, 64 + east : 64 + east + end]
    return part.reshape(len(part), side, factor, side, factor).mean(axis=(2, 4))


@settings(max_examples=25, deadline=None)
@given(south=st.integers(-6, 6), east=st.integers(-6, 6), seed=st.integers(0, 9))
def test_labels_moved_by_whole_pixels_are_found(south, east, seed):
    """A shift would be reported in the wrong direction, of the wrong size, or not at all."""
    label_YX, image_BYX = simulated_scene(height=256, width=256, seed=seed)
    shift = found(image_BYX, np.roll(label_YX, (south, east), (0, 1))).result()
    assert shift.is_clear
    assert shift.is_wrong == ((south, east) != (0, 0))
    assert (shift.south, shift.east) == pytest.approx((south, east), abs=0.1)


@pytest.mark.parametrize(
    ("south", "east"), [(0, 0), (1, -1), (-2, 0), (2, 1), (3, -2), (-4, 2), (0, 6), (-7, -5)]
)
def test_quarters_of_a_pixel(south, east):
    """Half a pixel in the method itself would make good labels wrong, or hide a whole pixel."""
    fine_YX, bright_BYX = fine_scene()
    classes = (fine_YX[None] == np.arange(1, 5)[:, None, None]).astype(float)
    label_YX = (coarsened(classes, 0, 0).argmax(axis=0) + 1).astype(np.uint8)
    noise = np.random.default_rng(1).normal(0, 80, (3, *label_YX.shape))
    # an image seen from an origin further south shows what the labels show further north
    shift = found(coarsened(bright_BYX, south, east) + noise, label_YX).result()
    assert (shift.south, shift.east) == pytest.approx((south / 4, east / 4), abs=0.12)
    assert shift.is_clear and shift.is_wrong == (np.hypot(south, east) / 4 >= 0.75)


def test_sparse_labels_and_missing_imagery_suffice():
    """Volunteers' polygons over a scene with gaps would be told nothing, or something wrong."""
    label_YX, image_BYX = simulated_scene(height=768, width=768)
    keep = np.random.default_rng(1).random((16, 16)) < 0.3
    label_YX = np.where(np.kron(keep, np.ones((48, 48), bool)), label_YX, 0)
    valid_YX = np.ones(label_YX.shape, bool)
    valid_YX[100:300, 200:500] = False
    image_BYX = np.where(valid_YX, image_BYX, 65535)
    for moved in (0, 1):
        shift = found(image_BYX, np.roll(label_YX, moved, 1), valid_YX).result()
        assert (shift.south, shift.east) == pytest.approx((0, moved), abs=0.15)
        assert shift.is_clear and shift.is_wrong == bool(moved)


def test_missing_imagery_makes_no_edges():
    """The border of the scene would be taken for an edge, and win."""
    image_BYX = np.array([[[5.0, 5.0, np.nan, 9.0, 9.0, 4.0]]])
    strength_YX, seen_YX = image_edges(image_BYX, ~np.isnan(image_BYX[0]), 1)
    assert seen_YX.tolist() == [[1, 0, 0, 1, 1, 0]]
    assert strength_YX[0, [0, 1, 2, 3, 5]].tolist() == [0, 0, 0, 0, 0] and strength_YX[0, 4] > 0.5


def test_labels_have_edges_between_classes_only():
    """The outline of what was labelled would be taken for an edge on the ground."""
    edge_YX, known_YX = label_edges(np.array([[0, 1, 1, 2, -1, 2]]), 1)
    assert edge_YX.tolist() == [[0, 0, 1, 0, 0, 0]]
    assert known_YX.tolist() == [[0, 1, 1, 0, 0, 0]]


def test_sums_are_those_of_a_plain_correlation():
    """The surface would be something else than the correlation that it is said to be."""
    label_YX, image_BYX = simulated_scene(height=32, width=32)
    finder = ShiftFinder(radius=2)
    finder.add(image_BYX, np.ones((32, 32), bool), np.roll(label_YX, 1, 1))
    expected = np.zeros((2, 5, 5))
    for axis in (0, 1):
        (strength, seen) = image_edges(image_BYX, np.ones((32, 32), bool), axis)
        (edge, known) = label_edges(np.roll(label_YX, 1, 1), axis)
        for south, east in np.ndindex(5, 5):
            there = np.s_[max(south - 2, 0) : 30 + south, max(east - 2, 0) : 30 + east]
            here = np.s_[max(2 - south, 0) : 34 - south, max(2 - east, 0) : 34 - east]
            both = (known[there] * seen[here]).astype(bool)
            pair = edge[there][both], strength[here][both]
            if both.any():
                expected[0, south, east] += np.cov(*pair, bias=True)[0, 1] * both.sum()
                expected[1, south, east] += np.var(pair[1]) * both.sum()
    assert np.allclose(finder._covariances[0].sum(axis=0), expected[0], atol=1e-6)
    assert np.allclose(finder._variances[0], expected[1], atol=1e-6)


@pytest.mark.parametrize("case", ["noise", "patches", "one class", "no labels", "flat", "empty"])
def test_nothing_to_tell(case):
    """A false alarm would send people to look for a fault that is not there."""
    label_YX, image_BYX = simulated_scene(height=512, width=512)
    random = np.random.default_rng(2)
    valid_YX = np.full(label_YX.shape, case != "empty")
    label_YX = {
        "noise": random.integers(0, 4, label_YX.shape),
        "patches": patches(512, 20, seed=1),
        "one class": np.ones_like(label_YX),
        "no labels": np.zeros_like(label_YX),
    }.get(case, label_YX)
    if case == "flat":
        image_BYX = np.full_like(image_BYX, 700)
    shift = found(image_BYX, label_YX, valid_YX).result()
    assert not shift.is_clear and not shift.is_wrong
    assert shift.sentence().startswith("cannot tell")


def test_without_any_tile():
    """An area without a single labelled tile would crash."""
    finder = ShiftFinder()
    assert not finder.result().is_clear
    assert not finder.surface().any()


def read(path):
    with rasterio.open(path) as source:
        return source.read()


def test_real_labels_by_coordinates_and_by_position(real_data, tmp_path):
    """Labels read one pixel off would be learnt; labels read well would be called wrong."""
    folder = real_data / "aberystwyth"
    image_BYX = read(folder / "sen2_20210527_aber_mosaic.tif")
    codes_YX = read(folder / "sen2_20210527_aber_cls.tif")[0]  # one more column, on its left
    valid_YX = (image_BYX != 0).all(axis=0)
    area = SimpleNamespace(title="Aberystwyth", attribution=["Copernicus Sentinel data 2021"])
    for column, wrong in ((1, False), (0, True)):
        finder = found(image_BYX, codes_YX[:, column:][:, :930], valid_YX)
        shift = finder.result()
        assert (shift.south, shift.east) == pytest.approx((0, 1 - column), abs=0.1)
        assert shift.is_clear and shift.is_wrong == wrong and shift.tiles == 9
        assert ("1.0 px east" in shift.sentence()) == wrong
        shift_figure(tmp_path / f"{column}.png", area, finder.surface(), shift)
        assert (tmp_path / f"{column}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("sensor", "least"), [("S1", 0.5), ("S2", 0.0)])
def test_real_flood_mask_raises_no_alarm(real_data, sensor, least):
    """Radar is noisy, and here it lies 0.8 px off the optical image: less than can be sure."""
    start = real_data / "sen1floods11_spain" / "Spain_7370579_"
    image_BYX = read(f"{start}{sensor}Hand.tif").astype(float)
    label_YX = read(f"{start}LabelHand.tif")[0] + 1
    valid_YX = ~np.isnan(image_BYX).any(axis=0)
    shift = found(image_BYX, label_YX, valid_YX, tile=512).result()
    assert shift.is_clear and not shift.is_wrong and shift.size >= least
    moved = found(image_BYX, np.roll(label_YX, 2, 0), valid_YX, tile=512).result()
    assert moved.is_wrong and moved.south == pytest.approx(shift.south + 2, abs=0.15)


@pytest.mark.parametrize(
    ("south", "east", "words"),
    [
        (-0.1, 1.0, "labels lie 1.0 px east and 0.1 px north of the image (edges of 40 tiles)"),
        (2.0, 0.01, "labels lie 2.0 px south of the image (edges of 40 tiles)"),
        (0.2, 0.0, "labels and image agree within 0.2 px (edges of 40 tiles)"),
    ],
)
def test_sentences(south, east, words):
    """People would be told the wrong direction."""
    assert Shift(south, east, 0.05, 20.0, 40).sentence().startswith(words)
    assert Shift(south, east, 0.5, 20.0, 40).sentence().startswith("cannot tell")
