"""Pansharpening, against GDAL's VRTPansharpenedDataset."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from making import write_tif

from mapmill.pansharpen import brovey


def sharpened_by_gdal(bands, pan, weights, nodata):
    """The bands at the resolution of `pan`, by GDAL; files are in the current folder."""
    sources = "".join(
        f'<SpectralBand dstBand="{number}"><SourceFilename relativeToVRT="1">{band}'
        "</SourceFilename><SourceBand>1</SourceBand></SpectralBand>"
        for number, band in enumerate(bands, 1)
    )
    outputs = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{n}" subClass="VRTPansharpenedRasterBand"/>'
        for n in range(1, len(bands) + 1)
    )
    Path("sharp.vrt").write_text(
        f'<VRTDataset subClass="VRTPansharpenedDataset">{outputs}<PansharpeningOptions>'
        "<Algorithm>WeightedBrovey</Algorithm><AlgorithmOptions><Weights>"
        f"{','.join(map(str, weights))}</Weights></AlgorithmOptions>"
        f"<Resampling>Nearest</Resampling><NoData>{nodata}</NoData>"
        f'<PanchroBand><SourceFilename relativeToVRT="1">{pan}'
        "</SourceFilename><SourceBand>1</SourceBand></PanchroBand>"
        f"{sources}</PansharpeningOptions></VRTDataset>"
    )
    with rasterio.open("sharp.vrt") as source:
        return source.read()


@pytest.mark.parametrize("weights", [[1 / 3] * 3, [0.2, 0.5, 0.3], [0.0, 1.0, 0.0]])
def test_equals_gdal(tmp_path, monkeypatch, weights):
    """A sharpened image would have other colours than the same weights give elsewhere."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(3)
    coarse = random.integers(1, 3000, (3, 12, 15)).astype(np.uint16)
    coarse[:, :2, :2] = 0
    coarse[1, 5, 5] = 0
    pan = random.integers(1, 4000, (48, 60)).astype(np.uint16)
    pan[30:33, 40:] = 0
    pan[0, 20], pan[1, 20] = 65_535, 1  # beyond what the type holds, and down to 0
    for number, band in enumerate(coarse, 1):
        write_tif(Path(f"b{number}.tif"), band, step=8.0, nodata=0)
    write_tif(Path("pan.tif"), pan, step=2.0, nodata=0)
    expected = sharpened_by_gdal([f"b{n}.tif" for n in (1, 2, 3)], "pan.tif", weights, 0)
    found = np.kron(coarse, np.ones((1, 4, 4), np.uint16))
    brovey(found, pan, weights, 0.0)
    there = (expected != 0).all(axis=0)
    assert 0.9 < there.mean() < 1
    np.testing.assert_array_equal(found[:, there], expected[:, there])


def test_missing_and_dark_pixels():
    """A pixel without a panchromatic value would keep a blur, and a valid one could become 0."""
    image = np.array([[[10, 10, 0, 3]], [[20, 20, 5, 40_000]]], np.uint16)
    pan = np.array([[0, 15, 7, 1]], np.uint16)
    brovey(image, pan, [0.5, 0.5], 0.0)
    np.testing.assert_array_equal(image[:, 0], [[0, 10, 0, 1], [0, 20, 0, 2]])


def test_decibels_and_heights_have_no_ratio():
    """Sums of 0 and below would turn values into infinities or change their sign."""
    image = np.array([[[-3.0, 2.0, np.nan]], [[1.0, 4.0, 1.0]]], np.float32)
    brovey(image, np.array([[8.0, 6.0, 5.0]], np.float32), [0.5, 0.5], float("nan"))
    np.testing.assert_array_equal(image[:, 0], [[-3, 4, np.nan], [1, 8, np.nan]])
