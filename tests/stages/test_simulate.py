"""simulate: an area of any size, the same however it is made, and ready for the workflow."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.warp import Resampling, reproject
from running import digests

from mapmill.areafile import load_area
from mapmill.cli import main
from mapmill.errors import ConfigError
from mapmill.simulate import run

PERIODS = ("2018-04", "2018-08")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(path):
    with rasterio.open(path) as source:
        return source.read()


def test_files_agree(folder):
    """Labels, truth, images and area file would not be of one place."""
    assert main(["simulate", "data/sim", "--size", "150", "--seed", "3", "--block", "100"]) == 0
    found = {str(path.relative_to("data/sim")) for path in Path("data/sim").rglob("*")}
    assert found == {"labels.tif", "truth.tif", "2018-04.tif", "2018-08.tif", "sim.yaml"}
    with (
        rasterio.open("data/sim/labels.tif") as labels,
        rasterio.open("data/sim/truth.tif") as truth,
    ):
        assert (labels.width, labels.height, labels.res) == (1500, 1500, (1, 1))
        assert (truth.width, truth.height, truth.res) == (150, 150, (10, 10))
        assert labels.bounds == truth.bounds and labels.crs == truth.crs == "EPSG:32631"
        by_gdal = np.zeros((150, 150), np.uint8)
        reproject(
            rasterio.band(labels, 1), by_gdal, dst_transform=truth.transform, dst_crs=truth.crs,
            resampling=Resampling.mode,
        )  # fmt: skip
        np.testing.assert_array_equal(truth.read(1), by_gdal)
        bounds, inside = truth.bounds, truth.read(1) > 0
    for period in PERIODS:
        with rasterio.open(f"data/sim/{period}.tif") as image:
            assert image.bounds == bounds and image.res == (10, 10)
            assert set(image.dtypes) == {"uint16"} and image.nodata == 0
            np.testing.assert_array_equal((image.read() > 0).all(axis=0), inside)
            names = image.descriptions
    area = load_area(Path("data/sim/sim.yaml"))
    assert names == tuple(area.compose.bands)
    assert area.grid.bounds == tuple(bounds) and area.grid.block == 100
    assert area.labels.file == "data/sim/labels.tif"
    assert set(np.unique(pixels(area.labels.file))) <= {0, *area.classes}
    assert all(Path(period.files).exists() for period in area.search.periods.values())


def test_everything_says_that_it_is_simulated(folder):
    """Somebody would take the area for a real one."""
    run(Path("sim"), 40, 1)
    for path in Path("sim").glob("*.tif"):
        with rasterio.open(path) as source:
            assert "seed 1" in source.tags()["MAPMILL_SIMULATED"]
            assert "Simulated" in source.tags()["TIFFTAG_IMAGEDESCRIPTION"]
    area = load_area(Path("sim/sim.yaml"))
    assert "Simulated" in area.title and "Simulated" in area.attribution[0]
    assert Path("sim/sim.yaml").read_text().startswith("# Simulated")


def test_parts_of_any_size_make_the_same_pixels(folder):
    """The area would depend on the machine's memory, and seams would be learnt."""
    run(Path("one/sim"), 250, 5, block=77, unit=96)
    run(Path("two/sim"), 250, 5, block=100, unit=70)
    run(Path("three/sim"), 250, 5)
    for name in ("labels", "truth", *PERIODS):
        first, *others = [pixels(f"{n}/sim/{name}.tif") for n in ("one", "two", "three")]
        assert len(np.unique(first)) > 5
        for other in others:
            np.testing.assert_array_equal(first, other)


def test_again_gives_the_same_bytes_and_another_seed_another_place(folder, caplog):
    """A benchmark could not be repeated, or one seed stand for all."""
    caplog.set_level("INFO")
    run(Path("sim"), 130, 5)
    first, labels = digests("sim"), pixels("sim/labels.tif")
    assert "replacing" not in caplog.text
    run(Path("sim"), 130, 5)
    assert digests("sim") == first
    assert "replacing 5 files" in caplog.text
    run(Path("sim"), 130, 6)
    assert (pixels("sim/labels.tif") != labels).mean() > 0.3


def test_one_file_a_band(folder):
    """A workflow that reads scenes band by band could not be tried out."""
    run(Path("one/sim"), 64, 2)
    run(Path("data/sim"), 64, 2, separate=True)
    area = load_area(Path("data/sim/sim.yaml"))
    assert area.search.periods["2018-04"].files == "data/sim/2018-04/{scene}_{band}.tif"
    for period in PERIODS:
        files = [f"data/sim/{period}/simulated_{band}.tif" for band in area.compose.bands]
        bands = np.concatenate([pixels(path) for path in files])
        np.testing.assert_array_equal(bands, pixels(f"one/sim/{period}.tif"))


def on_area(path, truth):
    """A raster, resampled to the truth's grid by GDAL."""
    result = np.zeros(truth.shape, np.uint16)
    with rasterio.open(path) as source:
        reproject(
            rasterio.band(source, 4), result, dst_transform=truth.transform, dst_crs=truth.crs,
            resampling=Resampling.bilinear, src_nodata=0, dst_nodata=0,
        )  # fmt: skip
    return result


@pytest.mark.parametrize(
    ("crs", "offset_m", "least"), [(None, 5, 0.85), ("EPSG:3035", 0, 0.8), ("EPSG:4326", 0, 0.8)]
)
def test_imagery_on_another_grid_is_of_the_same_place(folder, crs, offset_m, least):
    """Labels and imagery would lie beside each other, and warping be tried out on nothing."""
    run(Path("one/sim"), 128, 2)
    run(Path("sim"), 128, 2, crs=crs, offset_m=offset_m)
    np.testing.assert_array_equal(pixels("sim/labels.tif"), pixels("one/sim/labels.tif"))
    with rasterio.open("one/sim/truth.tif") as truth, rasterio.open("sim/2018-08.tif") as image:
        assert image.crs == (crs or truth.crs)
        assert image.transform != truth.transform
        left, bottom, right, top = rasterio.warp.transform_bounds(
            truth.crs, image.crs, *truth.bounds
        )
        assert image.bounds.left <= left and image.bounds.right >= right
        assert image.bounds.bottom <= bottom and image.bounds.top >= top
        warped, straight = on_area("sim/2018-08.tif", truth), on_area("one/sim/2018-08.tif", truth)
    inner = (slice(8, -8), slice(8, -8))

    def likeness(moved):
        return np.corrcoef(moved[inner].ravel(), straight[inner].ravel())[0, 1]

    assert likeness(warped) > least
    for axis in (0, 1):
        for step in (-2, 2):
            assert likeness(np.roll(warped, step, axis)) < likeness(warped) - 0.03


@pytest.mark.parametrize(
    ("out", "arguments", "said"),
    [
        ("Sim_1", [], "Sim_1"),
        ("a{b}/sim", [], "a{b}"),
        ("sim", ["--size", "20"], "--size"),
        ("sim", ["--seed", "-1"], "--seed"),
        ("sim", ["--block", "0"], "--block"),
        ("sim", ["--offset", "nan"], "--offset"),
        ("sim", ["--crs", "EPSG:99999"], "--crs"),
        ("sim", ["--crs", "EPSG:4978"], "--crs"),
    ],
)
def test_bad_arguments_are_one_line(folder, capsys, out, arguments, said):
    """A slip of the pen would end in a traceback, or in half an area."""
    assert main(["simulate", out, "--size", "64", *arguments]) == 1
    said_at_all = capsys.readouterr().err.strip()
    assert said in said_at_all and "\n" not in said_at_all
    assert not list(folder.iterdir())


def test_files_of_another_origin_are_kept(folder):
    """Somebody's own labels would be overwritten by invented ones."""
    Path("sim").mkdir()
    Path("sim/labels.tif").write_text("precious")
    with pytest.raises(ConfigError, match="choose another OUT"):
        run(Path("sim"), 64, 1)
    assert Path("sim/labels.tif").read_text() == "precious"
    assert len(list(Path("sim").iterdir())) == 1


def test_a_failure_leaves_nothing(folder, monkeypatch):
    """Half an area would be taken for a whole one."""

    def broken(*_):
        raise RuntimeError("broken")

    monkeypatch.setattr("mapmill.simulate.simulate", broken)
    with pytest.raises(RuntimeError, match="broken"):
        run(Path("sim"), 64, 1)
    assert not [path for path in Path("sim").rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [32, 64, 130, 512, 3000])
def test_the_area_file_fits_any_size(folder, size):
    """A size would make tiles larger than the area, or parts without tiles."""
    from mapmill.grid import Grid
    from mapmill.simulate import area_text
    from mapmill.world import world

    land = Grid("EPSG:32631", 400_000.0, 4_600_000.0, 10.0, size, size, min(2500, size))
    Path("sim.yaml").write_text(area_text(Path("data/sim"), land, False, 1, world(size, 1)))
    area = load_area(Path("sim.yaml"))
    assert area.select.size * 2 <= size or size == 32


PEAK = """
import resource
from pathlib import Path
from mapmill.simulate import run
run(Path("sim"), {size}, 1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_mb(size):
    """Megabytes that a process needs at the most to simulate an area."""
    said = subprocess.check_output([sys.executable, "-c", PEAK.format(size=size)])
    return int(said) / 1024


def test_memory_does_not_grow_with_the_area(folder, capsys):
    """A large area could not be simulated on a small machine."""
    small, large = peak_mb(1600), peak_mb(3200)
    with capsys.disabled():
        print(f"\nsimulate: {small:.0f} MB for 1,600 px, {large:.0f} MB for 3,200 px")
    assert large < 1.3 * small


@pytest.mark.full
def test_an_area_as_large_as_catalonia(folder, capsys):
    """The chain could not be tried at full size: half an hour, and 24 GB of disk."""
    peak = peak_mb(30_000)
    with capsys.disabled():
        print(f"\nsimulate: {peak:.0f} MB for 30,000 px")
    assert peak < 2000
