"""Reading and writing of polygon layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, GeometryError
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError
from shapely.errors import ShapelyError
from shapely.geometry import mapping

from mapmill.atomic import whole_file
from mapmill.errors import ContractError
from mapmill.feature_files import FORMATS, of_features
from mapmill.sections import VECTOR_SUFFIXES

DEGREES, METRES = 0.01, 1000.0
"""Length after which an edge gets a corner more: in UTM it then bends within a decimetre."""
REMEDY = "check labels.file and labels.layer"
ATTRIBUTE_REMEDY = "correct labels.attribute"
UNREADABLE = (
    *(DataSourceError, DataLayerError, FeatureError, GeometryError, ShapelyError, ProjError),
    *(OSError, UnicodeDecodeError),
)


def read_polygons(
    path: Path,
    layer: str | None,
    attribute: str,
    crs: str,
    bounds: tuple[float, float, float, float],
    remedies: tuple[str, str] = (REMEDY, ATTRIBUTE_REMEDY),
    edges: bool = False,
) -> list[tuple[dict[str, Any], str]]:
    """Polygons that touch `bounds`, in `crs`, with their attribute as text, in file order.

    Parameters
    ----------
    bounds : left, bottom, right, top in `crs`
    remedies : what to do about a file or layer, and about an attribute, that is not there
    edges : whether edges that are straight in the layer's CRS bend as they do in `crs`, by more
        corners; else the corners alone are projected

    Raises
    ------
    ContractError
        if the file, the layer, its CRS or the attribute is missing.
    """
    info = inspect_polygons(path, layer, remedy=remedies[0])
    try:
        if attribute not in info["fields"]:
            fields = ", ".join(info["fields"])
            raise ContractError(
                path, f"no attribute {attribute!r}", f"one of {fields}", remedies[1]
            )
        to_layer = Transformer.from_crs(crs, info["crs"], always_xy=True)
        box = to_layer.transform_bounds(*bounds)
        found = pyogrio.raw.read(path, layer=layer, columns=[attribute], bbox=box, return_fids=True)
        _, fids, wkb, values = found
        order = np.argsort(fids, kind="stable")  # an index gives them in another, window by window
        shapes = shapely.from_wkb(wkb[order])
    except UNREADABLE as error:
        raise ContractError(path, str(error), "a readable vector file", remedies[0]) from None
    own = CRS.from_user_input(info["crs"])
    if own != CRS.from_user_input(crs):
        if edges:
            shapes = shapely.segmentize(shapes, DEGREES if own.is_geographic else METRES)
        to_grid = Transformer.from_crs(info["crs"], crs, always_xy=True)
        shapes = shapely.transform(shapes, lambda xy: np.column_stack(to_grid.transform(*xy.T)))
    return [
        (mapping(shape), as_code(value))
        for shape, value in zip(shapes, values[0][order], strict=True)
        if shape is not None and not shape.is_empty
    ]


def write_polygons(
    path: Path, polygons: NDArray[Any], layer: str, crs: str, fields: Mapping[str, NDArray[Any]]
) -> None:
    """Write polygons and their attributes as a GeoPackage, whole or not at all.

    Its dates are fixed: equal polygons give equal bytes.

    Raises
    ------
    ContractError
        if it cannot be written.
    """
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2000-01-01T00:00:00.000Z"})
    with whole_file(path) as part:
        try:
            pyogrio.raw.write(
                part,
                geometry=shapely.to_wkb(polygons),
                field_data=list(fields.values()),
                fields=list(fields),
                crs=crs,
                geometry_type="Polygon",
                driver="GPKG",
                layer=layer,
            )
        except (DataSourceError, DataLayerError, FeatureError) as error:
            raise ContractError(path, str(error), "a whole layer", "check the disk") from None


def as_code(value: Any) -> str:
    """An attribute's value as written in a table of codes; '' where it is missing.

    A column of whole numbers with a gap is read as floats: 2.0 means 2.
    """
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def attribute_values(path: Path, layer: str | None, attribute: str) -> set[str]:
    """Distinct values of an attribute, as codes."""
    info = inspect_polygons(path, layer)
    if attribute not in info["fields"]:
        fields = ", ".join(info["fields"])
        raise ContractError(
            path, f"no attribute {attribute!r}", f"one of {fields}", ATTRIBUTE_REMEDY
        )
    try:
        _, _, _, values = pyogrio.raw.read(
            path, layer=layer, columns=[attribute], read_geometry=False
        )
    except UNREADABLE as error:
        raise ContractError(path, str(error), "a readable vector file", REMEDY) from None
    return {as_code(value) for value in values[0]}


def bounds_wgs84(path: Path, layer: str | None) -> tuple[float, float, float, float]:
    """West, south, east, north of all polygons of a layer, in degrees.

    Raises
    ------
    ContractError
        if it cannot be read, has no CRS or holds nothing.
    """
    info = inspect_polygons(path, layer, bounds=True)
    box = info["total_bounds"]
    if box is None or not np.isfinite(box).all():
        raise ContractError(path, "no polygon", "polygons of the area", REMEDY)
    to_degrees = Transformer.from_crs(info["crs"], "OGC:CRS84", always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(*box)
    return west, south, east, north


def inspect_polygons(
    path: Path, layer: str | None, bounds: bool = False, remedy: str = REMEDY
) -> dict[str, Any]:
    """What the layer says of itself (`crs`, `fields`, `features` ...).

    Parameters
    ----------
    bounds : also `total_bounds`, for which all polygons may have to be read
    remedy : what to do about a file or layer that cannot be read

    Raises
    ------
    ContractError
        if it cannot be read or has no CRS.
    """
    try:
        info: dict[str, Any] = pyogrio.read_info(
            of_features(path), layer=layer, force_total_bounds=bounds
        )
    except UNREADABLE as error:
        raise ContractError(path, str(error), "a readable vector file", remedy) from None
    if info["driver"] not in FORMATS:  # some name other files, or addresses
        raise ContractError(path, f"a {info['driver']} file", ", ".join(FORMATS), remedy)
    if info["crs"] is None:
        raise ContractError(path, "no CRS", "georeferenced polygons", "assign one (ogr2ogr)")
    return info


def layers_with_shapes(path: Path) -> list[str]:
    """Names of the layers of a vector file that hold shapes; tables, such as styles, do not.

    Raises
    ------
    ContractError
        if it cannot be read.
    """
    try:
        found = pyogrio.list_layers(of_features(path))
    except UNREADABLE as error:
        raise ContractError(path, str(error), "a readable vector file", "check the file") from None
    return [str(name) for name, kind in found if kind is not None]


def drivers() -> set[str]:
    """Names of the formats that can be read."""
    return set(pyogrio.list_drivers(read=True))


def is_vector(path: Path) -> bool:
    """Whether a label file is a vector layer, by its suffix."""
    return path.suffix.lower() in VECTOR_SUFFIXES


def write_points(path: Path, xy: Any, columns: dict[str, Any], crs: str) -> None:
    """Write points as a GeoPackage, whole or not at all; equal points give equal bytes.

    Parameters
    ----------
    xy : (point, 2) coordinates in `crs`
    columns : name -> array of numbers or texts
    """
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2000-01-01T00:00:00.000Z"})
    try:
        with whole_file(path) as part:
            pyogrio.raw.write(
                part,
                geometry=shapely.to_wkb(shapely.points(xy)),
                field_data=list(columns.values()),
                fields=list(columns),
                geometry_type="Point",
                crs=crs,
                driver="GPKG",
                layer=path.stem,
            )
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


def read_points(path: Path, crs: str) -> tuple[dict[str, list[Any]], NDArray[np.float64]]:
    """The attributes of a vector file's first layer, and where its points are.

    Returns
    -------
    Columns, and (row, 2) coordinates in `crs`; NaN where there is no point.

    Raises
    ------
    ContractError
        if it cannot be read.
    """
    try:
        meta, _, wkb, values = pyogrio.raw.read(of_features(path))
    except UNREADABLE as error:
        raise ContractError(path, str(error), "a readable vector file", "check the file") from None
    columns = dict(zip(meta["fields"].tolist(), [list(each) for each in values], strict=True))
    rows = len(wkb) if wkb is not None else max(map(len, values), default=0)
    xy = np.full((rows, 2), np.nan)
    if wkb is not None and meta["crs"] is not None:
        shapes = shapely.from_wkb(wkb)
        shapes[shapely.is_empty(shapes)] = None
        x, y = shapely.get_x(shapes), shapely.get_y(shapes)  # NaN of what is no point
        there = np.isfinite(x)
        to_crs = Transformer.from_crs(meta["crs"], crs, always_xy=True)
        xy[there] = np.column_stack(to_crs.transform(x[there], y[there]))
    return columns, xy
