"""compose: several scenes with clouds become one image, and the quality layer tells of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from making import CRS, LEFT, STEP, TOP, write_tif
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import from_origin
from rasterio.warp import reproject
from stages.stage_steps import (
    PERIOD,
    area_with,
    block_names,
    compose,
    files,
    mapmill,
    pasted,
    refused,
    refused_cleanly,
    search,
)

HEIGHT, WIDTH = 160, 192
EMPTY, CLEAR, CLOUD, SNOW = range(4)
STATES = np.array([0, 0, 1, 2, 1, 1, 1, 1, 2, 2, 2, 3])
"""State of each value of Sentinel-2's scene classification."""
SCENES = {
    "a": (CRS, LEFT - 300.0, TOP + 200.0, 10.0),
    "b": ("EPSG:32630", 901_000.0, 4_613_500.0, 12.0),  # the neighbouring zone
    "c": ("EPSG:4326", 1.80, 41.56, 1.5e-4),
}
"""CRS, left, top and pixel; a's pixels are those of the grid."""


def area_of(name="scenes", bands=("B04", "B08"), pattern="scenes/{scene}_{band}.tif", **chosen):
    section = {"bands": list(bands), "resampling": "nearest", **chosen}
    sections = {"search": {"periods": files(pattern)}, "compose": section}
    return area_with(name, grid={"block": 100}, **sections)


def quality(area):
    """(2, y, x): observations and state, of the whole area."""
    folder = Path(f"results/{area.stem}/compose/{PERIOD}/quality")
    with rasterio.open(folder / "r000c000.tif") as source:
        assert source.descriptions == ("observations", "state")
        assert (source.nodata, set(source.dtypes)) == (0, {"uint8"})
    return pasted(folder)


def on_the_grid(path):
    """The pixel in which the centre of each of the area's pixels lies; 0 beside the file."""
    rows, cols = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    with rasterio.open(path) as source:
        values, inverse = source.read(1), ~source.transform
        there = Transformer.from_crs(CRS, source.crs, always_xy=True)
    col, row = inverse * np.array(there.transform(LEFT + cols * STEP, TOP - rows * STEP))
    row, col = (np.floor(place).astype(int) for place in (row, col))
    inside = (row >= 0) & (col >= 0) & (row < values.shape[0]) & (col < values.shape[1])
    return np.where(
        inside, values[row.clip(0, len(values) - 1), col.clip(0, values.shape[1] - 1)], 0
    )


@pytest.fixture
def cloudy(small_area):
    """Three scenes of three CRSs with a classification at twice the pixel; all of it on the grid.

    Returns images (scene, band, y, x) and states (scene, y, x), 0 where a scene has nothing.
    """
    random = np.random.default_rng(5)
    images, states = [], []
    for name, (crs, left, top, step) in SCENES.items():
        place = {"crs": crs, "left": left, "top": top}
        for band in ("B04", "B08"):
            values = random.integers(1, 9000, (280, 280)).astype(np.uint16)
            values[100:110, 100:140] = 0
            write_tif(Path(f"scenes/{name}_{band}.tif"), values, step=step, **place)
        blobs = np.kron(random.integers(0, 12, (14, 14)), np.ones((10, 10))).astype(np.uint8)
        write_tif(Path(f"scenes/{name}_SCL.tif"), blobs, step=2 * step, nodata=0, **place)
        bands = np.stack([on_the_grid(f"scenes/{name}_{band}.tif") for band in ("B04", "B08")])
        there = (bands > 0).all(axis=0)
        states.append(np.where(there, STATES[on_the_grid(f"scenes/{name}_SCL.tif")], EMPTY))
        images.append(bands)
    return np.stack(images), np.stack(states)


def expected_of(images, states, order, kept=(CLEAR, SNOW)):
    """The first observation that is kept, and its state, pixel by pixel; else the least bad."""
    image, state = np.zeros(images.shape[1:], int), np.zeros(states.shape[1:], int)
    for wanted in (CLOUD, SNOW, CLEAR):  # each goes over the one before
        state[(states == wanted).any(axis=0)] = wanted
    given = np.zeros(state.shape, bool)
    for scene in order:
        take = np.isin(states[scene], kept) & ~given
        image[:, take], state[take] = images[scene][:, take], states[scene][take]
        given |= take
    return image, state


@pytest.mark.parametrize("remove", [["cloud"], ["cloud", "snow"], []])
def test_clouds_give_way_to_the_next_scene(cloudy, remove):
    """The map would show clouds, or scenes of other zones beside their place."""
    images, states = cloudy
    kept = [CLEAR] + [s for s, name in ((CLOUD, "cloud"), (SNOW, "snow")) if name not in remove]
    area = area_of(mask={"preset": "scl", "remove": remove})
    found, layer = compose(area), quality(area)
    image, state = expected_of(images, states, [0, 1, 2], kept)
    assert {0, 1, 2, 3} <= set(np.unique(state)) | {3 if "snow" in remove else 0}
    np.testing.assert_array_equal(found, image)
    np.testing.assert_array_equal(layer[1], state)
    np.testing.assert_array_equal(layer[0], np.isin(states, kept).sum(axis=0))


def test_without_a_mask_the_layer_tells_what_there_is(cloudy):
    """Areas without masks would have no layer, and their tiles no fraction of clouds."""
    images, _ = cloudy
    there = (images > 0).all(axis=1)
    area = area_of("plain")
    compose(area)
    layer = quality(area)
    np.testing.assert_array_equal(layer[0], there.sum(axis=0))
    np.testing.assert_array_equal(layer[1], there.any(axis=0))


@pytest.mark.parametrize("how", ["median", "mean", "max-ndvi"])
def test_other_combinations(cloudy, how):
    """A composite of a season would take clouds in, gaps as 0, or mix up its bands."""
    images, states = cloudy
    ndvi = {"ndvi": ["B08", "B04"]} if how == "max-ndvi" else {}
    area = area_of(how, combine=how, mask={"preset": "scl"}, **ndvi)
    found, layer = compose(area), quality(area)
    usable = np.isin(states, (CLEAR, SNOW))
    values = np.where(usable[:, None], images, np.nan)
    clear = usable.any(axis=0)
    if how == "max-ndvi":
        red, nir = values[:, 0], values[:, 1]
        best = np.where(usable, (nir - red) / (nir + red), -2).argmax(axis=0)
        expected = np.take_along_axis(images, best[None, None], axis=0)[0]
    else:
        middle = np.nanmedian if how == "median" else np.nanmean
        expected = np.rint(middle(np.where(clear, values, 0), axis=0))
    np.testing.assert_array_equal(found[:, clear], expected[:, clear])
    assert not found[:, ~clear].any()
    np.testing.assert_array_equal(layer[0], usable.sum(axis=0))


def pin_clouds(area, clouds):
    """Write what a catalogue would tell of the scenes' clouds into the pinned search."""
    listing = Path(f"results/{area.stem}/search/{PERIOD}.json")
    content = json.loads(listing.read_text())
    for feature in content["features"]:
        feature["properties"]["eo:cloud_cover"] = clouds[feature["id"]]
    listing.write_text(json.dumps(content))


def blocks_again(area):
    folder = Path(f"results/{area.stem}/compose/{PERIOD}")
    for block in block_names(area):
        mapmill("compose", area, PERIOD, block, folder / f"{block}.tif")
    return pasted(folder)


def test_least_cloudy_goes_by_the_whole_scene(cloudy):
    """Each block would have an order of its own, and a seam to the next one."""
    area = area_of("cloudless")
    compose(area)
    area = area_of("cloudless", combine="least-cloudy")
    there = (cloudy[0] > 0).all(axis=1).astype(int)
    for clouds, order in (
        ({"a": 50, "b": 7.5, "c": 20}, [1, 2, 0]),
        ({"a": None, "b": 40, "c": 40}, [1, 2, 0]),
        ({"a": -1, "b": 90, "c": 0}, [2, 1, 0]),
    ):
        pin_clouds(area, clouds)
        np.testing.assert_array_equal(blocks_again(area), expected_of(cloudy[0], there, order)[0])


def test_least_cloudy_needs_clouds(cloudy, capsys):
    """The order of file names would pass for the order of clouds."""
    area = area_of("cloudless")
    compose(area)
    area = area_of("cloudless", combine="least-cloudy")
    line = refused_cleanly(capsys, "compose", area, PERIOD, "r000c000", "out/b.tif")
    assert "eo:cloud_cover" in line


def test_clouds_grow_across_blocks(small_area):
    """A cloud's rim would end at the edge of its block."""
    for band in ("B04", "B08"):
        write_tif(Path(f"scenes/a_{band}.tif"), np.full((HEIGHT, WIDTH), 700, np.uint16))
    codes = np.full((HEIGHT, WIDTH), 127, np.uint8)
    codes[60:62, 62] = 255
    codes[120, 20], codes[10:14, 100:110] = 255, 0
    write_tif(Path("scenes/a_CMASK.tif"), codes)
    area = area_of("grown", mask={"preset": "cmask", "grow": 5})
    found, layer = compose(area), quality(area)
    rows, cols = np.mgrid[:HEIGHT, :WIDTH]
    near = np.zeros(codes.shape, bool)
    for row, col in np.argwhere(codes == 255):
        near |= (rows - row) ** 2 + (cols - col) ** 2 <= 25
    state = np.where(codes == 0, EMPTY, np.where(near, CLOUD, CLEAR))
    np.testing.assert_array_equal(layer[1], state)
    np.testing.assert_array_equal(found, np.broadcast_to(700 * (state == CLEAR), found.shape))


def test_a_mask_of_ones_own(small_area):
    """Masks of other makers could not be used; 0, their clear, would be taken for missing."""
    for band in ("B04", "B08"):
        write_tif(Path(f"scenes/a_{band}.tif"), np.full((HEIGHT, WIDTH), 700, np.uint16))
    codes = np.zeros((HEIGHT, 150), np.int16)
    codes[:20], codes[20:40], codes[40:60] = 4, 300, 77
    write_tif(Path("scenes/a_clm.tif"), codes, nodata=77)
    area = area_of("own", mask={"band": "clm", "cloud": [4], "snow": [300]})
    compose(area)
    rows = quality(area)[1][:, [10, 180]]
    np.testing.assert_array_equal(rows[:60:20, 0], [CLOUD, SNOW, EMPTY])
    assert (rows[60:, 0] == CLEAR).all()
    assert not rows[:, 1].any()  # the mask does not reach so far


def test_a_file_that_does_not_fit_its_mask(small_area, capsys):
    """A classification of another kind would let every cloud through."""
    for band in ("B04", "B08", "CMASK"):
        write_tif(Path(f"scenes/a_{band}.tif"), np.full((HEIGHT, WIDTH), 9, np.uint16))
    area = area_of("other")
    compose(area)
    area = area_of("other", mask={"preset": "cmask"})
    search(area)
    link = f"results/other/download/{PERIOD}/a/CMASK.tif"
    mapmill("download", area, f"{PERIOD}/a/CMASK.tif", link)
    line = refused_cleanly(capsys, "compose", area, PERIOD, "r000c000", "out/b.tif")
    assert "CMASK.tif" in line and "values 9" in line


def test_a_scene_without_its_mask_is_told(cloudy, capsys):
    """The scene's clouds would be in the map, or Python's own words on the screen."""
    Path("scenes/b_SCL.tif").unlink()
    area = area_of("lacking", mask={"preset": "scl"})
    line = refused(capsys, "search", area, PERIOD, "out/search.json")
    assert "scene b" in line and "expected SCL" in line and "compose.mask" in line


def test_offset_and_mask_go_together(small_area):
    """The offset would be taken from the classes, or from nodata, or leave 0 in dark water."""
    values = np.full((HEIGHT, WIDTH), 1500, np.uint16)
    values[0], values[1], values[2] = 0, 900, 1000
    for band in ("B04", "B08"):
        write_tif(Path(f"scenes/a_{band}.tif"), values)
    write_tif(Path("scenes/a_SCL.tif"), np.full((HEIGHT // 2, WIDTH // 2), 4, np.uint8), step=20.0)
    area = area_of("offset", mask={"preset": "scl"})
    compose(area)
    listing = Path(f"results/offset/search/{PERIOD}.json")
    content = json.loads(listing.read_text())
    for asset in content["features"][0]["assets"].values():
        asset["mapmill:offset"] = -1000
    listing.write_text(json.dumps(content))
    found = blocks_again(area)
    assert [np.unique(found[:, row]).tolist() for row in range(4)] == [[0], [1], [1], [500]]
    assert quality(area)[1, 1:].all()


def test_threads_and_parts_change_no_byte(cloudy, monkeypatch):
    """The same area would give other files on a larger machine."""
    area = area_of("bytes", combine="median", mask={"preset": "scl", "grow": 3})
    compose(area)
    first = {p: p.read_bytes() for p in Path("results/bytes/compose").rglob("*.tif")}
    monkeypatch.setattr("mapmill.stages.compose.PART", 64 * 1024)
    monkeypatch.setattr("mapmill.stages.compose.OPEN", 1)
    folder = Path(f"results/bytes/compose/{PERIOD}")
    for block in block_names(area):
        mapmill("compose", area, PERIOD, block, folder / f"{block}.tif", "--threads", 3)
    assert first == {path: path.read_bytes() for path in first}


def test_real_cbers_is_sharpened(small_area, real_data):
    """Bands of 8 m would stay blurred beside a panchromatic band of 2 m, or take its place."""
    folder = real_data / "cbers4a_wpm"
    with rasterio.open(folder / "BAND0.tif") as source:
        left, top, crs = source.bounds.left + 20, source.bounds.top - 20, source.crs
        pan = source.read(1, window=rasterio.windows.Window(10, 10, 300, 150)).astype(float)
    with rasterio.open(folder / "MULTISPECTRAL.tif") as source:
        for number in source.indexes:
            band = source.read(number)
            write_tif(
                Path(f"scenes/wpm_B{number}.tif"), band, left=source.bounds.left,
                top=source.bounds.top, step=8.0, crs=crs, nodata=0,
            )  # fmt: skip
    with rasterio.open(folder / "BAND0.tif") as source:
        write_tif(
            Path("scenes/wpm_PAN.tif"), source.read(1), left=source.bounds.left,
            top=source.bounds.top, step=2.0, crs=crs, nodata=0,
        )  # fmt: skip
    bounds = [left, top - 300, left + 600, top]
    grid = {"crs": str(crs), "resolution": 2, "bounds": bounds, "block": 64}
    bands = ["B1", "B2", "B3"]
    area = area_with(
        "sharp", grid=grid, search={"periods": files("scenes/{scene}_{band}.tif")},
        compose={"bands": bands, "pansharpen": {"pan": "PAN"}},
    )  # fmt: skip
    found = compose(area)
    blurred = []
    for band in bands:
        with rasterio.open(f"scenes/wpm_{band}.tif") as source:
            values, _ = reproject(
                rasterio.band(source, 1), np.zeros((150, 300), np.uint16), dst_crs=crs,
                dst_transform=from_origin(left, top, 2, 2), resampling=Resampling.bilinear,
            )  # fmt: skip
        blurred.append(values.astype(float))
    expected = np.stack(blurred) * pan / np.mean(blurred, axis=0)
    there = (np.stack(blurred) > 0).all(axis=0) & (pan > 0)
    assert there.mean() > 0.9
    assert np.abs(found - expected)[:, there].max() <= 4  # blurred values are rounded by one
