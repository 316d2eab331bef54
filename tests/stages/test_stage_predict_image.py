"""`mapmill predict --model`: a map of any raster by one model file."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from making import write_tif
from stages.stage_steps import mapmill, refused_cleanly

from mapmill.nets.model import Card, build, save_model, with_reach

BANDS = ["B02", "B03", "B04"]
OPACITY = rasterio.enums.ColorInterp.alpha
MEAN, SD = [1000.0, 800.0, 600.0], [200.0, 150.0, 100.0]


@pytest.fixture
def project_folder(tmp_path, monkeypatch):
    """An empty folder; it is the cwd."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def one_thread():
    """The command sets the number of torch's threads; it is put back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def model(width=4, **changes):
    """A model with random weights, in the current folder; the net."""
    card = Card("unet", width, 2, BANDS, ["field", "wood", "lake", "town"], MEAN, SD, {})
    about = {"size": 32, "resolution": 10.0, "units": "reflectance x 10000"}
    card = Card(**{**vars(card), **about, **changes})
    torch.manual_seed(4)
    net = build(card)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.5)
    with torch.no_grad():
        net.train()(torch.randn(4, len(card.inputs), 64, 64))
    save_model(Path("model.safetensors"), net.state_dict(), with_reach(card))
    return net.eval()


def image(height=150, width=170, seed=0):
    """Values (band, y, x) uint16 as the model learnt them, with a corner and a pixel missing."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 1, (3, height, width))
    smooth = noise + 2 * np.sin(np.arange(width) / 9) * np.cos(np.arange(height) / 7)[:, None]
    values = np.array(MEAN)[:, None, None] + np.array(SD)[:, None, None] * smooth.clip(-4, 4)
    values = values.astype(np.uint16)
    values[:, :40, :50] = 0
    values[1, 100, 100] = 0
    return values


def by_hand(net, values, shown=(0, 1, 2)):
    """Softmax (class, y, x) of the whole image in one pass, mirrored far beyond its edges."""
    shown = list(shown)
    far, (height, width) = 64, values.shape[1:]
    pads = [(far, far + -side % 4) for side in (height, width)]
    mean, sd = (np.array(numbers)[:, None, None] for numbers in (MEAN, SD))
    ready = np.where((values > 0).all(axis=0), (values - mean) / sd, 0).astype(np.float32)
    wide = torch.from_numpy(np.pad(ready[shown], [(0, 0), *pads], "reflect"))[None]
    with torch.inference_mode():
        p = net(wide)[0].double().softmax(dim=0).numpy()
    return p[:, far : far + height, far : far + width]


def predicted(*options, name="image.tif"):
    """The two bands of the map of an image, by the command."""
    command = ["--model", "model.safetensors", "--image", name, "--threads", 1, *options]
    mapmill("predict", *command, "map.tif")
    with rasterio.open("map.tif") as source:
        return source.read()


def test_the_map_is_what_the_net_says(project_folder):
    """The map of an image without a workflow would be another, shifted, or of swapped bands."""
    net, values = model(), image()
    extra = np.full((1, *values.shape[1:]), 7, np.uint16)
    stored = np.concatenate([values[2:], extra, values[:2]])
    write_tif(Path("image.tif"), stored, nodata=0, bands=("B04", "B05", "B02", "B03"))
    class_YX, percent_YX = predicted("--mode", "exact", "--tile", 64)
    p_KYX, valid_YX = by_hand(net, values), (values > 0).all(axis=0)
    first, second = np.sort(p_KYX, axis=0)[:-3:-1]
    clear = valid_YX & (first - second > 1e-4)
    assert clear.sum() > 0.99 * valid_YX.sum() and len(np.unique(class_YX)) > 3
    np.testing.assert_array_equal(class_YX[clear], p_KYX.argmax(axis=0)[clear] + 1)
    np.testing.assert_array_equal(class_YX == 0, ~valid_YX)
    assert np.abs(percent_YX - np.where(valid_YX, 100 * first, 0)).max() < 0.51
    with rasterio.open("map.tif") as found, rasterio.open("image.tif") as source:
        assert (found.crs, found.transform, found.shape) == (
            source.crs,
            source.transform,
            source.shape,
        )
        assert found.descriptions == ("class", "confidence") and found.nodata == 0
        assert found.tags()["CLASS_2"] == "wood"


def test_a_band_that_the_model_is_not_shown(project_folder):
    """A model of fewer bands would be given the wrong ones, or another one's mean and spread."""
    net = model(without=["B03"], shift=[MEAN[0], MEAN[2]], scale=[SD[0], SD[2]])
    values = image()
    write_tif(Path("image.tif"), values, nodata=0, bands=BANDS)
    first = predicted("--mode", "exact")
    p_KYX = by_hand(net, values, shown=[0, 2])
    two = np.sort(p_KYX, axis=0)[-2:]
    clear = (values > 0).all(axis=0) & (two[1] - two[0] > 1e-4)
    assert clear.sum() > 20_000 and len(np.unique(first[0])) > 3
    np.testing.assert_array_equal(first[0][clear], p_KYX.argmax(axis=0)[clear] + 1)
    values[1][values[1] > 0] = 1  # is not looked at, but for where it is missing
    write_tif(Path("image.tif"), values, nodata=0, bands=BANDS)
    np.testing.assert_array_equal(predicted("--mode", "exact"), first)


def test_a_model_of_joined_periods_is_refused(project_folder, capsys):
    """One image would be taken for all the periods, or the command would end in a traceback."""
    twice = {"mean": MEAN * 2, "sd": SD * 2, "periods": ["april", "august"]}
    model(**twice)
    write_tif(Path("image.tif"), image(), nodata=0, bands=BANDS)
    command = ["predict", "--model", "model.safetensors", "--image", "image.tif", "out/map.tif"]
    line = refused_cleanly(capsys, *command)
    assert "joined periods (april, august); expected one of single images; map an area" in line


def test_named_bands_and_settings(project_folder, caplog):
    """Files without names could not be mapped, or options would do nothing."""
    model(attention="se")
    write_tif(Path("image.tif"), image()[::-1], nodata=0)
    caplog.set_level(logging.INFO)
    bands = ("--bands", "B04, B03, B02")
    first = predicted(*bands)
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "blend, windows of 32 px every 16 px" in said and "Mpx mapped" in said
    before = Path("map.tif").read_bytes()
    np.testing.assert_array_equal(predicted(*bands, "--tile", 64), first)
    predicted(*bands)
    assert Path("map.tif").read_bytes() == before
    caplog.clear()
    predicted(*bands, "--mode", "blend", "--window", 64, "--precision", "bfloat16")
    assert "windows of 64 px every 32 px" in caplog.text


REFUSED = {
    "no names": ({}, [], r"bands \(no name\), .*; expected B02, B03, B04.*--bands B02,B03,B04"),
    "other names": (
        {"bands": ("B02", "B03", "B08")},
        [],
        r"bands B02, B03, B08; expected B02, B03, B04, once each; .*--bands",
    ),
    "too few names": ({}, ["--bands", "B02,B03"], "3 bands; expected 2, as --bands says"),
    "another resolution": (
        {"bands": BANDS, "step": 20},
        [],
        r"20 m pixels; expected 10 m, as the model learnt; warp it: gdalwarp .*-tr 10 10",
    ),
    "degrees": (
        {"bands": BANDS, "crs": "EPSG:4326", "step": 0.0001, "left": 2, "top": 41},
        [],
        "pixels of 0.0001 degrees; expected 10 m",
    ),
    "no CRS": ({"bands": BANDS, "crs": None}, [], "no CRS; expected a georeferenced raster"),
    "all missing": ({"bands": BANDS, "value": 0}, [], "no pixel with data in every band"),
    "a mode": ({"bands": BANDS}, ["--mode", "fast"], "--mode: found fast; expected .*'auto'"),
    "a tile": ({"bands": BANDS}, ["--tile", "3"], "--tile: found 3"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_image_that_does_not_fit_is_refused(project_folder, capsys, case):
    """A map would be made of the wrong bands, at the wrong scale, nowhere, or of nothing."""
    about, options, expected = REFUSED[case]
    model()
    values = np.full((3, 64, 64), about.get("value", 900), np.uint16)
    write_tif(
        Path("image.tif"), values, nodata=0, **{k: v for k, v in about.items() if k != "value"}
    )
    line = refused_cleanly(
        capsys,
        *("predict", "--model", "model.safetensors", "--image", "image.tif", *options),
        "out/map.tif",
    )
    assert re.search(expected, line), line


@pytest.mark.parametrize(
    ("name", "output", "said"),
    [
        ("image.tif", "image.tif", "image.tif itself"),
        ("image.tif", "model.tif", "model.tif itself"),
        ("image.vrt", "image.tif", "image.tif itself"),
        ("image.tif", "folder.tif", "a folder"),
        ("image.tif", "map.png", "suffix '.png'; expected .tif"),
        ("image.tif", "image.tif/map.tif", "Not a directory: choose another path|File exists"),
        ("image.tif", f"{'x' * 240}.tif", "File name too long: choose another path"),
    ],
)
def test_what_is_read_is_not_written_over(project_folder, capsys, name, output, said):
    """A model or an image would be replaced by a map, or hours of work end in a traceback."""
    model()
    Path("model.safetensors").rename("model.tif")
    Path("folder.tif").mkdir()
    write_tif(Path("image.tif"), image(), nodata=0, bands=BANDS)
    rasterio.shutil.copy("image.tif", "image.vrt", driver="VRT")
    before = {path: path.read_bytes() for path in Path().glob("*.*") if path.is_file()}
    line = refused_cleanly(capsys, "predict", "--model", "model.tif", "--image", name, output)
    assert re.search(said, line), line
    assert {path: path.read_bytes() for path in Path().glob("*.*") if path.is_file()} == before


@pytest.mark.parametrize("kind", ["infinite", "too large", "mask", "opacity"])
def test_what_is_no_number_or_masked_is_missing(project_folder, kind):
    """Classes would be mapped where there is no data, and spoil those around."""
    model()
    values = image().astype(np.float64)
    write_tif(Path("image.tif"), values.astype(np.float32), nodata=0, bands=BANDS)
    values[1, 60:70, 80:90] = 0
    write_tif(Path("missing.tif"), values.astype(np.float32), nodata=0, bands=BANDS)
    missing_YX = (values == 0).any(axis=0)
    if kind == "infinite":
        values[1, 60:70, 80:90] = -np.inf
        write_tif(Path("image.tif"), values.astype(np.float32), nodata=0, bands=BANDS)
    elif kind == "too large":
        values[1, 60:70, 80:90] = 1e300
        write_tif(Path("image.tif"), values, nodata=0, bands=BANDS)
    else:
        values[:, missing_YX] = 9000.0
        opacity_YX = np.where(missing_YX, 0, 255)
        stored = np.concatenate([values, opacity_YX[None]]) if kind == "opacity" else values
        names = [*BANDS, "opacity"][: len(stored)]
        write_tif(Path("image.tif"), stored.astype(np.uint16), bands=names)
        with rasterio.open("image.tif", "r+") as target:
            if kind == "mask":
                target.write_mask(~missing_YX)
            else:
                target.colorinterp = [*[rasterio.enums.ColorInterp.undefined] * 3, OPACITY]
    found, expected = predicted(), predicted(name="missing.tif")
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found[0] == 0, missing_YX)


def test_complex_numbers_are_refused(project_folder, capsys):
    """Half of each number would be left out without a word."""
    model()
    write_tif(Path("image.tif"), image().astype(np.complex64), bands=BANDS)
    command = ["predict", "--model", "model.safetensors", "--image", "image.tif", "out/map.tif"]
    assert "complex64 numbers; expected real ones" in refused_cleanly(capsys, *command)


def test_a_folder_that_takes_no_file_is_told(project_folder, capsys):
    """The image would be said to be unreadable where the map cannot be written."""
    model()
    write_tif(Path("image.tif"), image(), nodata=0, bands=BANDS)
    command = ["predict", "--model", "model.safetensors", "--image", "image.tif"]
    line = refused_cleanly(capsys, *command, "/proc/self/map.tif")
    assert line.startswith("mapmill predict: /proc/self/map.tif: found no file"), line


def test_an_image_unlike_those_of_training_is_told(project_folder, caplog):
    """Values in other units would give a map of nonsense without a word."""
    values = image()
    write_tif(Path("image.tif"), values, nodata=0, bands=BANDS)
    model()
    predicted()
    assert "lie outside" not in caplog.text
    model(least=[900.0, 1.0, 1.0], most=[4000.0] * 3)
    predicted()
    valid = (values > 0).all(axis=0)
    share = 100 * (values[0][valid] < 900).mean()
    assert f"B02: {share:.1f} % of the pixels lie outside 900 to 2000" in caplog.text
    assert "B03" not in caplog.text
    caplog.clear()
    model()
    write_tif(Path("image.tif"), (values / 10).astype(np.uint16), nodata=0, bands=BANDS)
    predicted()
    assert all(f"{band}: " in caplog.text for band in ("B03", "B04"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--model", "model.safetensors", "map.tif"],
        ["--model", "m", "--image", "i", "area.yaml", "landcover", "r000c000", "b.tif"],
        ["area.yaml", "landcover"],
    ],
)
def test_half_of_a_command_is_refused(project_folder, capsys, arguments):
    """A command would end in a traceback, or do something else than what was meant."""
    with pytest.raises(SystemExit):
        mapmill("predict", *arguments)
    assert "error: predict: " in capsys.readouterr().err


PEAK = """
import json, resource, sys
from mapmill.cli import main
assert main(sys.argv[1:]) == 0
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
"""


def sparse_image(path, size):
    """A file of `size` px whose tiles repeat a simulated one, written row by row of tiles."""
    tile = image(512, 512)
    profile = {"driver": "GTiff", "dtype": "uint16", "count": 3, "nodata": 0, "crs": "EPSG:32631"}
    profile |= {"transform": rasterio.Affine(10, 0, 400_000, 0, -10, 5_000_000)}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "zstd"}
    with rasterio.open(path, "w", **profile, width=size, height=size) as target:
        for number, name in enumerate(BANDS, 1):
            target.set_band_description(number, name)
        row = np.tile(tile, (1, 1, -(-size // 512)))[:, :, :size]
        for top in range(0, size, 512):
            window = rasterio.windows.Window(0, top, size, min(512, size - top))
            target.write(row[:, : size - top], window=window)


def peaks(sizes, mode):
    """Peak memory in MB of the command on images of several sizes, a process each."""
    found = []
    for size in sizes:
        sparse_image("image.tif", size)
        command = ["predict", "--model", "model.safetensors", "--image", "image.tif", "map.tif"]
        environment = os.environ | {"MALLOC_ARENA_MAX": "2"}
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *command, "--mode", mode, "--window", "256"],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


@pytest.mark.full
@pytest.mark.parametrize("mode", ["exact", "blend"])
def test_memory_does_not_grow_with_the_image(project_folder, mode, capsys):
    """A large image could not be mapped on a small computer."""
    model(width=2)
    found = peaks((2000, 8000), mode)
    with capsys.disabled():
        print(f"\n{mode}: peaks of {found} MB at 2,000 and 8,000 px")
    assert found[1] < 1.15 * found[0] and max(found) < 1500
