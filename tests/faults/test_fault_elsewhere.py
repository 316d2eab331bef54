"""Files that lead elsewhere: to addresses, or to files of the user that they would write to."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.sax.saxutils import escape

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely
from listener import listening
from rasterio.transform import from_origin
from rasterio.vrt import WarpedVRT

from mapmill import vector
from mapmill.errors import ContractError
from mapmill.raster.label_pixels import full_resolution

MRF = """<MRF_META><CachedSource><Source>{source}</Source></CachedSource><Raster>
<Size x="8" y="8" c="1"/><PageSize x="8" y="8" c="1"/><Compression>NONE</Compression>
<DataType>Byte</DataType><DataFile>{target}</DataFile><IndexFile>{index}</IndexFile></Raster>
</MRF_META>"""
VRT = """<VRTDataset rasterXSize="8" rasterYSize="8"{root}><SRS>EPSG:32631</SRS><GeoTransform>
400000, 10, 0, 4600000, 0, -10</GeoTransform>{more}<VRTRasterBand dataType="Byte" band="1"{band}>
<SimpleSource{at}>{name}<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"""
NAMED = '<SourceFilename relativeToVRT="{}">{}</SourceFilename>'

READ = """
import sys
from pathlib import Path
from rasterio.vrt import WarpedVRT
from mapmill.errors import ContractError
from mapmill.raster.label_pixels import full_resolution
from mapmill.raster.opening import opened
for name in sys.argv[1:]:
    try:
        with opened(Path(name)) as source:
            source.read(out_shape=(source.count, 2, 2))
            with WarpedVRT(source, crs="EPSG:3857") as warped:
                print(name, "is read", warped.read().sum())
    except ContractError as error:
        print(error)
"""
"""Reads pixels, few of many too: GDAL opens what a VRT names, and overviews, no sooner."""


def read_all(names):
    """What is told of each raster, in a process whose GDAL is as a command sets it up."""
    line = [sys.executable, "-c", READ, *names]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=300)
    assert done.stderr == ""
    return done.stdout.splitlines()


def vrt(name, relative=0, root="", band="", at="", more=""):
    """A virtual raster with one source."""
    named = NAMED.format(relative, escape(name)) if name else ""
    return VRT.format(name=named, root=root, band=band, at=at, more=more)


def tif(path, tags=None):
    """A good raster of 8 x 8 px of 1; `tags` are its metadata, by domain."""
    place = {"crs": "EPSG:32631", "transform": from_origin(400_000, 4_600_000, 10, 10)}
    about = {"width": 8, "height": 8, "count": 1, "dtype": "uint8", **place}
    with rasterio.open(path, "w", driver="GTiff", **about) as target:
        target.write(np.ones((1, 8, 8), np.uint8))
        for domain, values in (tags or {}).items():
            target.update_tags(ns=domain, **values)


@pytest.fixture
def server():
    """An address, and what was asked there."""
    with listening() as found:
        yield found


def grid_of(path):
    """`mapmill grid`, in a process whose GDAL is as the command sets it up."""
    line = [sys.executable, "-m", "mapmill", "grid", str(path)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_no_raster_writes_to_a_file_that_it_names(tmp_path):
    """A scene could append commands to the user's own start-up file, which would run later."""
    target = tmp_path / "own_settings"
    target.write_text("# my own\n")
    source = tmp_path / "source.pgm"
    source.write_bytes(b"P5 8 8 255\n" + b"x" * 64)
    scene = tmp_path / "scene.tif"
    scene.write_text(MRF.format(source=source, target=target, index=tmp_path / "index"))
    done = grid_of(scene)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "XML with <MRF_META> for a raster" in done.stderr
    assert target.read_text() == "# my own\n" and not (tmp_path / "index").exists()


def ways(address):
    """Names that GDAL follows to an address."""
    return [
        f'NETCDF:"{address}/n.nc":b',
        f'ZARR:"/vsicurl/{address}/n.zarr":/b',
        f'HDF5:"/vsicurl/{address}/n.h5"://b',
        f"GTI:{address}/n.gpkg",
        f'STACTA:"{address}/n.json"',
        f"vrt://{address}/n.tif",
        f"{address}/n.tif",
        f"/vsicurl/{address}/n.tif",
        f"/vsicurl?url={address.replace(':', '%3A').replace('/', '%2F')}%2Fn.tif",
        f"/vsizip//vsicurl/{address}/n.zip/n.tif",
        f"/vsigzip//vsicurl_streaming/{address}/n.tif.gz",
        vrt(f'NETCDF:"{address}/n.nc":b'),
    ]


def test_no_virtual_raster_leads_to_an_address(tmp_path, monkeypatch, server):
    """A scene could tell strangers who maps what, or reach into a network behind a wall."""
    monkeypatch.chdir(tmp_path)
    address, asked = server
    files = []
    for number, name in enumerate(ways(address)):
        files += [f"{number}.tif", f"beside{number}.tif", f"nested{number}.tif"]
        Path(files[-3]).write_text(vrt(name))
        Path(files[-2]).write_text(vrt(name, relative=1))
        Path(files[-1]).write_text(vrt(files[-3], relative=1))
    told = read_all(files)
    assert asked == [] and len(told) == len(files) == 36
    for file, line in zip(files, told, strict=True):
        assert line.startswith(f"{file}: found the source "), line
        assert "none but files of this machine; if you trust it" in line


def test_no_other_way_of_a_virtual_raster_is_open(tmp_path, monkeypatch, server):
    """What GDAL reads in places of a VRT, or in spellings, of which nobody thought."""
    monkeypatch.chdir(tmp_path)
    address, asked = server
    name = f'NETCDF:"{address}/n.nc":b'
    entity = vrt("x").replace(">x<", ">&x;<")
    safe, tail = escape(name, {'"': "&quot;"}), vrt(name)
    tif("good.tif")
    crs = f"<SourceSRS>{address}/x</SourceSRS><TargetSRS>EPSG:4326</TargetSRS>"
    held = f'<MDI key="OVERVIEW_FILE">{safe}</MDI>'
    bad = {
        "junk": f"junk\n{tail}",
        "comment": f"<!-- x -->{tail}",
        "declared": f'<?xml version="1.0" encoding="cp037"?>{tail}',
        "marked": f"\ufeff{tail}",
        "doctype": f'<!DOCTYPE VRTDataset [<!ENTITY x "{safe}">]>{entity}',
        "attribute": vrt("", at=f' SourceFilename="{safe}"'),
        "lower": vrt("", at=f' sourcefilename="{safe}"'),
        "small": vrt(name).replace("SourceFilename", "sourcefilename"),
        "overviews": vrt("good.tif", more=f'<Metadata domain="Overviews">{held}</Metadata>'),
        "crs": vrt("good.tif", more=f"<ReprojectionTransformer>{crs}</ReprojectionTransformer>"),
        "split": vrt("good.tif", more=f"<SRS>{address}<Size/></SRS>"),
        "tiles": f"<GDALTileIndexDataset><IndexDataset>{safe}</IndexDataset>"
        "</GDALTileIndexDataset>",
        "dimap": f'<Dimap_Document><DATA_FILE_PATH href="{safe}"/></Dimap_Document>',
        "options": vrt("good.tif").replace(
            "<SourceBand>", '<OpenOptions><OOI key="A">b</OOI></OpenOptions><SourceBand>'
        ),
    }
    for kind, text in bad.items():
        Path(f"{kind}.tif").write_text(text, encoding="utf-8")
    told = read_all([f"{kind}.tif" for kind in bad])
    assert asked == []
    for kind, line in zip(bad, told, strict=True):
        assert line.startswith(f"{kind}.tif: found "), line
        assert "none but files of this machine; if you trust it" in line


def test_nothing_beside_or_in_a_raster_leads_elsewhere(tmp_path, monkeypatch, server):
    """Overviews and masks are rasters, of any kind; metadata may say where they are."""
    monkeypatch.chdir(tmp_path)
    address, asked = server
    name = f'NETCDF:"{address}/n.nc":b'
    tif("tags.tif", {"OVERVIEWS": {"OVERVIEW_FILE": name}})
    for kind in ("ovr", "msk"):
        tif(f"{kind}.tif")
        Path(f"{kind}.tif.{kind}").write_text(vrt(name))
        Path(f"of_{kind}.tif").write_text(vrt(f"{kind}.tif", relative=1))
    names = ["tags.tif", "ovr.tif", "msk.tif", "of_ovr.tif", "of_msk.tif"]
    told = read_all(names)
    assert asked == []
    assert all(": found " in line and "of this machine" in line for line in told), told


def test_other_letters_and_links_beside_a_raster_lead_nowhere(tmp_path, monkeypatch, server):
    """GDAL takes `.OVR` for `.ovr`, and looks beside a link as well as beside its file."""
    monkeypatch.chdir(tmp_path)
    address, asked = server
    hostile = vrt(f'NETCDF:"{address}/n.nc":b')
    for beside in ("a.tif.OVR", "b.tif.Ovr", "C.TIF.ovr", "link.tif.ovr"):
        Path(beside).write_text(hostile)
    for name in ("a.tif", "b.tif", "c.tif", "real.tif", "plain.tif", "d.tif"):
        tif(name)
    Path("link.tif").symlink_to("real.tif")
    Path("of_link.tif").write_text(vrt("link.tif", relative=1))
    Path("deep").mkdir()
    Path("deep/plain.tif").write_text(hostile)
    Path("deep/of_plain.vrt").write_text(vrt("plain.tif", relative=1))
    Path("d.tif.ovr").symlink_to("deep/of_plain.vrt")
    told = read_all(["a.tif", "b.tif", "c.tif", "of_link.tif", "d.tif"])
    assert asked == []
    assert all(": found the source " in line for line in told), told


def test_no_header_leads_to_an_address(tmp_path, monkeypatch, server):
    """Of many a format the pixels lie in another file, which its header names."""
    monkeypatch.chdir(tmp_path)
    address, asked = server
    image = "LINES = 8 LINE_SAMPLES = 8 SAMPLE_TYPE = UNSIGNED_INTEGER SAMPLE_BITS = 8 BANDS = 1"
    for way in ("vsicurl", "vsicurl_streaming"):
        for end in ("none", "tif"):
            lines = [
                "PDS_VERSION_ID = PDS3",
                f'^IMAGE = ("/{way}/{address}/x.{end}", 1)',
                "OBJECT = IMAGE",
                *image.replace(" = ", "=").split(),
                "END_OBJECT = IMAGE",
                "END",
            ]
            Path("scene.tif").write_text("\r\n".join(lines) + " " * 2000)
            done = grid_of("scene.tif")
            assert done.returncode == 1 and f"/{way}/{address}/x.{end}" in done.stderr
    assert asked == []


def test_no_virtual_raster_runs_a_program(tmp_path, monkeypatch):
    """GDAL's own guard is a variable of the environment, which people set for their rasters."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GDAL_VRT_ENABLE_PYTHON", "YES")
    tif("good.tif")
    code = "import os\nos.mkdir('ran')\ndef f(a, out, *x, **y):\n out[:] = 7"
    more = (
        "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python"
        f"</PixelFunctionLanguage><PixelFunctionCode>{code}</PixelFunctionCode>"
    )
    text = vrt("good.tif", band=' subClass="VRTDerivedRasterBand"')
    Path("code.tif").write_text(text.replace("<SimpleSource", f"{more}<SimpleSource"))
    at = ' PixelFunctionLanguage="Python"'
    Path("word.tif").write_text(vrt("good.tif", band=f' subClass="VRTDerivedRasterBand"{at}'))
    code, word = read_all(["code.tif", "word.tif"])
    assert "the element <PixelFunctionLanguage>" in code and not Path("ran").exists()
    assert "the attribute PixelFunctionLanguage" in word


def test_virtual_rasters_of_files_that_are_no_files(tmp_path, monkeypatch):
    """Each would hang, end in a page of Python, or be told by GDAL in words of its own."""
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    bad = {
        "missing": (vrt("nothing.tif"), "no such file"),
        "device": (vrt("/dev/zero"), "a device where a file should be"),
        "folder": (vrt("folder"), "a folder where a file should be"),
        "itself": (vrt("itself.tif"), "or in a circle"),
        "torn": (vrt("x")[:-9], "XML with unclosed token"),
        "zero": (vrt("x\0y"), "XML with"),
    }
    for kind, (text, _) in bad.items():
        Path(f"{kind}.tif").write_text(text)
    for number in range(6):
        Path(f"row{number}.tif").write_text(vrt(f"row{number + 1}.tif"))
    tif("row6.tif")
    told = read_all([*(f"{kind}.tif" for kind in bad), "row0.tif", "row2.tif"])
    for (_, said), line in zip(bad.values(), told, strict=False):
        assert said in line and ": found " in line, line
    assert "more than 4 in a row" in told[-2] and told[-1].startswith("row2.tif is read")


def test_virtual_rasters_that_people_make_are_read(tmp_path, monkeypatch):
    """The guard would refuse what GDAL's own tools write."""
    monkeypatch.chdir(tmp_path)
    tif("data.tif")
    Path("deep").mkdir()
    tif("deep/other.tif")
    rasterio.shutil.copy("data.tif", "translated.vrt", driver="VRT")
    with rasterio.open("data.tif") as source, WarpedVRT(source, crs="EPSG:32630") as warped:
        rasterio.shutil.copy(warped, "warped.vrt", driver="VRT")
    assert "GDALWarpOptions" in Path("warped.vrt").read_text()
    Path("deep/beside.vrt").write_text(vrt("other.tif", relative=1))
    Path("up.vrt").write_text(vrt("deep/beside.vrt", relative=1))
    Path("absolute.vrt").write_text(vrt(str(tmp_path / "data.tif")))
    Path("mean.vrt").write_text(
        vrt("data.tif", band=' subClass="VRTDerivedRasterBand"').replace(
            "<SimpleSource", "<PixelFunctionType>sum</PixelFunctionType><SimpleSource"
        )
    )
    Path("linked.vrt").symlink_to("deep/beside.vrt")
    note = '<Metadata><MDI key="made">see https://example.org/vsicurl</MDI></Metadata>'
    Path("note.vrt").write_text(vrt("data.tif", more=note))
    names = ["translated", "warped", "deep/beside", "up", "absolute", "mean", "linked", "note"]
    told = read_all([f"{name}.vrt" for name in names])
    assert [line.split()[:3] for line in told] == [[f"{n}.vrt", "is", "read"] for n in names]


def test_labels_are_guarded_too(tmp_path, server):
    """Labels are opened by a way of their own."""
    address, asked = server
    path = tmp_path / "labels.tif"
    path.write_text(vrt(f'NETCDF:"{address}/n.nc":b'))
    with (
        pytest.raises(ContractError, match="the source"),
        full_resolution(SimpleNamespace(path=path)),
    ):
        pass
    assert asked == []


@pytest.mark.parametrize("name", ["labels.gpkg", "labels.geojson"])
def test_no_polygons_are_asked_of_a_service(tmp_path, server, name):
    """Polygons could do the same."""
    address, asked = server
    path = tmp_path / name
    for text in (
        f"<OGRWFSDataSource><URL>{address}/wfs</URL></OGRWFSDataSource>",
        f'<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>WFS:{address}/wfs'
        "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>",
    ):
        path.write_text(text)
        for read in (
            lambda: vector.layers_with_shapes(path),
            lambda: vector.read_points(path, "EPSG:4326"),
            lambda: vector.inspect_polygons(path, None),
        ):
            with pytest.raises(ContractError, match="none of GPKG, GeoJSON"):
                read()
    assert asked == []


G = '{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}'
GEOJSON = (
    '{"type":"FeatureCollection",%s,"features":[{"type":"Feature","properties":{},"geometry":%s}]}'
)


@pytest.mark.parametrize(
    "key",
    [
        '"crs":{"type":"link","properties":{"href":"@/x","type":"ogcwkt"}}',
        '"crs":{"type":"link","properties":{"href":"@/x","type":"esriwkt"}}',
        '"crs":{"type":"URL","properties":{"url":"@/x"}}',
        '"\\u0063r\\u0073" : {"type":"URL","properties":{"url":"@/x"}}',
        '"crs":/*x*/{"type":"URL","properties":{"url":"@/x"}}',
        "'crs':{'type':'URL','properties':{'url':'@/x'}}",
        '"crs":' + " " * 70_000 + '{"type":"URL","properties":{"url":"@/x"}}',
    ],
)
def test_no_crs_of_polygons_is_asked_of_an_address(tmp_path, server, key):
    """GDAL asks it as soon as the file is opened."""
    address, asked = server
    path = tmp_path / "labels.geojson"
    path.write_text(GEOJSON % (key.replace("@", address), G))
    with pytest.raises(ContractError, match='a "crs" that is no name'):
        vector.inspect_polygons(path, None)
    assert asked == []


def test_polygons_are_no_command(tmp_path, server):
    """GDAL runs one that a file holds, and it may read at any address."""
    address, asked = server
    path = tmp_path / "labels.geojson"
    line = f"gdal vector pipeline ! read {address}/x.geojson ! write --of=stream streamed"
    path.write_text(json.dumps({"type": "gdal_streamed_alg", "command_line": line}))
    with pytest.raises(ContractError, match="none of GPKG, GeoJSON"):
        vector.inspect_polygons(path, None)
    assert asked == []


@pytest.mark.parametrize(
    "key",
    [
        '"crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::32631"}}',
        '"crs":null',
        '"note":"crs"',
        '"note":["crs"]',
    ],
)
def test_named_crs_of_polygons(tmp_path, key):
    """What people's GeoJSON says of its CRS would be refused."""
    path = tmp_path / "labels.geojson"
    path.write_text(GEOJSON % (key, G))
    expected = "EPSG:32631" if "32631" in key else "EPSG:4326"
    assert vector.inspect_polygons(path, None)["crs"] == expected


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".shp"])
def test_files_of_polygons_are_read(tmp_path, suffix):
    """What people have would be refused together with what leads elsewhere."""
    path = tmp_path / f"units{suffix}"
    square = shapely.to_wkb(np.array([shapely.box(0, 0, 1, 1)]))
    pyogrio.raw.write(
        path,
        geometry=square,
        field_data=[np.array(["A"], object)],
        fields=["name"],
        geometry_type="Polygon",
        crs="EPSG:4326",
    )
    assert vector.inspect_polygons(path, None)["features"] == 1
    assert vector.layers_with_shapes(path) == ["units"]
