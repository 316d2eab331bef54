"""The patches that a model for one fold learns from, and what it is told of them."""

import contextlib
from pathlib import Path

import numpy as np
import pytest

from mapmill.errors import ContractError
from mapmill.folds import Fold, chosen_of
from mapmill.grid import Window
from mapmill.store import Form, StoreWriter, store_of
from mapmill.tiles import Tile

SIDE, STEP, FOLDS = 8, 4, 4
PLACES = [(row, col) for row in range(0, 41, STEP) for col in range(0, 41, STEP)]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fold_at(row, col):
    """The quarter of 24 px that a tile lies in; None across two."""
    if row // 24 != (row + SIDE - 1) // 24 or col // 24 != (col + SIDE - 1) // 24:
        return None
    return 2 * (row // 24) + col // 24


def write_store(pieces=("2018-04",), dtype="float32", nodata=None):
    """A store of overlapping tiles in four quarters, in each piece; its images and labels."""
    random = np.random.default_rng(3)
    places = [(name, place) for name in pieces for place in PLACES if fold_at(*place) is not None]
    label = random.integers(0, 3, (len(places), SIDE, SIDE)).astype(np.uint8)
    tiles = []
    for (name, place), label_YX in zip(places, label, strict=True):
        counts = tuple(int((label_YX == k).sum()) for k in (1, 2))
        shares = (1.0, 0.0, 0.0, 1.0)
        window = Window(*place, SIDE, SIDE)
        tiles.append(Tile("", name, window, *shares, "train", fold_at(*place), "", counts))
    image = random.normal(500, 90, (len(tiles), 2, SIDE, SIDE))
    image = (image + np.arange(len(tiles))[:, None, None, None]).astype(dtype)
    image[:, 1, 2:4] = np.nan if nodata is None else nodata
    form = Form(["a", "b"], dtype, 2, list(pieces), ["train", "val", "test"], 16, "lz4")
    writer = StoreWriter(Path("results/x/pack/patches.zarr"), form, {SIDE: tiles}, SIDE)
    chunks = form.chunks()
    for n in range(len(tiles)):
        arrays = {"image": image[n], "label": label[n]}
        writer.put(SIDE, n, {key: chunks[key].encode(value) for key, value in arrays.items()})
    attributes = {"bands": ["a", "b"], "nodata": nodata, "pieces": list(pieces)}
    attributes |= {"splits": ["train", "val", "test"], "statistics": {}, "class_pixels": []}
    writer.finish({SIDE: attributes})
    return tiles, image, label


@contextlib.contextmanager
def opened():
    with store_of(Path("results/x/pack/patches.zarr")) as store:
        yield store


def painted(tiles, numbers, grow=0):
    """Pixels of some tiles, by piece, grown by some pixels on each side."""
    found = {}
    for number in numbers:
        tile = tiles[number]
        canvas = found.setdefault(tile.chip, np.zeros((80, 80), bool))
        top, left = 16 + tile.window.row, 16 + tile.window.col
        canvas[top - grow : top + SIDE + grow, left - grow : left + SIDE + grow] = True
    return found


@pytest.mark.parametrize("buffer", [0, 5])
@pytest.mark.parametrize("number", range(FOLDS))
def test_no_test_pixel_is_learnt_from(number, buffer):
    """A fold's score would be that of ground which its model has seen, or has seen all around."""
    tiles, _, _ = write_store(("p", "q"))
    with opened() as store:
        parts = chosen_of(store, Fold(number, FOLDS, buffer, is_chips=False)).parts
    fold = [tile.fold for tile in tiles]
    assert {fold[n] for n in parts["test"]} == {number}
    assert {fold[n] for n in parts["val"]} == {(number + 1) % FOLDS}
    assert {fold[n] for n in parts["train"]} <= set(range(FOLDS)) - {number, (number + 1) % FOLDS}
    assert len(parts["test"]) == fold.count(number)
    # two periods of a grid show the same ground
    seen = {part: sum(painted(tiles, parts[part]).values()) > 0 for part in parts}
    scored = sum(painted(tiles, [*parts["test"], *parts["val"]], buffer).values()) > 0
    assert seen["train"].any() and not (seen["train"] & scored).any()
    assert not (seen["val"] & (sum(painted(tiles, parts["test"], buffer).values()) > 0)).any()
    lost = [n for n in range(len(tiles)) if fold[n] not in (number, (number + 1) % FOLDS)]
    every = np.array(fold)
    full = np.flatnonzero((every == number) | (every == (number + 1) % FOLDS))
    near = sum(painted(tiles, full, buffer).values()) > 0
    for n in set(lost) - set(parts["train"].tolist()):  # none is left out without a reason
        (own,) = painted(tiles, [n]).values()
        assert (own & near).any()


def test_chips_lie_apart():
    """Chips begin at 0, 0 each: tiles of other chips would be left out for nothing."""
    tiles, _, _ = write_store(("p", "q"))
    moved = Fold(0, FOLDS, 5, is_chips=True)
    with opened() as store:
        parts = chosen_of(store, moved).parts
    for chip in ("p", "q"):
        own = {part: [n for n in found if tiles[n].chip == chip] for part, found in parts.items()}
        ground = painted(tiles, own["test"], 5)[chip]
        assert not (painted(tiles, own["train"])[chip] & ground).any()


@pytest.mark.parametrize(("dtype", "nodata"), [("float32", None), ("uint16", 0)])
def test_statistics_are_of_the_folds_own_training_patches(dtype, nodata):
    """A model would be normalised, and its classes weighed, by ground that it is scored on."""
    _, image, label = write_store(dtype=dtype, nodata=nodata)
    found = {}
    for number in range(FOLDS):
        with opened() as store:
            chosen = chosen_of(store, Fold(number, FOLDS, 3, is_chips=False))
        train = chosen.parts["train"]
        values = image[train].astype(np.float64).transpose(1, 0, 2, 3).reshape(2, -1)
        missing = np.isnan(values) if nodata is None else values == nodata
        values = values[:, ~missing.any(axis=0)]
        np.testing.assert_allclose(chosen.statistics["mean"], values.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(chosen.statistics["sd"], values.std(axis=1), rtol=1e-9)
        assert chosen.statistics["max"] == values.max(axis=1).tolist()
        assert chosen.statistics["pixels"] == [values.shape[1]]
        assert chosen.class_pixels == [(label[train] == k).sum() for k in (1, 2)]
        found[number] = tuple(chosen.statistics["mean"])
    assert len(set(found.values())) == FOLDS


def test_other_folds_than_those_that_are_packed():
    """Patches packed for three folds would be dealt out as four, without any test patch."""
    write_store()
    with opened() as store, pytest.raises(ContractError, match="patches in 4 folds"):
        chosen_of(store, Fold(1, 5, 0, is_chips=False))
