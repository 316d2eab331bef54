"""mosaic: the predicted blocks as one georeferenced map, with all that others need to use it."""

import logging
from functools import partial
from pathlib import Path

import numpy as np

from mapmill import figures
from mapmill.areafile import load_area, models_of
from mapmill.atomic import write_json, write_text
from mapmill.config import Area
from mapmill.extent import extent_of
from mapmill.filters import Counts, filtered, write_counts
from mapmill.grid import Window
from mapmill.item import File, stac_item
from mapmill.layout import Layout
from mapmill.legend import QUICKLOOK, legend, quicklook
from mapmill.pieces import mosaic_of
from mapmill.provenance import tags
from mapmill.raster import Array, BlockMosaic, read_small, write_cog
from mapmill.style import categories, name_of, qml

log = logging.getLogger(__name__)
UNKNOWN = 255
"""Nodata of quantities, of which 0 is a value."""


def run(
    area_path: Path, map_name: str, output: Path, item: Path, extra: Path, figure: Path
) -> None:
    """Write the map `output`, its STAC `item`, the confidence `extra` and the `figure`.

    Beside the map lie its names for GDAL (`.tif.aux.xml`) and its style for QGIS (`.qml`); beside
    the confidence `areas.csv`, `legend.png` and `quicklook.png`.
    """
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    blocks = mosaic_of(area, partial(layout.predict, map_name), 0)
    table = extra.with_name("areas.csv")
    published, counts = _classes(area, map_name, output, table, blocks)
    files = {
        "map": published,
        "confidence": _quantities(area, map_name, extra, blocks),
        "names": File(output.with_name(output.name + ".aux.xml"), "names of the classes, for GDAL"),
        "style": File(output.with_suffix(".qml"), "style for QGIS"),
        "areas": File(table, "pixels and area of each class"),
        "legend": File(extra.with_name("legend.png"), "legend", ("overview",)),
        "picture": File(figure, "the map beside the imagery", ("overview",)),
        "thumbnail": File(extra.with_name("quicklook.png"), "quick-look", ("thumbnail",)),
    }
    write_text(files["names"].path, categories(area))
    write_text(files["style"].path, qml(area))
    legend(files["legend"].path, area)
    extent = extent_of(area)
    step = -(-max(extent.width, extent.height) // QUICKLOOK)
    shown = read_small(output, step)
    quicklook(files["thumbnail"].path, area, shown)
    imagery = _imagery(area, layout, map_name, step)
    pixels = counts.last[1 : len(area.classes) + 1]
    figures.map_picture(figure, area, map_name, shown, pixels, *imagery)
    content = stac_item(
        area_path, area, map_name, item, files, _digests(area_path, area, map_name, blocks)
    )
    write_json(item, content)
    size = f"{extent.width} x {extent.height} px"
    log.info("%s: %s, %d bytes", output, size, output.stat().st_size)


def _common(area: Area, map_name: str) -> dict[str, str]:
    return tags(area, "mosaic", map_name) | {
        "TITLE": f"{area.title}: {map_name}",
        "ATTRIBUTION": "; ".join(area.attribution),
        "LICENSE": area.license,
    }


def _classes(
    area: Area, map_name: str, path: Path, table: Path, blocks: BlockMosaic
) -> tuple[File, Counts]:
    """The map after its filters, and the areas of its classes."""

    def predicted(window: Window) -> Array:
        return blocks.read(window, [1])

    names = {f"CLASS_{value}": name_of(area, value) for value in sorted(area.classes)}
    with filtered(area, path, blocks.extent, predicted) as (read, counts):
        (found,) = write_cog(
            path,
            blocks.grid,
            blocks.extent,
            read,
            bands=["class"],
            nodata=0,
            overviews="mode",
            compress=area.mosaic.compress,
            tags=_common(area, map_name) | names,
            colours={value: entry.colour for value, entry in area.classes.items()},
        )
    log.info("areas of classes:\n%s", write_counts(table, area, counts))
    return File(path, "map", ("data", "visual"), (("class", found),)), counts


def _quantities(area: Area, map_name: str, path: Path, blocks: BlockMosaic) -> File:
    """Confidence and whatever else was predicted of each pixel, as bands in percent."""
    names = blocks.bands()
    numbers = [n for n, name in enumerate(names, 1) if not name.startswith("class")]

    def read(window: Window) -> Array:
        values = blocks.read(window, [1, *numbers])
        return np.where(values[0] > 0, values[1:], np.uint8(UNKNOWN))

    bands = [names[number - 1] for number in numbers]
    found = write_cog(
        path,
        blocks.grid,
        blocks.extent,
        read,
        bands=bands,
        nodata=UNKNOWN,
        overviews="average",
        compress=area.mosaic.compress,
        tags=_common(area, map_name) | {"UNITS": "percent"},
        units="percent",
    )
    pairs = tuple(zip(bands, found, strict=True))
    return File(path, ", ".join(bands), ("data",), pairs, UNKNOWN, "percent")


def _imagery(area: Area, layout: Layout, map_name: str, step: int) -> tuple[Array, str]:
    """Every `step`-th pixel of the imagery as a picture (y, x, 3), and its title."""
    period = area.periods_of(map_name)[0]
    images = mosaic_of(area, partial(layout.compose, period), area.compose.nodata)
    shown = figures.shown_bands(area)
    rgb_YX3 = figures.stretch(images.thin(step, [area.bands.index(band) + 1 for band in shown]))
    return rgb_YX3, f"Imagery of {period} (red, green, blue: {', '.join(shown)})"


def _digests(area_path: Path, area: Area, map_name: str, blocks: BlockMosaic) -> dict[str, str]:
    """Digests of the models, as the first block tells them."""
    told = blocks.tags()
    keys = {name: name.replace("/", "-").upper() for name in models_of(area_path, area, map_name)}
    found = {name: told.get(f"MAPMILL_INPUT_{key}") for name, key in keys.items()}
    return {name: digest for name, digest in found.items() if digest}
