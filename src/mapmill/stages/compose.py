"""compose: the bands of a period's scenes, on one block of the grid."""

import logging
from pathlib import Path

import numpy as np
import shapely
from shapely.geometry import shape

from mapmill.areafile import load_area
from mapmill.catalogue.items import Asset, Scene, read_scenes
from mapmill.config import Area
from mapmill.errors import ContractError
from mapmill.extent import grid_block
from mapmill.grid import Grid, Window
from mapmill.indices import with_differences
from mapmill.layout import Layout
from mapmill.provenance import file_digest, tags
from mapmill.raster import Array, footprint_wgs84, read_on_grid, valid_pixels, write_raster
from mapmill.sections import CATALOGUES

log = logging.getLogger(__name__)
MISSING = 0.02
"""Share of a block's pixels that may be missing within footprints, which are rough."""


def run(area_path: Path, period: str, block_name: str, output: Path) -> None:
    """Write the image of one period and block: (band, y, x), names and nodata set.

    Of several scenes the first with data gives the pixel, all bands together.
    """
    area = load_area(area_path)
    area.period(period)
    layout = Layout(area_path.stem)
    grid = area.the_grid()
    window = grid_block(area, block_name).window
    image: Array | None = None
    for scene in _scenes(area, layout, period, block_name):
        added = _scene_on_grid(area, scene, layout.download(period) / scene.id, grid, window)
        image = added if image is None else first_valid(image, added, area.compose.nodata)
        if valid_pixels(image, area.compose.nodata).all():
            break
    if image is None:
        raise ContractError(
            layout.search(period), "no scene", "at least one", "correct search and rerun it"
        )
    image = with_differences(area.compose, image)
    share = valid_pixels(image, area.compose.nodata).mean()
    write_raster(
        output,
        image,
        grid,
        window,
        bands=area.bands,
        nodata=area.compose.nodata,
        tags=tags(area, "compose", **_provenance(area, layout, period, block_name)),
    )
    log.info("%s: %d bands, %.1f %% of pixels valid", output, len(image), 100 * share)
    if area.source in CATALOGUES:
        _warn_of_holes(_scenes(area, layout, period, block_name), grid, window, float(share))


def _warn_of_holes(scenes: list[Scene], grid: Grid, window: Window, share: float) -> None:
    """Say so where scenes have no pixels, though their footprints are said to be there."""
    block = shape(footprint_wgs84(grid, window))
    footprints = [shapely.make_valid(shape(dict(scene.geometry))) for scene in scenes]
    told = shapely.intersection(shapely.union_all(footprints), block).area / block.area
    if share < told - MISSING:
        log.warning(
            "scenes are said to cover %.0f %% of the block, and %.0f %% of its pixels have data: "
            "look at them; raise search.catalogue.layers, or exclude one",
            *(100 * told, 100 * share),
        )


def _scenes(area: Area, layout: Layout, period: str, block: str) -> list[Scene]:
    """The scenes of a period; of Sentinel Hub, the one that is this very block."""
    if area.source != "sentinelhub":
        return read_scenes(layout.search(period))
    return [Scene("", (Asset(block, f"{block}.tif", tuple(area.compose.bands)),))]


def _provenance(area: Area, layout: Layout, period: str, block: str) -> dict[str, str]:
    """Digest of what the image was made from."""
    if area.source == "sentinelhub":
        return {"download": file_digest(layout.download(f"{period}/{block}.tif"))}
    return {"search": file_digest(layout.search(period))}


def _scene_on_grid(area: Area, scene: Scene, folder: Path, grid: Grid, window: Window) -> Array:
    """All bands of one scene: (band, y, x) in the area's dtype."""
    chosen = area.compose
    image = np.empty((len(chosen.bands), window.height, window.width), chosen.dtype)
    for index, band in enumerate(chosen.bands):
        place = scene.find(band)
        if place is None:
            raise ContractError(f"scene {scene.id}", "no such band", band, "rerun search")
        asset, number = place
        values = read_on_grid(
            folder / asset.file_name,
            number,
            grid,
            window,
            nodata=chosen.nodata,
            resampling="nearest" if asset.is_classes else chosen.resampling,
            dtype="float32" if chosen.dtype == "float32" else None,
            told=asset.nodata,
        )
        values = without_offset(values, asset.offset, chosen.nodata)
        image[index] = _converted(values, chosen.dtype, folder / asset.file_name)
    return image


def without_offset(values_YX: Array, offset: int, nodata: float) -> Array:
    """Add a scene's offset to its valid pixels; what falls below 1, the darkest value, is 1.

    0 is nodata, so a dark pixel must not become it.
    """
    if offset == 0:
        return values_YX
    valid = valid_pixels(values_YX[None], nodata)
    if np.isnan(nodata):
        return np.where(valid, values_YX + offset, values_YX)
    return np.where(valid, np.maximum(values_YX.astype(np.int32) + offset, 1), values_YX)


def _converted(values: Array, dtype: str, path: Path) -> Array:
    """The same numbers in the area's dtype, or an error where that would change them."""
    whole = np.issubdtype(values.dtype, np.integer) and values.min() >= 0 and values.max() <= 65535
    if dtype == "uint16" and not whole:
        raise ContractError(
            path,
            f"{values.dtype} values {values.min()} to {values.max()}",
            "whole numbers 0 to 65535",
            "set compose.dtype: float32",
        )
    return values.astype(dtype, copy=False)


def first_valid(image_BYX: Array, added_BYX: Array, nodata: float) -> Array:
    """Fill the invalid pixels of one image from another, all bands of a pixel together."""
    return np.where(valid_pixels(image_BYX, nodata), image_BYX, added_BYX)
