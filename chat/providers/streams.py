"""An answer of an HTTP provider that is read while it arrives, or that came in one piece after all."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chat.exceptions import InvalidProviderResponseError, ProviderError, ProviderTimeoutError
from chat.providers.failures import is_error
from chat.providers.payload import UnusableReply, as_text, parse_object
from chat.providers.sse import Event, EventReader
from chat.providers.transport.incoming import Incoming, Response
from chat.types import ChatReply, ChatRequest, FinishReason, Usage

if TYPE_CHECKING:
    from chat.providers.http import HTTPProvider


WHITE = b" \t\r\n\xef\xbb\xbf"
"""Bytes that may stand before an answer and say nothing; the last three are a byte order mark."""


@dataclass(slots=True)
class Heard:
    """What the events so far have told besides text. `reason` is the protocol's own finish reason, `usage_report` its
    own usage object where that comes in parts; `done` means that the event came which must be the last,
    `counted` that the output was counted after it had begun."""

    usage: Usage | None = None
    usage_report: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    refused: bool = False
    stop_sequence: str = ""
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
        self._first = self._half = ""
        self._last_byte = time.monotonic()
        self._is_alive = self._at_end = self._closed = False
        self._page: bytearray | None = None

    @property
    def usage(self) -> Usage | None:
        return self._heard.usage

    @property
    def stop_sequence(self) -> str:
        return self._heard.stop_sequence

    def begin(self, ends: float, handover: float) -> None:
        """Wait for the first sign of life until `ends`, and then for the first text until `handover`: it may not come
        for minutes while a model thinks. Both are on `time.monotonic()`'s scale. Raises a `ProviderError`.

        Every byte of the answer is a sign of life: thinking, a ping, a comment. White space alone is no text.
        """
        try:
            if self._incoming.headers.get("content-encoding", "identity").lower() != "identity":
                # We ask for none. Decoders keep bytes back, so nobody could tell a silence from an unfinished block.
                raise self._unusable("a compressed stream")
            text: str | None = ""
            while text is not None and not self._first.strip():
                thinks = self._is_alive and self._page is None
                left = (handover if thinks else ends) - time.monotonic()
                if left <= 0 and thinks:
                    return
                if left <= 0:
                    raise ProviderTimeoutError(self._provider.key, None, "neither text nor a sign of life came in time")
                text = self._next(left, idle=self._idle_timeout if self._is_alive else left, alive=self._is_alive)
                self._first += text or ""
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
            return self._next(seconds, idle=self._idle_timeout, alive=True)
        except ProviderError as exc:
            raise self._failed(exc) from None

    def close(self) -> None:
        """See `ChatStream.close`."""
        self._closed = True
        self._incoming.close()

    def _next(self, seconds: float, idle: float, alive: bool) -> str | None:
        """Return the next text, "" after `seconds` or with the first sign of life, None at the end."""
        ends, looked = time.monotonic() + seconds, False
        while True:
            while self._events:
                if text := self._whole_characters(self._take(self._events.popleft())):
                    return text
            if self.finish_reason:
                return self._last_half()
            if self._at_end:
                return self._end()
            left = max(ends - time.monotonic(), 0)
            if looked and not left or self._is_alive and not alive:
                return ""
            self._receive(left, idle)
            looked = True

    def _end(self) -> str | None:
        if self._page is None:
            may_omit = self._provider.may_omit_terminator and self._incoming.framing.is_told
            self._complete(may_omit_terminator=may_omit)
            return self._last_half()
        reply = self._provider.read_whole(self._response(bytes(self._page)), self._request)
        self.finish_reason, self._heard.usage = reply.finish_reason, reply.usage
        self._heard.stop_sequence = reply.stop_sequence
        self._incoming.finish()
        return reply.text or None

    def _whole_characters(self, text: str) -> str:
        """Return `text` up to a half of a character at its end, which waits for the other half."""
        text, self._half = self._half + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return as_text(text)

    def _last_half(self) -> str | None:
        text, self._half = as_text(self._half), ""
        return text or None

    def _receive(self, seconds: float, idle: float) -> None:
        """Wait for bytes, and turn them into events."""
        silent = time.monotonic() - self._last_byte
        piece = self._incoming.read(max(min(seconds, idle - silent), 0))
        if piece is None:
            self._at_end = True
            self._events.extend(self._reader.end())
        elif piece:
            self._last_byte = time.monotonic()
            self._read(piece)
        elif (silent := time.monotonic() - self._last_byte) >= idle:
            raise ProviderTimeoutError(self._provider.key, None, f"the stream was silent for {silent:.1f} s")

    def _read(self, piece: bytes) -> None:
        # Some servers label events as JSON, and some answer a request for events in one piece, labelled as events.
        if not self._is_alive and piece.lstrip(WHITE)[:1] == b"{":
            self._page = bytearray()
        self._is_alive = self._is_alive or bool(piece.strip(WHITE))
        if self._page is not None:
            self._page += piece
            return
        try:
            self._events.extend(self._reader.feed(piece))
        except ValueError as exc:
            raise self._unusable(str(exc)) from None

    def _take(self, event: Event) -> str:
        """The text of an event, which may also be the last."""
        if self.finish_reason:
            return ""
        text, data = "", event.data.strip()
        if data == self._provider.terminator:
            self._heard.done = True
        elif data or event.name == "error":
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
        return exc.but(usage=exc.usage or self.usage)


class OnePieceStream:
    """A whole reply as a `ChatStream`, from a server that does not stream."""

    def __init__(self, reply: ChatReply) -> None:
        self.finish_reason: FinishReason | None = None
        self.usage = reply.usage
        self.stop_sequence = reply.stop_sequence
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
