"""A port that counts who asks: whatever is refused must not have been asked for."""

import socket
import threading
from contextlib import contextmanager, suppress


class Listener:
    """A listening socket of this machine, without a thread; it answers nobody."""

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    def asked(self):
        """How many have connected since the last look."""
        count = 0
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@contextmanager
def listening():
    """Address and a list of what was asked there; each is told that there is nothing."""
    asked, server = [], socket.create_server(("127.0.0.1", 0))

    def serve():
        with suppress(OSError):  # closed at the end
            while True:
                client, _ = server.accept()
                asked.append("")
                with client, suppress(OSError):
                    client.settimeout(5)
                    asked[-1] = client.recv(200).decode("ascii", "replace")
                    client.sendall(b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)
