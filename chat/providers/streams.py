"""An answer of an HTTP provider that is read while it arrives, or that came in one piece after all."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chat.exceptions import InvalidProviderResponseError, ProviderError, ProviderTimeoutError
from chat.providers.base import ChatReply, ChatRequest, FinishReason, Usage
from chat.providers.failures import is_error
from chat.providers.incoming import Incoming, Response
from chat.providers.payload import UnusableReply, parse_object
from chat.providers.sse import Event, EventReader

if TYPE_CHECKING:
    from chat.providers.http import HTTPProvider


@dataclass(slots=True)
class Heard:
    """What the events so far have told besides text. `reason` is the protocol's own finish reason, `usage_report` its
    own usage object where that comes in parts; `done` means that the event came which must be the last,
    `counted` that the output was counted after it had begun."""

    usage: Usage | None = None
    usage_report: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    refused: bool = False
    done: bool = False
    counted: bool = False


class HTTPStream:
    """See `ChatStream`. `idle_timeout` is seconds. Nothing may be read of it before `begin`."""

    def __init__(
        self, provider: HTTPProvider, request: ChatRequest, incoming: Incoming, *, idle_timeout: float
    ) -> None:
        self.finish_reason: FinishReason | None = None
        self._provider, self._request, self._incoming = provider, request, incoming
        self._idle_timeout = idle_timeout
        self._heard, self._reader = Heard(), EventReader()
        self._events: deque[Event] = deque()
        self._first = ""
        self._last_byte = time.monotonic()
        self._at_end = self._closed = False

    @property
    def usage(self) -> Usage | None:
        return self._heard.usage

    def begin(self, ends: float) -> None:
        """Wait for the first text, until `ends` on `time.monotonic()`'s scale.

        White space alone is none, as in `complete`: it waits for what follows. Raises a `ProviderError`.
        """
        try:
            if self._incoming.headers.get("content-encoding", "identity").lower() != "identity":
                # We ask for none. Decoders keep bytes back, so nobody could tell a silence from an unfinished block.
                raise self._unusable("a compressed stream")
            while not self._first.strip():
                left = ends - time.monotonic()
                text = self._next(left, idle=left) if left > 0 else ""
                if text == "":
                    raise ProviderTimeoutError(self._provider.key, None, "no text came in time")
                if text is None and self.finish_reason != "content_filter":
                    raise self._unusable(f"no text (finish reason {self._provider.known_reason(self._heard.reason)})")
                if text is None:
                    break
                self._first += text
        except ProviderError as exc:
            raise self._failed(exc) from None

    def next(self, seconds: float) -> str | None:
        """See `ChatStream.next`."""
        try:
            if self._closed and not self.finish_reason:
                raise InvalidProviderResponseError(self._provider.key, None, "the stream was closed")
            if self._first:
                text, self._first = self._first, ""
                return text
            return self._next(seconds, idle=self._idle_timeout)
        except ProviderError as exc:
            raise self._failed(exc) from None

    def close(self) -> None:
        """See `ChatStream.close`."""
        self._closed = True
        self._incoming.close()

    def _next(self, seconds: float, idle: float) -> str | None:
        ends, looked = time.monotonic() + seconds, False
        while True:
            while self._events:
                if text := self._take(self._events.popleft()):
                    return text
            if self.finish_reason:
                return None
            if self._at_end:
                self._complete(
                    may_omit_terminator=self._provider.may_omit_terminator and self._incoming.framing.is_told
                )
                return None
            left = max(ends - time.monotonic(), 0)
            if looked and not left:
                return ""
            self._receive(left, idle)
            looked = True

    def _receive(self, seconds: float, idle: float) -> None:
        """Wait for bytes, and turn them into events."""
        silent = time.monotonic() - self._last_byte
        piece = self._incoming.read(max(min(seconds, idle - silent), 0))
        if piece is None:
            self._at_end = True
            self._events.extend(self._reader.end())
        elif piece:
            self._last_byte = time.monotonic()
            try:
                self._events.extend(self._reader.feed(piece))
            except ValueError as exc:
                raise self._unusable(str(exc)) from None
        elif (silent := time.monotonic() - self._last_byte) >= idle:
            raise ProviderTimeoutError(self._provider.key, None, f"the stream was silent for {silent:.1f} s")

    def _take(self, event: Event) -> str:
        """The text of an event, which may also be the last."""
        if self.finish_reason:
            return ""
        text = ""
        if event.data.strip() == self._provider.terminator:
            self._heard.done = True
        else:
            text = self._read_event(event)
        if self._heard.done:
            self._complete()
        return text

    def _read_event(self, event: Event) -> str:
        data = parse_object(event.data)
        if data is None:
            raise self._unusable("an event is no JSON object", event.data)
        if is_error(data) or event.name == "error":
            raise self._provider.reported(self._response(event.data), self._request, self.usage)
        try:
            return self._provider.read_event(data, self._heard)
        except UnusableReply as reply:
            unusable = reply
        raise self._unusable(unusable.why, event.data)

    def _complete(self, *, may_omit_terminator: bool = False) -> None:
        # A reason is asked for beside the terminator: many a proxy sends a [DONE] after an answer that broke off, too.
        if not (self._heard.done or may_omit_terminator):
            raise self._unusable("it ended without the event that must be the last")
        if self._heard.reason is None:
            raise self._unusable("it ended without a finish reason")
        finish = self._provider.finish(self._heard.reason, self.usage, self._request)
        self.finish_reason = "content_filter" if self._heard.refused else finish
        self._incoming.finish()

    def _unusable(self, why: str, body: bytes = b"") -> ProviderError:
        return self._provider.unusable(self._response(body), self._request, UnusableReply(why, self.usage))

    def _response(self, body: bytes) -> Response:
        return Response(self._incoming.status, self._incoming.headers, body)

    def _failed(self, exc: ProviderError) -> ProviderError:
        self.close()
        exc.usage = exc.usage or self.usage
        return exc


class OnePieceStream:
    """A whole reply as a `ChatStream`, from a server that does not stream."""

    def __init__(self, reply: ChatReply) -> None:
        self.finish_reason: FinishReason | None = None
        self.usage = reply.usage
        self._reply, self._text = reply, reply.text

    def next(self, seconds: float) -> str | None:
        """See `ChatStream.next`."""
        text, self._text = self._text, ""
        if text:
            return text
        self.finish_reason = self._reply.finish_reason
        return None

    def close(self) -> None:
        """See `ChatStream.close`. The connection has been given back already."""
