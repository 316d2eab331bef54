"""Cutting an area out of a remote GeoTIFF: the pixels of the file itself, or one line."""

import io
import subprocess
import sys

import numpy as np
import pytest
import range_server as faults
import rasterio
from range_server import serving
from rasterio.enums import ColorInterp
from rasterio.shutil import copy
from rasterio.transform import from_origin
from rasterio.windows import Window as RasterioWindow

from mapmill.catalogue import http
from mapmill.catalogue.ranged import RangedFile
from mapmill.catalogue.wanted import Ask
from mapmill.errors import CatalogueError, ContractError
from mapmill.grid import Grid, Window
from mapmill.raster import cut, read_on_grid

UTM, LAEA = "EPSG:32631", "EPSG:3035"
LEFT, TOP = 400_000.0, 4_600_000.0
SHAPE = (1200, 1500)
GRID = Grid(UTM, LEFT + 2000, TOP - 2000, 10.0, 1000, 800, 100)
"""Within the scene, whose pixels it shares."""
LAEA_GRID = Grid(LAEA, 3_637_000.0, 2_084_500.0, 10.0, 1000, 800, 100)
"""Within the scene too, on a lattice of its own."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No proxy, and no waiting between attempts."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http, "BACKOFF_S", 0.01)
    monkeypatch.setattr(http, "TIMEOUT_S", (2, 2))


def scene(path, *, dtype="uint16", count=1, step=10.0, crs=UTM, place=(LEFT, TOP), **more):
    """A tiled scene without a value that it has no reason to have; JPEG: smooth."""
    numbers = np.random.default_rng(5)
    values = numbers.integers(1, 250, (count, *SHAPE)).astype(dtype)
    values[:, 300:600, 330:700] = more.get("nodata") or 0
    profile = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"} | more
    if not profile["tiled"]:
        del profile["blockxsize"], profile["blockysize"]
    profile |= {"width": SHAPE[1], "height": SHAPE[0], "count": count, "dtype": dtype, "crs": crs}
    with rasterio.open(
        path, "w", driver="GTiff", transform=from_origin(*place, step, step), **profile
    ) as file:
        file.write(values)
        file.descriptions = tuple(f"band {number}" for number in range(count))
    return path


def remote(server):
    return RangedFile(lambda _: Ask(server.url), where="scene S1, B04", size=None, base=None)


def cut_of(path, target, grid, windows, **more):
    """Cut through a server; what was made, and the share of the file that was sent."""
    with serving(path.read_bytes()) as server, remote(server) as file:
        made = cut(file, "scene S1, B04", target, grid, windows, **more)
        assert file.error is None and server.sent == file.bytes
    return made, server.sent / path.stat().st_size


def assert_same(path, target, grid, windows, resampling="nearest", atol=0.0):
    """Every window of the grid reads the same from the cut as from the file itself."""
    with rasterio.open(path) as source, rasterio.open(target) as result:
        assert result.crs == source.crs and result.res == source.res
        assert result.dtypes == source.dtypes and result.count == source.count
        np.testing.assert_equal(result.nodatavals, source.nodatavals)
        assert result.descriptions == source.descriptions
        col, row = ~source.transform * result.transform * (0, 0)
        assert abs(col - round(col)) < 1e-6 and abs(row - round(row)) < 1e-6
        count = source.count
    for window in windows:
        for band in range(1, count + 1):
            read = [
                read_on_grid(p, band, grid, window, nodata=0, resampling=resampling)
                for p in (path, target)
            ]
            np.testing.assert_allclose(*read, rtol=0, atol=atol)
            assert read[0].any()


WINDOWS = [Window(100, 100, 100, 100), Window(500, 700, 100, 200)]


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"compress": "zstd", "predictor": 2},
        {"dtype": "int16", "nodata": -9999},
        {"dtype": "float32", "nodata": float("nan"), "predictor": 3},
        {"dtype": "float64", "compress": "lzw"},
        {"dtype": "uint8", "nodata": 255, "blockxsize": 256},
        {"dtype": "uint8", "count": 3, "compress": "jpeg", "photometric": "ycbcr"},
        {"dtype": "uint8", "count": 4, "interleave": "band"},
        {"count": 5, "interleave": "pixel"},
        {"count": 5, "interleave": "band", "nodata": 0},
        {"tiled": False},
        {"tiled": False, "compress": None},
        {"count": 3, "tiled": False, "interleave": "band", "compress": "lzw"},
        {"BIGTIFF": "YES", "ENDIANNESS": "BIG"},
    ],
    ids=str,
)
@pytest.mark.parametrize("grid", [GRID, LAEA_GRID], ids=["same", "other"])
def test_the_pixels_are_those_of_the_file(tmp_path, profile, grid):
    """Otherwise a download in parts would give another map than one as a whole."""
    path, target = scene(tmp_path / "scene.tif", **profile), tmp_path / "cut.tif"
    made, _ = cut_of(path, target, grid, WINDOWS)
    assert_same(path, target, grid, WINDOWS)
    assert made.tiles and made.pixels and 0.5 < made.valid <= 1


def test_only_the_tiles_that_are_needed(tmp_path):
    """Otherwise the disk and the network would carry what nobody reads."""
    path, target = scene(tmp_path / "scene.tif", dtype="uint8"), tmp_path / "cut.tif"
    windows = [Window(0, 0, 10, 10), Window(790, 990, 10, 10)]
    made, _ = cut_of(path, target, GRID, windows, margin=0)
    assert made.tiles == 2 and made.pixels == 2 * 128 * 128 and made.valid > 0.9
    with rasterio.open(target) as result:
        values = result.read(1)
        assert values.shape == (7 * 128, 9 * 128) and result.block_shapes == [(128, 128)]
        assert not values[:128, 128:].any() and not values[128:, :-128].any()
    assert target.stat().st_size < 2 * 128 * 128 + 10_000


@pytest.mark.parametrize("driver", ["COG", "GTiff"])
def test_other_scenes_and_grids(tmp_path, driver):
    """Otherwise a scene of another zone, or coarser pixels, would lack some at the edges."""
    cases = [
        ({"crs": LAEA, "place": (3_635_000, 2_086_000)}, GRID, "EPSG:3035 onto UTM"),
        ({"step": 20.0}, GRID, "20 m onto 10 m"),
        ({"step": 2.0, "place": (LEFT + 4000, TOP - 4000)}, GRID, "2 m onto 10 m"),
        ({"step": 10.0, "place": (LEFT + 3, TOP + 4)}, GRID, "off the lattice"),
        ({"crs": "EPSG:4326", "place": (1.8, 41.55), "step": 1e-4}, GRID, "degrees"),
    ]
    for more, grid, words in cases:
        plain, target = scene(tmp_path / "plain.tif", **more), tmp_path / "cut.tif"
        path = tmp_path / "scene.tif"
        more_of = {"COG": {"overviews": "NONE", "blocksize": 256}, "GTiff": {}}
        copy(plain, path, driver=driver, **more_of[driver])
        windows = [Window(390, 300, 60, 100), Window(250, 470, 100, 100)]
        made, _ = cut_of(path, target, grid, windows)
        assert made.tiles, words
        assert_same(path, target, grid, windows)
        if words != "degrees":
            # from another CRS, read_on_grid takes the size of pixels from the whole file's extent,
            # which for degrees is another one for a part; for metres the same to some thousandths
            for resampling in ("bilinear", "average"):
                atol = 1 if more.get("crs", UTM) != UTM else 0
                assert_same(path, target, grid, windows, resampling, atol)


def test_windows_at_the_edge_and_beyond(tmp_path):
    """Otherwise an area at a scene's edge would fail, or lose its last pixels."""
    path, target = scene(tmp_path / "scene.tif"), tmp_path / "cut.tif"
    windows = [Window(-300, -300, 200, 200), Window(900, 1200, 200, 200)]
    made, _ = cut_of(path, target, GRID, windows)
    assert_same(path, target, GRID, windows)
    far = [Window(5000, 5000, 100, 100), Window(-2000, 0, 100, 100)]
    made_with, _ = cut_of(path, target, GRID, [*windows, *far])
    assert made_with == made
    target.unlink()
    nothing, _ = cut_of(path, target, GRID, far)
    assert nothing.tiles == nothing.pixels == 0 and not target.exists()
    assert cut_of(path, target, GRID, [])[0].tiles == 0 and not target.exists()


def test_what_a_large_scene_costs(tmp_path):
    """Otherwise a small area would cost as much as all of Catalonia."""
    path, target = large_scene(tmp_path), tmp_path / "cut.tif"
    grid = Grid(UTM, LEFT, TOP, 10.0, 5490, 5490, 512)
    size = path.stat().st_size
    with serving(path.read_bytes()) as server, remote(server) as file:
        made = cut(file, "B04", target, grid, [Window(2500, 2500, 512, 512)])
    assert made.tiles == 4 and size > 40 * 2**20
    assert file.requests <= 5 and file.bytes < 0.1 * size
    assert all(asked for _, asked in server.asked)
    assert_same(path, target, grid, [Window(2500, 2500, 512, 512)])
    with serving(path.read_bytes()) as server, remote(server) as file:
        cut(file, "B04", target, grid, [grid.window])
    assert file.bytes < 1.01 * size and file.requests < size / (5 * 2**20)


def large_scene(folder):
    """A COG as of Sentinel-2 at 20 m: 5490 pixels a side, of noise as strong as land is."""
    numbers = np.random.default_rng(1)
    tile = numbers.normal(1500, 120, (5490, 1024)).astype("uint16")
    profile = {"width": 5490, "height": 5490, "count": 1, "dtype": "uint16", "crs": UTM}
    profile |= {"transform": from_origin(LEFT, TOP, 10, 10), "nodata": 0}
    with rasterio.open(folder / "plain.tif", "w", driver="GTiff", **profile) as file:
        for col in range(0, 5490, 1024):
            width = min(1024, 5490 - col)
            file.write(tile[:, :width], 1, window=RasterioWindow(col, 0, width, 5490))
    options = {"compress": "deflate", "predictor": 2, "level": 1, "blocksize": 512}
    copy(folder / "plain.tif", folder / "large.tif", driver="COG", **options)
    return folder / "large.tif"


class Counting(io.FileIO):
    """A file on disk that counts what is read of it, and may end to give anything."""

    count, most, error = 0, None, OSError("the cable is out")

    def read(self, size=-1):
        content = super().read(size)
        self.count += len(content)
        if self.most is not None and self.count > self.most:
            raise self.error
        return content


def test_a_file_on_disk_and_the_check(tmp_path):
    """Otherwise pixels would be read of a file that is not the catalogue's."""
    path, target = scene(tmp_path / "scene.tif", count=2), tmp_path / "cut.tif"
    (tmp_path / "scene.tif.msk").write_bytes(b"no mask")
    seen = []
    with Counting(path) as file:
        assert cut(file, "S1", target, GRID, WINDOWS, check=seen.append).tiles
    (info,) = seen
    assert (info.crs, info.width, info.height, info.count) == (UTM, 1500, 1200, 2)
    assert info.dtype == "uint16" and info.bands == ("band 0", "band 1")
    assert info.transform == (10, 0, LEFT, 0, -10, TOP)

    def refuse(_):
        raise ContractError("S1", "2 bands", "1", "search again")

    target.unlink()
    with Counting(path) as file:
        with pytest.raises(ContractError, match="found 2 bands"):
            cut(file, "S1", target, GRID, WINDOWS, check=refuse)
        assert file.count < 20_000 and not target.exists()


@pytest.mark.parametrize("error", [OSError("out"), CatalogueError("a", "b", "c", "d"), KeyError(1)])
@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_a_read_that_fails_is_never_zeros(tmp_path, error, interleave):
    """Otherwise a broken connection would be a lake on the map."""
    path, target = scene(tmp_path / "s.tif", count=2, interleave=interleave), tmp_path / "cut.tif"
    with Counting(path) as file:
        cut(file, "S1", target, GRID, WINDOWS)
        whole = file.count
    target.unlink()
    for most in [0, 4, 100, 500, *range(1000, whole, whole // 25), whole - 1]:
        with Counting(path) as file:
            file.most, file.error = most, error
            with pytest.raises(type(error)) as raised:
                cut(file, "S1", target, GRID, WINDOWS)
        assert raised.value is error and not target.exists()


def test_a_ctrl_c_while_reading_ends_it(tmp_path):
    """Otherwise GDAL would swallow it, and the download would go on."""
    path, target = scene(tmp_path / "scene.tif"), tmp_path / "cut.tif"
    with Counting(path) as file:
        file.most, file.error = 100_000, KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            cut(file, "S1", target, GRID, WINDOWS)
    assert not target.exists()


FAULTS = {
    "short": faults.short,
    "500": faults.status(500),
    "reset": faults.reset,
    "changed": faults.with_headers(ETag='"two"'),
    "no ranges": faults.whole,
    "other range": faults.other_range,
    "403": faults.status(403),
    "page 200": faults.page(200),
    "page 206": faults.page(206),
}


@pytest.mark.parametrize("lasts", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_server(tmp_path, fault, lasts, monkeypatch):
    """Otherwise the part that a fault hit would be missing, and nobody would know."""
    monkeypatch.setattr("mapmill.catalogue.ranged.CHUNK", 2**16)
    path, target = scene(tmp_path / "scene.tif"), tmp_path / "cut.tif"
    content = path.read_bytes()
    with serving(content) as server, remote(server) as file:
        cut(file, "S1", target, GRID, WINDOWS)
        count = len(server.asked)
    target.unlink()
    assert count >= 6
    for at in range(count):
        numbers = range(at, 1000) if lasts else [at]
        with serving(content, dict.fromkeys(numbers, FAULTS[fault])) as server:
            try:
                with remote(server) as file:
                    cut(file, "S1", target, GRID, WINDOWS)
                ended_well = True
            except CatalogueError as error:
                assert "\n" not in str(error) and file.error is error
                ended_well = False
        if fault == "changed":  # all of another version is well again
            assert ended_well == (lasts and at == 0)
        else:
            assert ended_well != (lasts or (fault == "no ranges" and at == 0))
        assert target.exists() == ended_well
        if ended_well:
            assert_same(path, target, GRID, WINDOWS)
            target.unlink()


def damaged(tmp_path, **more):
    """A scene whose bytes in the middle are noise."""
    path = scene(tmp_path / "scene.tif", **more)
    content = bytearray(path.read_bytes())
    middle = len(content) // 3
    content[middle : middle + 400_000] = bytes(400_000)
    path.write_bytes(content)
    return path


def test_files_that_cannot_be_cut(tmp_path):
    """Otherwise a damaged tile would be zeros, or the place of the pixels would be a guess."""
    target = tmp_path / "cut.tif"

    def refused(path, grid=GRID):
        with Counting(path) as file, pytest.raises(ContractError) as raised:
            cut(file, "scene S1", target, grid, [grid.window])
        assert not target.exists() and "\n" not in str(raised.value)
        assert str(raised.value).startswith("scene S1: found ") and "/vsi" not in str(raised.value)
        return str(raised.value)

    for interleave in ("pixel", "band"):
        path = damaged(tmp_path, count=2, interleave=interleave)
        assert "no readable raster" in refused(path)
    assert "no CRS" in refused(scene(tmp_path / "scene.tif", crs=None))
    path = scene(tmp_path / "scene.tif")
    antipodes = Grid("EPSG:3857", 20_000_000.0, -4_600_000.0, 10.0, 100, 100, 100)
    far = scene(tmp_path / "far.tif", crs="+proj=gnom +lat_0=41 +lon_0=2", place=(0, 0))
    assert "does not reach" in refused(far, antipodes)
    with rasterio.open(path, "r+") as file:
        file.transform = file.transform * file.transform.rotation(3)
    assert "square pixels, north up" in refused(path)


def test_no_raster_no_tiff_or_an_end_too_early(tmp_path):
    """Otherwise a file that is none would end in a traceback."""
    path, target = scene(tmp_path / "scene.tif"), tmp_path / "cut.tif"
    content = path.read_bytes()
    for wrong in (b"", b"no", b"II*\0" + bytes(1000), content[:300], content[:400_000]):
        with pytest.raises(ContractError, match="set download"):
            cut(io.BytesIO(wrong), "scene S1", target, GRID, [GRID.window])
        assert not target.exists()
    assert cut(io.BytesIO(content), "scene S1", target, GRID, [GRID.window]).tiles


def test_masks_alpha_and_large_tiles(tmp_path):
    """Otherwise what a mask takes out would be on the map, or a strip of 1 GB in memory."""
    path, target = scene(tmp_path / "a.tif", dtype="uint8", count=4), tmp_path / "cut.tif"
    with rasterio.open(path, "r+") as file:
        file.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    for grid in (GRID, LAEA_GRID):
        cut_of(path, target, grid, WINDOWS)
        assert_same(path, target, grid, WINDOWS)
    with rasterio.open(target) as result:
        assert result.colorinterp[3] is ColorInterp.alpha
    target.unlink()
    path = scene(tmp_path / "b.tif")
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as file:
        file.write_mask(np.ones(SHAPE, bool))
    with pytest.raises(ContractError, match="internal mask"):
        cut_of(path, target, GRID, WINDOWS)
    path = scene(tmp_path / "c.tif", blockxsize=8192, blockysize=8192)
    with pytest.raises(ContractError, match="8192 x 8192 px; expected internal tiles"):
        cut_of(path, target, GRID, WINDOWS)
    assert not target.exists()


SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
from mapmill.errors import ContractError
from mapmill.grid import Grid
from mapmill.raster import cut
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]),) * 2)
grid = Grid("EPSG:32631", 402_000.0, 4_598_000.0, 10.0, 1000, 800, 100)
try:
    with open(sys.argv[1], "rb") as file:
        cut(file, "S1", Path(sys.argv[2]), grid, [grid.window])
except ContractError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("size", [0, 1000, 100_000, 700_000])
def test_a_full_disk_is_told(tmp_path, size):
    """Otherwise the tiles that found no room would be nodata on the map."""
    path, target = scene(tmp_path / "scene.tif"), tmp_path / "cut.tif"
    command = [sys.executable, "-c", SMALL_DISK, str(path), str(target), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "check the disk" in done.stdout and not target.exists()


BIG = """
import resource, sys
import numpy as np, rasterio
from pathlib import Path
from rasterio.transform import from_origin
from mapmill.grid import Grid, Window
from mapmill.raster import cut
path, target, side = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
profile = {"driver": "GTiff", "width": side, "height": side, "count": 1, "dtype": "uint16"}
profile |= {"crs": "EPSG:32631", "transform": from_origin(4e5, 4.6e6, 10, 10), "tiled": True}
profile |= {"blockxsize": 512, "blockysize": 512, "compress": "zstd", "sparse_ok": True}
with rasterio.open(path, "w", **profile) as file:
    file.write(np.ones((600, 600), "uint16"), 1, window=((1000, 1600), (1000, 1600)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
grid = Grid("EPSG:32631", 4e5, 4.6e6, 10.0, side, side, 512)
with path.open("rb") as file:
    made = cut(file, "S1", target, grid, [grid.window])
print(made.tiles, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_does_not_grow_with_the_source(tmp_path):
    """Otherwise a scene of 20,000 pixels a side would need 800 MB."""
    found = []
    for side in (10_000, 20_000):
        command = [sys.executable, "-c", BIG, "big.tif", "cut.tif", str(side)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        tiles, mib = map(int, done.stdout.split())
        assert tiles == (-(-side // 512)) ** 2
        found.append(mib)
    assert max(found) < 300 and found[1] < found[0] + 60, found
