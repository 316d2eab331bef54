"""Fixtures of all tests: a small simulated area, and real data."""

import os
from pathlib import Path

import pytest
from making import SMALL_AREA, simulated_scene, write_area, write_tif

# Tests run two at a time: threads of one that wait must not keep the cores from the other.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
DATA = Path(os.environ.get("MAPMILL_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture
def small_area(tmp_path, monkeypatch):
    """A project folder with the small simulated area, its bands and labels; it is the cwd."""
    monkeypatch.chdir(tmp_path)
    label_YX, image_BYX = simulated_scene()
    for band, values in zip(("B02", "B03", "B04"), image_BYX, strict=True):
        write_tif(Path("data") / f"S1_{band}.tif", values)
    write_tif(Path("data/labels.tif"), label_YX)
    return write_area("small", SMALL_AREA)


@pytest.fixture(scope="session")
def real_data():
    """The folder of real imagery and labels; a test that needs it is skipped where it is absent."""
    if not DATA.is_dir():
        pytest.skip(f"no real data at {DATA} (set MAPMILL_TEST_DATA)")
    return DATA


@pytest.fixture(scope="session")
def operators():
    """Beside a torch without CUDA, torchvision's wheel lacks operators that its import names."""
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library
