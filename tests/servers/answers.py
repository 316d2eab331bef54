"""What the server says: errors in the service's shapes, GeoTIFFs, archives of them."""

import io
import json
import tarfile
from dataclasses import dataclass, field
from http import HTTPStatus

import numpy as np
from rasterio.io import MemoryFile
from rasterio.transform import from_bounds

NO_TOKEN = (
    "You are not authorized! Please provide a valid access token within the header "
    "[Authorization: Bearer <accessToken>] of your request."
)
CODES = {
    400: "COMMON_BAD_PAYLOAD",
    401: "COMMON_UNAUTHORIZED",
    403: "COMMON_INSUFFICIENT_PERMISSIONS",
    404: "COMMON_NOT_FOUND",
    405: "COMMON_METHOD_NOT_ALLOWED",
    415: "COMMON_UNSUPPORTED_MEDIA_TYPE",
    429: "RATE_LIMIT_EXCEEDED",
    500: "RENDERER_EXCEPTION",
}


@dataclass
class Answer:
    """Status, headers and body; the length of the body is added when it is sent."""

    status: int
    body: bytes
    headers: dict = field(default_factory=dict)


class RefusedError(Exception):
    """A request that the service answers with an error."""

    def __init__(self, status, message, *, code=None, parameter=None, headers=None):
        super().__init__(message)
        self.status, self.message, self.parameter = status, message, parameter
        self.code = code or CODES.get(status, "COMMON_EXCEPTION")
        self.headers = headers or {}


@dataclass
class Image:
    """One output of a script, on its way to a file."""

    pixels: np.ndarray
    """(band, y, x)."""
    crs: str
    bbox: tuple
    nodata: float | None = None


def json_answer(status, content, headers=None):
    """An answer of JSON."""
    kind = {"Content-Type": "application/json;charset=utf-8"}
    return Answer(status, json.dumps(content).encode(), kind | (headers or {}))


def error_answer(endpoint, refused, *, wrapped=True):
    """An error in the shape of its endpoint: token, catalog, and all others."""
    status, message = refused.status, refused.message
    if endpoint == "token":
        content = {"error": refused.code, "error_description": message}
    elif endpoint == "catalog":
        content = {"code": status, "description": message}
    else:
        reason = HTTPStatus(status).phrase
        content = {"status": status, "reason": reason, "message": message, "code": refused.code}
        if refused.parameter:
            content["errors"] = [{"parameter": refused.parameter, "violation": message}]
        content = {"error": content} if wrapped else content
    return json_answer(status, content, refused.headers)


def page(status, text, headers=None):
    """The page of a proxy or of a log-in, where the service does not speak for itself."""
    html = f"<html><head><title>{text}</title></head><body><h1>{text}</h1></body></html>\r\n"
    kind = {"Content-Type": "text/html; charset=utf-8"}
    return Answer(status, html.encode(), kind | (headers or {}))


def encoded(image, driver="GTiff"):
    """Bytes of a GeoTIFF (or a PNG) of the image."""
    count, height, width = image.pixels.shape
    profile = {
        "driver": driver,
        "count": count,
        "height": height,
        "width": width,
        "dtype": image.pixels.dtype.name,
        "nodata": image.nodata,
    }
    if driver == "GTiff":
        place = {"crs": image.crs, "transform": from_bounds(*image.bbox, width, height)}
        profile |= place | {"compress": "deflate", "zlevel": 1, "interleave": "pixel"}
    with MemoryFile() as memory:
        with memory.open(**profile) as target:
            target.write(image.pixels)
        return bytes(memory.read())


def archive(members):
    """An uncompressed tar of members (name -> bytes)."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return target.getvalue()
