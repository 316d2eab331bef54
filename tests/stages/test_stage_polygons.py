"""downsample: hand-drawn polygons become classes of the grid's pixels."""

from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely
import yaml
from making import CRS, LEFT, STEP, TOP
from rasterio.features import rasterize
from rasterio.transform import from_origin
from rasterio.warp import transform_geom
from stages.stage_steps import area_with, assert_most_frequent, downsample, refused

from mapmill.cli import main
from mapmill.vector import as_code

BOUNDS = (LEFT, TOP - 160 * STEP, LEFT + 192 * STEP, TOP)
KINDS = ["field", "wood", "lake"]


def write_polygons(path, crs, count=25):
    """Simulated, overlapping polygons in `crs`, some of a kind that no class stands for."""
    random = np.random.default_rng(3)
    centres = np.column_stack(
        [random.uniform(*BOUNDS[::2], count), random.uniform(*BOUNDS[1::2], count)]
    )
    shapes = [
        shapely.Point(place).buffer(radius, quad_segs=3)
        for place, radius in zip(centres, random.uniform(60, 260, count), strict=True)
    ]
    shapes = [shapely.geometry.shape(transform_geom(CRS, crs, s.__geo_interface__)) for s in shapes]
    kinds = np.array([[*KINDS, "road"][number] for number in random.integers(0, 4, count)], object)
    path.parent.mkdir(exist_ok=True)
    pyogrio.raw.write(
        path,
        np.array(shapely.to_wkb(shapes), object),
        [kinds],
        fields=["kind"],
        crs=crs,
        geometry_type="Polygon",
    )


def polygon_area(name, file, **labels):
    codes = {kind: number for number, kind in enumerate(KINDS, 1)}
    return area_with(name, labels={"file": file, "attribute": "kind", "codes": codes, **labels})


@pytest.mark.parametrize("name", ["plots.gpkg", "plots.geojson"])
@pytest.mark.parametrize("crs", [CRS, "EPSG:4326", "EPSG:32630"])
def test_polygons(small_area, name, crs):
    """Hand-drawn plots would be shifted, cut at the edges of blocks, or get another class."""
    path = Path("data") / name
    write_polygons(path, crs)
    found = downsample(polygon_area("plots", str(path)))
    info, _, wkb, (kinds,) = pyogrio.raw.read(path)
    shapes = [
        (transform_geom(info["crs"], CRS, shape.__geo_interface__), code)
        for shape, kind in zip(shapely.from_wkb(wkb), kinds, strict=True)
        for code in [KINDS.index(kind) + 1 if kind in KINDS else 0]
    ]
    fine = rasterize(shapes, (800, 960), transform=from_origin(LEFT, TOP, 2, 2), dtype="uint8")
    assert len(np.unique(fine)) == 4
    assert_most_frequent(found, fine, 5)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"attribute": "species"}, "no attribute 'species'"),
        ({"attribute": None}, "labels.attribute and labels.codes"),
        ({"codes": None}, "labels.attribute and labels.codes"),
        ({"layer": "fields"}, "fields"),
    ],
)
def test_polygons_that_cannot_be_read(small_area, capsys, labels, said):
    """A typing mistake about the polygons would end in a page of Python or an empty map."""
    write_polygons(Path("data/plots.gpkg"), CRS, count=3)
    area = polygon_area("plots", "data/plots.gpkg", **labels)
    link = Path("results/plots/download/labels.gpkg")
    link.parent.mkdir(parents=True)
    link.symlink_to(Path("data/plots.gpkg").resolve())
    assert said in refused(capsys, "downsample", area, "r000c000", "out.tif")
    assert not list(Path().glob("out.*"))


def test_whole_numbers_with_a_gap_are_codes(small_area):
    """A column of numbers with one missing is read as floats, and would match no code at all."""
    assert [as_code(v) for v in (2.0, np.float64(3), 2, "farm", None, float("nan"), 2.5)] == [
        *("2", "3", "2", "farm", "", ""),
        "2.5",
    ]


def test_codes_that_no_polygon_has(small_area, capsys):
    """A misspelt table of codes would give a map of nothing without a word."""
    fields = two_squares(Path("data/plots.gpkg"))
    labels = {"file": "data/plots.gpkg", "attribute": fields, "codes": {"Wood": 1}}
    area = yaml.safe_load(small_area.read_text()) | {"labels": labels}
    small_area.write_text(yaml.safe_dump(area))
    assert main(["download", str(small_area), "labels.gpkg", "results/labels.gpkg"]) == 1
    assert "kind lake, wood" in capsys.readouterr().err
    assert not Path("results/labels.gpkg").exists()


def two_squares(path):
    """Two squares of kinds `wood` and `lake`; the name of the attribute."""
    squares = shapely.to_wkb([shapely.box(400000, 4599000, 400100, 4599100)] * 2)
    kinds = np.array(["wood", "lake"], object)
    pyogrio.raw.write(
        path, squares, [kinds], ["kind"], geometry_type="Polygon", crs="EPSG:32631", driver="GPKG"
    )
    return "kind"


def test_of_overlapping_polygons_the_last_counts_in_every_block(small_area):
    """A spatial index gives them in another order window by window: blocks would not fit together.

    Oracle: all polygons burnt at once in the order in which they were written.
    """
    path = Path("data/many.gpkg")
    write_polygons(path, CRS, count=400)
    codes = {"field": 1, "wood": 2, "lake": 3}
    labels = {"file": str(path), "attribute": "kind", "codes": codes}
    area = area_with("many", downsample={"method": "nearest"}, labels=labels)
    found = downsample(area)
    _, _, wkb, values = pyogrio.raw.read(path)
    classes = [codes.get(kind, 0) for kind in values[0]]
    shapes = zip(shapely.from_wkb(wkb), classes, strict=True)
    fine = rasterize(
        shapes, (800, 960), 0, transform=from_origin(LEFT, TOP, STEP / 5, STEP / 5), dtype="uint8"
    )
    np.testing.assert_array_equal(found, fine[2::5, 2::5])
