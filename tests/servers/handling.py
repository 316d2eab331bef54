"""Requests as they arrive, and answers as they leave: HTTP/1.1 of the standard library."""

import json
import time
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers.answers import RefusedError

HANG_UPS = (BrokenPipeError, ConnectionResetError, ConnectionAbortedError, TimeoutError)


@dataclass
class Request:
    """One request that arrived, and what became of it."""

    endpoint: str
    """As the server names it, or loop, elsewhere, other."""
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
    answered: bool = False
    """Whether the last byte was about to be sent."""

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
    def args(self):
        """The query, name -> value."""
        return dict(urllib.parse.parse_qsl(self.query, keep_blank_values=True))

    @property
    def range(self):
        """The header, or None where there is none."""
        return self.headers.get("Range")

    @property
    def bbox(self):
        """The box that a process request or the body of a search asks for, or None."""
        for names in (("input", "bounds", "bbox"), ("bbox",)):
            found = self.json
            for name in names:
                found = found.get(name) if isinstance(found, dict) else None
            if isinstance(found, list):
                return tuple(found)
        return None


class Listener(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = False  # so that closing waits for them
    hub: object

    def handle_error(self, request, client_address):
        """Silence: what matters is in the hub's records."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Listener
    told = None
    """Bytes of the body, where they are told."""

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
            answer = self.hub.error(request, RefusedError(500, f"{type(error).__name__}: {error}"))
        if fault and fault.stage == "sending":
            fault.strike(self, answer)
        else:
            self.start(answer)
            self.put(answer.body)

    def start(self, answer, *, length=-1, chunked=False):
        """Send status and headers; `length`: as it is, None for none, or another one."""
        self.asked.status, self.told = answer.status, None
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, str(value))
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif length is not None:
            told = len(answer.body) if length == -1 else length
            self.send_header("Content-Length", str(told))
            self.told = told
        self.end_headers()

    def put(self, content):
        """Send bytes of the body."""
        if self.command != "HEAD":
            if self.told is not None and self.asked.sent + len(content) >= self.told:
                self.hub.answered(self.asked)  # before the client can ask for the next thing
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
    setattr(Handler, f"do_{_method}", Handler.respond)
