"""Inputs that are made to hurt: they claim or unpack to more than there is memory, never end, lead
elsewhere, or carry a program. Each takes the place of a file of a good project."""

import json
import os
import pickle
import struct
import zipfile
import zlib
from dataclasses import dataclass

import h5py
import numpy as np
import rasterio
from making import CRS
from rasterio.transform import from_origin

MANY = 1_000_000
ERROR = ("error",)
HOST = "127.0.0.1:00009"
"""Stands for a port that listens, until `aim`; as long as that, for formats that tell lengths."""
UP = "../" * 8
"""From where a scene's file is linked to beyond the project's folder."""


@dataclass(frozen=True)
class Bomb:
    """One such input."""

    name: str
    format: str
    """Of the good project, in FORMATS."""
    spoil: object
    """(path of the file) -> None, in the project's folder."""
    ends: tuple = ERROR
    """Kinds of verdict that are right."""


class Program:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("ran",)


def aim(path, port):
    """Let a small file name the port that listens; how often it does."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > MANY:
        return 0
    content, found = path.read_bytes(), 0
    for colon in (b":", b"%3A"):
        old, new = (HOST.encode().replace(b":", colon), b"127.0.0.1" + colon + b"%05d" % port)
        found += content.count(old)
        content = content.replace(old, new)
    if found:
        path.write_bytes(content)
    return found


def text(content):
    return lambda path: path.write_text(content, encoding="utf-8")


def replaced(old, new):
    def spoil(path):
        content = path.read_text(encoding="utf-8")
        assert old in content, old
        path.write_text(content.replace(old, new), encoding="utf-8")

    return spoil


def link(target):
    def spoil(path):
        path.unlink()
        path.symlink_to(target)

    return spoil


def loop(path):
    path.unlink()
    path.symlink_to("again")
    path.with_name("again").symlink_to(path.name)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def sparse(path):
    """Ten terabytes of nothing."""
    os.truncate(path, 10**13)


# ------------------------------------------------------------------------------------ rasters
def raster(width, height, count=1, **profile):
    """A GeoTIFF that is empty, however large it says it is."""

    def spoil(path):
        place = {"crs": CRS, "transform": from_origin(400_000, 4_600_000, 10, 10)}
        about = {"driver": "GTiff", "dtype": "uint16", "sparse_ok": True, **place, **profile}
        with rasterio.open(path, "w", width=width, height=height, count=count, **about):
            pass

    return spoil


def patched(tag, value):
    """A tag of the first directory of a little-endian TIFF says something else."""

    def spoil(path):
        content = bytearray(path.read_bytes())
        (start,) = struct.unpack_from("<I", content, 4)
        (entries,) = struct.unpack_from("<H", content, start)
        for place in range(start + 2, start + 2 + 12 * entries, 12):
            if struct.unpack_from("<H", content, place)[0] == tag:
                struct.pack_into("<HII", content, place + 2, 4, 1, value)
        path.write_bytes(content)

    return spoil


def own_directory_next(path):
    """The list of directories goes in a circle."""
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * entries, start)
    path.write_bytes(content)


def vrt(source, more="", band_more=""):
    """A raster that names another one."""
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{number}"{band_more}>{more}<SimpleSource>'
        f'<SourceFilename relativeToVRT="0">{source}</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand>"
        for number in (1, 2, 3)
    )
    return text(
        f'<VRTDataset rasterXSize="96" rasterYSize="96"><SRS>{CRS}</SRS>'
        f"<GeoTransform>400000, 10, 0, 4600000, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )


PIXEL_FUNCTION = (
    "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
    "<PixelFunctionCode><![CDATA[\nimport os\nos.mkdir('ran')\ndef f(a, out, *x, **y):\n"
    " out[:] = 7\n]]></PixelFunctionCode>"
)
DERIVED = ' subClass="VRTDerivedRasterBand"'
WMS = (
    '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:00009/${z}/${x}/${y}</ServerUrl>'
    "</Service><DataWindow><UpperLeftX>400000</UpperLeftX><UpperLeftY>4600000</UpperLeftY>"
    "<LowerRightX>400960</LowerRightX><LowerRightY>4599040</LowerRightY><TileLevel>1</TileLevel>"
    "<SizeX>96</SizeX><SizeY>96</SizeY></DataWindow><Projection>EPSG:32631</Projection>"
    "<BandsCount>3</BandsCount></GDAL_WMS>"
)


MRF = (
    '<MRF_META><CachedSource><Source>data/S1.tif</Source></CachedSource><Raster><Size x="8" y="8" '
    'c="1"/><PageSize x="8" y="8" c="1"/><Compression>NONE</Compression><DataType>Byte</DataType>'
    "<DataFile>../../own.txt</DataFile><IndexFile>../../index</IndexFile></Raster></MRF_META>"
)
COMMAND = f"gdal vector pipeline ! read http://{HOST}/x.geojson ! write --of=stream streamed"


def overviews_elsewhere(path):
    """A GeoTIFF that is whole, and says that its overviews are at an address."""
    with rasterio.open(path, "r+") as target:
        target.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f'NETCDF:"http://{HOST}/x.nc":b')


def crs_at_address(path):
    """GeoJSON whose CRS is an address."""
    content = json.loads(path.read_text(encoding="utf-8"))
    crs = {"type": "link", "properties": {"href": f"http://{HOST}/x.wkt", "type": "ogcwkt"}}
    path.write_text(json.dumps({"type": content["type"], "crs": crs} | content | {"crs": crs}))


def png(side, packed):
    """A picture of nothing: rows of zeros, really there or not."""

    def spoil(path):
        def chunk(name, content):
            body = name + content
            return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        packer = zlib.compressobj(9)
        rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side if packed else 1))
        content = rows + packer.flush()
        parts = chunk(b"IHDR", header) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + parts)

    return spoil


# ------------------------------------------------------------------------------------ archives
def npz(shape, written, dtype="|u1"):
    """An array that is `written` bytes of zeros, whatever its header says."""

    def spoil(path):
        header = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
        header += b" " * (118 - len(header)) + b"\n"
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("image.npy", "w", force_zip64=True) as member,
        ):
            member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
            for start in range(0, written, 2**24):
                member.write(bytes(min(2**24, written - start)))

    return spoil


def npz_program(path):
    array = np.array([Program()], object)
    np.savez(path, image=array)


def hdf5(shape):
    def spoil(path):
        with h5py.File(path, "w") as target:
            target.create_dataset("image", shape, "u1", chunks=(1024, 1024))

    return spoil


def pickled(path):
    path.write_bytes(pickle.dumps(Program()))


# -------------------------------------------------------------------------------------- models
def safetensors(header, rest=b"\0" * 64, length=None):
    def spoil(path):
        said = json.dumps(header).encode() if isinstance(header, dict) else header
        path.write_bytes(struct.pack("<Q", len(said) if length is None else length) + said + rest)

    return spoil


def card(**changes):
    """A model whose card asks for another net, and whose digest is right."""

    def spoil(path):
        from safetensors.torch import load_file, save_file

        from mapmill.nets.model import DIGEST, digest_of

        content = path.read_bytes()
        (length,) = struct.unpack_from("<Q", content)
        told = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["mapmill"])
        told.pop(DIGEST)
        told |= changes
        tensors = load_file(path)
        said = told | {DIGEST: digest_of(told, tensors)}
        save_file(tensors, path, metadata={"mapmill": json.dumps(said)})

    return spoil


# --------------------------------------------------------------------------------------- texts
LAUGHS = "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
LAUGHS = f"title: T\ndownload:\n  a0: &a0 [ha, ha]\n{LAUGHS}"


def deep(path):
    path.write_text("[" * 200_000 + "]" * 200_000)


def catalogue(content):
    return text(json.dumps(content))


def own_child(path):
    """A catalogue that is its own child."""
    about = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "d"}
    links = [{"rel": "child", "href": f"./{path.name}"}]
    path.write_text(json.dumps(about | {"links": links}))


def child_at(address):
    """A catalogue whose item is at an address."""
    about = {"type": "Catalog", "stac_version": "1.0.0", "id": "c", "description": "d"}
    return catalogue(about | {"links": [{"rel": "item", "href": address}]})


YAML, TIFF = "area file, YAML", "scene, GeoTIFF uncompressed"
STAC, LABELS = "scenes, STAC JSON on disk", "labels, GeoTIFF deflate"
GPKG, GEOJSON = "labels, GeoPackage", "labels, GeoJSON"
OUTLINE, CODES, POINTS = "area of interest, GeoJSON", "class table, CSV", "sample's points, CSV"
NPZ, HDF5, PNG, MODEL = "chip, npz", "chip, HDF5", "chip, PNG", "model, safetensors"
PINNED, ZARR = "pinned search, STAC JSON", "patches, Zarr"
ELSEWHERE = {
    "a link to /dev/zero": link("/dev/zero"),
    "a link to itself": loop,
    "a link to nothing": link("nothing"),
    "a link to a text": link("/etc/passwd"),
    "a pipe": pipe,
    "a folder": folder,
    "ten terabytes of nothing": sparse,
}
WHERE = [YAML, TIFF, STAC, LABELS, GPKG, GEOJSON, OUTLINE, CODES, POINTS, NPZ, HDF5, PNG, MODEL]
WHERE += [PINNED]
BOMBS = [
    Bomb(f"{format}: {name}", format, spoil)
    for format in WHERE
    for name, spoil in ELSEWHERE.items()
    if not (name.startswith("ten") and format in (GPKG, TIFF, LABELS, HDF5))
]
BOMBS += [
    Bomb(f"{format}: ten terabytes behind it", format, sparse, ("error", "same"))
    for format in (GPKG, TIFF, LABELS, HDF5)
]
BOMBS += [Bomb(f"{format}: nested 200,000 deep", format, deep) for format in (YAML, STAC, PINNED)]
BOMBS += [Bomb(f"{format}: nested 200,000 deep", format, deep) for format in (OUTLINE, GEOJSON)]
BOMBS += [
    Bomb("YAML of a billion laughs", YAML, text(LAUGHS)),
    Bomb("YAML that laughs in a title", YAML, text(LAUGHS + "title2: *a29\n")),
    Bomb("YAML: a number of a million digits", YAML, replaced("block: 64", f"block: {'9' * MANY}")),
    Bomb("YAML: a name of a million letters", YAML, replaced("unet: {}", f"{'a' * MANY}: {{}}")),
    Bomb("YAML: 100,000 classes", YAML, replaced(
        "classes:\n", "classes:\n" + "".join(
            f"  {n}: {{name: c{n}, colour: '#000000'}}\n" for n in range(4, 100_000)))),
    Bomb("YAML that makes a folder", YAML, text("!!python/object/apply:os.mkdir [ran]\n")),
    Bomb("YAML: a period with a program", YAML, replaced(
        "title: Simulated test area", "title: !!python/object/new:os.system ['mkdir ran']")),
    Bomb("TIFF of one strip, 7 GB", TIFF, raster(60_000, 60_000, blockysize=60_000)),
    Bomb("TIFF of one tile, 1.6 GB", TIFF, raster(
        16_384, 16_384, 3, tiled=True, blockxsize=16_384, blockysize=16_384,
        interleave="pixel", compress="deflate")),
    Bomb("TIFF with a width of 2^31 - 1", TIFF, patched(256, 2**31 - 1)),
    Bomb("TIFF with a height of 2^31 - 1", TIFF, patched(257, 2**31 - 1), ("error", "same")),
    Bomb("TIFF with a width of 2^32 - 1", TIFF, patched(256, 2**32 - 1)),
    Bomb("TIFF with 65,535 bands", TIFF, patched(277, 65_535)),
    Bomb("TIFF whose strips are 4 GB", TIFF, patched(279, 2**32 - 1), ("error", "same", "other")),
    Bomb("TIFF directories in a circle", TIFF, own_directory_next, ("error", "same")),
    Bomb("labels of 10^6 x 10^6 px in one strip", LABELS, raster(
        MANY, MANY, dtype="uint8", blockysize=MANY, compress="deflate", bigtiff="yes")),
    Bomb("a VRT of itself", TIFF, vrt("data/S1.tif")),
    Bomb("a VRT of a device", TIFF, vrt("/dev/zero")),
    Bomb("a VRT of an address", TIFF, vrt("/vsicurl/http://127.0.0.1:00009/x.tif")),
    Bomb("a VRT of an address in disguise", TIFF, vrt(
        "/vsicurl?url=http%3A%2F%2F127.0.0.1%3A00009%2Fx.tif")),
    *(Bomb(f"a VRT of an address by {way.partition('@')[0]}", TIFF, vrt(
        way.replace("@", f"http://{HOST}").replace('"', "&quot;")))
      for way in ('NETCDF:"@/x.nc":b', 'ZARR:"/vsicurl/@/x.zarr":/b', "GTI:@/x.gpkg", "@/x.tif")),
    Bomb("a TIFF of overviews at an address", TIFF, overviews_elsewhere),
    Bomb("a raster that writes to a file of the user", TIFF, text(MRF)),
    Bomb("a VRT with a program", TIFF, vrt("data/S1.tif", PIXEL_FUNCTION, DERIVED)),
    Bomb("a service in XML", TIFF, text(WMS)),
    Bomb("polygons in a VRT", GPKG, text(
        '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/dev/zero</SrcDataSource>'
        "</OGRVRTLayer></OGRVRTDataSource>")),
    Bomb("polygons at an address, in a VRT", GEOJSON, text(
        '<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/vsicurl/http://127.0.0.1:00009/x'
        "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>")),
    Bomb("polygons whose CRS is an address", GEOJSON, crs_at_address),
    Bomb("polygons that are a command", GEOJSON, text(json.dumps(
        {"type": "gdal_streamed_alg", "command_line": COMMAND}))),
    Bomb("an outline whose CRS is an address", OUTLINE, crs_at_address, ("error", "same")),
    Bomb("polygons of 10^308", GEOJSON, replaced("40", "1e308"), ("error", "other")),
    Bomb("outline of 10^308", OUTLINE, replaced("400000", "1e308")),
    Bomb("PNG of 60,000 px a side", PNG, png(60_000, False)),
    Bomb("PNG of 30,000 px a side, unpacked 900 MB", PNG, png(30_000, True)),
    Bomb("npz of 10^12 values that are not there", NPZ, npz((MANY, MANY), 10)),
    Bomb("npz that unpacks to 1.2 GB", NPZ, npz((40_000, 30_000), 1_200_000_000)),
    Bomb("npz of negative size", NPZ, npz((-1, 8), 10)),
    Bomb("npz of objects", NPZ, npz((4,), 64, "|O")),
    Bomb("npz with a program", NPZ, npz_program),
    Bomb("HDF5 of 10^12 values that are not there", HDF5, hdf5((MANY, MANY))),
    Bomb("model: a header of 2^63 bytes", MODEL, safetensors({}, length=2**63)),
    Bomb("model: a header of 2^40 bytes", MODEL, safetensors({}, length=2**40)),
    Bomb("model: a tensor of 10^15 values", MODEL, safetensors(
        {"w": {"dtype": "F32", "shape": [10**15], "data_offsets": [0, 4 * 10**15]}})),
    Bomb("model: nested 200,000 deep", MODEL, safetensors(b"[" * 200_000)),
    Bomb("model: a card nested 20,000 deep", MODEL, safetensors(
        {"__metadata__": {"mapmill": "[" * 20_000}}, b"")),
    Bomb("model: a pickle", MODEL, pickled),
    Bomb("model: a width of a million", MODEL, card(width=MANY)),
    Bomb("model: a depth of a million", MODEL, card(depth=MANY)),
    Bomb("model: a width that is negative", MODEL, card(width=-4)),
    Bomb("model: a million bands", MODEL, card(bands=[str(n) for n in range(MANY)])),
    Bomb("model: reach of a million", MODEL, card(reach=MANY), ("error", "same", "other")),
    Bomb("STAC: a catalogue that is its own child", STAC, own_child),
    Bomb("STAC: an item on the network", STAC, child_at("http://127.0.0.1:00009/item.json")),
    Bomb("STAC: an item in a device", STAC, child_at("/dev/zero")),
    Bomb("STAC: imagery on the network", STAC, replaced("./S1.tif", "http://127.0.0.1:00009/x.tif")),
    Bomb("STAC: imagery on the network, disguised", STAC, replaced(
        "./S1.tif", "/vsicurl?url=http%3A%2F%2F127.0.0.1%3A00009%2Fx.tif")),
    Bomb("STAC: imagery in a device", STAC, replaced("./S1.tif", "/dev/zero")),
    Bomb("STAC: imagery in a text", STAC, replaced("./S1.tif", "/etc/passwd")),
    Bomb("STAC: an item called ../x", STAC, replaced('"id": "S1"', '"id": "../x"')),
    *(Bomb(f"STAC: an item called {name}", STAC, replaced('"id": "S1"', f'"id": "{name}"'))
      for name in (f"{UP}x", f"{UP}own.txt", "/proc/self/cwd/../x")),
    Bomb("STAC: an asset far outside", STAC, replaced('"image":', f'"../{UP}x":')),
    Bomb("STAC: an item called $(mkdir ran)", STAC, replaced('"id": "S1"', '"id": "$(mkdir ran)"')),
    Bomb("STAC: an asset called ../../x", STAC, replaced('"image":', '"../../x":')),
    Bomb("pinned: an item called ../x", PINNED, replaced('"id": "2018-04"', '"id": "../../x"')),
    Bomb("pinned: an item far outside", PINNED, replaced('"id": "2018-04"', f'"id": "{UP}x"')),
    Bomb("Zarr: a shape of 10^12", ZARR, replaced("10", "1000000000000"), ("error", "same")),
]  # fmt: skip
