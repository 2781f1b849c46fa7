"""Server-sent events: read as bytes come in, and written.

Source: html.spec.whatwg.org/multipage/server-sent-events.html. An event's `id` and `retry` mean nothing to us.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

MAX_EVENT = 1024 * 1024
"""Bytes of one event, and so of one line."""

LINE_END = re.compile(rb"\r\n|\n|\r")
LINE_ENDS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}
"""Characters at which some readers of events, Python's `splitlines` among them, would end a line."""
HALF = re.compile("[\ud800-\udfff]")
NAME = re.compile(r"[\x21-\x7e]+")
COMMENT = ": keep-alive\n\n"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """`name` is "" where the server gave none; `data` are the data lines, joined."""

    name: str
    data: bytes


class EventReader:
    """Turns pieces of a stream, cut anywhere, into events. Lines that are no field, and comments, are passed over."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._ends_in_cr = False
        self._at_start = True

    def feed(self, piece: bytes) -> list[Event]:
        """Return the events that `piece` completes. Raises `ValueError` for one of more than `MAX_EVENT` bytes."""
        if self._ends_in_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._ends_in_cr = False
        if not piece:
            return []
        self._ends_in_cr = piece.endswith(b"\r")
        events: list[Event] = []
        first, *others = LINE_END.split(piece)
        self._line += first
        for other in others:
            events += self._take(bytes(self._line))
            self._line = bytearray(other)
        if len(self._line) + self._size > MAX_EVENT:
            raise ValueError(f"an event of more than {MAX_EVENT} bytes")
        return events

    def end(self) -> list[Event]:
        """Return the event that the stream's proper end completes: some servers leave out the last line ends."""
        return [*self._take(bytes(self._line)), *self._take(b"")]

    def _take(self, line: bytes) -> Iterator[Event]:
        if self._at_start:
            line, self._at_start = line.removeprefix(BYTE_ORDER_MARK), False
        if not line:
            if self._data:
                yield Event(self._name, b"\n".join(self._data))
            self._name, self._data, self._size = "", [], 0
            return
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")


def write(data: Any, name: str = "") -> str:
    """Return one event with JSON data. A name that would not fit into its line, as a provider may have one for an event
    of its own, is left out: the data has it as well."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(LINE_ENDS)
    if not text.isascii() and HALF.search(text):  # of a provider's own event, whose next one has the other half
        text = json.dumps(data, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n" if NAME.fullmatch(name) else f"data: {text}\n\n"
