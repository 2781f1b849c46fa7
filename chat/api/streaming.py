"""The answer as server-sent events, while its client is there to hear them."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Generator, Iterable
from typing import Any, Protocol

from django.core.signals import got_request_exception
from django.http import HttpRequest

from chat.conf import conf
from chat.handlers import report
from chat.problems.table import Description, describe
from chat.types import Answer, Delta, Start, Tick

LINE_ENDS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}
"""Characters at which some readers of events, Python's `splitlines` among them, would end a line."""
COMMENT = ": keep-alive\n\n"


class ClientLeft(Exception):
    """Nobody is there any more to hear the answer."""


class Events(Protocol):
    """Writes one answer as server-sent events."""

    keep_alive: str

    def begin(self, start: Start) -> str:
        """Return the events before the first text."""

    def text(self, piece: str) -> str:
        """Return the event of one piece."""

    def end(self, answer: Answer) -> str:
        """Return the events that follow the last text; without them the answer is not whole."""

    def error(self, description: Description) -> str:
        """Return the event that stands in place of the end where the answer broke off."""


def written(
    items: Iterable[Start | Delta | Tick | Answer], start: Start, events: Events, request: HttpRequest
) -> Generator[str, None, str]:
    """Yield the events of a stream but the last, which it returns. Raises `ClientLeft`, and what `items` raises."""
    end = ""
    opening = events.begin(start)
    yield opening
    heard_at = time.monotonic() if opening else float("-inf")  # a model that still thinks: say so at once
    for item in items:
        if isinstance(item, Answer):
            end = events.end(item)
            continue
        if has_left(request):
            raise ClientLeft
        if isinstance(item, Delta):
            yield events.text(item.part.text)
        elif time.monotonic() - heard_at < conf.CHAT_KEEP_ALIVE:
            continue
        else:
            yield events.keep_alive
        heard_at = time.monotonic()
    return end


def error_in_band(exc: Exception, events: Events, request: HttpRequest) -> str:
    """Return the event of an error after the status has gone out."""
    description = describe(exc)
    report(exc, description.problem, request)
    if description.problem.traceback:
        got_request_exception.send(sender=error_in_band, request=request)
    return events.error(description)


def has_left(request: HttpRequest) -> bool:
    """Return whether the client has closed its connection, where the server tells us which that is. A write would
    notice only the second time. A client that has closed only its own side has left too, as it has for nginx: nothing
    tells the two apart, and neither browsers nor curl nor the SDKs do the latter."""
    sock = request.META.get("gunicorn.socket")
    if sock is None:
        return False
    poll = select.poll()
    try:
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0)) and not sock.recv(1, socket.MSG_PEEK)
    except ValueError:  # TLS, which cannot peek
        return False
    except OSError:
        return True


def event(data: Any, name: str = "") -> str:
    """Return one server-sent event with JSON data."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(LINE_ENDS)
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"
