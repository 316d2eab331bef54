"""The Cerrado as it is shipped, from a local Brazil Data Cube to the map and its scores; only the
environment is another one. Scenes and labels are simulated, so that every pixel is known."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from itertools import product
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import rasterio
import yaml
from making import write_tif
from pyproj import Transformer
from running import ROOT, SAID, digests, planned, snakemake
from servers.areas import files_below
from servers.bdc import BdcServer
from servers.imagery import simulated
from servers.lgi import LgiServer

AREA = yaml.safe_load((ROOT / "config/areas/cerrado.yaml").read_text(encoding="utf-8"))
TARGET = "results/cerrado_landcover.tif"
METRICS = "results/cerrado/assess/landcover/metrics.json"
CRS, STEP = "EPSG:32723", 8.0
LEFT, BOTTOM, RIGHT, TOP = AREA["grid"]["bounds"]
SIDE = 1536
BANDS = {"blue": "BAND1", "green": "BAND2", "red": "BAND3", "nir": "BAND4"}
"""Name in the area file -> band of the camera."""
DEAD = dict.fromkeys(
    ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"
)
OPEN = DEAD | {"NO_PROXY": "127.0.0.1", "BDC_ACCESS_TOKEN": "", "OMP_NUM_THREADS": "1"}
TOKEN, EMAIL = "t0k3n-that-nobody-may-see", "who-nobody-may-see@example.org"
BLOCKS = [f"r{row:03d}c{col:03d}" for row, col in product(range(2), repeat=2)]

SPECTRA = {
    3: (130, 160, 120, 520),
    4: (170, 215, 200, 440),
    12: (205, 265, 280, 380),
    15: (200, 275, 295, 455),
    21: (185, 240, 240, 480),
    39: (150, 230, 175, 640),
    41: (215, 280, 300, 330),
    24: (330, 370, 395, 420),
    25: (300, 370, 450, 520),
    33: (140, 135, 95, 60),
}
"""Code of the labels -> digital numbers of the four bands."""
SHARES = {3: 0.14, 4: 0.24, 12: 0.16, 15: 0.16, 21: 0.04, 39: 0.1, 41: 0.04, 24: 0.04, 25: 0.03}
SHARES |= {33: 0.05}
FIELD = 330.0
"""Side of a field in metres."""
WEST = (203_200, 8_231_200, 211_200, 8_245_280)
EAST = (209_200, 8_231_200, 217_200, 8_245_280)
SEAM = 210_800
"""The scene in the west has no data beyond."""
DAYS = {"WEST": "2023-07-11T13:21:00Z", "EAST": "2023-08-03T13:18:00Z"}


# ------------------------------------------------------------------------------ what is there
def fields_at(x, y):
    """Code and brightness of the field at a place; fields lie askew to all pixels."""
    random = np.random.default_rng(23)
    codes = random.choice(list(SHARES), (128, 128), p=list(SHARES.values())).astype(np.uint8)
    bright = random.normal(1, 0.05, (128, 128))
    east, north = x - LEFT, y - BOTTOM
    along = ((0.9 * east + 0.44 * north) // FIELD).astype(int) % 128
    across = ((0.9 * north - 0.44 * east) // FIELD).astype(int) % 128
    return codes[across, along], bright[across, along]


def centres(bounds, step=STEP):
    """Coordinates (y, x) of the centres of pixels."""
    x = np.arange(bounds[0] + step / 2, bounds[2], step)
    y = np.arange(bounds[3] - step / 2, bounds[1], -step)
    return np.meshgrid(x, y)


def digital_numbers(name):
    """Bands of a scene, (band, y, x): those in the east are 3 higher."""
    bounds, added = (WEST, 0) if name == "WEST" else (EAST, 3)
    codes_YX, bright_YX = fields_at(*centres(bounds))
    spectra = np.zeros((256, 4))
    for code, values in SPECTRA.items():
        spectra[code] = values
    random = np.random.default_rng(len(name) + added)
    image_BYX = np.moveaxis(spectra[codes_YX], 2, 0) * bright_YX
    image_BYX *= random.normal(1, 0.12, image_BYX.shape)
    return np.clip(image_BYX + added, 1, 1023).astype(np.int16)


def window_of(bounds):
    """Where the grid lies in a scene and the scene in the grid, two pairs of slices."""
    row, col = round((bounds[3] - TOP) / STEP), round((LEFT - bounds[0]) / STEP)
    start, end = max(col, 0), min(round((bounds[2] - bounds[0]) / STEP), col + SIDE)
    return (slice(row, row + SIDE), slice(start, end)), (slice(0, SIDE),
                                                         slice(start - col, end - col))  # fmt: skip


def right_image():
    """What should be composed, (band, y, x): the least cloudy scene, and the other beyond it."""
    image_BYX = np.zeros((4, SIDE, SIDE), np.uint16)
    for name, bounds in (("EAST", EAST), ("WEST", WEST)):
        there, here = window_of(bounds)
        values_BYX = digital_numbers(name)[(slice(None), *there)]
        known = centres((LEFT, BOTTOM, RIGHT, TOP))[0][here] < (SEAM if name == "WEST" else RIGHT)
        image_BYX[(slice(None), *here)] = np.where(
            known, values_BYX, image_BYX[(slice(None), *here)]
        )
    assert (image_BYX > 0).all()
    return image_BYX


def right_classes():
    """True classes of the grid's pixels, (y, x)."""
    class_of = np.zeros(256, np.uint8)
    for code, number in AREA["labels"]["codes"].items():
        class_of[int(code)] = number
    return class_of[fields_at(*centres((LEFT, BOTTOM, RIGHT, TOP)))[0]]


def write_labels(path):
    """A national map as MapBiomas gives it: 30 m, in degrees, a code for each pixel."""
    step = 0.00026949458523585647
    west, south, east, north = -47.79, -16.0, -47.63, -15.84
    lon_YX, lat_YX = centres((west, south, east, north), step)
    x_YX, y_YX = Transformer.from_crs("EPSG:4674", CRS, always_xy=True).transform(lon_YX, lat_YX)
    assert x_YX.min() < LEFT and x_YX.max() > RIGHT and y_YX.min() < BOTTOM and y_YX.max() > TOP
    write_tif(path, fields_at(x_YX, y_YX)[0], left=west, top=north, step=step, crs="EPSG:4674",
              nodata=0)  # fmt: skip


BDC = {
    "WEST": "CBERS_4A_WPM_20230711_199_140_L4",
    "EAST": "CBERS_4A_WPM_20230803_200_140_L4",
    "CLOUDY": "CBERS_4A_WPM_20230820_200_140_L4",
}
LGI = {
    "WEST": "CBERS4A_WPM19914020230711",
    "EAST": "CBERS4A_WPM20014020230803",
    "CLOUDY": "CBERS4A_WPM20014020230820",
}
"""Scene -> its name in the catalogue."""


def scenes(folder, names=BDC, collection="CB4A-WPM-L4-DN-1"):
    """Two scenes that cover the grid together, and one under clouds."""
    made = []
    for name, bounds, covers, cloud in (
        ("WEST", WEST, (*WEST[:2], SEAM, WEST[3]), 3.0),
        ("EAST", EAST, None, 11.0),
    ):
        arrays = dict(zip(BANDS.values(), digital_numbers(name), strict=True))
        more = {"bounds": bounds, "covers": covers, "cloud": cloud, "arrays": arrays, "block": 256}
        more |= {"bands": BANDS.values(), "crs": CRS, "collection": collection}
        made.append(simulated(folder, names[name], DAYS[name], **more))
    return [*made, made[1].changed(id=names["CLOUDY"], cloud=86.0)]


# --------------------------------------------------------------------------------- the projects
def make_project(folder):
    shutil.copytree(ROOT / "config", folder / "config")
    write_labels(folder / "data/cerrado/landcover.tif")
    return folder


def run(folder, server, *arguments, **environment):
    known = {"BDC_BASE_URL": server.api_url} if isinstance(server, BdcServer) else {}
    return snakemake(folder, *arguments, **OPEN | known | environment)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project whose map has been made, and its server."""
    folder = make_project(tmp_path_factory.mktemp("cerrado"))
    with BdcServer(scenes(tmp_path_factory.mktemp("scenes"))) as server:
        start = time.monotonic()
        done = run(folder, server, TARGET, METRICS)
        print(f"mapped in {time.monotonic() - start:.0f} s")
        assert done.returncode == 0, done.stdout
        yield folder, server


def read(path):
    with rasterio.open(path) as source:
        return source.read()


def composed(folder, name="cerrado"):
    """The composed blocks, put together by their names."""
    image_BYX = np.zeros((4, SIDE, SIDE), np.uint16)
    for block in BLOCKS:
        row, col = (768 * int(text) for text in (block[1:4], block[5:]))
        found_BYX = read(folder / f"results/{name}/compose/2023-dry/{block}.tif")
        image_BYX[:, row : row + 768, col : col + 768] = found_BYX
    return image_BYX


def compositions(name):
    """Names of an area's composed blocks."""
    return [f"results/{name}/compose/2023-dry/{block}.tif" for block in BLOCKS]


def test_the_map_is_made(made):
    """The region could not be mapped by the very command that its file names."""
    folder, _ = made
    with rasterio.open(folder / TARGET) as source:
        map_YX, bounds = source.read(1), tuple(source.bounds)
        assert source.crs == CRS and bounds == (LEFT, BOTTOM, RIGHT, TOP)
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG" and source.overviews(1)
    assert map_YX.shape == (SIDE, SIDE) and (map_YX > 0).all()


def test_every_pixel_is_composed(made):
    """Bands, scenes or places would be taken for others, or a strip be empty between two scenes."""
    folder, _ = made
    np.testing.assert_array_equal(composed(folder), right_image())


def test_the_classes_are_learnt(made):
    """Labels of another CRS would lie beside the imagery, codes be mixed up, or scores be wrong."""
    folder, _ = made
    share = (read(folder / TARGET)[0] == right_classes()).mean()
    scores = json.loads((folder / METRICS).read_text())["parts"]["test"]["models"]["map"]
    (told, *_), (iou, *_) = scores["overall accuracy"], scores["mean IoU"]
    print(f"right: {share:.3f} of all pixels; by its own test {told:.3f}, mean IoU {iou:.3f}")
    assert share > 0.9 and told > 0.9 and iou > 0.8
    assert abs(told - share) < 0.05, "labels of 30 m have coarser edges"


def test_what_was_asked_for(made):
    """Clouds, or scenes that are not needed, would be fetched, or files be fetched twice."""
    folder, server = made
    assert server.count("search") == 1 and server.elsewhere == []
    wanted = {server.asset_path(server.scene(BDC[n]), b) for n in DAYS for b in BANDS.values()}
    asked = server.seen("asset")
    assert {request.path for request in asked} == wanted
    for path in wanted:
        spans = [request.range for request in asked if request.path == path]
        assert None not in spans and len(set(spans)) == len(spans)
        assert sum(r.sent for r in asked if r.path == path) <= server.blobs[path].size
    assert server.busiest <= 4
    assert all(any(b.any() for b in read(p)) for p in (folder / "resources").rglob("*.tif"))


def test_a_second_run_does_nothing(made):
    """The same command would work, or ask, again."""
    folder, server = made
    before = server.count()
    assert planned(folder, TARGET, METRICS) == {}
    assert run(folder, server, TARGET).returncode == 0 and server.count() == before


def mapmill(folder, *arguments, **environment):
    """Call the command; its exit code and everything that it said."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = os.environ | OPEN | {"PATH": path} | environment
    line = ["mapmill", arguments[0], "config/areas/cerrado.yaml", *arguments[1:]]
    done = subprocess.run(line, env=env, cwd=folder, text=True, check=False, **SAID)
    return done.returncode, done.stdout


def test_what_the_commands_say(made):
    """Nobody could see what there is, what it costs, and what is missing; or the token be shown."""
    folder, server = made
    known = {"BDC_BASE_URL": server.api_url, "BDC_ACCESS_TOKEN": TOKEN}
    code, scenes_said = mapmill(folder, "search", "2023-dry", **known)
    lines = {n: next(x for x in scenes_said.splitlines() if BDC[n] in x).split() for n in BDC}
    assert code == 0 and "100.0 % of the area covered" in scenes_said
    assert {n: line[-1] for n, line in lines.items()} == {
        "WEST": "taken", "EAST": "taken", "CLOUDY": "cloudy"}  # fmt: skip
    code, cost = mapmill(folder, "estimate", **known)
    assert code == 0 and "4 blocks" in cost and "8 files, at most" in cost
    assert "there already: 8 files" in cost
    code, ready = mapmill(folder, "doctor", **known)
    assert code == 0 and "Nothing is missing" in ready and server.url in ready
    code, bad = mapmill(folder, "doctor", **known | {"BDC_BASE_URL": "http://127.0.0.1:9"})
    assert code == 1 and re.search("catalogue +failed", bad)
    assert TOKEN not in scenes_said + cost + ready + bad


def test_the_picture_of_the_scenes(made):
    """The report would not show where the imagery is from."""
    folder, _ = made
    path = folder / "results/cerrado/search/2023-dry.png"
    picture_YXC = matplotlib.image.imread(path)
    assert picture_YXC.shape[0] > 500 and picture_YXC.shape[1] > 800
    assert len(np.unique(picture_YXC)) > 50


def add_area(folder, name, *, without=(), **changes):
    """An area like the shipped one."""
    content = {key: value for key, value in AREA.items() if key not in without} | changes
    path = folder / f"config/areas/{name}.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def test_a_place_without_labels(made):
    """A neighbour of a labelled area could not be mapped by the model that was trained there."""
    folder, server = made
    asked = server.count("asset")
    without = ("labels", "select", "train", "runs", "compare", "assess")
    add_area(folder, "bare", without=without, model="cerrado/unet", maps={"landcover": {}})
    jobs = planned(folder, "results/bare_landcover.tif", **{"BDC_BASE_URL": server.api_url})
    assert set(jobs) == {"search", "compose", "predict", "mosaic"}, jobs
    done = run(folder, server, "results/bare_landcover.tif")
    assert done.returncode == 0, done.stdout
    np.testing.assert_array_equal(read(folder / "results/bare_landcover.tif"),
                                  read(folder / TARGET))  # fmt: skip
    assert server.count("asset") == asked, "the files of the other area are there"


def test_inpes_own_catalogue(made, tmp_path):
    """The same scenes, from where they are first, would give another map."""
    folder, _ = made
    chosen = {k: v for k, v in AREA["search"]["catalogue"].items() if k != "assets"}
    search = {"source": "dgi", "catalogue": chosen | {"collections": ["CBERS4A_WPM_L4_DN"]}}
    search |= {"periods": AREA["search"]["periods"]}
    add_area(folder, "dgi", search=search, download={"read": "whole"})
    with LgiServer(scenes(tmp_path, LGI, "CBERS4A_WPM_L4_DN"), emails=[EMAIL]) as server:
        known = {"INPE_BASE_URL": server.url, "INPE_EMAIL": EMAIL}
        done = run(folder, server, *compositions("dgi"), **known)
        assert done.returncode == 0, done.stdout
        assert server.count("download") == server.count("asset", status=200) == 8
    np.testing.assert_array_equal(composed(folder, "dgi"), right_image())
    found = [p for p in files_below(folder) if EMAIL.encode() in Path(p).read_bytes()]
    assert found == [] and EMAIL not in done.stdout


def test_again_from_what_is_there(made):
    """Doing all again would fetch gigabytes again, or give other pixels."""
    folder, server = made
    before, asked = digests(folder / "results/cerrado"), server.count()
    done = run(folder, server, "--forceall", *compositions("cerrado"))
    assert done.returncode == 0, done.stdout
    assert {request.endpoint for request in server.seen()[asked:]} == {"landing", "search"}
    assert digests(folder / "results/cerrado") == before
