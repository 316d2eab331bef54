"""A server on this machine that gives the answers of a list."""

import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BODY = bytes(range(256)) * 5000


class Answers(BaseHTTPRequestHandler):
    """Answers that the test has put in the server's list, the last one again and again."""

    def do_GET(self):
        asked, answers = self.server.asked, self.server.answers
        asked.append(self.path)
        status, headers, body = answers[min(len(asked), len(answers)) - 1]
        if status is None:  # hang up without a word
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.connection.close()
            return
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            if value is not None:
                self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_POST(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@contextmanager
def serving(*answers):
    """A server on this machine; its `url` and the paths that it was `asked` for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.asked, server.answers = [], list(answers)
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def answer(body=BODY, status=200, **headers):
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, body
