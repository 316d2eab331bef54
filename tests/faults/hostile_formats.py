"""The formats that are damaged: a small good project of each, and what a user does with it."""

import contextlib
import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyogrio
import pystac
import rasterio
import rasterio.shutil
import shapely
import torch
import yaml
from chip_making import SMALL_CHIPS, simulated_chip
from faults.hostile_bytes import damaged, reworded
from faults.hostile_child import RefusedError, mapmill
from making import CRS, LEFT, SMALL_AREA, STEP, TOP, simulated_scene, write_area, write_tif
from PIL import Image

from mapmill.areafile import load_area
from mapmill.arrays import read_chip
from mapmill.chips import find_chips
from mapmill.codes import read_codes
from mapmill.errors import MapmillError
from mapmill.extent import blocks_of
from mapmill.grid import Window
from mapmill.nets.model import Card, build, save_model, with_reach
from mapmill.sample_files import Design
from mapmill.sample_table import read_reference
from mapmill.sections import SPLITS
from mapmill.store import Form, PatchStore, StoreWriter
from mapmill.tiles import Tile

SIDE = 64
BANDS = ["B02", "B03", "B04"]
PERIOD, BLOCK = "2018-04", "r000c000"
SCENE = Path("data/S1.tif")
ROOT = Path("results/one")


@dataclass(frozen=True)
class Format:
    """One kind of file, and how it is read."""

    name: str
    make: object
    """() -> files to damage; writes the project into the current folder."""
    work: object
    """() -> text of the result, in the child."""
    tried: int
    """Inputs of the full test."""
    damage: object = damaged
    sums: str = ""
    """The checksums that the file has; with them no damage may pass unseen."""


def area(file=SCENE, **sections):
    """An area of one block of 64 px, whose imagery is one file of three bands."""
    content = yaml.safe_load(SMALL_AREA)
    step = int(STEP)
    bounds = [int(LEFT), int(TOP) - SIDE * step, int(LEFT) + SIDE * step, int(TOP)]
    content["grid"] |= {"bounds": bounds, "block": SIDE}
    content["search"] |= {"bands": BANDS, "periods": {PERIOD: {"files": str(file)}}}
    content["predict"] = {"threads": 1}
    for key, value in sections.items():
        both = isinstance(value, dict) and isinstance(content.get(key), dict)
        content[key] = content[key] | value if both else value
    return write_area("one", yaml.safe_dump(content, sort_keys=False))


def digest(path, *more):
    """Of the pixels of a raster."""
    with rasterio.open(path) as source:
        return hashlib.sha256(source.read().tobytes() + repr(more).encode()).hexdigest()


# ------------------------------------------------------------------------------------- imagery
def scene(driver="GTiff", **profile):
    """A scene of the area, 96 px, in one of the codings of GeoTIFF or JPEG 2000."""

    def make():
        file = SCENE if driver == "GTiff" else SCENE.with_suffix(".jp2")
        area(file)
        _, image_BYX = simulated_scene(96, 96)
        write_tif(Path("data/plain.tif"), image_BYX)
        rasterio.shutil.copy("data/plain.tif", file, driver=driver, **profile)
        Path("data/plain.tif").unlink()
        return [file]

    return make


def composed():
    """Search, link and compose the block; the digest of its pixels."""
    listing = ROOT / f"search/{PERIOD}.json"
    one = "config/areas/one.yaml"
    mapmill("search", one, PERIOD, listing)
    for item in json.loads(listing.read_text())["features"]:
        for key, asset in item["assets"].items():
            file = f"{PERIOD}/{item['id']}/{key}{Path(asset['href']).suffix}"
            mapmill("download", one, file, ROOT / "download" / file)
    output = ROOT / f"compose/{PERIOD}/{BLOCK}.tif"
    mapmill("compose", one, PERIOD, BLOCK, output)
    return digest(output)


def static_catalogue():
    """A STAC item collection on disk of two scenes."""
    area(search={"periods": {PERIOD: {"stac": "data/items.json"}}})
    _, image_BYX = simulated_scene(96, 96)
    features = []
    for number in (1, 2):
        file = write_tif(Path(f"data/S{number}.tif"), image_BYX * number)
        item = pystac.Item(
            f"S{number}",
            shapely.geometry.mapping(shapely.box(1.8, 41.4, 2.0, 41.6)),
            [1.8, 41.4, 2.0, 41.6],
            pystac.utils.str_to_datetime(f"2018-04-1{number}T10:00:00Z"),
            {"eo:cloud_cover": 10 * number},
        )
        bands = {"bands": [{"name": band} for band in BANDS]}
        item.add_asset("image", pystac.Asset(f"./{file.name}", extra_fields=bands))
        item.links = []
        features.append(item.to_dict(include_self_link=False))
    collection = {"type": "FeatureCollection", "features": features}
    Path("data/items.json").write_text(json.dumps(collection, indent=1))
    return [Path("data/items.json")]


def pinned_search():
    """A finished search, as `compose` reads it."""
    area()
    _, image_BYX = simulated_scene(96, 96)
    write_tif(SCENE, image_BYX)
    listing = ROOT / f"search/{PERIOD}.json"
    mapmill("search", "config/areas/one.yaml", PERIOD, listing)
    composed()
    return [listing]


def composed_again():
    output = ROOT / f"compose/{PERIOD}/{BLOCK}.tif"
    mapmill("compose", "config/areas/one.yaml", PERIOD, BLOCK, output)
    return digest(output)


# -------------------------------------------------------------------------------------- labels
def label_raster():
    area()
    label_YX, _ = simulated_scene(96, 96)
    write_tif(Path("data/plain.tif"), label_YX)
    rasterio.shutil.copy("data/plain.tif", "data/labels.tif", driver="GTiff", compress="deflate")
    Path("data/plain.tif").unlink()
    return [Path("data/labels.tif")]


def label_polygons(suffix):
    """Plots whose attribute is the class."""

    def make():
        file = Path(f"data/labels{suffix}")
        area(labels={"file": str(file), "attribute": "kind", "codes": {"a": 1, "b": 2, "c": 3}})
        corners = [(LEFT + x * 80, TOP - 80 - y * 80) for x in range(8) for y in range(8)]
        shapes = [shapely.box(x, y, x + 70, y + 70) for x, y in corners]
        kinds = np.array(["abc"[number % 3] for number in range(64)], object)
        file.parent.mkdir(exist_ok=True)
        wkb = np.array(shapely.to_wkb(shapes), object)
        about = {"fields": ["kind"], "crs": CRS, "geometry_type": "Polygon"}
        pyogrio.raw.write(file, wkb, [kinds], **about)
        return [file]

    return make


def downsampled():
    """Link the labels and bring them to the grid; the digest of the classes."""
    one = "config/areas/one.yaml"
    suffix = Path(yaml.safe_load(Path(one).read_text())["labels"]["file"]).suffix
    mapmill("download", one, f"labels{suffix}", ROOT / f"download/labels{suffix}")
    mapmill("downsample", one, BLOCK, ROOT / f"downsample/{BLOCK}.tif")
    return digest(ROOT / f"downsample/{BLOCK}.tif")


def outline():
    """An area of interest that leaves out two of four blocks."""
    west = [[400_000, 4_599_360], [400_300, 4_599_360], [400_300, 4_600_000], [400_000, 4_600_000]]
    polygon = {"type": "Polygon", "coordinates": [[*west, west[0]]]}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32631"}}
    area(grid={"block": 32}, select={"size": 16}, assess={"block": 16}, aoi="data/outline.geojson")
    Path("data").mkdir()
    write_tif(Path("data/labels.tif"), simulated_scene(96, 96)[0])
    content = {"type": "FeatureCollection", "crs": crs}
    content["features"] = [{"type": "Feature", "properties": {}, "geometry": polygon}]
    Path("data/outline.geojson").write_text(json.dumps(content, indent=1))
    return [Path("data/outline.geojson")]


def checked():
    """The blocks that are worked on."""
    mapmill("check", "config/areas/one.yaml")
    return repr([block.name for block in blocks_of(load_area(Path("config/areas/one.yaml")))])


# ------------------------------------------------------------------------------ models, patches
def model():
    """A net with random weights, the block that it maps, and the area."""
    area()
    torch.manual_seed(0)
    numbers = [1000.0] * 3
    card = Card("unet", 4, 2, BANDS, ["field", "wood", "lake"], numbers, numbers, {})
    path = ROOT / "train/unet-1/model.safetensors"
    path.parent.mkdir(parents=True)
    save_model(path, build(card).state_dict(), with_reach(card))
    composed_block()
    return [path]


def composed_block():
    """As compose writes it."""
    _, image_BYX = simulated_scene(96, 96)
    write_tif(SCENE, image_BYX)
    composed()
    return ROOT / f"compose/{PERIOD}/{BLOCK}.tif"


def own_block():
    """The same, but the imagery is what is damaged."""
    model()
    return [ROOT / f"compose/{PERIOD}/{BLOCK}.tif"]


def predicted():
    output = ROOT / f"predict/landcover/{BLOCK}.tif"
    mapmill("predict", "config/areas/one.yaml", "landcover", BLOCK, output)
    return digest(output)


def patches():
    """A store of patches, made by its one writer."""
    area()
    folder = Path("results/one/pack/patches.zarr")
    make_store(folder)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def make_store(folder):
    random = np.random.default_rng(1)
    form = Form(BANDS, "uint16", 3, [PERIOD], SPLITS, 4, "lz4")
    shares = (1.0, 0.0, 0.0, 1.0)
    tiles = [
        Tile(PERIOD, "", Window(16 * n, 0, 16, 16), *shares, "train", None, "", (5, 6, 7))
        for n in range(10)
    ]
    writer = StoreWriter(folder, form, {16: tiles}, 16)
    chunks = form.chunks()
    for number in range(10):
        image = random.integers(1, 9000, (3, 16, 16)).astype(np.uint16)
        label = random.integers(1, 4, (16, 16)).astype(np.uint8)
        content = {"image": chunks["image"].encode(image), "label": chunks["label"].encode(label)}
        writer.put(16, number, content)
    attributes = {"size": 16, "bands": BANDS, "units": "", "splits": list(SPLITS), "nodata": 0}
    attributes |= {"statistics": {"mean": [1.5, 2.5, 3.5], "sd": [1.0, 2.0, 3.0]}}
    writer.finish({16: attributes})


def all_patches():
    """Everything that training takes from a store."""
    sums = hashlib.sha256()
    with reporting(), PatchStore(Path("results/one/pack/patches.zarr")) as store:
        for reader in (store.images, store.labels):
            sums.update(reader.take(np.arange(len(reader))).tobytes())
        for name in ("split", "fold", "row", "col", "counts"):
            sums.update(store.column(name).tobytes())
        sums.update(json.dumps(store.attributes, sort_keys=True).encode())
    return sums.hexdigest()


@contextlib.contextmanager
def reporting():
    """What the command line does with an error, where a reader is called by itself."""
    try:
        yield
    except MapmillError as error:
        print(f"mapmill reader: {error}")
        raise RefusedError from None


# --------------------------------------------------------------------------------------- tables
def reference_table():
    """Points that people have looked at."""
    Path("config/areas").mkdir(parents=True)
    rows = [[n, 400_000 + n, 4_599_000 + n, 1.9, 41.5, "field", "é"] for n in range(1, 41)]
    with Path("points.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["point", "x", "y", "longitude", "latitude", "reference", "comment"])
        writer.writerows(rows)
    return [Path("points.csv")]


NUMBERS = np.arange(1, 41)
XY = np.column_stack([400_000.0 + NUMBERS, 4_599_000.0 + NUMBERS])
NAMES = ["field", "wood", "lake"]
DRAWN = Design("landcover", "", CRS, NAMES, np.full(4, 9), np.ones(4), np.ones(40, int), XY)


def reference():
    with reporting():
        return repr(read_reference(Path("points.csv"), DRAWN, STEP).tolist())


def code_table():
    Path("config/areas").mkdir(parents=True)
    lines = ["# remarks", "code,class,name", *(f"{n},{n % 3 + 1},name {n}" for n in range(1, 31))]
    Path("codes.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [Path("codes.csv")]


def codes():
    with reporting():
        return repr(sorted(read_codes(Path("codes.csv")).items()))


# ---------------------------------------------------------------------------------------- chips
def chips(suffix):
    """One chip as GeoTIFF, PNG, npz or HDF5."""

    def make():
        content = yaml.safe_load(SMALL_CHIPS)
        content["chips"] = {"images": [{"files": f"data/{{chip}}{suffix}", "bands": ["B03"]}]}
        content["compose"] = {"bands": ["B03"], "dtype": "float32"}
        content |= {"labels": None, "select": None, "runs": {}, "model": "other/unet"}
        content["maps"] = {"landcover": {}}
        content = {key: value for key, value in content.items() if value}
        other = yaml.safe_load(SMALL_CHIPS)
        other["chips"] = {
            "images": [{"files": f"data/{{chip}}{suffix}", "bands": ["B03"]}],
            "masks": {"files": "mask/{chip}.tif"},
        }
        other["compose"] = content["compose"]
        write_area("other", yaml.safe_dump(other, sort_keys=False))
        write_area("one", yaml.safe_dump(content, sort_keys=False))
        Path("data").mkdir()
        file = Path(f"data/a{suffix}")
        _, image_BYX = simulated_chip(48, 48, bands=1)
        if suffix == ".png":
            Image.fromarray(image_BYX[0].clip(0, 255).astype(np.uint8)).save(file)
        elif suffix == ".npz":
            np.savez_compressed(file, image=image_BYX[0])
        else:
            with h5py.File(file, "w") as target:
                target.create_dataset(
                    "image", data=image_BYX[0], compression="gzip", fletcher32=True
                )
        return [file]

    return make


def chip_read():
    with reporting():
        one = load_area(Path("config/areas/one.yaml"))
        (chip,) = find_chips(one.chips)
        return hashlib.sha256(read_chip(one, chip).image_BYX.tobytes()).hexdigest()


# ------------------------------------------------------------------------------------ area files
def area_file():
    path = area()
    write_tif(Path("data/labels.tif"), simulated_scene(96, 96)[0])
    return [path]


def area_read():
    """What the file says, checked beside a reader that knows nothing of areas."""
    path = Path("config/areas/one.yaml")
    mapmill("check", path)
    found, plain = load_area(path), yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    names = [entry["name"] for _, entry in sorted(plain["classes"].items(), key=_number)]
    assert found.class_names == names
    assert list(found.grid.bounds) == [float(side) for side in plain["grid"]["bounds"]]
    assert found.compose.bands == plain["compose"]["bands"] and found.title == plain["title"]
    return found.model_dump_json()


def _number(item):
    return int(item[0], 0)


DEFLATE = {"compress": "deflate", "predictor": "2", "tiled": "yes", "blockxsize": 32}
DEFLATE["blockysize"] = 32
FORMATS = [
    Format("area file, YAML", area_file, area_read, 400, reworded),
    Format("scene, GeoTIFF uncompressed", scene(), composed, 160),
    Format("scene, GeoTIFF deflate", scene(**DEFLATE), composed, 200),
    Format("scene, GeoTIFF LZW", scene(compress="lzw"), composed, 100),
    Format("scene, GeoTIFF ZSTD", scene(compress="zstd"), composed, 100),
    Format(
        "scene, JPEG 2000",
        scene(driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES"),
        composed,
        120,
    ),
    Format("scenes, STAC JSON on disk", static_catalogue, composed, 150, reworded),
    Format("pinned search, STAC JSON", pinned_search, composed_again, 120, reworded),
    Format("labels, GeoTIFF deflate", label_raster, downsampled, 120),
    Format("labels, GeoPackage", label_polygons(".gpkg"), downsampled, 150),
    Format("labels, GeoJSON", label_polygons(".geojson"), downsampled, 100, reworded),
    Format("area of interest, GeoJSON", outline, checked, 100, reworded),
    Format("class table, CSV", code_table, codes, 100, reworded),
    Format("sample's points, CSV", reference_table, reference, 100, reworded),
    Format("chip, PNG", chips(".png"), chip_read, 80, sums="CRC-32 of each chunk"),
    Format("chip, npz", chips(".npz"), chip_read, 80, sums="CRC-32 of each array"),
    Format("chip, HDF5", chips(".h5"), chip_read, 80),
    Format("patches, Zarr", patches, all_patches, 200, sums="crc32c of patches and attributes"),
    Format("model, safetensors", model, predicted, 150, sums="sha256 of card and weights"),
    Format("composed block, our GeoTIFF", own_block, predicted, 100, sums="crc32c of all bytes"),
]
