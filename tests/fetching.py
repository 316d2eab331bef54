"""A server of one file with ranges on this machine, and what is kept of it."""

import hashlib
import json
import os
import socket
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mapmill.catalogue import http, keep
from mapmill.errors import CatalogueError

MIB = 2**20
BODY = bytes(os.urandom(3 * MIB + 12345))
SHA256 = hashlib.sha256(BODY).hexdigest()
DATE = "Sun, 01 Apr 2018 10:00:00 GMT"
KEPT = Path("store/scene.tif")


class Files(BaseHTTPRequestHandler):
    """A file with ranges; each request takes the next of the server's steps, if there is one."""

    def do_GET(self):
        server = self.server
        server.asked.append(self)
        step = server.steps.pop(0) if server.steps else {}
        if "status" in step:
            return self.reply(step["status"], b"", {})
        body, start = server.body, 0
        told = {"ETag": server.etag, "Last-Modified": server.modified} | server.more
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        same = condition in (None, server.etag, server.modified) or step.get("ignores")
        if wanted and server.ranges and same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            end = step.get("end", len(body))
            part = f"bytes {start + step.get('shift', 0)}-{end - 1}/{len(body)}"
            return self.reply(206, body[start:end], {"Content-Range": part} | told, step)
        return self.reply(200, body, told, step)

    def reply(self, status, body, headers, step=()):
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body[: dict(step).get("cut", len(body))])
        if "waits" in step:
            step["waits"].wait(20)
            self.wfile.write(body[step["cut"] :])
        elif "cut" in step:
            time.sleep(0.2)  # a reset takes with it what the other end has not read
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
        self.close_connection = True

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    """Serves one file, with an ETag and ranges unless told otherwise."""

    daemon_threads, block_on_close = True, False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Files)
        self.asked, self.steps, self.more = [], [], {}
        self.body, self.etag, self.modified, self.ranges = BODY, '"one"', DATE, True
        self.url = f"http://127.0.0.1:{self.server_address[1]}/scene.tif"

    def handle_error(self, *_):
        pass

    def ranges_asked(self):
        """What each request asked for, None: the whole."""
        return [each.headers.get("Range") for each in self.asked]


def served(tmp_path, monkeypatch):
    """A server, a folder of its own, no proxy, and no waiting between attempts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(http, "BACKOFF_S", 0.01)
    monkeypatch.setattr(http, "TIMEOUT_S", (2, 5))
    with Server() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


def fetch(server, checksum=None, **more):
    return keep.fetch(keep.Wanted(server.url, checksum=checksum), KEPT, **more)


def refused(server, checksum=None, **more):
    with pytest.raises(CatalogueError) as caught:
        fetch(server, checksum, **more)
    assert not KEPT.exists() and "\n" not in str(caught.value)
    return str(caught.value)


def left():
    return sorted(path.name for path in KEPT.parent.iterdir())


def right(body=BODY):
    """The file is whole, its record says so, and nothing else is left."""
    assert KEPT.read_bytes() == body
    record = json.loads(Path(f"{KEPT}.json").read_text())
    assert record["sha256"] == hashlib.sha256(body).hexdigest() and record["size"] == len(body)
    assert left() == ["scene.tif", "scene.tif.json"]
    return record
