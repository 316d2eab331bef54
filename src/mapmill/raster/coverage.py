"""Ground of each class in polygons: a pixel counts by the part of it that they cover, exactly."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from exactextract import exact_extract
from exactextract.feature import JSONFeatureSource
from exactextract.raster import NumPyRasterSource
from numpy.typing import NDArray

from mapmill.raster.opening import Array


def covered(
    class_YX: Array,
    pixel_Y: Array,
    bounds: tuple[float, float, float, float],
    polygons: Sequence[dict[str, Any]],
    classes: int,
) -> NDArray[np.float64]:
    """(polygon, K + 1) ground of class 0 to K within each polygon (GeoJSON).

    Parameters
    ----------
    pixel_Y : (y,) ground of a pixel of each row, in any unit
    bounds : left, bottom, right, top of the array, in the CRS of the polygons
    """
    left, bottom, right, top = bounds
    place = {"xmin": left, "ymin": bottom, "xmax": right, "ymax": top}
    ground_YX = np.repeat(pixel_Y[:, None], class_YX.shape[1], axis=1)
    ground = NumPyRasterSource(ground_YX, **place)
    source = NumPyRasterSource(class_YX, **place)
    features = [{"type": "Feature", "geometry": each, "properties": {}} for each in polygons]
    shares = exact_extract(
        source, JSONFeatureSource(features), ["unique", "weighted_frac"], weights=ground
    )
    sums = exact_extract(ground, JSONFeatureSource(features), ["sum"])
    result = np.zeros((len(polygons), classes + 1))
    for row, share, whole in zip(result, shares, sums, strict=True):
        found = share["properties"]
        row[found["unique"]] = found["weighted_frac"] * whole["properties"]["sum"]
    return result
