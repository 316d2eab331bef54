"""vectorise: the polygons are the map, read back by pyogrio alone."""

from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import shapely
from making import LEFT, STEP, TOP, write_tif
from scipy import ndimage
from stages.stage_steps import area_with, mapmill, refused

from mapmill.stages.vectorise import simplified


@pytest.fixture
def mapped(small_area):
    """An area with a published map that has specks and nodata; its file and classes (y, x)."""
    area = area_with("poly", vectorise={"minimum_px": 6, "simplify": 0})
    random = np.random.default_rng(4)
    class_YX = np.kron(random.integers(0, 4, (20, 24)), np.ones((8, 8), int))
    specks = random.random(class_YX.shape) < 0.03
    class_YX[specks] = random.integers(1, 4, specks.sum())
    write_tif(Path("results/poly_landcover.tif"), class_YX.astype(np.uint8), nodata=0)
    return area, class_YX


def polygons(area):
    """Polygons, and their attributes by name."""
    path = Path(f"results/{area.stem}_landcover.gpkg")
    mapmill("vectorise", area, "landcover", path)
    meta, _, wkb, columns = pyogrio.raw.read(path)
    assert meta["crs"] == "EPSG:32631"
    return shapely.from_wkb(wkb), dict(zip(meta["fields"], columns, strict=True))


def burnt(shapes, values):
    place = rasterio.transform.from_origin(LEFT, TOP, STEP, STEP)
    return rasterio.features.rasterize(
        zip(shapes, values, strict=True), (160, 192), transform=place, dtype="uint8"
    )


def test_polygons_burnt_again_are_the_map_without_specks(mapped):
    """Otherwise features would lie beside the map, or have other classes."""
    area, class_YX = mapped
    shapes, columns = polygons(area)
    found_YX = burnt(shapes, columns["class"])
    speckled = 0
    for value in (1, 2, 3):
        labels_YX, sizes = _patches(class_YX == value)
        large_YX = (labels_YX > 0) & (sizes[labels_YX] >= 6)
        assert (found_YX[large_YX] == value).all()
        speckled += ((labels_YX > 0) & ~large_YX & (found_YX != value)).sum()
    assert speckled > 50
    np.testing.assert_allclose(columns["area"], shapely.area(shapes))
    np.testing.assert_array_equal(found_YX == 0, class_YX == 0)
    named = {1: "field", 2: "wood", 3: "lake"}
    assert [named[v] for v in columns["class"]] == columns["name"].tolist()
    assert set(columns["colour"]) == {"#e8c95c", "#1b6b2f", "#2f6fb7"}


def _patches(where_YX):
    labels_YX, _ = ndimage.label(where_YX)
    return labels_YX, np.bincount(labels_YX.ravel())


def test_simplified_neighbours_share_their_borders(mapped):
    """Otherwise the map would have gaps and overlaps between its features."""
    area, _ = mapped
    exact, columns = polygons(area)
    area.write_text(area.read_text().replace("simplify: 0", "simplify: 2"))
    shapes, _ = polygons(area)
    assert shapely.is_valid(shapes).all() and (shapely.get_type_id(shapes) == 3).all()
    assert shapely.get_num_coordinates(shapes).sum() < shapely.get_num_coordinates(exact).sum()
    overlap = shapely.area(shapes).sum() - shapely.area(shapely.union_all(shapes))
    assert abs(overlap) < 1e-6 * shapely.area(shapes).sum()
    assert (burnt(shapes, columns["class"]) == burnt(exact, columns["class"])).mean() > 0.97


def test_same_bytes_again(mapped):
    """Otherwise a rerun would publish a new file for an unchanged map."""
    area, _ = mapped
    polygons(area)
    path = Path("results/poly_landcover.gpkg")
    before = path.read_bytes()
    path.unlink()
    polygons(area)
    assert path.read_bytes() == before
    assert not [p for p in Path("results").iterdir() if p.name.startswith(".")]


def test_a_map_of_another_size_is_refused(mapped, capsys):
    """Otherwise polygons of an older grid would be put beside their place."""
    area, class_YX = mapped
    write_tif(Path("results/poly_landcover.tif"), class_YX[:100].astype(np.uint8), nodata=0)
    line = refused(capsys, "vectorise", area, "landcover", "results/poly_landcover.gpkg")
    assert "poly_landcover.tif" in line and "(160, 192)" in line
    assert not Path("results/poly_landcover.gpkg").exists()


def test_nothing_to_simplify():
    """Otherwise a map of nodata would be an error."""
    assert len(simplified([], 1.0)) == 0
