"""Where a body ends: HTTP's own framing, taken off as bytes come in.

`http.client` can find the end of a body too, but not give up waiting in the middle of a chunk's size and go on later.
Source: RFC 9112, sections 6 and 7.
"""

from __future__ import annotations

import re

MAX_LINE = 4096
"""Bytes of a chunk's size, its extensions included, or of a trailer."""

SIZE, DATA, AFTER_DATA, TRAILER, END = range(5)


class Framing:
    """The rest of one body. `length` is its bytes, None where it is `chunked` or ends with the connection."""

    def __init__(self, *, chunked: bool, length: int | None) -> None:
        self.is_told = chunked or length is not None
        """Whether HTTP tells the body's end from a lost connection."""
        self._chunked = chunked
        self._state = SIZE if chunked else END if length == 0 else DATA
        self._left = length
        self._raw = bytearray()

    @property
    def ended(self) -> bool:
        return self._state == END

    @property
    def is_clean(self) -> bool:
        """Return whether nothing came after the end."""
        return self.ended and not self._raw

    def take(self, piece: bytes) -> bytes:
        """Return the part of the body that `piece` brings. Raises `ValueError` for what is no chunk."""
        self._raw += piece
        body = bytearray()
        while self._raw and not self.ended:
            if self._state == DATA:
                body += self._take_data()
            elif (line := self._take_line()) is not None:
                self._read_line(line)
            else:
                break
        return bytes(body)

    def lose(self) -> None:
        """Take note that the connection has ended. Raises `ValueError` if the body has not."""
        if self.is_told and not self.ended:
            raise ValueError("the connection ended before the body")
        self._state = END

    def _take_data(self) -> bytes:
        data = bytes(self._raw if self._left is None else self._raw[: self._left])
        del self._raw[: len(data)]
        if self._left is not None:
            self._left -= len(data)
            if not self._left:
                self._state = AFTER_DATA if self._chunked else END
        return data

    def _take_line(self) -> bytes | None:
        line, found, _ = self._raw.partition(b"\n")
        if len(line) > MAX_LINE:
            raise ValueError("a line of chunked framing is too long")
        if not found:
            return None
        del self._raw[: len(line) + 1]
        return bytes(line).rstrip(b"\r")

    def _read_line(self, line: bytes) -> None:
        if self._state == AFTER_DATA:
            if line:
                raise ValueError("a chunk is longer than it says")
            self._state = SIZE
        elif self._state == SIZE:
            size = re.match(rb"[0-9a-fA-F]{1,15}(?=[ \t]*(;|$))", line)
            if size is None:
                raise ValueError("a chunk without a size")
            self._left = int(size[0], 16)
            self._state = DATA if self._left else TRAILER
        elif not line:
            self._state = END
