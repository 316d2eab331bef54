"""mosaic: the predicted blocks as one Cloud Optimized GeoTIFF, its STAC item and a picture."""

import datetime
import logging
import os
from functools import partial
from pathlib import Path
from typing import Any

import pystac

from mapmill import figures
from mapmill.areafile import load_area
from mapmill.atomic import write_json
from mapmill.config import Area
from mapmill.extent import extent_of
from mapmill.layout import Layout
from mapmill.pieces import mosaic_of
from mapmill.provenance import file_digest, tags
from mapmill.raster import BlockMosaic, footprint_wgs84, write_cog

log = logging.getLogger(__name__)
EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
]


def run(
    area_path: Path, map_name: str, output: Path, item: Path, extra: Path, figure: Path
) -> None:
    """Write the map `output`, its STAC `item`, the confidence `extra` and the `figure`."""
    area = load_area(area_path)
    layout = Layout(area_path.stem)
    blocks = mosaic_of(area, partial(layout.predict, map_name), 0)
    names = {f"CLASS_{value}": entry.name for value, entry in sorted(area.classes.items())}
    common = tags(area, "mosaic", map_name) | {
        "TITLE": f"{area.title}: {map_name}",
        "ATTRIBUTION": "; ".join(area.attribution),
        "LICENSE": area.license,
    }
    compress = area.mosaic.compress
    write_cog(
        output,
        blocks,
        1,
        overviews="mode",
        compress=compress,
        tags=common | names,
        colours={value: entry.colour for value, entry in area.classes.items()},
        description="class",
    )
    units = {"UNITS": "percent, probability of the mapped class"}
    write_cog(
        extra,
        blocks,
        2,
        overviews="average",
        compress=compress,
        tags=common | units,
        description="confidence",
    )
    _picture(figure, area, layout, map_name, blocks)
    write_json(item, _stac_item(area, area_path.stem, map_name, output, extra, item.parent))
    size = f"{blocks.extent.width} x {blocks.extent.height} px"
    log.info("%s: %s, %d bytes", output, size, output.stat().st_size)


def _picture(path: Path, area: Area, layout: Layout, map_name: str, blocks: BlockMosaic) -> None:
    step = figures.thinning(area)
    period = area.periods_of(map_name)[0]
    images = mosaic_of(area, partial(layout.compose, period), area.compose.nodata)
    shown = figures.shown_bands(area)
    rgb_YX3 = figures.stretch(images.thin(step, [area.bands.index(band) + 1 for band in shown]))
    title = f"Imagery of {period} (red, green, blue: {', '.join(shown)})"
    figures.map_picture(path, area, map_name, blocks.thin(step, [1])[0], rgb_YX3, title)


def _stac_item(
    area: Area, area_name: str, map_name: str, output: Path, extra: Path, folder: Path
) -> dict[str, Any]:
    grid, extent = area.the_grid(), extent_of(area)
    outline = footprint_wgs84(grid, extent)
    xs, ys = zip(*outline["coordinates"][0], strict=True)
    moments = [area.moments(period) for period in area.periods_of(map_name)]
    start, end = min(m[0] for m in moments), max(m[1] for m in moments)
    item = pystac.Item(
        id=f"{area_name}_{map_name}",
        geometry=outline,
        bbox=[min(xs), min(ys), max(xs), max(ys)],
        datetime=None,
        start_datetime=datetime.datetime.fromisoformat(start),
        end_datetime=datetime.datetime.fromisoformat(end),
        properties={
            "title": f"{area.title}: {map_name}",
            "license": area.license,
            "attribution": "; ".join(area.attribution),
            "proj:code": grid.crs,
            "proj:shape": [extent.height, extent.width],
            "proj:transform": list(grid.transform(extent)),
        },
        stac_extensions=EXTENSIONS,
    )
    classes = [
        {
            "value": value,
            "name": _slug(entry.name) or f"class-{value}",
            "title": entry.name,
            "color_hint": entry.colour[1:].upper(),
        }
        for value, entry in sorted(area.classes.items())
    ]
    nodata = {"value": 0, "name": "nodata", "nodata": True}
    for key, path, fields in (
        ("map", output, {"classification:classes": [nodata, *classes]}),
        ("confidence", extra, {"unit": "percent"}),
    ):
        about = {"file:size": path.stat().st_size, "file:checksum": "1220" + file_digest(path)}
        asset = pystac.Asset(
            os.path.relpath(path, folder),
            media_type=pystac.MediaType.COG,
            roles=["data"],
            extra_fields={**fields, **about, "nodata": 0, "data_type": "uint8"},
        )
        item.add_asset(key, asset)
    content = item.to_dict()
    content["links"] = []
    return content


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
