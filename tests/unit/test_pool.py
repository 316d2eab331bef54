"""Patches of several areas as one set: in one order, one set of bands, classes and units."""

from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr
from making import SMALL_AREA, write_area

from mapmill.areafile import load_area
from mapmill.errors import MapmillError
from mapmill.grid import Window
from mapmill.pool import PatchPool
from mapmill.sections import Pool
from mapmill.store import Form, PatchReader, StoreWriter
from mapmill.tiles import Tile

SIDE = 8
SPLITS = ["train", "val", "test"]
DEALT = ["train", "val", "train", "test", "train"]


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def learner(**compose):
    """The area that learns: bands B02, B03, B04; classes field, wood, lake."""
    content = yaml.safe_load(SMALL_AREA)
    content["compose"] |= compose
    return load_area(write_area("here", yaml.safe_dump(content)))


def make(
    name,
    image_NBYX,
    label_NYX,
    *,
    bands,
    classes,
    units="digital numbers",
    nodata=0,
    share_NYX=None,
):
    """Write the patch store of an area, its statistics by numpy over whole valid pixels."""
    dtype = image_NBYX.dtype.name
    is_train = np.array(DEALT[: len(image_NBYX)]) == "train"
    training = image_NBYX[is_train].astype(np.float64)
    missing = np.isnan(training) if nodata is None else training == nodata
    pixels_BP = training.transpose(1, 0, 2, 3)[:, ~missing.any(axis=1)]
    tiles = [
        Tile(
            *(
                "2018-04",
                "",
                Window(8 * n, 0, *label.shape),
                1.0,
                0.0,
                0.0,
                1.0,
                DEALT[n],
                None,
                "",
            ),
            (0,) * len(classes),
        )
        for n, label in enumerate(label_NYX)
    ]
    size = label_NYX.shape[1]
    has_share = share_NYX is not None
    form = Form(bands, dtype, len(classes), ["2018-04"], SPLITS, 2, "lz4", has_share)
    writer = StoreWriter(Path(f"results/{name}/pack/patches.zarr"), form, {size: tiles}, size)
    chunks = form.chunks()
    for number, (image, label) in enumerate(zip(image_NBYX, label_NYX, strict=True)):
        arrays = {"image": image, "label": label}
        arrays |= {"fraction": share_NYX[number]} if has_share else {}
        writer.put(size, number, {key: chunks[key].encode(each) for key, each in arrays.items()})
    attributes = {
        "bands": bands,
        "units": units,
        "classes": classes,
        "nodata": nodata,
        "pieces": ["2018-04"],
        "splits": SPLITS,
        "statistics": {
            "mean": pixels_BP.mean(axis=1).tolist() if pixels_BP.size else [0.0] * len(bands),
            "sd": pixels_BP.std(axis=1).tolist() if pixels_BP.size else [0.0] * len(bands),
            "pixels": [float(pixels_BP.shape[1])],
        },
        "class_pixels": [int((label_NYX[is_train] == k + 1).sum()) for k in range(len(classes))],
        "MAPMILL_SETTINGS": f"made-by-{name}",
    }
    writer.finish({size: attributes})


def numbered(*names):
    return {str(number): name for number, name in enumerate(names, 1)}


OURS = {"bands": ["B02", "B03", "B04"], "classes": numbered("field", "wood", "lake")}
THEIRS = {
    "bands": ["red", "B08", "B03", "B02"],
    "classes": numbered("lake", "oak", "road", "field"),
    "units": "reflectance",
    "nodata": None,
}
MAPPED = Pool(bands={"B04": "red"}, classes={"oak": 2, "road": 0}, scale=10_000.0, offset=-100.0)


@pytest.fixture
def two():
    """Patches of two areas as arrays: uint16 with nodata 0, and float32 with NaN."""
    random = np.random.default_rng(5)
    here = random.integers(1, 9000, (5, 3, SIDE, SIDE), dtype=np.uint16)
    here[0, :, :2] = 0
    here[2, 1, 5, 5] = 0
    here_NYX = random.integers(0, 4, (5, SIDE, SIDE), dtype=np.uint8)
    there = random.uniform(0.02, 0.9, (4, 4, SIDE, SIDE)).astype(np.float32)
    there[0, :, 3:] = np.nan
    there[2, 2, 0, 0] = np.nan
    there_NYX = random.integers(0, 5, (4, SIDE, SIDE), dtype=np.uint8)
    make("here", here, here_NYX, **OURS)
    make("there", there, there_NYX, **THEIRS)
    return here, here_NYX, there, there_NYX


def in_our_terms(two):
    """All patches as one array of images (float64, NaN where missing) and one of labels."""
    here, here_NYX, there, there_NYX = two
    ours = np.where(here == 0, np.nan, here.astype(np.float64))
    theirs = there[:, [3, 2, 0]].astype(np.float64) * 10_000 - 100
    labels = np.choose(there_NYX, [0, 3, 2, 0, 1])
    return np.concatenate([ours, theirs]), np.concatenate([here_NYX, labels])


def refused(area, own, pools):
    with pytest.raises(MapmillError) as caught:
        PatchPool(area, own, pools)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_patches_of_two_areas_in_one_set_of_terms(two):
    """A net would see red as blue, learn oaks as lakes, or take missing pixels for dark ones."""
    images, labels = in_our_terms(two)
    pool = PatchPool(learner(), "here", {"here": Pool(), "there": MAPPED})
    assert pool.nodata is None
    for index in range(9):
        image_BYX, label_YX = pool.images().take([index])[0], pool.labels().take([index])[0]
        assert image_BYX.dtype == np.float32 and image_BYX.shape == (3, SIDE, SIDE)
        np.testing.assert_array_equal(np.isnan(image_BYX), np.isnan(images[index]))
        np.testing.assert_allclose(image_BYX, images[index], rtol=1e-5, atol=1e-2)
        np.testing.assert_array_equal(label_YX, labels[index])
        assert label_YX.dtype == np.uint8


def test_a_batch_of_patches_of_two_areas(two):
    """Otherwise images of one area would stand in a batch beside the labels of the other."""
    images, labels = in_our_terms(two)
    pool = PatchPool(learner(), "here", {"here": Pool(), "there": MAPPED}, threads=2)
    numbers = [8, 0, 5, 4, 0, 7]
    np.testing.assert_array_equal(pool.labels().take(np.array(numbers)), labels[numbers])
    assert (pool.labels().shape, pool.images().shape) == (labels.shape, images.shape)
    np.testing.assert_allclose(pool.images().take(numbers), images[numbers], rtol=1e-5, atol=1e-2)
    pool.close()


@pytest.mark.parametrize("order", [["here", "there"], ["there", "here"]])
def test_patches_are_counted_through(two, order):
    """An image would be learnt with the labels of another patch, or a test patch be learnt from."""
    pools = {"here": Pool(), "there": MAPPED}
    pool = PatchPool(learner(), "here", {name: pools[name] for name in order})
    counts = {"here": 5, "there": 4}
    dealt = [split for name in order for split in DEALT[: counts[name]]]
    for split in SPLITS:
        expected = [n for n, each in enumerate(dealt) if each == split]
        np.testing.assert_array_equal(pool.indices(split), expected)
    images, labels = in_our_terms(two)
    shift = 0 if order[0] == "here" else 5
    for index in range(9):
        np.testing.assert_array_equal(pool.labels().take([index])[0], labels[(index + shift) % 9])
        found, expected = pool.images().take([index])[0], images[(index + shift) % 9]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-2)
    assert pool.digest() == "+".join(f"made-by-{name}" for name in order)
    assert all(f"results/{name}/pack" in pool.folders() for name in order)


def training_pixels(two, band_sets):
    """Training pixels (band, pixel) that have data in every band of their own store."""
    here, _, there, _ = two
    images, _ = in_our_terms(two)
    whole = [~(here == 0).any(axis=1), ~np.isnan(there).any(axis=1)]
    parts = []
    for number, (start, count) in enumerate(((0, 5), (5, 4))):
        if number in band_sets:
            for n in range(count):
                if DEALT[n] == "train":
                    parts.append(images[start + n][:, whole[number][n]])
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize(
    ("pools", "members"),
    [
        ({"here": Pool(), "there": MAPPED}, {0, 1}),
        ({"there": MAPPED, "here": Pool()}, {0, 1}),
        ({"there": MAPPED}, {1}),
        ({"here": Pool()}, {0}),
    ],
)
def test_statistics_are_those_of_all_training_pixels(two, pools, members):
    """Images would be normalised by the mean of one country, or one class be weighed wrongly."""
    pool = PatchPool(learner(), "here", pools)
    mean, sd = pool.statistics()
    pixels_BP = training_pixels(two, members)
    np.testing.assert_allclose(mean, pixels_BP.mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(sd, pixels_BP.std(axis=1), rtol=1e-6)
    _, labels = in_our_terms(two)
    is_train = [
        split == "train" and number in members
        for number, count in ((0, 5), (1, 4))
        for split in DEALT[:count]
    ]
    counted = np.bincount(labels[np.array(is_train)].ravel(), minlength=4)
    assert pool.class_pixels() == counted[1:].tolist()


def test_one_area_alone_is_its_own_store(two):
    """The patches of a country would be copied into memory as floats, at twice the size."""
    pool = PatchPool(learner(), "here", {"here": Pool()})
    image, label = pool.images(), pool.labels()
    assert isinstance(image, PatchReader) and image.dtype == np.uint16 and pool.nodata == 0
    np.testing.assert_array_equal(image.take(range(5)), two[0])
    np.testing.assert_array_equal(label.take(range(5)), two[1])
    kept = zarr.open_group("results/here/pack/patches.zarr", mode="r").attrs["statistics"]
    assert pool.statistics() == (kept["mean"], kept["sd"])
    pool = PatchPool(learner(), "here", {"here": Pool(scale=2.0)})
    assert pool.nodata is None and pool.images().take([1]).dtype == np.float32
    np.testing.assert_allclose(pool.images().take([1])[0], two[0][1] * 2.0)


def test_classes_are_counted_by_number(two):
    """Of twelve classes, or of classes listed in another order, labels would change places."""
    here, label = two[0], two[1]
    shuffled = {"3": "lake", "1": "field", "2": "wood"}
    make("here", here, label, bands=OURS["bands"], classes=shuffled)
    pool = PatchPool(learner(), "here", {"here": Pool()})
    np.testing.assert_array_equal(pool.labels().take([0])[0], label[0])
    names = [f"class {number}" for number in range(1, 13)]
    many = {str(number): names[number - 1] for number in (1, 10, 11, 12, 2, 3, 4, 5, 6, 7, 8, 9)}
    random = np.random.default_rng(7)
    label = random.integers(0, 13, label.shape, dtype=np.uint8)
    make("many", here, label, bands=OURS["bands"], classes=many)
    told = {name: (number - 1) % 3 + 1 for number, name in enumerate(names, 1)}
    pool = PatchPool(learner(), "here", {"many": Pool(classes=told)})
    np.testing.assert_array_equal(
        pool.labels().take([3])[0], np.where(label[3], (label[3] - 1) % 3 + 1, 0)
    )


def test_an_area_without_training_pixels_weighs_nothing(two):
    """Statistics would be of no number, or drawn towards zero."""
    here, label, *_ = two
    make("empty", np.zeros_like(here), np.zeros_like(label), **OURS)
    alone, _ = PatchPool(learner(), "here", {"here": Pool()}).statistics()
    both, sd = PatchPool(learner(), "here", {"here": Pool(), "empty": Pool()}).statistics()
    np.testing.assert_allclose(both, alone)
    assert np.isfinite(sd).all()
    assert PatchPool(learner(), "here", {"empty": Pool()}).statistics() == ([0.0] * 3, [0.0] * 3)


REFUSED = {
    "units": (Pool(bands=MAPPED.bands, classes=MAPPED.classes), "units reflectance"),
    "class": (MAPPED.model_copy(update={"classes": {"oak": 2}}), "found class road; expected"),
    "class number": (
        MAPPED.model_copy(update={"classes": {"oak": 2, "road": 4}}),
        "found classes with 4; expected one of 0, 1, 2, 3",
    ),
    "band": (MAPPED.model_copy(update={"bands": {}}), "found bands red, B08, B03, B02"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_patches_that_do_not_fit_are_one_line(two, case):
    """A net would be trained for a day on swapped bands, mixed units or unknown classes."""
    pool, said = REFUSED[case]
    line = refused(learner(), "here", {"here": Pool(), "there": pool})
    assert line.startswith("results/there/pack/patches.zarr: ") and said in line
    assert "train.train_on.there" in line


def test_patches_of_two_sizes(two):
    """A batch of unequal patches would end in a page of Python."""
    here, label, *_ = two
    make("small", here[:, :, :4, :4], label[:, :4, :4], **OURS)
    line = refused(learner(), "here", {"here": Pool(), "small": Pool()})
    assert "8 px in here, 4 px in small; expected patches of one size" in line


def test_old_patches_of_the_area_itself(two):
    """Patches of bands that the area file no longer has would be learnt under new names."""
    line = refused(learner(bands=["B02", "B03"]), "here", {"here": Pool()})
    assert "patches.zarr: found bands B02, B03, B04" in line and "rerun pack" in line


def test_no_patches():
    """A pool of an area that was never packed would end in a page of Python."""
    line = refused(learner(), "here", {"nowhere": Pool()})
    assert line.startswith("results/nowhere/pack/patches.zarr: ") and "rerun pack" in line


def test_units_that_are_the_same_need_no_mapping(two):
    """Patches from before units were kept, or in equal units, would be refused."""
    here, label, *_ = two
    make("same", here, label, **OURS | {"units": "dB"})
    pool = PatchPool(learner(units="dB"), "here", {"same": Pool()})
    np.testing.assert_array_equal(pool.images().take([2])[0], here[2])


def test_shares_of_pooled_patches_are_their_own(two):
    """Otherwise a pixel would be weighed by how pure a pixel of another country is."""
    here, here_NYX, there, there_NYX = two
    random = np.random.default_rng(8)
    shares = [random.integers(1, 101, each.shape, dtype=np.uint8) for each in (here_NYX, there_NYX)]
    make("here", here, here_NYX, **OURS, share_NYX=shares[0])
    make("there", there, there_NYX, **THEIRS, share_NYX=shares[1])
    alone = PatchPool(learner(), "here", {"here": Pool()}).fractions()
    assert isinstance(alone, PatchReader)
    both = PatchPool(learner(), "here", {"here": Pool(), "there": MAPPED}).fractions()
    for number in ([4, 0], [3, 3]):
        np.testing.assert_array_equal(alone.take(number), shares[0][number])
    np.testing.assert_array_equal(both.take([8, 1, 5]), np.concatenate(shares)[[8, 1, 5]])
    assert both.shape == (9, SIDE, SIDE)


def test_a_store_without_shares_is_one_line(two):
    """Otherwise a run would learn from whole labels and be thought to weigh mixed cells."""
    here, here_NYX, *_ = two
    make("here", here, here_NYX, **OURS, share_NYX=here_NYX)
    pool = PatchPool(learner(), "here", {"here": Pool(), "there": MAPPED})
    with pytest.raises(MapmillError, match=r"there/pack.*fraction.*downsample.fraction.*there"):
        pool.fractions()
