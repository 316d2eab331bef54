"""What all local servers share: they listen, note what arrives, and let things go wrong.

A server derives from LocalServer, gives each path the name of an endpoint (`endpoint`), and
answers an endpoint in the method of that name after an underscore.
"""

import re
import socket
import threading
import time
from contextlib import suppress

from servers.answers import Answer, RefusedError, error_answer
from servers.faults import KINDS, LATE, Fault
from servers.handling import Handler, Listener, Request


class LocalServer:
    """A server on a free port of 127.0.0.1; a context manager.

    With `with`, what the server itself did not survive is raised at the end.
    """

    kinds = KINDS
    """The faults that it knows."""
    usual = "process"
    """The endpoint that faults strike where they are not told."""
    reach = {"images": ("process",), "files": ("process",)}  # noqa: RUF012
    """Stage of late faults -> the endpoints that get there."""

    def __init__(self):
        self.lock, self.stopping = threading.RLock(), threading.Event()
        self.requests, self.faults, self.errors = [], [], []
        self.busiest = 0
        """The most requests that were in work at once, of all endpoints."""
        self._working, self._kept = 0, {}
        self._listeners, self._threads, self._connections = [], [], set()

    def endpoint(self, path):
        """The name of the endpoint at a path; None: of none."""
        raise NotImplementedError

    def error(self, request, refused, *, wrapped=None):
        """The answer to a request that is refused."""
        return error_answer(request.endpoint, refused, wrapped=wrapped is not False)

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
            listener = Listener(("127.0.0.1", 0), Handler)
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
        while any(r.took is None for r in self.seen()) and time.monotonic() < until:
            time.sleep(0.005)

    @property
    def elsewhere(self):
        """Requests that arrived at the other host; see their `authorization`."""
        return self.seen("elsewhere")

    # ----------------------------------------------------------------- what goes wrong
    def fault(self, name, *, times=1, after=0, path=None, block=None, number=(), match=None,
              **options):  # fmt: skip
        """Let something go wrong with the next request that is meant, and return the fault.

        Of several faults the first that is not used up strikes; a request is struck once.

        Parameters
        ----------
        name : see faults.py, also for the options
        times : how often; None: for ever
        after : requests that are meant and pass first
        path : an endpoint, a path, "*", or several of them; None: where the fault belongs
        block : box that the body must ask for
        number : that of the request (or numbers), from 1, of its endpoint
        match : (Request) -> bool
        """
        fault = Fault(self, name, times, after, path, block, number, match, options)
        with self.lock:
            self.faults.append(fault)
        return fault

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
            return self.error(request, refused)

    def keep_elsewhere(self, answer, name=""):
        """Address at the other host under which this answer is given.

        `answer` may also be a function of the request that arrives there.
        """
        with self.lock:
            path = f"/kept/{len(self._kept)}{name}"
            self._kept[path] = answer
        return self.elsewhere_url + path

    def _loop(self, request):
        status, step = request.path.split("/")[2:4]
        location = f"{self.url}/loop/{status}/{int(step) + 1}"
        return Answer(int(status), b"", {"Location": location})

    def _elsewhere(self, request):
        with self.lock:
            kept = self._kept.get(request.path)
        if kept is None:
            raise RefusedError(404, "Not Found")
        return kept(request) if callable(kept) else kept

    def _other(self, request):
        raise RefusedError(404, "Not Found")

    # ----------------------------------------------------------------- bookkeeping
    def record(self, listener, method, target, headers, body):
        """Note a request that has arrived."""
        path, _, query = target.partition("?")
        with self.lock:
            endpoint = self._endpoint_at(listener, path)
            number = 1 + sum(request.endpoint == endpoint for request in self.requests)
            request = Request(endpoint, number, method, path, query, headers, body)
            self.requests.append(request)
            self._working += 1
            self.busiest = max(self.busiest, self._working)
        return request

    def _endpoint_at(self, listener, path):
        if listener is self._listeners[1]:
            return "elsewhere"
        if re.match(r"/loop/\d+/\d+$", path):
            return "loop"
        return self.endpoint(path) or "other"

    def answered(self, request):
        """The last byte is about to be sent: the request is no more in work."""
        with self.lock:
            self._working -= not request.answered
            request.answered = True

    def finished(self, request):
        self.answered(request)
        with self.lock:
            request.took = time.monotonic() - request.at

    def connected(self, connection, is_open):
        with self.lock:
            (self._connections.add if is_open else self._connections.discard)(connection)
            if is_open and self.stopping.is_set():
                connection.shutdown(socket.SHUT_RDWR)
