"""mosaic: the published file is what other software expects of a map."""

import csv
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pystac
import pytest
import rasterio
import yaml
from making import LEFT, STEP, TOP, write_tif
from pyproj import CRS
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_validate
from shapely.geometry import Point, shape
from stages.stage_steps import PERIOD, area_with, mapmill, refused, write_blocks

from mapmill import __version__ as mapmill_version
from mapmill import morphology
from mapmill.areafile import load_area
from mapmill.grid import Grid, Window
from mapmill.item import File, stac_item
from mapmill.raster import footprint_wgs84
from mapmill.sieve import sieve_pass

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
        providers=[{"name": "A lab", "roles": ["producer"], "url": "https://lab.example"}],
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
    result_BYX[1][result_BYX[0] == 0] = 255
    for path, expected, nodata in zip(mosaic(area), result_BYX, (0, 255), strict=True):
        valid, errors, warnings = cog_validate(path, strict=True, quiet=True)
        assert valid and not errors and not warnings
        with rasterio.open(path) as source:
            assert source.overviews(1) == [2]
            assert source.crs == "EPSG:32631"
            assert source.transform == from_origin(LEFT, TOP, STEP, STEP)
            assert (source.shape, source.count) == ((560, 700), 1)
            assert (source.nodata, source.dtypes) == (nodata, ("uint8",))
            assert source.block_shapes == [(512, 512)]
            np.testing.assert_array_equal(source.read(1), expected)
    assert not [p for p in Path("results").rglob("*") if p.name.startswith(".")]
    assert [p.name for p in Path("results").rglob("*.aux.xml")] == ["large_landcover.tif.aux.xml"]


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


BLIND = """
import sys, rasterio, rasterio.shutil
rasterio.shutil.copy(sys.argv[1], sys.argv[2], driver="VRT")
"""
"""What a program that knows nothing of mapmill takes over from a raster."""


def test_any_program_sees_the_names_of_the_classes(large):
    """Otherwise GDAL, ArcGIS and QGIS would show bare numbers for classes."""
    path, _ = mosaic(large[0])
    env = {key: value for key, value in os.environ.items() if key != "GDAL_PAM_ENABLED"}
    subprocess.run([sys.executable, "-c", BLIND, path, "seen.vrt"], check=True, env=env)
    seen = ElementTree.parse("seen.vrt").getroot()
    assert [each.text for each in seen.iter("Category")] == [
        "nodata",
        "field",
        "Wood & scrub",
        "湖",
    ]
    if shutil.which("gdalinfo"):
        told = subprocess.run(
            ["gdalinfo", path], stdout=subprocess.PIPE, text=True, check=True, env=env
        )
        assert re.search(r"Categories:\s+0: nodata\s+1: field\s+2: Wood & scrub", told.stdout)
        rows = told.stdout.partition("<GDALRasterAttributeTable")[2]
        assert re.search(r"<F>2</F>\s*<F>Wood &amp; scrub</F>\s*<F>27</F>", rows)
    style = ElementTree.parse(path.with_suffix(".qml")).getroot()
    assert style.find("pipe/rasterrenderer").attrib["type"] == "paletted"
    entries = [each.attrib for each in style.iter("paletteEntry")]
    assert [(e["value"], e["color"], e["label"]) for e in entries] == [
        ("1", "#e8c95c", "field"),
        ("2", "#1b6b2f", "Wood & scrub"),
        ("3", "#2f6fb7", "湖"),
    ]


def test_statistics_are_those_of_the_valid_pixels(large):
    """Otherwise programs would stretch colours by nodata, or read the whole file for a number."""
    area, result_BYX = large
    found = json.loads(mosaic(area)[0].with_suffix(".json").read_text())["assets"]
    there = result_BYX[0] > 0
    for key, values_YX in zip(("map", "confidence"), result_BYX, strict=True):
        valid = values_YX[there].astype(float)
        with rasterio.open(Path("results", found[key]["href"])) as source:
            tags = source.tags(1)
        (band,) = found[key]["bands"]
        for name, value in (("mean", valid.mean()), ("stddev", valid.std())):
            assert float(tags[f"STATISTICS_{name.upper()}"]) == pytest.approx(value)
            assert band["statistics"][name] == pytest.approx(value)
        assert band["statistics"]["valid_percent"] == pytest.approx(100 * there.mean(), abs=0.01)


def test_web_maps_get_classes_at_every_zoom(large):
    """Otherwise a web map would show classes that are not there, or a map beside its place."""
    area, result_BYX = large
    path, _ = mosaic(area)
    # patches are 8 x 10 px: at zoom 11 a pixel of the tile is as large as one
    for zoom, least in ((11, 0.3), (13, 0.8), (14, 0.9)):
        tile_YX, rows, cols = _tile(path, zoom)
        inside = (rows >= 0) & (rows < 560) & (cols >= 0) & (cols < 700)
        found = tile_YX.ravel()[inside]
        assert inside.sum() > 200 and set(np.unique(found)) <= {0, 1, 2, 3}
        assert (tile_YX.ravel()[~inside] > 0).sum() <= 0.02 * (~inside).sum()
        assert (found == result_BYX[0][rows[inside], cols[inside]]).mean() > least


def _tile(path, zoom):
    """The tile of a web map in the middle of a raster, and the raster's row and column of each
    of its pixels."""
    half = 20037508.342789244
    with rasterio.open(path) as source:
        x, y = source.lnglat()
        down = 1 - math.asinh(math.tan(math.radians(y))) / math.pi
        side = 2 * half / 2**zoom
        left = int((x + 180) / 360 * 2**zoom) * side - half
        top = half - int(down / 2 * 2**zoom) * side
        place = from_origin(left, top, side / 256, side / 256)
        options = {"crs": "EPSG:3857", "width": 256, "height": 256, "transform": place}
        with WarpedVRT(source, **options) as tile:
            tile_YX = tile.read(1)
        back = rasterio.warp.transform("EPSG:3857", source.crs, *_centres(left, top, side))
        rows, cols = rasterio.transform.rowcol(source.transform, *back)
    return tile_YX, np.array(rows), np.array(cols)


def _centres(left, top, side):
    steps = (np.arange(256) + 0.5) * side / 256
    x, y = np.meshgrid(left + steps, top - steps)
    return x.ravel(), y.ravel()


def test_pictures_show_each_class_in_its_colour(large):
    """Otherwise the legend or the quick-look would not be of this map."""
    mosaic(large[0])
    folder = Path("results/large/mosaic/landcover")
    look_YX4 = (plt.imread(folder / "quicklook.png") * 255).round().astype(int)
    assert look_YX4.shape == (560, 700, 4)
    for value, colour in enumerate([None, "e8c95c", "1b6b2f", "2f6fb7"]):
        shown = look_YX4[large[1][0] == value]
        rgb = (*bytes.fromhex(colour), 255) if colour else (0, 0, 0, 0)
        assert (shown == rgb).all()
    legend_YX3 = (plt.imread(folder / "legend.png")[..., :3] * 255).round().astype(int)
    for colour in ("e8c95c", "1b6b2f", "2f6fb7"):
        assert (legend_YX3 == tuple(bytes.fromhex(colour))).all(axis=-1).sum() > 100


def test_names_of_classes_in_a_catalogue_are_one_each(large):
    """Two classes would be one to a program that goes by their short names; lengths in degrees
    would pass for metres."""
    area, _ = large
    content = yaml.safe_load(area.read_text())
    for entry, name in zip(content["classes"].values(), ["a b", "A-B", "Nodata"], strict=True):
        entry["name"] = name
    content["grid"] |= {"crs": "EPSG:4326", "resolution": 0.001, "bounds": [2, 41, 3, 42]}
    area.write_text(yaml.safe_dump(content), encoding="utf-8")
    path = write_tif(Path("map.tif"), np.ones((4, 4), np.uint8))
    files = {"map": File(path, "map", ("data",), (("class", None),))}
    item = stac_item(area, load_area(area), "landcover", Path("map.json"), files, {})
    found = item["assets"]["map"]
    names = [each["name"] for each in found["classification:classes"]]
    assert names == ["nodata", "a-b-1", "a-b-2", "nodata-3"]
    assert "raster:spatial_resolution" not in found


LONG = "meadows and pastures of the plains, the hills and the mountains, mown or grazed"


def test_names_of_any_letters_and_length_fit_the_pictures(large):
    """A dollar in a name would stop a map that is all but made; long names would leave the map
    no room, or be cut off."""
    area, _ = large
    content = yaml.safe_load(area.read_text())
    names = [f"costs $5 or $\\frac{{$, {LONG}", f"_{LONG}", LONG]
    for entry, name in zip(content["classes"].values(), names, strict=True):
        entry["name"] = name
    content |= {"title": f"From $1 to $\\bar$: {LONG}, {LONG}"}
    content |= {"attribution": [f"© {LONG} $x_1", LONG, LONG]}
    area.write_text(yaml.safe_dump(content), encoding="utf-8")
    mosaic(area)
    folder = Path("results/large/mosaic/landcover")
    for name in ("map.png", "legend.png"):
        picture_YX3 = (plt.imread(folder / name)[..., :3] * 255).round().astype(int)
        edges = (picture_YX3[0], picture_YX3[-1], picture_YX3[:, 0], picture_YX3[:, -1])
        assert all((edge == 255).all() for edge in edges), name
        colours = [tuple(bytes.fromhex(colour)) for colour in ("e8c95c", "1b6b2f", "2f6fb7")]
        shown = [(picture_YX3 == colour).all(axis=-1).sum() for colour in colours]
        assert min(shown) > 100
        if name == "map.png":  # two panels, a quarter of the map is nodata
            assert sum(shown) > 0.2 * picture_YX3[..., 0].size


def test_filters_change_the_map_as_on_the_whole_of_it(large, caplog, monkeypatch):
    """Otherwise filters would leave seams, or the table of areas not be that of the map."""
    area, result_BYX = large
    noisy = result_BYX.copy()
    random = np.random.default_rng(1)
    where = (random.random(noisy[0].shape) < 0.05) & (noisy[0] > 0)
    noisy[0][where] = random.integers(1, 4, where.sum())
    write_blocks(area, "predict/landcover", noisy, ["class", "confidence"])
    text = area.read_text()
    area.write_text(text + "mosaic: {opening: {2: 1}, closing: {1: 2}, minimum_ha: 0.145}\n")
    caplog.set_level("INFO")
    monkeypatch.setattr("mapmill.raster.cog.STEP", 512)  # several parts
    path, _ = mosaic(area)
    expected = morphology.closing(morphology.opening(noisy[0], {2: 1}), {1: 2})
    before = None
    while before is None or (before != expected).any():
        before, expected = expected, sieve_pass(expected, 15)
    with rasterio.open(path) as source:
        found = source.read(1)
    np.testing.assert_array_equal(found, expected)
    assert (found != noisy[0]).mean() > 0.03
    np.testing.assert_array_equal(found == 0, noisy[0] == 0)
    with Path("results/large/mosaic/landcover/areas.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for value, row in enumerate(rows, 1):
        assert int(row["predicted_px"]) == (noisy[0] == value).sum()
        assert int(row["sieve_px"]) == (found == value).sum()
        assert float(row["area"]) == 100 * (found == value).sum()
    assert list(rows[0]) == [
        *("class", "name", "predicted_px", "opening_px", "closing_px", "sieve_px", "area", "share")
    ]
    assert "sieve of 15 px" in caplog.text
    assert not [p for p in Path("results").rglob("*") if p.name.startswith(".")]


def test_layers_are_bands_beside_the_confidence(large):
    """Otherwise pixels of which the net is certain (0 percent of entropy) would pass for nodata."""
    area, result_BYX = large
    there = result_BYX[0] > 0
    entropy_YX = np.where(there, 100 - result_BYX[1], 0).astype(np.uint8)
    assert (entropy_YX[there] == 0).any()
    bands = ["class", "confidence", "class by unet-1", "entropy"]
    blocks_BYX = np.stack([*result_BYX, result_BYX[0], entropy_YX])
    write_blocks(area, "predict/landcover", blocks_BYX, bands)
    path, confidence = mosaic(area)
    assert cog_validate(confidence, strict=True, quiet=True)[0]
    with rasterio.open(confidence) as source:
        assert source.descriptions == ("confidence", "entropy")
        assert (source.nodata, source.units) == (255, ("percent", "percent"))
        found = source.read(masked=True)
    np.testing.assert_array_equal(found.mask, [~there, ~there])
    np.testing.assert_array_equal(found.data[:, there], [result_BYX[1][there], entropy_YX[there]])
    assets = json.loads(path.with_suffix(".json").read_text())["assets"]
    assert [band["name"] for band in assets["confidence"]["bands"]] == ["confidence", "entropy"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"opening": {7: 1}}, "mosaic.opening: found 7, which is no class"),
        ({"minimum_ha": 1, "minimum_px": 3}, "both minimum_px and minimum_ha"),
        ({"minimum_ha": 30}, "3000 pixels, more than 1000"),
    ],
)
def test_filters_that_cannot_be_are_one_line(small_area, capsys, keys, said):
    """Otherwise a mistake would be found after hours of prediction, or never."""
    area = area_with("wrong", mosaic=keys)
    line = refused(capsys, "mosaic", area, "landcover", *(f"out/{n}" for n in "abcd"))
    assert said in line


def test_log_of_a_good_run_has_no_error(large, caplog):
    """A user would look for a fault in a map that has none."""
    caplog.set_level("INFO")
    mosaic(large[0])
    assert "large_landcover.tif" in caplog.text
    assert "error" not in caplog.text.lower()


def test_same_bytes_again_and_no_folder_of_the_user(large, tmp_path):
    """A rerun would publish a new file for an unchanged map, or the names of a user's folders."""
    mosaic(large[0])
    paths = sorted(Path("results").glob("large_landcover.*"))
    paths += sorted(Path("results/large/mosaic/landcover").iterdir())
    assert len(paths) == 9
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
    for key, fields in content["assets"].items():
        file = path.parent / fields["href"]
        assert fields["file:size"] == file.stat().st_size, key
        assert fields["file:checksum"] == "1220" + hashlib.sha256(file.read_bytes()).hexdigest()
    assert {"map", "confidence", "style", "legend", "thumbnail"} <= set(content["assets"])
    assert item.properties["processing:software"] == {"mapmill": mapmill_version}
    provider = {"name": "A lab", "roles": ["producer"], "url": "https://lab.example"}
    assert item.properties["providers"] == [provider]
    assert item.properties["proj:bbox"] == [LEFT, TOP - 5600, LEFT + 7000, TOP]
    (model,) = content["links"]
    assert (model["rel"], model["href"]) == ("derived_from", "large/train/unet-1/model.safetensors")
    classes = content["assets"]["map"]["classification:classes"]
    assert [each["value"] for each in classes] == [0, 1, 2, 3]
    names = [each["name"] for each in classes]
    assert len(set(names)) == 4
    assert all(re.fullmatch("[0-9A-Za-z_-]+", name) for name in names), names
    assert all(re.fullmatch("[0-9A-F]{6}", each["color_hint"]) for each in classes[1:])
    item.stac_extensions = []  # their schemas are not on this computer; the core's is
    item.validate()


@pytest.mark.parametrize(
    ("crs", "left", "top", "step"),
    [
        ("EPSG:32631", LEFT - 150_000, TOP, 1000),
        ("EPSG:32760", 800_000, 8_030_000, 100),
        ("+proj=laea +lat_0=41 +lon_0=2 +datum=WGS84 +units=us-ft", -500_000, 500_000, 1000),
    ],
)
def test_the_item_holds_all_of_the_map(small_area, crs, left, top, step):
    """A search in a catalogue would miss ground of large maps; across the antimeridian there
    would be no item at all."""
    window = Window(0, 0, 300, 400)
    grid = Grid(crs, left, top, step, 400, 300, 400)
    outline = shape(footprint_wgs84(grid, window, 20))
    assert outline.is_valid
    edges = [(left + 400 * step * part, top) for part in np.linspace(0, 1, 9)]
    edges += [(left, top - 300 * step * part) for part in np.linspace(0, 1, 9)]
    for lon, lat in zip(
        *rasterio.warp.transform(crs, "EPSG:4326", *zip(*edges, strict=True)), strict=True
    ):
        assert outline.distance(Point(lon, lat)) < 1e-4
    bounds = [left, top - 300 * step, left + 400 * step, top]
    area = area_with("wide", grid={"crs": crs, "resolution": step, "bounds": bounds, "block": 400})
    Path("areas.csv").write_text("class\n")
    files = {"areas": File(Path("areas.csv"), "areas")}
    content = stac_item(area, load_area(area), "landcover", Path("results/wide.json"), files, {})
    west, south, east, north = content["bbox"]
    parts = [part.bounds for part in getattr(shape(content["geometry"]), "geoms", [outline])]
    assert (south, north) == pytest.approx((outline.bounds[1], outline.bounds[3]), abs=1e-4)
    assert (west, east) == pytest.approx((parts[0][0], parts[-1][2]), abs=1e-4)
    assert (west > east) == (crs == "EPSG:32760")
    told = content["properties"]
    assert told["proj:code"] == (crs if "EPSG" in crs else None)
    assert "EPSG" in crs or CRS.from_user_input(told["proj:wkt2"]) == CRS.from_user_input(crs)


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
