"""A server on this machine that gives parts of files, and does so wrongly where a test says so."""

import re
import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """One request; `server.faults` maps its number from 0, or `every`, to what goes wrong."""

    def do_GET(self):
        server = self.server
        number = len(server.asked)
        server.asked.append((self.path, self.headers.get("Range")))
        fault = server.faults.get(number, server.faults.get("every"))
        content, size = server.content, len(server.content)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        start, end = int(match[1]), min(int(match[2]) + 1, size)
        if start >= size:
            return self.give(416, {"Content-Range": f"bytes */{size}"}, b"")
        headers = {"ETag": '"one"', "Content-Type": "image/tiff"}
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
        status, body = 206, content[start:end]
        if fault:
            answer = fault(self, status, headers, body)
            if answer is None:
                return None
            status, headers, body = answer
        server.sent += len(body)
        return self.give(status, headers, body)

    def give(self, status, headers, body):
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        pass


@contextmanager
def serving(content, faults=None):
    """A server of one file; what it was `asked`, and how many bytes it `sent`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.faults, server.asked, server.sent = content, faults or {}, [], 0
        server.url = f"http://127.0.0.1:{server.server_address[1]}/scenes/B04.tif"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def status(code, headers=None, body=b""):
    return lambda handler, *_: (code, headers or {}, body)


def with_headers(**changed):
    """The right answer, but for some headers; None takes one away."""
    changed = {name.replace("_", "-"): value for name, value in changed.items()}

    def fault(handler, status, headers, body):
        merged = headers | changed
        return status, {name: value for name, value in merged.items() if value is not None}, body

    return fault


def short(handler, status, headers, body):
    """Half of the body, of the length that was told: the connection breaks off."""
    return status, headers | {"Content-Length": len(body)}, body[: len(body) // 2]


def short_and_content(handler, status, headers, body):
    """Half of the body, told to be whole."""
    return status, headers, body[: len(body) // 2]


def long(handler, status, headers, body):
    return status, headers, body + b"more"


def reset(handler, *_):
    """Hang up without a word."""
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


def whole(handler, *_):
    """A server that knows no ranges."""
    return 200, {"Content-Type": "image/tiff"}, handler.server.content


def other_range(handler, status, headers, body):
    start, rest = headers["Content-Range"].removeprefix("bytes ").split("-")
    return status, headers | {"Content-Range": f"bytes {int(start) + 1}-{rest}"}, body


def page(code):
    """A page that says that something went wrong, with a status that says that nothing did."""

    def fault(handler, status, headers, body):
        text = b"<!DOCTYPE html><title>Falha interna</title>".ljust(len(body))[: len(body)]
        return code, headers | {"Content-Type": "text/html; charset=utf-8"}, text

    return fault


def unnamed_page(handler, status, headers, body):
    """A page that is said to be the file."""
    return status, headers, b"<!DOCTYPE html><title>Falha interna</title>".ljust(len(body))


def signed(*good):
    """403 unless the address has one of the tokens; several: they are good one after the other."""

    def fault(handler, status, headers, body):
        token = handler.path.rpartition("sig=")[2]
        return (status, headers, body) if token in good else (403, {}, b"")

    return fault
