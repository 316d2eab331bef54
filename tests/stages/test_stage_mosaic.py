"""mosaic: the published file is what other software expects of a map."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
from making import LEFT, STEP, TOP, write_tif
from rasterio.transform import from_origin
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_validate
from stages.stage_steps import PERIOD, area_with, mapmill, refused, write_blocks

PERIODS = {PERIOD: {"files": "data/{scene}_{band}.tif"}, "2018-07": {"files": "none.tif"}}
SPRING = {"landcover": {"run": "unet", "periods": [PERIOD]}}


def mosaic(area):
    """Write the map; its path, and that of its confidence."""
    folder = Path(f"results/{area.stem}/mosaic/landcover")
    path = Path(f"results/{area.stem}_landcover.tif")
    others = [folder / "confidence.tif", folder / "map.png"]
    mapmill("mosaic", area, "landcover", path, path.with_suffix(".json"), *others)
    return path, others[0]


@pytest.fixture
def large(small_area):
    """An area with predicted blocks: its file, and class and confidence (2, y, x)."""
    left, top, height, width = LEFT, TOP, 560, 700
    area = area_with(
        "large",
        grid={"bounds": [left, top - height * STEP, left + width * STEP, top], "block": 256},
        classes={
            1: {"name": "field", "colour": "#e8c95c"},
            2: {"name": "Wood & scrub", "colour": "#1b6b2f"},
            3: {"name": "湖", "colour": "#2f6fb7"},
        },
        search={"periods": PERIODS},
        maps=SPRING,
    )
    random = np.random.default_rng(5)
    class_YX = np.kron(random.integers(0, 4, (70, 70)), np.ones((8, 10), int)).astype(np.uint8)
    share_YX = random.integers(34, 101, class_YX.shape).astype(np.uint8) * (class_YX > 0)
    result_BYX = np.stack([class_YX, share_YX])
    write_blocks(area, "predict/landcover", result_BYX, ["class", "confidence"])
    image_BYX = random.integers(1, 4000, (3, height, width)).astype(np.uint16)
    write_blocks(area, f"compose/{PERIOD}", image_BYX, ["B02", "B03", "B04"])
    return area, result_BYX


def test_map_is_a_valid_cog_with_every_pixel(large):
    """A web map could not stream the file, or it would differ from the prediction."""
    area, result_BYX = large
    for path, expected in zip(mosaic(area), result_BYX, strict=True):
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        assert valid and not errors and not warnings
        with rasterio.open(path) as source:
            assert source.overviews(1) == [2]
            assert source.crs == "EPSG:32631"
            assert source.transform == from_origin(LEFT, TOP, STEP, STEP)
            assert (source.shape, source.count) == ((560, 700), 1)
            assert (source.nodata, source.dtypes) == (0, ("uint8",))
            np.testing.assert_array_equal(source.read(1), expected)
    assert not [p for p in Path("results").rglob("*") if "part" in p.name or ".aux" in p.name]


def test_map_carries_colours_names_and_credits(large):
    """The map would open grey in QGIS, with numbers for classes and no credit to its sources."""
    path, confidence = mosaic(large[0])
    with rasterio.open(path) as source:
        colours = source.colormap(1)
        assert colours[1] == (0xE8, 0xC9, 0x5C, 255)
        assert colours[3] == (0x2F, 0x6F, 0xB7, 255)
        assert colours[0][3] == 0
        assert source.colorinterp == (rasterio.enums.ColorInterp.palette,)
        tags = source.tags()
        assert source.descriptions == ("class",)
        overview = source.read(1, out_shape=(280, 350))
    assert {key: tags[key] for key in tags if key.startswith("CLASS_")} == {
        "CLASS_1": "field",
        "CLASS_2": "Wood & scrub",
        "CLASS_3": "湖",
    }
    assert tags["ATTRIBUTION"] == "Simulated for the tests of mapmill"
    assert tags["LICENSE"] == "CC0-1.0"
    assert set(np.unique(overview)) <= {0, 1, 2, 3}
    with rasterio.open(confidence) as source:
        assert source.tags()["UNITS"].startswith("percent")


def test_log_of_a_good_run_has_no_error(large, caplog):
    """A user would look for a fault in a map that has none."""
    caplog.set_level("INFO")
    mosaic(large[0])
    assert "large_landcover.tif" in caplog.text
    assert "error" not in caplog.text.lower()


def test_same_bytes_again_and_no_folder_of_the_user(large, tmp_path):
    """A rerun would publish a new file for an unchanged map, or the names of a user's folders."""
    paths = [*mosaic(large[0]), Path("results/large_landcover.json")]
    before = [path.read_bytes() for path in paths]
    mosaic(large[0])
    assert [path.read_bytes() for path in paths] == before
    assert not any(str(tmp_path).encode() in content for content in before)


def test_stac_item_describes_the_files(large):
    """A catalogue could not list the map, or a reader could not verify what was downloaded."""
    path, confidence = mosaic(large[0])
    content = json.loads(path.with_suffix(".json").read_text())
    item = pystac.Item.from_dict(content)
    bounds = transform_bounds("EPSG:32631", "EPSG:4326", LEFT, TOP - 5600, LEFT + 7000, TOP)
    assert item.id == "large_landcover"
    assert item.bbox == pytest.approx(bounds, abs=1e-4)
    assert item.properties["proj:code"] == "EPSG:32631"
    assert item.properties["proj:shape"] == [560, 700]
    assert item.properties["proj:transform"] == [STEP, 0, LEFT, 0, -STEP, TOP]
    assert item.properties["start_datetime"] == "2018-04-01T00:00:00Z"
    assert item.properties["end_datetime"] == "2018-04-30T23:59:59Z"
    for key, file in (("map", path), ("confidence", confidence)):
        fields = content["assets"][key]
        assert (path.parent / fields["href"]).samefile(file)
        assert fields["file:size"] == file.stat().st_size
        assert fields["file:checksum"] == "1220" + hashlib.sha256(file.read_bytes()).hexdigest()
    classes = content["assets"]["map"]["classification:classes"]
    assert [each["value"] for each in classes] == [0, 1, 2, 3]
    names = [each["name"] for each in classes]
    assert len(set(names)) == 4
    assert all(re.fullmatch("[0-9A-Za-z_-]+", name) for name in names), names
    assert all(re.fullmatch("[0-9A-F]{6}", each["color_hint"]) for each in classes[1:])
    item.stac_extensions = []  # their schemas are not on this computer; the core's is
    item.validate()


@pytest.mark.parametrize("spoil", ["missing", "moved", "other size"])
def test_wrong_block_is_refused(large, capsys, spoil):
    """A block of another grid would be pasted beside its place."""
    area, result_BYX = large
    path = Path("results/large/predict/landcover/r001c001.tif")
    part = result_BYX[:, 256:512, 256:512]
    place = {"left": LEFT + 256 * STEP, "top": TOP - 256 * STEP}
    if spoil == "missing":
        path.unlink()
    elif spoil == "moved":
        write_tif(path, part, left=place["left"] + STEP, top=place["top"])
    else:
        write_tif(path, part[:, :200], **place)
    outputs = [f"out/{name}" for name in ("map.tif", "map.json", "extra.tif", "map.png")]
    line = refused(capsys, "mosaic", area, "landcover", *outputs)
    assert "r001c001.tif" in line
    assert not list(Path("out").iterdir())
