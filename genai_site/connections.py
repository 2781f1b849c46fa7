"""What a connection of the production server brings, a head that is gathered before a thread is given to it and a body
with a deadline; and what it takes away, as fast as its client likes."""

from __future__ import annotations

import os
import re
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

LONGEST_HEAD = 131_072
"""Bytes of a head; the parser's own limits are below."""
LONGEST_FORM = 2_700_000
"""Bytes of a form; a longer one is refused unread."""
MOST_GATHERED = 67_108_864
"""Bytes that a worker gathers of all connections together."""
BODY_SECONDS = 30.0
"""Seconds for a body, from the moment that somebody asks for it."""
LEAST_RATE = 100_000
"""Bytes a second of a body that would take longer than BODY_SECONDS."""
MOST_PIECES = 200_000
"""Pieces that a chunked body may come in. Each takes as long as 10 kB of a larger one: chunks of a byte would keep a
processor busy for all of BODY_SECONDS."""
PATIENCE = 0.2
"""Seconds for which a thread waits for a client to take a whole answer."""
MOST_LEFT = 67_108_864
"""Bytes of answers that clients have not taken yet, of a worker and beside those that its threads are writing."""
PIECE = 262_144
"""Bytes of an answer that are sent at once."""
FORM = re.compile(rb"(?i)\r\ncontent-type:[ \t]*(?:application/x-www-form-urlencoded|multipart/form-data)")
LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*(?:\r|$)")


@dataclass
class Waiting:
    """A connection that no thread has: until `ends`, by `time.monotonic()`, for the rest of its `head`. Without one its
    answer is out, and all that is still to come is its end.

    A form goes with its head: the protection against forged requests reads it before anybody knows who sends it.
    """

    ends: float
    head: bytearray | None = None
    needed: int = 0

    def take(self, piece: bytes) -> bool:
        """Add `piece` to the head; return whether the head has become large."""
        if self.head is None:
            return False
        self.head += piece
        if not self.needed and (end := self.head.find(b"\r\n\r\n")) >= 0:
            self.needed = end + 4 + form_length(bytes(self.head[:end]))
            if self.needed > len(self.head):
                self.ends = time.monotonic() + BODY_SECONDS
        return len(self.head) > LONGEST_HEAD

    def is_complete(self) -> bool:
        """Return whether the head is there, or is so long that the parser must say what is wrong with it."""
        if self.head is None:
            return False
        return len(self.head) >= self.needed if self.needed else len(self.head) > LONGEST_HEAD


def form_length(head: bytes) -> int:
    """Return the bytes of the form that follows `head`; 0 for any other body, and for one that is too long."""
    length = LENGTH.search(head) if FORM.search(head) else None
    return int(length[1]) if length and int(length[1]) <= LONGEST_FORM else 0


class TimedBody:
    """The body of a request, with a deadline for all of it that begins when somebody asks for it."""

    def __init__(self, environ: dict[str, Any], deadlines: dict[Any, float]) -> None:
        self.body, self.sock, self.deadlines = environ["wsgi.input"], environ["gunicorn.socket"], deadlines
        length = environ.get("CONTENT_LENGTH") or ""
        self.seconds = max(BODY_SECONDS, int(length) // LEAST_RATE if length.isdecimal() else 0)
        self.ends = 0.0
        if parser := getattr(getattr(self.body, "reader", None), "parser", None):  # a chunked one
            self.body.reader.parser = limited(parser)

    def read(self, *size: Any) -> bytes:
        return self.within(self.body.read, *size)

    def readline(self, *size: Any) -> bytes:
        return self.within(self.body.readline, *size)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def within(self, read: Callable[..., bytes], *size: Any) -> bytes:
        self.ends = self.ends or time.monotonic() + self.seconds
        self.deadlines[self.sock] = self.ends
        try:
            return read(*size)
        finally:
            self.deadlines.pop(self.sock, None)


def limited(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the pieces of a chunked body. Raises `OSError` after MOST_PIECES of them."""
    for number, piece in enumerate(pieces):
        if number >= MOST_PIECES:
            raise OSError("a chunked body in too many pieces")
        yield piece


class Outgoing:
    """In a response, the place of the socket `sock`: what the client does not take within PATIENCE is `left`, for
    others to send until `ends`, by `time.monotonic()`. A thread that waited for it would be held for as long as the
    client likes, and a stranger can be many clients."""

    def __init__(self, sock: Any) -> None:
        self.sock, self.left = sock, bytearray()
        self.ends = 0.0

    def sendall(self, data: bytes) -> None:
        if not self.left:
            data = data[self.send(data) :]
        if not data:
            return
        self.left += data
        poll = select.poll()
        poll.register(self.sock, select.POLLOUT)
        self.ends = self.ends or time.monotonic() + PATIENCE
        while self.push() and (seconds := self.ends - time.monotonic()) > 0:
            poll.poll(seconds * 1000)

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> None:
        """Send a part of a file, as a socket does it."""
        self.sendall(os.pread(file.fileno(), count or os.fstat(file.fileno()).st_size - offset, offset))

    def push(self) -> bool:
        """Send what the client takes at this moment; return whether anything is left."""
        del self.left[: self.send(bytes(self.left[:PIECE]))]
        return bool(self.left)

    def send(self, data: bytes) -> int:
        try:
            return int(self.sock.send(data, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return 0
