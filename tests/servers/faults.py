"""What can go wrong, by name: each does on the wire what real services and networks do.

A kind of fault is one function; its keyword arguments are the options of `server.fault(...)`.
"""

import email.utils
import inspect
import socket
import struct
import time
from dataclasses import dataclass, field, replace

import numpy as np
from servers.answers import NO_TOKEN, Answer, RefusedError, json_answer, page

KINDS = {}
"""Name -> (stage, function). Stages: before, answer, sending, and those of LATE."""
LATE = ("images", "files", "page", "document", "file")
"""Stages that only requests reach for which there is an answer."""


def kind(stage, *names, kinds=KINDS):
    def register(function):
        for name in names:
            kinds[name] = (stage, function)
        return function

    return register


@dataclass
class Fault:
    """One fault of a server, and how often it has struck."""

    server: object
    name: str
    times: int | None = 1
    after: int = 0
    path: str | tuple | None = None
    block: tuple | None = None
    number: int | tuple = ()
    match: object = None
    options: dict = field(default_factory=dict)
    seen: int = 0
    """Requests that it could have struck."""
    struck: int = 0

    def __post_init__(self):
        kinds = self.server.kinds
        if self.name not in kinds:
            raise ValueError(f"no fault {self.name!r}; there are {', '.join(kinds)}")
        self.stage, self.function = kinds[self.name]
        wanted = inspect.signature(self.function)
        wanted.bind(*[p for p in wanted.parameters.values() if p.kind is p.POSITIONAL_ONLY],
                    **self.options)  # fmt: skip
        reached = self.server.reach.get(self.stage)
        paths = self.path or reached or self.server.usual
        self.path = (paths,) if isinstance(paths, str) else tuple(paths)
        if reached and not all(p in reached or p.startswith("/") for p in self.path):
            raise ValueError(f"{self.name} strikes {', '.join(reached)} requests alone")

    def fits(self, request):
        """Whether the request is one that is meant."""
        numbers = (self.number,) if isinstance(self.number, int) else tuple(self.number)
        if not {"*", request.endpoint, request.path} & set(self.path):
            return False
        if numbers and request.number not in numbers:
            return False
        if self.block and (request.bbox is None or not np.allclose(self.block, request.bbox)):
            return False
        return self.match is None or bool(self.match(request))

    def takes(self, request):
        """Count the request; whether the fault strikes it."""
        if not self.fits(request):
            return False
        self.seen += 1
        return self.seen > self.after and (self.times is None or self.struck < self.times)

    def strike(self, *positional):
        return self.function(*positional, **self.options)


# --------------------------------------------------------------------------- before
@kind("before", "expired")
def expired(hub, request, /):
    """Tokens issued so far are refused from here on, this request's among them."""
    hub.revoke()


# --------------------------------------------------------------------------- answers
@kind("answer", "400")
def bad_request(hub, request, /, message="Bad request"):
    return hub.error(request, RefusedError(400, message))


@kind("answer", "401")
def unauthorized(hub, request, /):
    """The service does not take the token, however new; the token endpoint: nor the secret."""
    if request.endpoint == "token":
        return hub.error(request, hub.invalid_client())
    return hub.error(request, RefusedError(401, NO_TOKEN))


@kind("answer", "403")
def forbidden(hub, request, /, message="You have exceeded your monthly quota."):
    return hub.error(request, RefusedError(403, message))


@kind("answer", "429")
def too_many(hub, request, /, retry_after=50, wrapped=True):
    """retry_after: milliseconds as the service means it; None: no header; 'date': an HTTP-date
    two seconds ahead; other text (such as '1.5') as it is."""
    if retry_after == "date":
        retry_after = email.utils.formatdate(time.time() + 2, usegmt=True)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    refused = RefusedError(429, "You have exceeded your rate limit", headers=headers)
    return hub.error(request, refused, wrapped=wrapped)


@kind("answer", "500")
def internal(hub, request, /, message="Internal error"):
    return hub.error(request, RefusedError(500, message))


@kind("answer", "502")
def bad_gateway(hub, request, /):
    return page(502, "502 Bad Gateway")


@kind("answer", "503")
def unavailable(hub, request, /, retry_after=None):
    answer = page(503, "503 Service Temporarily Unavailable")
    answer.headers |= {} if retry_after is None else {"Retry-After": str(retry_after)}
    return answer


@kind("answer", "504")
def gateway_timeout(hub, request, /):
    return page(504, "504 Gateway Time-out")


@kind("answer", "html200")
def html_with_200(hub, request, /, text="Sign in to the network", content_type=None):
    """content_type: what the page claims to be, such as image/tiff."""
    answer = page(200, text)
    answer.headers |= {"Content-Type": content_type} if content_type else {}
    return answer


@kind("answer", "json200")
def json_with_200(hub, request, /, message="Internal error", content_type=None):
    answer = hub.error(request, RefusedError(500, message))
    answer.headers |= {"Content-Type": content_type} if content_type else {}
    return replace(answer, status=200)


@kind("answer", "answer")
def any_answer(hub, request, /, status=200, body=b"", headers=None, content=None):
    """This very answer; `content` is sent as JSON."""
    if content is not None:
        return json_answer(status, content, headers)
    return Answer(status, body, headers or {})


@kind("answer", "redirect_loop")
def redirect_loop(hub, request, /, status=307):
    return Answer(status, b"", {"Location": f"{hub.url}/loop/{status}/1"})


@kind("answer", "redirect_elsewhere")
def redirect_elsewhere(hub, request, /, status=307):
    """To another port, which answers as this one would have; see `hub.elsewhere`."""
    address = hub.keep_elsewhere(hub.answer(request))
    return Answer(status, b"", {"Location": address})


# --------------------------------------------------------------------------- pixels
@kind("images", "zeros")
def zeros(images, /, only=None):
    """Empty images, dataMask too; `only`: of these identifiers, so that the rest says otherwise."""
    for name, image in images.items():
        if only is None or name in only:
            image.pixels = np.zeros_like(image.pixels)


@kind("images", "wrong_bands")
def wrong_bands(images, /, bands=None):
    """The first image has another number of bands: by default one too few, or one too many."""
    image = next(iter(images.values()))
    count = len(image.pixels)
    bands = bands or (count - 1 if count > 1 else 2)
    image.pixels = np.resize(image.pixels, (bands, *image.pixels.shape[1:]))


@kind("images", "wrong_crs")
def wrong_crs(images, /, crs="EPSG:32630"):
    for image in images.values():
        image.crs = crs


@kind("images", "wrong_size")
def wrong_size(images, /, by=-1):
    """Pixels that the images have more (or fewer) along each side."""
    for image in images.values():
        _, height, width = image.pixels.shape
        padded = np.pad(image.pixels, ((0, 0), (0, max(by, 0)), (0, max(by, 0))))
        image.pixels = padded[:, : height + by, : width + by]


@kind("images", "wrong_place")
def wrong_place(images, /, east=1, south=0):
    """The georeference is off by whole pixels."""
    for image in images.values():
        left, bottom, right, top = image.bbox
        x = east * (right - left) / image.pixels.shape[2]
        y = south * (top - bottom) / image.pixels.shape[1]
        image.bbox = (left + x, bottom - y, right + x, top - y)


@kind("images", "wrong_type")
def wrong_type(images, /, dtype="float32"):
    for image in images.values():
        image.pixels = image.pixels.astype(dtype)


@kind("files", "truncated")
def truncated(files, /, keep=0.5):
    """Each file has lost its end; lengths, and the archive around it, agree with that."""
    for name, content in files.items():
        files[name] = content[: int(len(content) * keep)]


@kind("files", "missing_member")
def missing_member(files, /, member=None):
    """The archive lacks a file, by default the last."""
    files.pop(member or list(files)[-1])


# --------------------------------------------------------------------------- sending
@kind("sending", "short_body")
def short_body(handler, answer, /, keep=0.5, chunked=False):
    """The connection ends before the length that was promised, or the last chunk."""
    part = answer.body[: int(len(answer.body) * keep)]
    handler.start(answer, chunked=chunked)
    handler.put(b"%x\r\n%s\r\n" % (len(part), part) if chunked and part else part)
    handler.hang_up()


@kind("sending", "unframed")
def unframed(handler, answer, /, keep=1.0):
    """Neither a length nor chunks: the end of the connection is that of the body."""
    handler.start(answer, length=None)
    handler.put(answer.body[: int(len(answer.body) * keep)])
    handler.hang_up()


@kind("sending", "reset")
def reset(handler, answer, /, keep=None):
    """The connection is reset, without a word or after this share of the body."""
    if keep is not None:
        handler.start(answer)
        handler.put(answer.body[: int(len(answer.body) * keep)])
        handler.pause(0.2)  # a reset takes with it what the other end has not read
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()
    handler.close_connection = True


@kind("sending", "stall")
def stall(handler, answer, /, seconds=5.0, keep=None):
    """No bytes for a time, before the answer or after this share of the body; then the rest."""
    cut = int(len(answer.body) * (keep or 0))
    if keep is not None:
        handler.start(answer)
        handler.put(answer.body[:cut])
    handler.pause(seconds)
    if keep is None:
        handler.start(answer)
    handler.put(answer.body[cut:])


@kind("sending", "drip")
def drip(handler, answer, /, seconds=1.0, pieces=20):
    """The body comes in small pieces, evenly over a time."""
    handler.start(answer)
    step = -(-len(answer.body) // pieces)
    for at in range(0, len(answer.body), step or 1):
        handler.put(answer.body[at : at + step])
        handler.pause(seconds / pieces)


@kind("sending", "oversize")
def oversize(handler, answer, /, size=64 * 2**20, length=True):
    """A body of `size` bytes: the answer, then zeros; `length`: whether it is told beforehand."""
    handler.start(answer, length=size if length else None)
    handler.put(answer.body)
    left, piece = size - len(answer.body), bytes(2**16)
    while left > 0 and not handler.hub.stopping.is_set():
        handler.put(piece[:left])
        left -= len(piece)
    if not length:
        handler.hang_up()
