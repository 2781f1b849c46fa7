"""The answer as server-sent events, while its client is there to hear them."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from typing import Any, Protocol

from django.core.signals import got_request_exception
from django.http import HttpRequest

from chat.billing import budgets
from chat.completion.answer import AnswerStream
from chat.conf import conf
from chat.handlers import report
from chat.problems.table import Description, describe
from chat.types import Answer

LINE_ENDS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}
"""Characters at which some readers of events, Python's `splitlines` among them, would end a line."""
COMMENT = ": keep-alive\n\n"


class ClientLeft(Exception):
    """Nobody is there any more to hear the answer."""


class Events(Protocol):
    """Writes one answer as server-sent events."""

    keep_alive: str

    def begin(self, stream: AnswerStream) -> str:
        """What comes before the first text."""

    def text(self, piece: str) -> str: ...

    def end(self, answer: Answer) -> str:
        """What follows the last text; without it the answer is not whole."""

    def error(self, description: Description) -> str:
        """What stands in place of the end where the answer broke off."""


class EventStream:
    """The body of a streamed answer. A server closes it when the client has left, begun or not."""

    def __init__(self, request: HttpRequest, stream: AnswerStream, events: Events, stack: ExitStack) -> None:
        self.request, self.stream, self.events, self.stack = request, stream, events, stack
        self.chunks = self._run()

    def __iter__(self) -> Iterator[str]:
        return self.chunks

    def close(self) -> None:
        self.chunks.close()
        with suppress(ClientLeft), self.stack:  # empty by now, unless nothing was ever asked of `chunks`
            raise ClientLeft

    def _run(self) -> Generator[str, None, None]:
        try:
            with self.stack:
                yield from self._answer()
            assert self.stream.answer
            budgets.release_connection()
            yield self.events.end(self.stream.answer)
        except ClientLeft:
            return
        except Exception as exc:  # the status is sent: an error can only be one more event
            description = describe(exc)
            report(exc, description.problem, self.request)
            if description.problem.traceback:
                got_request_exception.send(sender=type(self), request=self.request)
            budgets.release_connection()
            yield self.events.error(description)

    def _answer(self) -> Iterator[str]:
        opening = self.events.begin(self.stream)
        yield opening
        heard_at = time.monotonic() if opening else float("-inf")  # a model that still thinks: say so at once
        for piece in self.stream:
            if has_left(self.request):
                raise ClientLeft
            if piece:
                yield self.events.text(piece)
            elif time.monotonic() - heard_at < conf.CHAT_KEEP_ALIVE:
                continue
            else:
                yield self.events.keep_alive
            heard_at = time.monotonic()


def has_left(request: HttpRequest) -> bool:
    """Whether the client has closed its connection, where the server tells us which that is. A write would notice only
    the second time. A client that has closed only its own side has left too, as it has for nginx: nothing tells the
    two apart, and neither browsers nor curl nor the SDKs do the latter."""
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
    """One server-sent event with JSON data."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).translate(LINE_ENDS)
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"
