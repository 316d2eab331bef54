"""A local Sentinel Hub: tokens, the Process API, the Catalog API, and every fault on demand.

    with SentinelHub(expires_in=3600) as server:
        server.fault("429", times=2, retry_after=100)
        server.fault("html200", block=(400000, 4597440, 402560, 4600000))
        ...  # ask server.url with server.client_id and server.client_secret
        assert server.count("token") == 1 and server.count("process", status=200) == 4

It speaks HTTP on a free port of 127.0.0.1. Pixels come from `scene`, a function of
(crs, bbox, width, height, bands, time_from, time_to) that gives (band, y, x) uint16; see scenes.py.
"""

import base64
import json
import re
import secrets
import socket
import threading
import time
import urllib.parse
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers import catalog, orders, scenes
from servers.answers import NO_TOKEN, Answer, RefusedError, error_answer, json_answer
from servers.faults import LATE, Fault

PROCESS = "/api/v1/process"
CATALOG = "/api/v1/catalog/1.0.0/search"
TOKEN = re.compile(r"/auth/realms/(main|CDSE)/protocol/openid-connect/token")
HANG_UPS = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, TimeoutError)


@dataclass
class Request:
    """One request that arrived, and what became of it."""

    endpoint: str
    """token, process, catalog, loop, elsewhere or other."""
    number: int
    """From 1, of its endpoint."""
    method: str
    path: str
    query: str
    headers: object = field(repr=False)
    body: bytes = field(repr=False)
    at: float = field(default_factory=time.monotonic)
    fault: str | None = None
    status: int | None = None
    sent: int = 0
    """Bytes of the body that were sent."""
    units: float = 0.0
    took: float | None = None
    """Seconds until the last byte was sent; None before that."""

    @property
    def authorization(self):
        """The header, or None where there is none."""
        return self.headers.get("Authorization")

    @property
    def json(self):
        """The body; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    @property
    def bbox(self):
        """The box that a process request asks for, or None."""
        try:
            return tuple(self.json["input"]["bounds"]["bbox"])
        except (TypeError, KeyError):
            return None


class SentinelHub:
    """The server; a context manager.

    Parameters
    ----------
    scene : where pixels come from; by default values that tell their place
    rasters : a folder of GeoTIFFs by period and band, instead of `scene`
    coverage : box (in the CRS of requests) outside of which there is no imagery
    clouds : share of the ground that clouds hide in each pass, or a function of its time
    evaluate : (samples) -> output id -> values (band, y, x), for scripts that do more than list
        bands; samples is a list of band -> (y, x), one for each pass
    expires_in, lifetime : seconds that a token says it is good for, and that it is
    requests_per_minute, units_per_minute, minute : limits, and the seconds that a minute lasts
    wrapped : whether a 429 comes in the shape {"error": {...}} or without it
    """

    def __init__(
        self,
        scene=None,
        *,
        rasters=None,
        coverage=None,
        clouds=0.0,
        evaluate=None,
        client_id="local-client",
        client_secret="local-secret",
        expires_in=3600,
        lifetime=None,
        requests_per_minute=None,
        units_per_minute=None,
        minute=60.0,
        wrapped=True,
    ):
        self.scene = scene or (scenes.Rasters(rasters) if rasters else scenes.coordinate_scene)
        self.coverage, self.clouds, self.evaluate = coverage, clouds, evaluate
        self.client_id, self.client_secret = client_id, client_secret
        self.expires_in, self.lifetime = expires_in, lifetime
        self.requests_per_minute, self.units_per_minute = requests_per_minute, units_per_minute
        self.minute, self.wrapped = minute, wrapped
        self.lock, self.stopping = threading.RLock(), threading.Event()
        self.requests, self.faults, self.errors = [], [], []
        self.busiest = 0
        """The most requests that were in work at once, of all endpoints."""
        self._working, self._tokens, self._kept = 0, {}, {}
        self._window = [float("-inf"), 0, 0.0]  # start, requests and units of this minute
        self._listeners, self._threads, self._connections = [], [], set()

    # ----------------------------------------------------------------- running
    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        self.stop()
        if self.errors and kind is None:
            raise self.errors[0]

    def start(self):
        """Listen, on this port and on another one that stands for another host."""
        for _ in range(2):
            listener = _Listener(("127.0.0.1", 0), _Handler)
            listener.hub = self
            self._listeners.append(listener)
            keywords = {"poll_interval": 0.02}
            thread = threading.Thread(target=listener.serve_forever, kwargs=keywords, daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def stop(self):
        """Hang up on everybody; returns when all threads have ended."""
        self.stopping.set()
        for listener, thread in zip(self._listeners, self._threads, strict=True):
            listener.shutdown()
            thread.join()
        with self.lock:
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for listener in self._listeners:
            listener.server_close()
        self._listeners, self._threads = [], []

    # ----------------------------------------------------------------- addresses
    @property
    def port(self):
        return self._listeners[0].server_address[1]

    @property
    def url(self):
        """The base of all addresses."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def elsewhere_url(self):
        """Another host, as far as credentials are concerned."""
        return f"http://127.0.0.1:{self._listeners[1].server_address[1]}"

    @property
    def token_url(self):
        return f"{self.url}/auth/realms/main/protocol/openid-connect/token"

    @property
    def cdse_token_url(self):
        return f"{self.url}/auth/realms/CDSE/protocol/openid-connect/token"

    @property
    def process_url(self):
        return self.url + PROCESS

    @property
    def catalog_url(self):
        return self.url + CATALOG

    # ----------------------------------------------------------------- what happened
    def seen(self, endpoint=None, **wanted):
        """Requests of an endpoint whose attributes (status, fault, method ...) are these."""
        with self.lock:
            found = [r for r in self.requests if endpoint in (None, r.endpoint)]
        return [r for r in found if all(getattr(r, k) == v for k, v in wanted.items())]

    def count(self, endpoint=None, **wanted):
        """Number of requests, as `seen` lists them."""
        return len(self.seen(endpoint, **wanted))

    def settle(self, seconds=5.0):
        """Wait until no request is in work: a client has its answer before `took` is noted."""
        until = time.monotonic() + seconds
        while self._working and time.monotonic() < until:
            time.sleep(0.005)

    @property
    def elsewhere(self):
        """Requests that arrived at the other host; see their `authorization`."""
        return self.seen("elsewhere")

    @property
    def units(self):
        """Processing units charged so far."""
        return sum(request.units for request in self.seen())

    # ----------------------------------------------------------------- what goes wrong
    def fault(self, name, *, times=1, after=0, path="process", block=None, number=(), match=None,
              **options):  # fmt: skip
        """Let something go wrong with the next request that is meant, and return the fault.

        Of several faults the first that is not used up strikes; a request is struck once.

        Parameters
        ----------
        name : see faults.py, also for the options
        times : how often; None: for ever
        after : requests that are meant and pass first
        path : process, token, catalog, a path, or "*"
        block : box that a process request must ask for
        number : that of the request (or numbers), from 1, of its endpoint
        match : (Request) -> bool
        """
        fault = Fault(name, times, after, path, block, number, match, options)
        with self.lock:
            self.faults.append(fault)
        return fault

    def revoke(self):
        """Take no token that has been issued so far."""
        with self.lock:
            self._tokens.clear()

    def clear(self):
        """No more faults."""
        with self.lock:
            self.faults.clear()

    # ----------------------------------------------------------------- answering
    def take(self, request, late):
        """The fault that strikes the request at this point, or None."""
        with self.lock:
            taken = None
            for fault in self.faults:
                if (fault.stage in LATE) is late and fault.takes(request):
                    taken = taken or fault
            if taken is None or request.fault:
                return None
            taken.struck += 1
            request.fault = taken.name
            return taken

    def answer(self, request):
        """The answer to a request, as the service gives it when nothing goes wrong."""
        try:
            return getattr(self, f"_{request.endpoint}")(request)
        except RefusedError as refused:
            wrapped = self.wrapped or refused.status != 429
            return error_answer(request.endpoint, refused, wrapped=wrapped)

    def invalid_client(self):
        message = "Invalid client or Invalid client credentials"
        return RefusedError(401, message, code="invalid_client")

    def keep_elsewhere(self, answer):
        """Address at the other host under which this answer is given."""
        with self.lock:
            path = f"/kept/{len(self._kept)}"
            self._kept[path] = answer
        return self.elsewhere_url + path

    def _token(self, request):
        _allow(request, "POST")
        form = dict(urllib.parse.parse_qsl(request.body.decode("utf-8", "replace")))
        client, secret = form.get("client_id"), form.get("client_secret")
        if (request.authorization or "").startswith("Basic "):
            pair = base64.b64decode(request.authorization[6:]).decode().partition(":")
            client, secret = pair[0], pair[2]
        if "x-www-form-urlencoded" not in request.headers.get("Content-Type", ""):
            raise RefusedError(400, "Missing form parameter: grant_type", code="invalid_request")
        if form.get("grant_type") != "client_credentials":
            raise RefusedError(400, "Unsupported grant_type", code="unsupported_grant_type")
        if (client, secret) != (self.client_id, self.client_secret):
            raise self.invalid_client()
        now = int(time.time())
        issuer = self.url + request.path.partition("/protocol")[0]
        token = _jwt(exp=now + self.expires_in, iat=now, azp=client, iss=issuer)
        good_for = self.expires_in if self.lifetime is None else self.lifetime
        with self.lock:
            self._tokens[token] = time.monotonic() + good_for
        content = {"access_token": token, "expires_in": self.expires_in, "refresh_expires_in": 0}
        content |= {"token_type": "Bearer", "not-before-policy": 0, "scope": "email profile"}
        return json_answer(200, content, {"Cache-Control": "no-store"})

    def _authorize(self, request):
        scheme, _, token = (request.authorization or "").partition(" ")
        with self.lock:
            good_until = self._tokens.get(token)
        if scheme != "Bearer" or good_until is None or time.monotonic() >= good_until:
            raise RefusedError(401, NO_TOKEN)

    def _process(self, request):
        _allow(request, "POST")
        self._authorize(request)
        order = orders.parsed(request)
        cost = orders.units(order, self)
        self._limit(cost)
        images = orders.images(order, self)
        fault = self.take(request, late=True)
        if fault and fault.stage == "images":
            fault.strike(images)
        made = orders.files(order, images)
        if fault and fault.stage == "files":
            fault.strike(made)
        request.units = cost
        return orders.answer(order, made, cost)

    def _limit(self, cost):
        """Refuse what is too much for this minute."""
        with self.lock:
            now = time.monotonic()
            if now - self._window[0] >= self.minute:
                self._window = [now, 0, 0.0]
            start, count, spent = self._window
            most, budget = self.requests_per_minute, self.units_per_minute
            if budget is not None and cost > budget:
                code = "RATE_LIMIT_TOKEN_COUNT_EXCEEDS_CAPACITY"
                raise RefusedError(429, "The request costs more than a minute allows", code=code)
            too_many = most is not None and count + 1 > most
            if too_many or (budget is not None and spent + cost > budget):
                wait_ms = max(1, round((start + self.minute - now) * 1000))
                message, headers = "You have exceeded your rate limit", {"Retry-After": wait_ms}
                raise RefusedError(429, message, headers=headers)
            self._window = [start, count + 1, spent + cost]

    def _catalog(self, request):
        _allow(request, "POST", "GET")
        self._authorize(request)
        self._limit(0.0)
        return catalog.answer(request, self)

    def _loop(self, request):
        status, step = request.path.split("/")[2:4]
        location = f"{self.url}/loop/{status}/{int(step) + 1}"
        return Answer(int(status), b"", {"Location": location})

    def _elsewhere(self, request):
        with self.lock:
            kept = self._kept.get(request.path)
        if kept is None:
            raise RefusedError(404, "Not Found")
        return kept

    def _other(self, request):
        raise RefusedError(404, "Not Found")

    # ----------------------------------------------------------------- bookkeeping
    def record(self, listener, method, target, headers, body):
        """Note a request that has arrived."""
        path, _, query = target.partition("?")
        with self.lock:
            endpoint = self._endpoint(listener, path)
            number = 1 + sum(request.endpoint == endpoint for request in self.requests)
            request = Request(endpoint, number, method, path, query, headers, body)
            self.requests.append(request)
            self._working += 1
            self.busiest = max(self.busiest, self._working)
        return request

    def _endpoint(self, listener, path):
        if listener is self._listeners[1]:
            return "elsewhere"
        if TOKEN.fullmatch(path):
            return "token"
        named = {PROCESS: "process", CATALOG: "catalog"}
        return named.get(path, "loop" if re.match(r"/loop/\d+/\d+$", path) else "other")

    def finished(self, request):
        with self.lock:
            self._working -= 1
            request.took = time.monotonic() - request.at

    def connected(self, connection, is_open):
        with self.lock:
            (self._connections.add if is_open else self._connections.discard)(connection)
            if is_open and self.stopping.is_set():
                connection.shutdown(socket.SHUT_RDWR)


def _allow(request, *methods):
    if request.method not in methods:
        headers = {"Allow": ", ".join(methods)}
        raise RefusedError(405, "Method Not Allowed", headers=headers)


def _jwt(**claims):
    """A token in the shape of a JWT; nobody signed it."""
    parts = [
        {"alg": "RS256", "typ": "JWT", "kid": "local"},
        {**claims, "jti": secrets.token_hex(8)},
    ]
    texts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in parts]
    return ".".join([*texts, secrets.token_urlsafe(32)])


class _Listener(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = False  # so that closing waits for them
    hub: SentinelHub

    def handle_error(self, request, client_address):
        """Silence: what matters is in the hub's records."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def setup(self):
        super().setup()
        self.hub = self.server.hub
        self.hub.connected(self.connection, True)

    def finish(self):
        self.hub.connected(self.connection, False)
        super().finish()

    def respond(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.asked = self.hub.record(self.server, self.command, self.path, self.headers, body)
        try:
            self._answer(self.asked)
        except HANG_UPS:
            self.close_connection = True
        finally:
            self.hub.finished(self.asked)

    def _answer(self, request):
        fault = self.hub.take(request, late=False)
        if fault and fault.stage == "before":
            fault.strike(self.hub, request)
        try:
            if fault and fault.stage == "answer":
                answer = fault.strike(self.hub, request)
            else:
                answer = self.hub.answer(request)
        except Exception as error:
            self.hub.errors.append(error)
            refused = RefusedError(500, f"{type(error).__name__}: {error}")
            answer = error_answer(request.endpoint, refused)
        if fault and fault.stage == "sending":
            fault.strike(self, answer)
        else:
            self.start(answer)
            self.put(answer.body)

    def start(self, answer, *, length=-1, chunked=False):
        """Send status and headers; `length`: as it is, None for none, or another one."""
        self.asked.status = answer.status
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, str(value))
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif length is not None:
            told = len(answer.body) if length == -1 else length
            self.send_header("Content-Length", str(told))
        self.end_headers()

    def put(self, content):
        """Send bytes of the body."""
        if self.command != "HEAD":
            self.wfile.write(content)
            self.asked.sent += len(content)

    def hang_up(self):
        """Let the connection end after what was sent."""
        self.close_connection = True

    def pause(self, seconds):
        """Wait, unless the server is stopped."""
        self.hub.stopping.wait(seconds)

    def log_message(self, *_):
        pass


for _method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
    setattr(_Handler, f"do_{_method}", _Handler.respond)
