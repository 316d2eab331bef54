"""Names and colours of a map's classes, as other programs read them from files beside it."""

from xml.etree import ElementTree  # only writes
from xml.etree.ElementTree import Element, SubElement

from mapmill.config import Area


def categories(area: Area) -> str:
    """What GDAL reads as `map.tif.aux.xml`: category names and an attribute table of the classes.

    A GeoTIFF itself has no place for names that GDAL reads; it has one for colours.
    """
    root = Element("PAMDataset")
    band = SubElement(root, "PAMRasterBand", band="1")
    names = SubElement(band, "CategoryNames")
    for value in range(max(area.classes) + 1):
        SubElement(names, "Category").text = name_of(area, value)
    table = SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    # type: 0 whole number, 2 text; usage: 5 value, 2 name, 6 to 8 red, green, blue
    columns = (("value", 0, 5), ("class", 2, 2), ("red", 0, 6), ("green", 0, 7), ("blue", 0, 8))
    for index, (name, kind, usage) in enumerate(columns):
        column = SubElement(table, "FieldDefn", index=str(index))
        for key, text in (("Name", name), ("Type", str(kind)), ("Usage", str(usage))):
            SubElement(column, key).text = text
    for index, value in enumerate(sorted(area.classes)):
        row = SubElement(table, "Row", index=str(index))
        rgb = bytes.fromhex(area.classes[value].colour[1:])
        for text in (value, name_of(area, value), *rgb):
            SubElement(row, "F").text = str(text)
    return _text(root)


def qml(area: Area) -> str:
    """A QGIS style of the classes, which QGIS takes by itself as `map.qml` beside `map.tif`."""
    root = Element("qgis", version="3.22", styleCategories="Symbology")
    pipe = SubElement(root, "pipe")
    shown = {"type": "paletted", "band": "1", "opacity": "1", "alphaBand": "-1"}
    renderer = SubElement(pipe, "rasterrenderer", shown)
    SubElement(renderer, "rasterTransparency")
    palette = SubElement(renderer, "colorPalette")
    for value, entry in sorted(area.classes.items()):
        look = {"value": str(value), "color": entry.colour, "alpha": "255", "label": entry.name}
        SubElement(palette, "paletteEntry", look)
    SubElement(pipe, "brightnesscontrast", brightness="0", contrast="0")
    SubElement(pipe, "rasterresampler", maxOversampling="2")
    SubElement(root, "blendMode").text = "0"
    return _text(root)


def name_of(area: Area, value: int) -> str:
    """Name of a class; of 0, `nodata`."""
    return area.classes[value].name if value else "nodata"


def _text(root: Element) -> str:
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode") + "\n"
