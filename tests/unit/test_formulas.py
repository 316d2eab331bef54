"""Formulas of indices: what they give, which bands they take, and what is refused."""

import json
import sys

import numpy as np
import pytest
import torch

from mapmill import formulas
from mapmill.channels import Channel, read_channels
from mapmill.derive import planned
from mapmill.features.compute import with_channels
from mapmill.formulas import INDICES, band_of, depends_on_scale, names_in, parsed
from mapmill.sections import Train

S2 = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
BY_HAND = {
    "NDVI": lambda b: (b["B08"] - b["B04"]) / (b["B08"] + b["B04"]),
    "GNDVI": lambda b: (b["B08"] - b["B03"]) / (b["B08"] + b["B03"]),
    "NDREI": lambda b: (b["B08"] - b["B05"]) / (b["B08"] + b["B05"]),
    "EVI": lambda b: 2.5 * (b["B08"] - b["B04"]) / (b["B08"] + 6 * b["B04"] - 7.5 * b["B02"] + 1),
    "EVI2": lambda b: 2.5 * (b["B08"] - b["B04"]) / (b["B08"] + 2.4 * b["B04"] + 1),
    "SAVI": lambda b: 1.5 * (b["B08"] - b["B04"]) / (b["B08"] + b["B04"] + 0.5),
    "MSAVI": lambda b: (
        (2 * b["B08"] + 1 - np.sqrt((2 * b["B08"] + 1) ** 2 - 8 * (b["B08"] - b["B04"]))) / 2
    ),
    "NDWI": lambda b: (b["B03"] - b["B08"]) / (b["B03"] + b["B08"]),
    "MNDWI": lambda b: (b["B03"] - b["B11"]) / (b["B03"] + b["B11"]),
    "NDMI": lambda b: (b["B08"] - b["B11"]) / (b["B08"] + b["B11"]),
    "NBR": lambda b: (b["B08"] - b["B12"]) / (b["B08"] + b["B12"]),
    "NBR2": lambda b: (b["B11"] - b["B12"]) / (b["B11"] + b["B12"]),
    "NDSI": lambda b: (b["B03"] - b["B11"]) / (b["B03"] + b["B11"]),
    "NDBI": lambda b: (b["B11"] - b["B08"]) / (b["B11"] + b["B08"]),
    "BSI": lambda b: (
        (b["B11"] + b["B04"] - b["B08"] - b["B02"]) / (b["B11"] + b["B04"] + b["B08"] + b["B02"])
    ),
    "gray": lambda b: 0.299 * b["B04"] + 0.587 * b["B03"] + 0.114 * b["B02"],
}


def reflectances(size=16):
    """Bands of random reflectances, by name, float64."""
    random = np.random.default_rng(0)
    return {band: random.uniform(0.02, 0.6, (size, size)) for band in S2}


def computed(features, values, bands=S2, **chosen):
    """Channels (channel, y, x) of bands by name."""
    channels = planned(Train(features=features, **chosen), bands, None)
    image = torch.from_numpy(np.stack([values[band] for band in bands])[None]).float()
    valid = torch.ones((1, *image.shape[2:]), dtype=bool)
    return with_channels(image, valid, bands, channels)[0, len(bands) :].numpy()


@pytest.mark.parametrize("name", INDICES)
def test_an_index_is_its_formula(name):
    """Otherwise a name in the area file would stand for another index, or for other bands."""
    values = {band: (10_000 * each).astype(np.float32) for band, each in reflectances().items()}
    (found,) = computed([name], values, reflectance=10_000)
    expected = BY_HAND[name]({band: each.astype(float) / 10_000 for band, each in values.items()})
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


def test_every_built_in_index_is_tested():
    """Otherwise a new formula could be wrong unseen."""
    assert set(BY_HAND) == set(INDICES)


def test_division_by_zero_and_roots_of_less_give_zero():
    """Otherwise one dark pixel would turn a batch into NaN."""
    values = {"a": np.array([[0.0, 2.0, -4.0]]), "b": np.array([[0.0, -2.0, 4.0]])}
    features = [
        {"formula": "(a - b) / (a + b)", "name": "one"},
        {"formula": "a ** 0.5", "name": "two"},
        {"formula": "1 / (a - 2) + 3", "name": "three"},
        {"formula": "7", "name": "four"},
        {"formula": "a ** 999 ** 999", "name": "five"},
    ]
    found = computed(features, values, ["a", "b"], reflectance=1)
    expected = [[0, 0, 0], [0, 2**0.5, 0], [2.5, 3, 3 - 1 / 6], [7] * 3, [0] * 3]
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-6)


HOSTILE = [
    "__import__('os')",
    "B04.real",
    "B04[0]",
    "B04 if B03 else 1",
    "lambda: 1",
    "'a'",
    "B04 // 2",
    "B04 % 2",
    "~B04",
    "1j",
    "True",
    "B04 == 1",
    "f(B04)",
    "(B04,)",
    "B04 = 1",
    "",
    "(" * 90 + "B04" + ")" * 90 + "!",
    "-" * 900 + "B04",
    "B04+" * 400 + "1",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_anything_but_arithmetic_is_refused(text):
    """Otherwise a model file or an area file from elsewhere could run code, or never end."""
    with pytest.raises(ValueError, match=r"formula|only|deep|letters"):
        parsed(text)
    channel = {"name": "x", "kind": "formula", "sources": {"B04": "B04"}, "formula": text}
    with pytest.raises(ValueError, match=r"formula|only|deep|letters"):
        read_channels([channel], ["B04"])


def test_channels_of_a_card_must_be_made_from_something():
    """Otherwise a damaged model would fail in the middle of a prediction with a traceback."""
    good = Channel("g", "gaussian", {"x": "B04"}, "", {"size": 3.0, "sigma": 1.0})
    for wrong in ({"kind": "conv"}, {"sources": {"x": "B99"}}, {"kind": "formula", "formula": "q"}):
        with pytest.raises(ValueError, match="a channel g"):
            read_channels([{**vars(good), **wrong}], ["B04"])
    assert read_channels([vars(good)], ["B04"]) == [good]


def test_bands_go_by_roles_then_their_name_then_usual_names():
    """Otherwise NDVI of another sensor would be made from the wrong bands."""
    assert band_of("N", S2, {}) == "B08"
    assert band_of("N", S2, {"N": "B8A"}) == "B8A"
    assert band_of("N", ["NIR", "R", "G"], {}) == "NIR"
    assert band_of("R", ["NIR", "R", "red"], {}) == "R"
    assert band_of("S1", ["swir16"], {}) == "swir16"
    assert band_of("R", ["band3"], {}) is None


@pytest.mark.parametrize(
    ("name", "depends"), [("NDVI", False), ("gray", False), ("EVI", True), ("SAVI", True)]
)
def test_indices_with_constants_depend_on_units(name, depends):
    """Otherwise EVI of counts would silently be another index."""
    assert depends_on_scale(INDICES[name], {}) == depends


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"features": ["EVI"]}, "reflectance"),
        ({"features": ["NDXX"]}, "mapmill|check the name"),
        ({"features": ["NDVI"], "roles": {"N": "B99"}}, "N, which no band"),
        ({"features": [{"sobel": "B99"}]}, "B99, none of"),
        ({"features": [{"slope": "B04"}]}, "pixel"),
        ({"features": [{"formula": "B04 + q", "name": "f"}]}, "q, which no band"),
        ({"features": [{"formula": "B04", "name": "B04"}]}, "the name of a band"),
        ({"features": ["canny", {"formula": "B04", "name": "gray"}]}, "channel above"),
    ],
)
def test_channels_that_cannot_be_made_are_told(chosen, told):
    """Otherwise training would start and fail, or learn from something else."""
    with pytest.raises(ValueError, match=told):
        planned(Train(**chosen), S2, None)


@pytest.mark.parametrize(
    ("feature", "told"),
    [
        ({"median": "B04", "size": 4}, "even"),
        ({"median": "B04", "sobel": "B04"}, "median and sobel"),
        ({"size": 3}, "none"),
        ({"sobel": "B04", "size": 3}, "a key that sobel has not"),
        ({"formula": "B04 + 1"}, "a formula needs one"),
        ({"formula": "open(B04)", "name": "f"}, "only"),
        ({"canny": "B04", "low": 0.5}, "more than high"),
        ({"canny": "B04", "grow": 9999}, "grow"),
    ],
)
def test_features_that_say_too_little_or_too_much(feature, told):
    """Otherwise a key of no effect, or a window without a centre, would pass unseen."""
    with pytest.raises(ValueError, match=told):
        Train(features=[feature])


def test_an_index_that_others_are_made_from_may_be_shown_too():
    """Otherwise the order of the list would decide whether a list is allowed."""
    for features, shown in ((["canny"], 1), (["canny", "gray"], 2), (["gray", "canny"], 2)):
        channels = planned(Train(features=features), S2, None)
        assert [channel.name for channel in channels] == ["gray", "canny gray"]
        assert sum(channel.shown for channel in channels) == shown


def test_the_same_channel_twice_is_refused():
    """Otherwise a net would be shown one thing under two names."""
    with pytest.raises(ValueError, match="NDVI twice"):
        Train(features=["NDVI", "NDVI"])


def test_a_catalogue_that_is_installed_is_read(tmp_path, monkeypatch):
    """Otherwise indices beyond the built-in ones could not be named; its code is not imported."""
    data = tmp_path / "spyndex" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").write_text("raise RuntimeError('imported')")
    entries = {"XI": {"formula": "(N - L * R) / N"}, "kXI": {"formula": "kNN - N"}}
    (data / "spectral-indices-dict.json").write_text(json.dumps({"SpectralIndices": entries}))
    (data / "constants.json").write_text(
        json.dumps({"L": {"default": 0.5}, "p": {"default": None}})
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "spyndex", raising=False)
    formulas.catalogue.cache_clear()
    try:
        values = reflectances()
        (found,) = computed(["XI"], values)
        np.testing.assert_allclose(found, 1 - 0.5 * values["B04"] / values["B08"], atol=1e-5)
        (other,) = computed([{"index": "XI", "constants": {"L": 2}}], values)
        np.testing.assert_allclose(
            other, 1 - 2 * values["B04"] / values["B08"], rtol=1e-5, atol=1e-6
        )
        with pytest.raises(ValueError, match="kXI with kNN, which no band stands for"):
            computed(["kXI"], values)
        with pytest.raises(ValueError, match="check the name"):
            planned(Train(features=["NoSuch"]), S2, None, lenient=True)
    finally:
        formulas.catalogue.cache_clear()


def test_indices_agree_with_the_package_itself():
    """Otherwise an index of the catalogue would be evaluated otherwise than by its own library."""
    spyndex = pytest.importorskip("spyndex")
    symbols = {"A": "B01", "B": "B02", "G": "B03", "R": "B04", "RE1": "B05", "RE2": "B06"}
    symbols |= {"RE3": "B07", "N": "B08", "N2": "B8A", "WV": "B09", "S1": "B11", "S2": "B12"}
    values, tried = reflectances(), 0
    values = {band: each.astype(np.float32) for band, each in values.items()}
    for name, index in formulas.catalogue().items():
        used = names_in(index.formula)
        if name in INDICES or not set(used) <= set(symbols) | set(index.constants):
            continue
        params = index.constants | {s: values[b].astype(float) for s, b in symbols.items()}
        with np.errstate(all="ignore"):
            expected = spyndex.computeIndex(name, params={n: params[n] for n in used})
        (found,) = computed([name], values, reflectance=1)
        known = np.isfinite(expected) & (np.abs(expected) < 1e6)
        np.testing.assert_allclose(found[known], np.asarray(expected)[known], rtol=1e-4, atol=1e-5)
        tried += 1
    assert tried > 150
