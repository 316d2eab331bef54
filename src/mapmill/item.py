"""The STAC item of a map: what it is, where, of what, by whom, and every file of it."""

import datetime
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pystac
from pyproj import CRS

from mapmill import __version__
from mapmill.areafile import models_of
from mapmill.config import Area
from mapmill.derive import metres_of
from mapmill.extent import extent_of
from mapmill.layout import Layout
from mapmill.provenance import file_digest
from mapmill.raster import Statistics, area_bounds_wgs84, footprint_wgs84

EXTENSIONS = [
    f"https://stac-extensions.github.io/{name}/schema.json"
    for name in (
        "projection/v2.0.0",
        "raster/v2.0.0",
        "classification/v2.0.0",
        "file/v2.1.0",
        "processing/v1.2.0",
    )
]
EDGE = 20
"""Parts of an edge of the outline."""
TYPES = {
    ".tif": pystac.MediaType.COG,
    ".png": pystac.MediaType.PNG,
    ".csv": "text/csv",
    ".xml": pystac.MediaType.XML,
    ".qml": pystac.MediaType.XML,
}


@dataclass(frozen=True)
class File:
    """A file of the map."""

    path: Path
    title: str
    roles: tuple[str, ...] = ("metadata",)
    bands: tuple[tuple[str, Statistics | None], ...] = ()
    """Name and statistics of each band, of a raster."""
    nodata: int = 0
    unit: str | None = None


def stac_item(
    area_path: Path, area: Area, map_name: str, item: Path, files: dict[str, File], digests: Any
) -> dict[str, Any]:
    """The item as JSON; paths in it are relative to its own.

    Parameters
    ----------
    files : key -> file; `map` holds the classes
    digests : name of a model -> sha256 of its file, as far as they are known
    """
    grid, extent = area.the_grid(), extent_of(area)
    moments = [area.moments(period) for period in area.periods_of(map_name)]
    models = models_of(area_path, area, map_name)
    properties = {
        "title": f"{area.title}: {map_name}",
        "license": area.license,
        "attribution": "; ".join(area.attribution),
        "providers": [each.model_dump(mode="json", exclude_none=True) for each in area.providers],
        **_projection(grid.crs),
        "proj:bbox": list(grid.bounds(extent)),
        "proj:shape": [extent.height, extent.width],
        "proj:transform": list(grid.transform(extent)),
        "processing:software": {"mapmill": __version__},
        "processing:lineage": f"Classes by {', '.join(models)}, mean of their probabilities over "
        f"the imagery of {', '.join(area.periods_of(map_name))}",
    }
    made = pystac.Item(
        id=f"{area_path.stem}_{map_name}",
        geometry=footprint_wgs84(grid, extent, EDGE),
        bbox=[round(value, 7) for value in area_bounds_wgs84(grid, extent)],
        datetime=None,
        start_datetime=datetime.datetime.fromisoformat(min(m[0] for m in moments)),
        end_datetime=datetime.datetime.fromisoformat(max(m[1] for m in moments)),
        properties={key: value for key, value in properties.items() if value != []},
        stac_extensions=EXTENSIONS,
    )
    for key, file in files.items():
        made.add_asset(key, _asset(area, file, item.parent, key == "map"))
    content = made.to_dict()
    sources = [*_models(models, item.parent, digests), *_inputs(area_path, area, map_name, item)]
    return content | {"links": sources}


def _projection(crs: str) -> dict[str, Any]:
    """The CRS by its code, or where it has none by its definition."""
    found = CRS.from_user_input(crs)
    code = found.to_authority(min_confidence=100)
    if code:
        return {"proj:code": ":".join(code)}
    return {"proj:code": None, "proj:wkt2": found.to_wkt()}


def _asset(area: Area, file: File, folder: Path, is_map: bool) -> pystac.Asset:
    """A file with its digest and, of a raster, its bands."""
    fields: dict[str, Any] = {
        "file:size": file.path.stat().st_size,
        "file:checksum": multihash(file_digest(file.path)),
    }
    if file.bands:
        fields |= {"data_type": "uint8", "nodata": file.nodata}
        fields |= {"unit": file.unit} if file.unit else {}
        metres = metres_of(area)
        fields |= {"raster:spatial_resolution": metres} if metres is not None else {}
        fields |= {
            "raster:sampling": "area",
            "bands": [
                {"name": name} | ({"statistics": asdict(found)} if found else {})
                for name, found in file.bands
            ],
        }
    if is_map:
        fields["classification:classes"] = _classes(area)
    return pystac.Asset(
        os.path.relpath(file.path, folder),
        title=file.title,
        media_type=TYPES[file.path.suffix],
        roles=list(file.roles),
        extra_fields=fields,
    )


def multihash(sha256: str) -> str:
    """A sha256 as the file extension writes it."""
    return f"1220{sha256}"


def _classes(area: Area) -> list[dict[str, Any]]:
    nodata = {"value": 0, "name": "nodata", "nodata": True}
    slugs = {value: _slug(entry.name) or "class" for value, entry in area.classes.items()}
    often = Counter(["nodata", "class", *slugs.values()])
    return [nodata] + [
        {
            "value": value,
            "name": slugs[value] if often[slugs[value]] == 1 else f"{slugs[value]}-{value}",
            "title": entry.name,
            "color_hint": entry.colour[1:].upper(),
        }
        for value, entry in sorted(area.classes.items())
    ]


def _models(models: dict[str, Path], folder: Path, digests: Any) -> list[dict[str, Any]]:
    """A link to each model, with its digest where it is known."""
    return [
        {
            "rel": "derived_from",
            "href": os.path.relpath(path, folder),
            "title": f"model {name}",
            "type": "application/octet-stream",
        }
        | ({"file:checksum": multihash(digests[name])} if name in digests else {})
        for name, path in models.items()
    ]


def _inputs(area_path: Path, area: Area, map_name: str, item: Path) -> list[dict[str, Any]]:
    """Links to the pinned searches of the periods, and to the scenes in their catalogues."""
    links = []
    for period in area.periods_of(map_name):
        listing = Layout(area_path.stem).search(period)
        if not listing.exists():  # a service that serves pixels and no scenes
            continue
        href = os.path.relpath(listing, item.parent)
        about = {"type": "application/geo+json", "title": f"scenes of {period}"}
        links.append({"rel": "derived_from", "href": href} | about)
        for scene in json.loads(listing.read_text(encoding="utf-8"))["features"]:
            own = [link["href"] for link in scene.get("links", []) if link.get("rel") == "self"]
            about = {"type": "application/geo+json", "title": f"scene {scene['id']}"}
            links += [{"rel": "derived_from", "href": each} | about for each in own]
    return links


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in name.lower()).strip("-")
