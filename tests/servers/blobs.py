"""Files over HTTP, as stores of blobs and INPE's servers give them: ranges, ETags, signatures."""

import datetime
import email.utils
import hashlib
import re
import secrets
import threading
import time
import urllib.parse
from functools import cached_property
from pathlib import Path
from xml.sax.saxutils import escape

from servers.answers import Answer, RefusedError

TIFF = "image/tiff; application=geotiff; profile=cloud-optimized"
KINDS = {".tif": TIFF, ".png": "image/png", ".xml": "application/xml"}
CODES = {403: "AuthenticationFailed", 404: "BlobNotFound", 412: "ConditionNotMet"}
CODES |= {416: "InvalidRange", 429: "TooManyRequests", 500: "InternalError", 503: "ServerBusy"}
NOT_SIGNED = (
    "Server failed to authenticate the request. Make sure the value of Authorization header is "
    "formed correctly including the signature."
)


class Blob:
    """One file, by its path on disk or its bytes."""

    def __init__(self, source):
        self._source = source

    @cached_property
    def content(self):
        return self._source if isinstance(self._source, bytes) else Path(self._source).read_bytes()

    @property
    def size(self):
        return len(self.content)

    @property
    def multihash(self):
        """SHA2-256, as a multihash in hexadecimal digits."""
        return "1220" + hashlib.sha256(self.content).hexdigest()


def answer(request, content, *, ranges=True, modified=0.0):
    """The answer to GET or HEAD of a file: whole, in part, or unchanged."""
    etag = f'"{hashlib.md5(content).hexdigest()}"'
    date = email.utils.formatdate(modified, usegmt=True)
    kind = KINDS.get(Path(request.path).suffix.lower(), "application/octet-stream")
    headers = {"Content-Type": kind, "ETag": etag, "Last-Modified": date}
    headers |= {"Accept-Ranges": "bytes"} if ranges else {}
    asked = {name: request.headers.get(name) for name in ("If-Match", "If-None-Match", "If-Range")}
    if asked["If-Match"] and not _names(asked["If-Match"], etag):
        raise RefusedError(
            412, "The condition specified using HTTP conditional header(s) is not met."
        )
    if asked["If-None-Match"] and _names(asked["If-None-Match"], etag):
        return Answer(304, b"", headers)
    if not ranges or asked["If-Range"] not in (None, etag, date):
        return Answer(200, content, headers)
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", (request.range or "").strip())
    if not found or not any(found.groups()):
        return Answer(200, content, headers)
    first, last = found.groups()
    if first:
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
    else:
        start, end = max(0, len(content) - int(last)), len(content) - 1
    if last and first and int(last) < int(first):
        return Answer(200, content, headers)
    if start > end:
        told = {"Content-Range": f"bytes */{len(content)}"}
        raise RefusedError(416, "The range specified is invalid for the current size", headers=told)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    return Answer(206, content[start : end + 1], headers)


def _names(listed, etag):
    return listed.strip() == "*" or etag in [tag.strip() for tag in listed.split(",")]


def xml_error(refused):
    """An error as a store of blobs tells it."""
    code = CODES.get(refused.status, "InvalidInput")
    detail = getattr(refused, "detail", None)
    more = (
        f"<AuthenticationErrorDetail>{escape(detail)}</AuthenticationErrorDetail>" if detail else ""
    )
    text = f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code>'
    text += f"<Message>{escape(refused.message)}\nRequestId:{secrets.token_hex(8)}\n"
    text += f"Time:{_utc():%Y-%m-%dT%H:%M:%S.%fZ}</Message>{more}</Error>"
    headers = {"Content-Type": "application/xml", "x-ms-error-code": code} | refused.headers
    return Answer(refused.status, text.encode(), headers)


def _utc():
    return datetime.datetime.now(datetime.UTC)


class Signatures:
    """Queries that let somebody read the files of one container for a time, or so many times."""

    def __init__(self, lifetime=3600.0, uses=None):
        self.lifetime, self.uses = lifetime, uses
        self.lock, self._issued = threading.Lock(), {}

    def issue(self, container):
        """Query, and the moment that it tells as its end."""
        sig, start = secrets.token_urlsafe(24), _utc()
        end = start + datetime.timedelta(seconds=self.lifetime)
        with self.lock:
            self._issued[sig] = [container, time.monotonic() + self.lifetime, self.uses]
        told = f"{end:%Y-%m-%dT%H:%M:%SZ}"
        parts = {"st": f"{start:%Y-%m-%dT%H:%M:%SZ}", "se": told, "sp": "rl", "sv": "2024-05-04"}
        return urllib.parse.urlencode(parts | {"sr": "c", "sig": sig}), told

    def check(self, container, args):
        """Refuse what is not signed, or not any more."""
        with self.lock:
            held = self._issued.get(args.get("sig"))
            good = held is not None and held[0] == container
            ended = good and (time.monotonic() >= held[1] or held[2] == 0)
            if good and not ended:
                held[2] = held[2] if held[2] is None else held[2] - 1
                return
        refused = RefusedError(403, NOT_SIGNED)
        refused.detail = "Signature did not match."
        if ended:
            span = f"Start [{args.get('st')}] - Expiry [{args.get('se')}]"
            now = f"{_utc():%a, %d %b %Y %H:%M:%S GMT}"
            refused.detail = (
                f"Signature not valid in the specified time frame: {span} - Current [{now}]"
            )
        raise refused

    def revoke(self):
        """Let all that were issued so far end now."""
        with self.lock:
            for held in self._issued.values():
                held[1] = float("-inf")
