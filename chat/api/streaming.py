"""The answer as server-sent events, while its client is there to hear them."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Generator, Iterable

from django.http import HttpRequest

from chat.conf import conf
from chat.exceptions import ClientLeft
from chat.handlers import report_caught
from chat.problems.envelopes import told
from chat.problems.table import describe
from chat.protocols.protocol import EventWriter
from chat.types import Answer, Delta, Start, Tick


def written(
    items: Iterable[Start | Delta | Tick | Answer], start: Start, writer: EventWriter, request: HttpRequest
) -> Generator[str, None, str]:
    """Yield the events of a stream but the last, which it returns. Raises `ClientLeft`, and what `items` raises."""
    end = ""
    opening = writer.write_event(start)
    yield opening
    heard_at = time.monotonic() if opening else float("-inf")  # a model that still thinks: say so at once
    for item in items:
        if isinstance(item, Answer):
            end = writer.write_event(item)
            continue
        if has_left(request.META.get("gunicorn.socket")):
            raise ClientLeft
        if isinstance(item, Tick) and time.monotonic() - heard_at < conf.CHAT_KEEP_ALIVE:
            continue
        if event := writer.write_event(item):
            yield event
            heard_at = time.monotonic()
    return end


def error_in_band(exc: Exception, writer: EventWriter, request: HttpRequest) -> str:
    """Return the event of an error after the status has gone out."""
    description = describe(exc)
    report_caught(exc, description.problem, request)
    return writer.write_error(told(description))


def has_left(sock: socket.socket | None) -> bool:
    """Return whether the client has closed its connection, where the server tells us which that is. A write would
    notice only the second time. A client that has closed only its own side has left too, as it has for nginx: nothing
    tells the two apart, and neither browsers nor curl nor the SDKs do the latter."""
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
