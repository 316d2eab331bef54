"""A virtual raster over the composed blocks of a period: one picture for QGIS, of a few kilobytes.

Made from the area file alone: it names the blocks and opens none. Equal areas give equal bytes.
"""

import logging
import os
from pathlib import Path
from xml.etree import ElementTree as ET

from mapmill.areafile import load_area
from mapmill.atomic import write_text
from mapmill.config import Area
from mapmill.extent import blocks_of, extent_of
from mapmill.grid import Block, Window
from mapmill.layout import Layout
from mapmill.provenance import tags

log = logging.getLogger(__name__)
TYPES = {"uint16": "UInt16", "float32": "Float32"}


def run(area_path: Path, period: str, output: Path) -> None:
    """Write the virtual raster, with paths relative to it."""
    area = load_area(area_path)
    area.period(period)
    layout = Layout(area_path.stem)
    files = {
        block: os.path.relpath(layout.compose(period, block.name), output.parent)
        for block in blocks_of(area)
    }
    root = described(area, files)
    ET.indent(root)
    write_text(output, ET.tostring(root, encoding="unicode") + "\n")
    log.info("%s: %d blocks of %d bands", output, len(files), len(area.bands))


def described(area: Area, files: dict[Block, str]) -> ET.Element:
    """The raster as GDAL's XML: its place, and for each band where in which file it is.

    Parameters
    ----------
    files : block -> path of its file, from the folder of the virtual raster
    """
    grid, extent = area.the_grid(), extent_of(area)
    size = {"rasterXSize": str(extent.width), "rasterYSize": str(extent.height)}
    root = ET.Element("VRTDataset", size)
    ET.SubElement(root, "SRS").text = grid.crs
    step, _, left, _, _, top = grid.transform(extent)
    ET.SubElement(root, "GeoTransform").text = f"{left!r}, {step!r}, 0.0, {top!r}, 0.0, {-step!r}"
    told = ET.SubElement(root, "Metadata")
    for key, value in sorted(tags(area, "compose").items()):
        ET.SubElement(told, "MDI", {"key": key}).text = value
    kind = TYPES[area.compose.dtype]
    for number, name in enumerate(area.bands, 1):
        band = ET.SubElement(root, "VRTRasterBand", {"dataType": kind, "band": str(number)})
        ET.SubElement(band, "Description").text = name
        ET.SubElement(band, "NoDataValue").text = f"{area.compose.nodata:g}"
        for block, file in files.items():
            band.append(_source(file, number, block.window, extent))
    return root


def _source(file: str, number: int, window: Window, extent: Window) -> ET.Element:
    source = ET.Element("SimpleSource")
    ET.SubElement(source, "SourceFilename", {"relativeToVRT": "1"}).text = file
    ET.SubElement(source, "SourceBand").text = str(number)
    size = {"xSize": str(window.width), "ySize": str(window.height)}
    place = {"xOff": str(window.col - extent.col), "yOff": str(window.row - extent.row)}
    ET.SubElement(source, "SrcRect", {"xOff": "0", "yOff": "0", **size})
    ET.SubElement(source, "DstRect", {**place, **size})
    return source
