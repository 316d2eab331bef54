"""Requests of the Process API, checked as the service documents it, and carried out."""

import datetime
import json
import math
import re
from dataclasses import dataclass

import numpy as np
from rasterio.features import geometry_mask
from rasterio.transform import from_bounds
from servers import evalscript, scenes
from servers.answers import Answer, Image, RefusedError, archive, encoded

LARGEST = 2500
OTHERS = (2154, 2180, 2193, 3003, 3004, 3031, 3035, 3346, 3413, 3416, 3765, 3794, 3844, 3857)
OTHERS += (3912, 3995, 4026, 4326, 5514, 28992)
EPSG = {*OTHERS, *range(32601, 32661), *range(32701, 32761)}
"""The documented CRSs; the ETRS89 zones (EPSG:25831) are not among them."""
LAYERS = ("SCL", "CLM", "dataMask")
TARS = ("application/x-tar", "application/tar")
IMAGES = {"image/tiff": ("GTiff", ".tif"), "image/png": ("PNG", ".png")}
ORDERS = ("mostRecent", "leastRecent", "leastCC")
RESAMPLING = ("NEAREST", "BILINEAR", "BICUBIC")
OFFSET_SINCE = datetime.datetime(2022, 1, 25, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Order:
    """One request that the service accepts."""

    crs: str
    bbox: tuple
    geometry: dict | None
    width: int
    height: int
    time_from: datetime.datetime
    time_to: datetime.datetime
    largest_cloudy: float
    first: str
    harmonize: bool
    script: evalscript.Script
    formats: dict
    """Identifier -> media type."""
    as_tar: bool

    @property
    def place(self):
        """Arguments of scenes and clouds."""
        return self.crs, self.bbox, self.width, self.height


def refuse(parameter, message):
    return RefusedError(400, message, parameter=parameter)


def parsed(request):
    """The order of a request.

    Raises
    ------
    RefusedError
        if the service would not take it.
    """
    body = _json(request)
    source = _get(body, "input", dict)
    crs, bbox, geometry = _bounds(_get(source, "bounds", dict, "input->"))
    output = body.get("output") or {}
    width, height = _size(output, bbox)
    script = evalscript.parsed(body.get("evalscript"))
    for band in script.inputs:
        if band not in (*scenes.BANDS, *LAYERS):
            raise refuse("evalscript", f"Band {band} is not available for sentinel-2-l2a")
    formats, as_tar = _responses(output, script, request.headers.get("Accept", "*/*"))
    return Order(
        crs, bbox, geometry, width, height, *_data(source), script=script, formats=formats,
        as_tar=as_tar,
    )  # fmt: skip


def _json(request):
    if "application/json" not in request.headers.get("Content-Type", ""):
        raise RefusedError(415, "Content-Type must be application/json")
    if not request.body:
        raise RefusedError(400, "Request body should be non-empty.")
    try:
        body = json.loads(request.body)
    except ValueError:
        raise RefusedError(400, "Request body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise RefusedError(400, "Request body is not valid JSON.")
    return body


def _get(section, key, kind, prefix=""):
    value = section.get(key)
    if not isinstance(value, kind) or not value:
        raise refuse(f"{prefix}{key}", f"{key} is missing or invalid")
    return value


def _bounds(bounds):
    url = (bounds.get("properties") or {}).get(
        "crs", "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    )
    code = re.fullmatch(r"http://www\.opengis\.net/def/crs/EPSG/0/(\d+)", str(url))
    is_lonlat = url == "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
    if not is_lonlat and not (code and int(code[1]) in EPSG):
        raise refuse("input->bounds->properties->crs", f"CRS {url} is not supported.")
    crs = "OGC:CRS84" if is_lonlat else f"EPSG:{code[1]}"
    geometry = bounds.get("geometry")
    bbox = bounds.get("bbox") or (_extent(geometry["coordinates"]) if geometry else None)
    is_box = isinstance(bbox, list | tuple) and len(bbox) == 4
    if not is_box or not all(isinstance(v, int | float) and math.isfinite(v) for v in bbox):
        raise refuse("input->bounds->bbox", "bbox must have four numbers")
    if bbox[0] >= bbox[2] or bbox[1] >= bbox[3]:
        raise refuse("input->bounds->bbox", "bbox must be min x, min y, max x, max y")
    return crs, tuple(float(value) for value in bbox), geometry


def _extent(coordinates):
    flat = np.array(re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", json.dumps(coordinates)), float)
    x, y = flat[::2], flat[1::2]
    return x.min(), y.min(), x.max(), y.max()


def _size(output, bbox):
    by_pixels, by_step = {"width", "height"} & set(output), {"resx", "resy"} & set(output)
    if by_pixels and by_step:
        message = "Only width and height or resx and resy can be set at the same time."
        raise refuse("output", message)
    size = []
    for side, step, low in (("width", "resx", 0), ("height", "resy", 1)):
        value, name, how = output.get(side, 256), side, ""
        if by_step:
            resolution = output.get(step, 0)
            if not isinstance(resolution, int | float) or resolution <= 0:
                raise refuse(f"output->{step}", f"{step} must be a positive number")
            value = round((bbox[low + 2] - bbox[low]) / resolution)
            name, how = step, f", calculated from {step},"
        if not isinstance(value, int) or isinstance(value, bool):
            raise refuse(f"output->{name}", f"`{side} = {value}` is not an integer.")
        if value < 1:
            raise refuse(f"output->{name}", f"`{side} = {value}`{how} is smaller than allowed 1.")
        if value > LARGEST:
            message = f"`{side} = {value}`{how} is larger than allowed {LARGEST}."
            raise refuse(f"output->{name}", message)
        size.append(value)
    return size


def _data(source):
    data = _get(source, "data", list, "input->")[0]
    if data.get("type") != "sentinel-2-l2a":
        raise refuse("input->data->type", f"Data type {data.get('type')} is not available here")
    wanted, processing = data.get("dataFilter") or {}, data.get("processing") or {}
    span = _get(wanted, "timeRange", dict, "input->data->dataFilter->")
    times = [_moment(span.get(key), key) for key in ("from", "to")]
    if times[0] > times[1]:
        raise refuse("input->data->dataFilter->timeRange", "from must be before to")
    first = wanted.get("mosaickingOrder", "mostRecent")
    if first not in ORDERS:
        raise refuse("input->data->dataFilter->mosaickingOrder", f"{first} is not an order")
    for key in ("upsampling", "downsampling"):
        if processing.get(key, "NEAREST") not in RESAMPLING:
            raise refuse(f"input->data->processing->{key}", f"{processing[key]} is not a method")
    cloudy = wanted.get("maxCloudCoverage", 100)
    return *times, float(cloudy), first, bool(processing.get("harmonizeValues", True))


def _moment(text, key):
    try:
        if not re.search(r"T.*(Z|[+-]\d\d:\d\d)$", text):
            raise ValueError
        return datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        parameter = f"input->data->dataFilter->timeRange->{key}"
        raise refuse(parameter, f"{text} is not a valid time") from None


def _responses(output, script, accept):
    listed = output.get("responses") or [{"identifier": "default"}]
    formats = {}
    for entry in listed:
        name = entry.get("identifier", "default")
        if name not in script.outputs and name != "userdata":
            message = f"Output {name} requested but missing from function setup()"
            raise RefusedError(400, message)
        if name in formats:
            raise refuse("output->responses", f"Output {name} is requested twice")
        formats[name] = (entry.get("format") or {}).get("type", "image/png")
    wanted = [kind.partition(";")[0].strip().lower() for kind in accept.split(",")]
    as_tar = any(kind in TARS for kind in wanted)
    if len(formats) > 1 and not as_tar:
        message = "For multiple responses set the Accept header to application/tar"
        raise refuse("output->responses", message)
    if not as_tar:  # the header overrides the body
        formats = {n: next((k for k in wanted if k in IMAGES), f) for n, f in formats.items()}
    for name, kind in formats.items():
        if kind not in IMAGES and name != "userdata":
            raise refuse("output->responses", f"Format {kind} is not available here")
    return formats, as_tar


def orbits(order, hub):
    """The passes that the request's filter leaves, in its order."""
    found = scenes.orbits_between(order.time_from, order.time_to, hub.clouds)
    found = [orbit for orbit in found if orbit.cloudy * 100 <= order.largest_cloudy]
    if order.first == "leastCC":
        return sorted(found, key=lambda orbit: (orbit.cloudy, orbit.moment))
    return found if order.first == "leastRecent" else found[::-1]


def units(order, hub):
    """Processing units that the service charges."""
    passes = max(1, len(orbits(order, hub))) if order.script.mosaicking != "SIMPLE" else 1
    bands = sum(band != "dataMask" for band in order.script.inputs)
    wide = any(order.script.outputs[n].sample_type == "FLOAT32" for n in order.formats if n in
               order.script.outputs)  # fmt: skip
    area = max(order.width * order.height / 262_144, 0.01)
    return max(area * bands / 3 * (2 if wide else 1) * passes, 0.005)


def sampled(order, hub, orbit, span):
    """Band -> DN (y, x) of one pass; all of them are 0 where dataMask is."""
    spectral = [band for band in order.script.inputs if band in scenes.BANDS]
    image_BYX = hub.scene(*order.place, spectral or ["B02"], *span)
    mask_YX = (image_BYX != 0).any(axis=0) & _covered(order, hub)
    clouds_YX = orbit.clouds(*order.place) & mask_YX
    values = {}
    since = order.time_from >= OFFSET_SINCE and not order.harmonize
    for band, plane in zip(spectral or ["B02"], image_BYX, strict=True):
        plane = np.where(clouds_YX, np.uint16(scenes.CLOUD_DN), plane)
        values[band] = np.where(mask_YX, plane + np.uint16(1000 if since else 0), np.uint16(0))
    scl_YX = np.where(mask_YX, np.uint8(scenes.VEGETATION), np.uint8(0))
    if "SCL" in getattr(hub.scene, "layers", ()):
        scl_YX = hub.scene(*order.place, ["SCL"], *span)[0].astype(np.uint8) * mask_YX
    values["SCL"] = np.where(clouds_YX, np.uint8(scenes.CLOUD_HIGH), scl_YX)
    values["CLM"] = clouds_YX.astype(np.uint8)
    values["dataMask"] = mask_YX.astype(np.uint8)
    return values


def _covered(order, hub):
    """Where the archive has imagery, and the request wants it (y, x)."""
    left, bottom, right, top = order.bbox
    x = left + (np.arange(order.width) + 0.5) * (right - left) / order.width
    y = top - (np.arange(order.height) + 0.5) * (top - bottom) / order.height
    covered_YX = np.ones((order.height, order.width), bool)
    if hub.coverage:
        west, south, east, north = hub.coverage
        covered_YX &= ((x > west) & (x < east))[None, :] & ((y > south) & (y < north))[:, None]
    if order.geometry:
        transform = from_bounds(*order.bbox, order.width, order.height)
        covered_YX &= geometry_mask([order.geometry], covered_YX.shape, transform, invert=True)
    return covered_YX


def _evaluated(order, hub):
    """Output id -> values (band, y, x) of the script."""
    script = order.script
    names = {*script.inputs, *scenes.BANDS[1:2], *LAYERS}
    chosen = {name: np.zeros((order.height, order.width), np.uint16) for name in names}
    passes = orbits(order, hub)
    if script.mosaicking == "SIMPLE":
        if passes:
            chosen = sampled(order, hub, passes[0], (order.time_from, order.time_to))
    else:
        samples = [sampled(order, hub, o, (o.moment, o.moment)) for o in passes]
        if hub.evaluate:
            return hub.evaluate(samples)
        left_YX = np.ones((order.height, order.width), bool)
        for values in samples:
            take_YX = left_YX & ~np.isin(values["SCL"], scenes.CLOUDY)
            left_YX &= ~take_YX
            for name in values:
                chosen[name] = np.where(take_YX, values[name], chosen[name])
    if hub.evaluate:
        return hub.evaluate([chosen] if passes else [])
    return {name: _listed(order, name, chosen) for name in script.outputs}


def _listed(order, name, values):
    script, shape = order.script, (order.height, order.width)
    items, output = script.items.get(name), script.outputs[name]
    if not items:
        message = "This local server reads lists of bands alone: give it evaluate="
        raise RefusedError(400, message, code="RENDERER_EXCEPTION")
    if len(items) != output.bands or any(b and b not in script.inputs for b, _ in items):
        message = f"Output {name} does not return the bands that setup() declares"
        raise RefusedError(400, message, code="RENDERER_EXCEPTION")
    planes = []
    for band, factor in items:
        plane = np.full(shape, factor) if band is None else values[band]
        if band in scenes.BANDS and script.units != "DN":
            factor = factor / 10_000
        planes.append(plane if band is None or factor == 1 else plane * factor)
    return np.stack(planes)


def images(order, hub):
    """Identifier -> image of each response; `userdata` has none."""
    found = {}
    for name, values_BYX in _evaluated(order, hub).items():
        output = order.script.outputs[name]
        found[name] = Image(output.typed(values_BYX), order.crs, order.bbox, output.nodata)
    return {name: found[name] for name in order.formats if name != "userdata"}


def files(order, found):
    """Name of a member -> bytes."""
    made = {}
    for name, kind in order.formats.items():
        if name == "userdata":
            made["userdata.json"] = b"{}"
            continue
        driver, suffix = IMAGES[kind]
        array_BYX = found[name].pixels
        if driver == "PNG" and (array_BYX.dtype.kind != "u" or len(array_BYX) not in (1, 3, 4)):
            raise refuse("output->responses", "PNG has 1, 3 or 4 bands of UINT8 or UINT16")
        made[name + suffix] = encoded(found[name], driver)
    return made


def answer(order, made, cost):
    """The answer with these files."""
    spent = {"X-ProcessingUnits-Spent": f"{cost:.15g}"}
    if order.as_tar:
        return Answer(200, archive(made), {"Content-Type": "application/x-tar"} | spent)
    ((name, body),) = made.items()
    kind = "application/json" if name == "userdata.json" else next(iter(order.formats.values()))
    return Answer(200, body, {"Content-Type": kind} | spent)
