"""Damage to files that have a seal is noticed, wherever it is."""

import numpy as np
import pytest
import rasterio
from making import CRS, LEFT, STEP, TOP

from mapmill.errors import ContractError
from mapmill.grid import Grid
from mapmill.raster import BlockMosaic, read_bands, write_raster
from mapmill.raster.seal import SIZE, check_seal, seal

GRID = Grid(crs=CRS, resolution=STEP, left=LEFT, top=TOP, width=64, height=64, block=64)


@pytest.fixture
def path(tmp_path):
    """A file of a stage: noise, that no compressor makes smaller."""
    image_BYX = np.random.default_rng(1).integers(1, 2**16, (2, 64, 64)).astype(np.uint16)
    path = tmp_path / "r000c000.tif"
    tags = {"MAPMILL_STAGE": "compose"}
    write_raster(path, image_BYX, GRID, GRID.window, bands=["a", "b"], nodata=0, tags=tags)
    np.testing.assert_array_equal(read_bands(path)[0], image_BYX)
    return path


def test_any_byte_that_changed_is_noticed(path):
    """Pixels that were never measured would be learnt from: compressors do not notice."""
    content = path.read_bytes()
    for place in range(0, len(content) - SIZE, 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ContractError, match=r"damaged bytes.*delete it and rerun"):
            read_bands(path)
    path.write_bytes(content)
    assert check_seal(path)


@pytest.mark.parametrize("cut", [1, SIZE, 100])
def test_a_block_that_lost_its_end_is_noticed(path, cut):
    """A block without its seal would be taken for a file of the user's, which has none."""
    content = path.read_bytes()
    (block,) = GRID.blocks()
    mosaic = BlockMosaic(GRID, (block,), GRID.window, lambda _: path, 0)
    mosaic.read(GRID.window)
    for end in (b"", bytes(cut)):  # cut off, or zeros
        path.write_bytes(content[:-cut] + end)
        with pytest.raises(ContractError, match=r"r000c000.tif: found"):
            mosaic.read(GRID.window)


def test_gdal_reads_a_file_with_a_seal(path, tmp_path):
    """Nobody else could open our files."""
    with rasterio.open(path) as source:
        sealed = source.read()
    bare = tmp_path / "bare.tif"
    bare.write_bytes(path.read_bytes()[:-SIZE])
    with rasterio.open(bare) as source:
        np.testing.assert_array_equal(source.read(), sealed)
    assert not check_seal(bare)
    seal(bare)
    assert bare.read_bytes() == path.read_bytes()


def test_files_of_users_need_no_seal(path, tmp_path):
    """Imagery and labels that people bring would be refused."""
    with rasterio.open(path) as source:
        profile, values = source.profile, source.read()
    with rasterio.open(tmp_path / "own.tif", "w", **profile) as target:
        target.write(values)
    np.testing.assert_array_equal(read_bands(tmp_path / "own.tif")[0], values)
