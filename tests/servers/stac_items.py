"""Items and collections as Earth Search v1 writes them, for a STAC API or a static catalogue."""

from servers.blobs import TIFF
from servers.imagery import COMMON

EARTH_SEARCH = {
    **{"B01": "coastal", "B02": "blue", "B03": "green", "B04": "red", "B05": "rededge1"},
    **{"B06": "rededge2", "B07": "rededge3", "B08": "nir", "B8A": "nir08", "B09": "nir09"},
    **{"B11": "swir16", "B12": "swir22", "SCL": "scl"},
    **{f"BAND{n}": name for n, name in enumerate(("pan", "blue", "green", "red", "nir"))},
}
"""Band -> key of its asset."""
EXTENSIONS = ("eo/v1.1.0", "file/v2.1.0", "grid/v1.1.0", "projection/v2.0.0", "raster/v1.1.0")


def item(hub, scene, href, links):
    """The item of a scene; `href` gives the address of a file by band and suffix."""
    properties = {
        "datetime": f"{scene.moment:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z",
        "created": f"{scene.moment:%Y-%m-%d}T23:00:00.000Z",
        "updated": f"{scene.moment:%Y-%m-%d}T23:00:00.000Z",
    }
    if scene.cloud is not None:
        properties["eo:cloud_cover"] = scene.cloud
    code = scene.crs.to_epsg()
    if hub.projection == "proj:code":
        properties["proj:code"] = f"EPSG:{code}"
    elif hub.projection == "proj:epsg":
        properties["proj:epsg"] = code
    assets = {hub.key(band): asset(hub, scene, band, href(band)) for band in scene.files}
    thumbnail = {"href": href("thumbnail", ".png"), "type": "image/png", "roles": ["thumbnail"]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [
            f"https://stac-extensions.github.io/{e}/schema.json" for e in EXTENSIONS
        ],
        "id": scene.id,
        "collection": scene.collection,
        "geometry": scene.footprint,
        "bbox": scene.bbox,
        "properties": properties | scene.properties,
        "links": links,
        "assets": assets | {"thumbnail": thumbnail},
    }


def asset(hub, scene, band, href):
    """The asset of one band."""
    profile, key = scene.profiles[band], hub.key(band)
    transform = profile["transform"]
    found = {"href": href, "type": TIFF, "title": f"{key} - {profile['transform'].a:g}m"}
    found |= {"roles": ["data", "reflectance"]}
    raster = {"nodata": profile["nodata"], "data_type": profile["dtype"]}
    raster |= {"spatial_resolution": transform.a}
    if band in COMMON:
        found["eo:bands"] = [{"name": key, "common_name": COMMON[band]}]
        raster |= scene.raster
    else:
        found["roles"] = ["data", "reflectance"] if band != "SCL" else ["data"]
    found["gsd"] = transform.a
    found["raster:bands"] = [raster]
    if hub.projection:
        found["proj:shape"] = [profile["height"], profile["width"]]
        found["proj:transform"] = list(transform)[:6]
    if hub.checksums:
        blob = hub.blobs[hub.asset_path(scene, band)]
        found |= {hub.size_key: blob.size, hub.checksum_key: blob.multihash}
    return found


def collection(hub, name, links):
    """A collection, with the extent of what it holds."""
    held = [scene for scene in hub.scenes if scene.collection == name]
    boxes = [scene.bbox for scene in held] or [[-180.0, -90.0, 180.0, 90.0]]
    ends = sorted(f"{scene.moment:%Y-%m-%dT%H:%M:%SZ}" for scene in held) or [None]
    whole = [
        *(min(b[i] for b in boxes) for i in (0, 1)),
        *(max(b[i] for b in boxes) for i in (2, 3)),
    ]
    return {
        "type": "Collection",
        "stac_version": "1.0.0",
        "id": name,
        "title": name,
        "description": f"Scenes of {name}",
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [whole]},
            "temporal": {"interval": [[ends[0], None]]},
        },
        "links": links,
    }
