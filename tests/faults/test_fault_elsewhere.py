"""Files that lead elsewhere: to addresses, or to files of the user that they would write to."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pyogrio
import pytest
import shapely

from mapmill import vector
from mapmill.errors import ContractError

MRF = """<MRF_META><CachedSource><Source>{source}</Source></CachedSource><Raster>
<Size x="8" y="8" c="1"/><PageSize x="8" y="8" c="1"/><Compression>NONE</Compression>
<DataType>Byte</DataType><DataFile>{target}</DataFile><IndexFile>{index}</IndexFile></Raster>
</MRF_META>"""
VRT = """<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1">
<SimpleSource><SourceFilename>{source}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
</VRTRasterBand></VRTDataset>"""

READ = """
import sys
from pathlib import Path
from mapmill.errors import ContractError
from mapmill.raster.opening import opened
try:
    with opened(Path(sys.argv[1])) as source:
        source.read()
except ContractError:
    sys.exit(3)
"""
"""Reads all pixels: GDAL opens what a VRT names no sooner."""


@pytest.fixture
def server():
    """A server of nothing, and the paths that it was asked for."""
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()


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
    assert "no readable raster" in done.stderr
    assert target.read_text() == "# my own\n" and not (tmp_path / "index").exists()


def test_no_raster_is_asked_of_a_service(tmp_path, server):
    """A scene could tell strangers who maps what, or reach into a network behind a wall."""
    address, asked = server
    for source in (f'STACTA:"{address}/n.json"', f"/vsicurl/{address}/n.tif", f"{address}/n.tif"):
        scene = tmp_path / "scene.tif"
        scene.write_text(VRT.format(source=source.replace('"', "&quot;")))
        done = subprocess.run([sys.executable, "-c", READ, str(scene)], check=False)
        assert done.returncode == 3, source
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
