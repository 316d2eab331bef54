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
import time
import urllib.parse

from servers import catalog, orders, scenes
from servers.answers import NO_TOKEN, RefusedError, error_answer, json_answer
from servers.listening import LocalServer

PROCESS = "/api/v1/process"
CATALOG = "/api/v1/catalog/1.0.0/search"
TOKEN = re.compile(r"/auth/realms/(main|CDSE)/protocol/openid-connect/token")


class SentinelHub(LocalServer):
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
        super().__init__()
        self.scene = scene or (scenes.Rasters(rasters) if rasters else scenes.coordinate_scene)
        self.coverage, self.clouds, self.evaluate = coverage, clouds, evaluate
        self.client_id, self.client_secret = client_id, client_secret
        self.expires_in, self.lifetime = expires_in, lifetime
        self.requests_per_minute, self.units_per_minute = requests_per_minute, units_per_minute
        self.minute, self.wrapped = minute, wrapped
        self._tokens = {}
        self._window = [float("-inf"), 0, 0.0]  # start, requests and units of this minute

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

    @property
    def units(self):
        """Processing units charged so far."""
        return sum(request.units for request in self.seen())

    def revoke(self):
        """Take no token that has been issued so far."""
        with self.lock:
            self._tokens.clear()

    # ----------------------------------------------------------------- answering
    def endpoint(self, path):
        named = {PROCESS: "process", CATALOG: "catalog"}
        return "token" if TOKEN.fullmatch(path) else named.get(path)

    def error(self, request, refused, *, wrapped=None):
        if wrapped is None:
            wrapped = self.wrapped or refused.status != 429
        return error_answer(request.endpoint, refused, wrapped=wrapped)

    def invalid_client(self):
        message = "Invalid client or Invalid client credentials"
        return RefusedError(401, message, code="invalid_client")

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
