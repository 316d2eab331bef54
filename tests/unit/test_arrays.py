"""Chips as arrays: what others wrote comes back pixel for pixel, or is refused in one line."""

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from chip_making import (
    chip_area,
    positions,
    simulated_chip,
    write_chip,
    write_hdf5,
    write_npz,
    write_png,
)
from PIL import Image
from rasterio.transform import Affine

from mapmill.areafile import load_area
from mapmill.arrays import read_chip, read_mask
from mapmill.chips import Chip
from mapmill.errors import ContractError, MapmillError
from mapmill.raster import Georeference

BANDS = ["B03", "B04", "B08"]
NORTH_UP = Affine(10, 0, 400_000, 0, -10, 4_600_000)
HEIGHT, WIDTH = 20, 33


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(suffix=".tif", mask=".tif", images=None, chips=None, **sections):
    """Image and classes of chip `a`, whose files have these suffixes; without a mask if None."""
    entry = {"files": f"data/image/{{chip}}{suffix}", "bands": BANDS} | (images or {})
    masks = {"files": f"data/mask/{{chip}}{mask}"}
    section = {"images": [entry], "masks": masks} | (chips or {})
    area = load_area(chip_area("arrays", chips=section, **sections))
    paths = (Path(each.files.format(chip="a")) for each in area.chips.images)
    chip = Chip("a", tuple(paths), Path(f"data/mask/a{mask}") if mask else None)
    image = read_chip(area, chip)
    return image, read_mask(area, chip, image)


def refused(*arguments, says=(), path="data/image/a", **keywords):
    """Reading must end in one line that names the path and what is wrong with it."""
    with pytest.raises(MapmillError) as error:
        read(*arguments, **keywords)
    line = str(error.value)
    assert line.startswith(path) and "\n" not in line
    for part in says:
        assert part in line, line
    return line


def simulated():
    """Codes (y, x) and an image (band, y, x) of one size."""
    return simulated_chip(HEIGHT, WIDTH)


def bands_last(image_BYX):
    return np.ascontiguousarray(image_BYX.transpose(1, 2, 0))


WRITERS = {
    ".h5": lambda name, array_BYX: write_hdf5(name, img=bands_last(array_BYX)),
    ".hdf5": lambda name, array_BYX: write_hdf5(name, img=bands_last(array_BYX)),
    ".npz": lambda name, array_BYX: write_npz(name, img=bands_last(array_BYX)),
    ".tif": write_chip,
    ".png": lambda name, array_BYX: write_png(
        name, bands_last(array_BYX) if len(array_BYX) > 1 else array_BYX[0]
    ),
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("mask", [*WRITERS, ".H5"])
def test_every_format_gives_the_same_pixels(suffix, mask):
    """Rows, columns or bands of a format would be swapped, or a mask laid over another image."""
    image_BYX = np.stack(
        [np.indices((HEIGHT, WIDTH))[0], np.indices((HEIGHT, WIDTH))[1], np.full((20, 33), 7)]
    ).astype(np.uint8)
    code_YX, _ = simulated()
    WRITERS[suffix](f"data/image/a{suffix}", image_BYX)
    if mask == ".H5":  # two axes, as in Landslide4Sense
        write_hdf5("data/mask/a.H5", mask=code_YX.astype(np.uint8))
    else:
        WRITERS[mask](f"data/mask/a{mask}", code_YX[None].astype(np.uint8))
    image, class_YX = read(suffix, mask)
    np.testing.assert_array_equal(image.image_BYX, image_BYX)
    assert image.image_BYX.dtype == np.float32 and class_YX.dtype == np.uint8
    np.testing.assert_array_equal(class_YX, code_YX + 1)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_either_order_of_bytes(suffix, order):
    """Arrays saved on a big-endian machine would become noise, and their masks be ignored."""
    code_YX, image_BYX = simulated()
    write = {".h5": write_hdf5, ".npz": write_npz}[suffix]
    write(f"data/image/a{suffix}", img=bands_last(image_BYX).astype(f"{order}f8"))
    write(f"data/mask/a{suffix}", mask=(code_YX - 1).astype(f"{order}i2"))
    image, class_YX = read(suffix, suffix, labels={"codes": {-1: 1, 0: 2}})
    np.testing.assert_array_equal(image.image_BYX, image_BYX)
    np.testing.assert_array_equal(class_YX, code_YX + 1)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_bands_first(suffix):
    """Arrays (band, y, x) could not be read, or an image as wide as it has bands be turned."""
    image_BYX = positions(3, 3, 3)
    write = {".h5": write_hdf5, ".npz": write_npz}[suffix]
    for axes, array in (("bands-first", image_BYX), ("bands-last", bands_last(image_BYX))):
        write(f"data/image/a{suffix}", img=array)
        image, _ = read(suffix, None, chips={"arrays": axes})
        np.testing.assert_array_equal(image.image_BYX, image_BYX)


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_datasets_are_named_or_the_only_one(suffix):
    """An array would be taken by chance, or one in a group never be found."""
    _, image_BYX = simulated()
    write = {".h5": write_hdf5, ".npz": write_npz}[suffix]
    path = f"data/image/a{suffix}"
    write(path, other=np.zeros((HEIGHT, WIDTH, 3)), img=bands_last(image_BYX))
    image, _ = read(suffix, None, images={"dataset": "img"})
    np.testing.assert_array_equal(image.image_BYX, image_BYX)
    refused(suffix, None, says=["img", "other", "one only", "dataset"])
    refused(suffix, None, images={"dataset": "imgs"}, says=["img", "other", "expected imgs"])
    if suffix == ".h5":
        write(path, S2__img=bands_last(image_BYX))
        for name in (None, "S2/img", "/S2/img"):
            image, _ = read(suffix, None, images={"dataset": name})
            np.testing.assert_array_equal(image.image_BYX, image_BYX)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32631", NORTH_UP),
        ("EPSG:4326", Affine(9e-5, 0, -0.78, 0, -6e-5, 38.1)),
        ("EPSG:25832", Affine(0.08, 0.03, 496_000, 0.03, -0.08, 5_419_000)),
        ("EPSG:32631", Affine(10, 0, 400_000, 0, 10, 4_500_000)),
        (None, NORTH_UP),
        (None, None),
    ],
)
def test_georeference_is_kept_whatever_it_is(crs, transform):
    """A prediction would lie elsewhere than its chip: rotated, geographic, oblong, south up."""
    code_YX, image_BYX = simulated()
    write_chip("data/image/a.tif", image_BYX, crs=crs, transform=transform)
    write_chip("data/mask/a.tif", code_YX, crs=crs, transform=transform)
    image, class_YX = read()
    assert image.place.crs == crs
    assert image.place.transform == (tuple(transform)[:6] if transform else None)
    np.testing.assert_array_equal(class_YX, code_YX + 1)


@pytest.mark.parametrize("suffix", [".pgw", ".wld"])
def test_world_file_of_a_png(suffix):
    """The place of a PNG would be lost, or be half a pixel off."""
    code_YX, _ = simulated()
    world = Affine(0.08, 0.03, 496_000, 0.03, -0.08, 5_419_000)
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    path = write_png("data/image/a.png", rgb, world)
    path.with_suffix(".pgw").rename(path.with_suffix(suffix))
    write_png("data/mask/a.png", code_YX.astype(np.uint8))
    image, _ = read(".png", ".png")
    assert image.place.crs is None
    assert image.place.transform == pytest.approx(tuple(world)[:6], abs=1e-9)


@pytest.mark.parametrize("image_has", ["nothing", "world file", "CRS"])
@pytest.mark.parametrize("mask_has", ["nothing", "world file", "CRS"])
def test_what_one_file_does_not_say_another_may(image_has, mask_has):
    """A PNG mask with its world file would be refused beside the GeoTIFF that it belongs to."""
    known = {
        "nothing": (None, None),
        "world file": (None, NORTH_UP),
        "CRS": ("EPSG:32631", NORTH_UP),
    }
    code_YX, image_BYX = simulated()
    for path, array, has in (("image", image_BYX, image_has), ("mask", code_YX, mask_has)):
        crs, transform = known[has]
        write_chip(f"data/{path}/a.tif", array, crs=crs, transform=transform)
    image, class_YX = read()
    np.testing.assert_array_equal(class_YX, code_YX + 1)
    crs, transform = known[image_has]
    assert image.place == Georeference(crs, transform and tuple(transform)[:6])


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32632", NORTH_UP),
        ("EPSG:32631", NORTH_UP * Affine.translation(1, 0)),
        ("EPSG:32631", NORTH_UP * Affine.translation(0, 0.5)),
        ("EPSG:32631", NORTH_UP * Affine.scale(1.005)),
        ("EPSG:32631", NORTH_UP * Affine.rotation(0.2)),
        (None, NORTH_UP * Affine.translation(0, -1)),
    ],
)
def test_a_mask_that_lies_elsewhere_is_refused(crs, transform):
    """Labels would be shifted against the image, by a pixel or by a zone."""
    code_YX, image_BYX = simulated_chip(64, 64)
    write_chip("data/image/a.tif", image_BYX)
    write_chip("data/mask/a.tif", code_YX, crs=crs, transform=transform)
    refused(path="data/mask/a.tif", says=["another place than data/image/a.tif"])


def test_a_mask_that_lies_there_but_for_rounding_is_taken():
    """Sen1Floods11's masks differ from their images in the last digits, and would be refused."""
    code_YX, image_BYX = simulated()
    step = 8.983152841195215e-05
    near = Affine(step + 3e-19, 0, -0.7818936232976315, 0, -step, 38.12881257139627 + 1e-13)
    write_chip("data/image/a.tif", image_BYX, crs="EPSG:4326", transform=near)
    place = Affine(step, 0, -0.7818936232976315, 0, -step, 38.12881257139627)
    write_chip("data/mask/a.tif", code_YX, crs="EPSG:4326", transform=place)
    np.testing.assert_array_equal(read()[1], code_YX + 1)


def test_bands_of_several_files_in_the_asked_order():
    """Band and name would not belong together where a chip has several files or spare bands."""
    write_chip("data/image/a.tif", positions(9, 9, 3))
    write_hdf5("data/dsm/a.h5", dsm=positions(9, 9)[0] + 0.5)
    both = [
        {"files": "data/image/{chip}.tif", "bands": BANDS},
        {"files": "data/dsm/{chip}.h5", "bands": ["DSM"]},
    ]
    found, class_YX = read(mask=None, chips={"images": both}, compose={"bands": ["DSM", "B04"]})
    np.testing.assert_array_equal(found.image_BYX[0], positions(9, 9)[0] + 0.5)
    np.testing.assert_array_equal(found.image_BYX[1], positions(9, 9, 3)[1])
    assert found.place.crs == "EPSG:32631"
    assert class_YX.shape == (9, 9) and not class_YX.any()


def holed():
    """A float image with four kinds of holes, and where they are."""
    _, image_BYX = simulated()
    holes = {(0, 1, 2): -9999.0, (1, 3, 4): np.nan, (2, 5, 6): np.inf, (0, 7, 8): -np.inf}
    for place, value in holes.items():
        image_BYX[place] = value
    return image_BYX, list(holes)


@pytest.mark.parametrize("how", ["by the file", "by the area file"])
def test_missing_pixels_become_nan(how):
    """A fill value would be learnt as if it were measured."""
    image_BYX, places = holed()
    write_chip("data/image/a.tif", image_BYX, nodata=-9999 if how == "by the file" else None)
    images = {"nodata": -9999} if how == "by the area file" else {}
    image, _ = read(mask=None, images=images)
    expected = image_BYX.copy()
    for place in places:
        expected[place] = np.nan
    np.testing.assert_array_equal(image.image_BYX, expected)


def test_the_area_file_overrules_the_file():
    """A file that declares 0 missing where 0 dB is a value could not be used."""
    image_BYX = positions(9, 9, 3) - 10_000  # 0 in its first pixel
    write_chip("data/image/a.tif", image_BYX, nodata=0)
    assert np.isnan(read(mask=None)[0].image_BYX[0, 0, 0])
    kept, _ = read(mask=None, images={"nodata": -1})
    np.testing.assert_array_equal(kept.image_BYX, image_BYX)


def test_huge_fill_values_are_missing():
    """A fill value of double precision would become infinity, and the net's weights NaN."""
    values_YXB = bands_last(simulated()[1]).astype(np.float64)
    values_YXB[2, 3, 0] = -1.7976931348623157e308
    write_hdf5("data/image/a.h5", img=values_YXB)
    image, _ = read(".h5", None)
    assert np.argwhere(np.isnan(image.image_BYX)).tolist() == [[0, 2, 3]]
    assert np.isfinite(image.image_BYX).sum() == image.image_BYX.size - 1


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32", "float64"])
def test_whole_numbers_are_uint16_with_0_missing(dtype):
    """Counts would be changed on their way to uint16, or missing ones count as dark."""
    image_BYX = (positions(9, 9, 3) % 251).astype(dtype)
    write_hdf5("data/image/a.h5", img=bands_last(image_BYX))
    image, _ = read(".h5", None, images={"nodata": 7}, compose={"dtype": "uint16"})
    assert image.image_BYX.dtype == np.uint16
    np.testing.assert_array_equal(image.image_BYX, np.where(image_BYX == 7, 0, image_BYX))


@pytest.mark.parametrize("value", [-1.0, 65536.0, 0.5, 1e9])
def test_what_uint16_cannot_hold_is_refused(value):
    """Reflectances of 0 to 1 would all become 0, and negative values wrap around."""
    image_BYX = positions(9, 9, 3)
    image_BYX[1, 2, 3] = value
    write_chip("data/image/a.tif", image_BYX)
    line = refused(mask=None, compose={"dtype": "uint16"}, says=["0 to 65535", "float32"])
    assert line.startswith("data/image/a.tif: found float32 values")
    write_chip("data/image/a.tif", image_BYX, nodata=value)
    image, _ = read(mask=None, compose={"dtype": "uint16"})
    assert image.image_BYX[1, 2, 3] == 0


COLOURS = {"#ffffff": 1, "#0000ff": 2}


@pytest.mark.parametrize("suffix", [".tif", ".png", ".h5"])
def test_colour_masks(suffix):
    """The classes of ISPRS masks would be read from their red channel, or the borders learnt."""
    code_YX, image_BYX = simulated()
    rgb_YXC = np.array([[255, 255, 255], [0, 0, 255]], np.uint8)[code_YX]
    rgb_YXC[3, 4] = 0, 0, 0
    rgb_YXC[3, 5] = 254, 255, 255
    rgb_YXC[3, 6] = 255, 0, 0
    write_chip("data/image/a.tif", image_BYX, crs=None)
    WRITERS[suffix](f"data/mask/a{suffix}", rgb_YXC.transpose(2, 0, 1))
    _, class_YX = read(mask=suffix, labels={"codes": COLOURS})
    expected = code_YX + 1
    expected[3, 4:7] = 0
    np.testing.assert_array_equal(class_YX, expected)


def test_colour_mask_with_opacity():
    """A mask saved as RGBA would be refused, or its opacity be taken for a colour."""
    code_YX, image_BYX = simulated()
    rgba = np.array([[255, 255, 255, 255], [0, 0, 255, 255]], np.uint8)[code_YX]
    write_chip("data/image/a.tif", image_BYX, crs=None)
    write_png("data/mask/a.png", rgba)
    np.testing.assert_array_equal(read(mask=".png", labels={"codes": COLOURS})[1], code_YX + 1)


def test_masks_of_another_kind_than_the_codes_are_refused():
    """Every pixel would silently be ignored: palette masks, or grey ones saved as RGB."""
    code_YX, image_BYX = simulated()
    write_chip("data/image/a.tif", image_BYX, crs=None)
    palette = Image.fromarray(code_YX.astype(np.uint8)).convert("P")
    palette.putpalette([255, 255, 255, 0, 0, 255])
    Path("data/mask").mkdir()
    palette.save("data/mask/a.png")
    says = ["1 band", "colours in labels.codes"]
    refused(mask=".png", labels={"codes": COLOURS}, path="data/mask/a.png", says=says)
    write_png("data/mask/a.png", np.repeat(code_YX[..., None].astype(np.uint8), 3, axis=2))
    refused(mask=".png", path="data/mask/a.png", says=["3 bands", "numbers in labels.codes"])


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float32", "float64"])
def test_masks_of_minus_one_zero_and_one(dtype):
    """Unknown pixels of a flood mask would be learnt, or dry land be ignored."""
    code_YX, image_BYX = simulated()
    code_YX = code_YX.astype(dtype)
    code_YX[5:9, 5:9] = -1
    code_YX[12, 12] = 7
    write_chip("data/image/a.tif", image_BYX)
    write_chip("data/mask/a.tif", code_YX)
    _, class_YX = read()
    expected = np.where((code_YX < 0) | (code_YX > 1), 0, code_YX + 1)
    np.testing.assert_array_equal(class_YX, expected)


def test_truth_values_are_codes():
    """Masks saved as True and False could not be read."""
    code_YX, image_BYX = simulated()
    write_chip("data/image/a.tif", image_BYX)
    write_npz("data/mask/a.npz", mask=code_YX.astype(bool))
    np.testing.assert_array_equal(read(mask=".npz")[1], code_YX + 1)


def test_nodata_of_a_mask_is_ignored():
    """Pixels that nobody labelled would be a class, since their fill value is also a code."""
    code_YX, image_BYX = simulated()
    code_YX[:4] = 255
    write_chip("data/image/a.tif", image_BYX)
    for nodata, codes in ((255, {0: 1, 1: 2, 255: 2}), (None, {0: 1, 1: 2})):
        write_chip("data/mask/a.tif", code_YX.astype(np.uint8), nodata=nodata)
        _, class_YX = read(labels={"codes": codes})
        np.testing.assert_array_equal(class_YX, np.where(code_YX == 255, 0, code_YX + 1))


def test_without_a_table_codes_are_the_classes():
    """A stray code would become a class that nobody named."""
    code_YX, image_BYX = simulated()
    write_chip("data/image/a.tif", image_BYX)
    values_YX = code_YX.astype(np.float32) + 1
    values_YX[0, 0] = np.nan
    write_chip("data/mask/a.tif", values_YX)
    np.testing.assert_array_equal(read(labels=None)[1], np.nan_to_num(values_YX))
    values_YX[1, 1] = 3
    write_chip("data/mask/a.tif", values_YX)
    refused(labels=None, path="data/mask/a.tif", says=["code 3", "labels.codes"])


def test_differences_follow_the_bands():
    """NDVI would be of the wrong bands, or undefined pixels be missing or infinite."""
    _, image_BYX = simulated()
    image_BYX[1:, 0, 0] = 0, 0
    image_BYX[1:, 0, 1] = np.nan, 5
    write_chip("data/image/a.tif", image_BYX)
    with np.errstate(all="raise"):
        image, _ = read(mask=None, compose={"differences": {"NDVI": ["B08", "B04"]}})
    red_YX, infrared_YX = image_BYX[1:].astype(np.float64)
    with np.errstate(invalid="ignore"):
        expected_YX = (infrared_YX - red_YX) / (infrared_YX + red_YX)
    expected_YX[0, 0] = 0
    np.testing.assert_allclose(image.image_BYX[3], expected_YX, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(image.image_BYX[:3], image_BYX)
    assert np.isnan(image.image_BYX[3, 0, 1]) and image.image_BYX.dtype == np.float32


def test_other_shapes_and_numbers_of_bands_are_refused():
    """A mask would be laid over the wrong pixels, or a band be called by another's name."""
    code_YX, image_BYX = simulated()
    write_chip("data/image/a.tif", image_BYX)
    write_chip("data/mask/a.tif", code_YX[:, :-1])
    says = ["32 x 20 px", "33 x 20 px"]
    refused(path="data/mask/a.tif", says=says)
    write_chip("data/mask/a.tif", np.stack([code_YX] * 2))
    refused(path="data/mask/a.tif", says=["2 bands", "1, or 3 for colours"])
    refused(
        mask=None, images={"bands": [*BANDS, "B11"]}, says=["3 bands", "4 (B03, B04, B08, B11)"]
    )
    write_hdf5("data/image/a.h5", img=image_BYX)
    refused(".h5", None, says=["33 bands", "bands-first"])


def test_a_second_image_of_another_shape_is_refused():
    """A surface model at another resolution would be cut or stretched silently."""
    _, image_BYX = simulated()
    write_chip("data/image/a.tif", image_BYX, crs=None)
    write_chip("data/dsm/a.tif", image_BYX[0, ::2, ::2], crs=None)
    entries = [
        {"files": "data/image/{chip}.tif", "bands": BANDS},
        {"files": "data/dsm/{chip}.tif", "bands": ["DSM"]},
    ]
    says = ["17 x 10 px", "33 x 20 px"]
    refused(mask=None, chips={"images": entries}, path="data/dsm/a.tif", says=says)


def shorten(path, share):
    """Cut a file off."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
@pytest.mark.parametrize("suffix", [".h5", ".npz", ".tif", ".png"])
@pytest.mark.parametrize("kind", ["image", "mask"])
def test_truncated_files_are_refused(suffix, share, kind):
    """An interrupted copy would be learnt as black pixels, or end in a page of Python."""
    random = np.random.default_rng(1).integers(0, 2, (3, 40, 40)).astype(np.uint8)
    WRITERS[suffix](f"data/image/a{suffix}", random)
    WRITERS[suffix](f"data/mask/a{suffix}", random[:1])
    read(suffix, suffix)
    path = Path(f"data/{kind}/a{suffix}")
    shorten(path, share)
    refused(suffix, suffix, path=str(path))


def test_a_flipped_bit_in_a_png_is_refused():
    """A damaged picture would be learnt from."""
    path = write_png("data/image/a.png", np.zeros((40, 40, 3), np.uint8))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(".png", None)


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".tif", ".png"])
def test_a_web_page_saved_as_data_is_refused(suffix):
    """A download that asked for a login would end in a page of Python."""
    path = Path(f"data/image/a{suffix}")
    path.parent.mkdir(parents=True)
    path.write_text("<!DOCTYPE html><html><body>Please log in</body></html>")
    refused(suffix, None)


@pytest.mark.parametrize("suffix", [".h5", ".npz", ".tif", ".png"])
def test_a_folder_in_the_place_of_a_file_is_refused(suffix):
    """A folder with a chip's name would end in a page of Python."""
    Path(f"data/image/a{suffix}").mkdir(parents=True)
    refused(suffix, None)


class Bomb:
    """Writes a file when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("exploded"),))


def test_pickled_objects_are_never_loaded():
    """A shared npz file could run any program on the user's machine."""
    write_npz("data/image/a.npz", img=np.array([[Bomb()]], dtype=object))
    refused(".npz", None, says=["allow_pickle=False"])
    np.array([Bomb()], dtype=object).dump("data/image/a.npz")
    refused(".npz", None)
    assert not Path("exploded").exists()


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 9, 9, 3)),
        np.zeros(9),
        np.array(3.0),
        np.zeros((0, 9, 3)),
        np.zeros((9, 9, 3), complex),
        np.full((9, 9, 3), b"x"),
    ],
    ids=["4 axes", "1 axis", "a number", "no pixels", "complex", "strings"],
)
@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_arrays_that_are_no_images_are_refused(suffix, array):
    """A stack of images, a vector or a table would end in a page of Python."""
    {".h5": write_hdf5, ".npz": write_npz}[suffix](f"data/image/a{suffix}", img=array)
    refused(suffix, None)


def test_containers_without_arrays_are_refused():
    """A file with no array in it, or none saved by NumPy, would end in a page of Python."""
    path = write_hdf5("data/image/a.h5")
    refused(".h5", None, says=["arrays none"])
    with h5py.File(path, "w") as file:
        file.create_dataset("img", data=h5py.Empty("f4"))
        file["gone"] = h5py.SoftLink("/nowhere")
    refused(".h5", None, says=["empty"])
    with zipfile.ZipFile("data/image/a.npz", "w") as archive:
        archive.writestr("readme.txt", "no array")
    refused(".npz", None)
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((9, 9, 3)))
    Path("data/image/a.npz").write_bytes(buffer.getvalue())
    refused(".npz", None)


def test_complex_rasters_are_refused():
    """Single-look complex radar would lose its imaginary part with no word said."""
    write_chip("data/image/a.tif", np.zeros((3, 9, 9), np.complex64))
    with pytest.raises(ContractError, match="complex64"):
        read(mask=None)
