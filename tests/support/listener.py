"""A client on a bare socket, which may leave, stop reading or close its side in the middle of a streamed answer."""

from __future__ import annotations

import json
import re
import socket
import struct
from urllib.parse import urlsplit


class Listener:
    """Asks for a stream at once, or for a whole answer; `buffer` bounds what the kernel receives for a client that does
    not read."""

    def __init__(
        self,
        url: str,
        key: str,
        request_id: str = "listener",
        *,
        idempotency_key: str = "",
        buffer: int = 0,
        stream: bool = True,
    ) -> None:
        address = urlsplit(url)
        body = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 30, "stream": stream}
        content = json.dumps(body).encode()
        head = f"POST /chat HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Token {key}\r\n"
        head += f"X-Request-ID: {request_id}\r\nIdempotency-Key: {idempotency_key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        self.heard = b""
        self.sock = socket.socket()
        if buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.settimeout(30)
        self.sock.connect((address.hostname, address.port))
        self.sock.sendall(head.encode() + content)

    def hear(self, words: bytes) -> Listener:
        """Read until they have come."""
        while words not in self.heard:
            piece = self.sock.recv(65536)
            assert piece, f"the server closed: {self.heard[-1000:]!r}"
            self.heard += piece
        return self

    def hear_all(self) -> str:
        """Read to the end of the answer; its events."""
        text = self.hear(b"\r\n0\r\n\r\n").heard.partition(b"\r\n\r\n")[2].decode()
        return re.sub(r"(?:^|\r\n)[0-9a-fA-F]+\r\n", "", text.removesuffix("\r\n"))

    def leave(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close_its_side(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)
