"""A webhook's server on loopback, and servers that are none."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket


class Receiver:
    """A webhook's server: it keeps what it gets, calls `before_it_answers`, and answers with `status`."""

    def __init__(self, before_it_answers=lambda: None):
        self.status, self.got, self.paths = 204, [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.paths.append(self.path)
                receiver.got.append((self.headers, body))
                before_it_answers()
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    @contextmanager
    def running(self):
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()

    def told(self):
        return [json.loads(body) for _, body in self.got]

    def ids(self):
        return [headers["webhook-id"] for headers, _ in self.got]


@contextmanager
def talking(*talk: bytes | Callable[[socket], None]) -> Iterator[int]:
    """Start a server that says `talk` to whoever calls, waiting for a line before each but the first, and give its
    port. It ends a call where nothing is left to say."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for number, words in enumerate(talk):
                if number:
                    self.rfile.readline()
                if callable(words):
                    words(self.connection)
                else:
                    self.wfile.write(words)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def drip(connection: socket) -> None:
    """Send a byte now and then, for as long as anybody listens."""
    with suppress(OSError):
        while True:
            connection.sendall(b"2")
            threading.Event().wait(0.02)
