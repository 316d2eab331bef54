"""download: the user's files are linked where they are, and checked; archives are pinned."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from making import write_tif
from stages.stage_steps import PERIOD, area_with, files, mapmill, read, refused, search

BAND = f"{PERIOD}/S1/B02.tif"
WHEEL = "scene-1.0-py3-none-any.whl"


def target(area, file):
    return Path(f"results/{area.stem}/download/{file}")


def leftovers():
    return [path for path in Path().rglob(".*") if "part" in path.name]


def test_files_are_linked_and_left_where_they_are(small_area):
    """A scene of many gigabytes would be copied, or the link would break with the project moved."""
    before = Path("data/S1_B02.tif").read_bytes()
    search(small_area)
    for file, kept in ((BAND, "data/S1_B02.tif"), ("labels.tif", "data/labels.tif")):
        link = target(small_area, file)
        for _ in range(2):
            mapmill("download", small_area, file, link)
        assert link.is_symlink()
        assert not link.readlink().is_absolute()
        assert link.samefile(kept)
    assert Path("data/S1_B02.tif").read_bytes() == before
    assert not leftovers()


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])


def truncated_tiles(path):
    with rasterio.open(path) as source:
        profile = source.profile | {"tiled": True, "blockxsize": 64, "blockysize": 64}
        values = source.read()
    with rasterio.open(path, "w", **profile | {"compress": "DEFLATE"}) as sink:
        sink.write(values)
    path.write_bytes(path.read_bytes()[:-200])


def unreferenced(path):
    write_tif(path, np.ones((160, 192), np.uint16), crs=None)


def turned(path):
    with rasterio.open(path, "r+") as source:
        source.transform = source.transform @ rasterio.Affine.rotation(30)


def text(path):
    path.write_text("<Error>AccessDenied</Error>")


@pytest.mark.parametrize(
    "spoil", [Path.unlink, truncated, truncated_tiles, unreferenced, turned, text]
)
def test_bad_file_is_refused(small_area, capsys, spoil):
    """A damaged file would be found hours later, in the middle of the chain, or not at all."""
    search(small_area)
    spoil(Path("data/S1_B02.tif"))
    line = refused(capsys, "download", small_area, BAND, target(small_area, BAND))
    assert "S1_B02.tif" in line
    assert not target(small_area, BAND).is_symlink()
    assert not leftovers()


def test_file_changed_since_the_search(small_area, capsys):
    """A file that was replaced after the search would give its bands to the wrong channels."""
    path = Path("data/stack/S1.tif")
    write_tif(path, np.ones((3, 160, 192), np.uint16), bands=["B02", "B03", "B04"])
    area = area_with("stack", search={"periods": files("data/stack/{scene}.tif")})
    search(area)
    write_tif(path, np.ones((2, 160, 192), np.uint16))
    file = f"{PERIOD}/S1/image.tif"
    assert "2 bands" in refused(capsys, "download", area, file, target(area, file))


@pytest.mark.parametrize("file", [f"{PERIOD}/S1/B05.tif", f"{PERIOD}/S2/B02.tif", "2019/S1/B.tif"])
def test_file_that_no_search_named(small_area, capsys, file):
    """A request for something unknown would end in a page of Python."""
    search(small_area)
    line = refused(capsys, "download", small_area, file, target(small_area, file))
    assert "search" in line


@pytest.fixture
def sample_area(small_area):
    """The small area, its data in a pinned archive and nowhere else."""
    with zipfile.ZipFile(WHEEL, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(Path("data").iterdir()):
            archive.write(path, f"scene/{path.name}")
    for path in Path("data").iterdir():
        path.rename(path.with_suffix(".hidden"))
    digest = hashlib.sha256(Path(WHEEL).read_bytes()).hexdigest()
    kept = Path("resources/sample") / digest / WHEEL
    kept.parent.mkdir(parents=True)
    Path(WHEEL).rename(kept)
    area = area_with(
        "sample",
        labels={"file": "scene/labels.tif"},
        search={"source": "sample", "periods": {PERIOD: {"files": "scene/{scene}_{band}.tif"}}},
        download={"sample": {"requirement": "scene==1.0", "file": WHEEL, "sha256": digest}},
    )
    return area, kept


def test_bands_and_labels_come_out_of_the_archive(sample_area):
    """The demo could not be made from its archive."""
    area, kept = sample_area
    mapmill("download", area, "sample.whl", target(area, "sample.whl"))
    assert target(area, "sample.whl").samefile(kept)
    (item,) = search(area)["features"]
    assert set(item["assets"]) == {"B02", "B03", "B04"}
    for file, source in ((BAND, "S1_B02"), ("labels.tif", "labels")):
        mapmill("download", area, file, target(area, file))
        assert not target(area, file).readlink().is_absolute()
        np.testing.assert_array_equal(read(target(area, file)), read(f"data/{source}.hidden"))


def test_tampered_archive_is_refused(sample_area, capsys):
    """An archive that somebody changed would be unpacked and learnt from."""
    area, kept = sample_area
    bytes_of = bytearray(kept.read_bytes())
    bytes_of[len(bytes_of) // 2] ^= 1
    kept.write_bytes(bytes_of)
    line = refused(capsys, "download", area, "sample.whl", target(area, "sample.whl"))
    assert "sha256" in line
    assert not target(area, "sample.whl").is_symlink()


def test_what_the_archive_lacks(sample_area, capsys):
    """A wrong path inside the archive would end in a page of Python."""
    area, _ = sample_area
    area.write_text(area.read_text().replace("scene/labels.tif", "scene/none.tif"))
    mapmill("download", area, "sample.whl", target(area, "sample.whl"))
    line = refused(capsys, "download", area, "labels.tif", target(area, "labels.tif"))
    assert "no scene/none.tif" in line
    assert not leftovers()
