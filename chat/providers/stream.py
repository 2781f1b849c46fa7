"""An answer of an HTTP provider that is read while it arrives, or that came in one piece after all."""

from __future__ import annotations

import time
from collections import deque

from chat.exceptions import InvalidProviderResponseError, ProviderError, ProviderTimeoutError
from chat.protocols.payload import Heard, Response, UnusableReply, finish_reason, is_error, parse_object
from chat.protocols.sse import Event, EventReader
from chat.providers.pieces import Calls, Halves, says_something
from chat.providers.reading import Reading, is_shown
from chat.providers.transport.incoming import Incoming
from chat.types import Delta, FinishReason, Piece, Reply, Tick, Usage

WHITE = b" \t\r\n\xef\xbb\xbf"
"""Bytes that may stand before an answer and say nothing; the last three are a byte order mark."""

SILENCE = Tick()


class HTTPStream:
    """See `ChatStream`. `idle_timeout` is seconds. Nothing may be read of it before `begin`."""

    def __init__(self, reading: Reading, incoming: Incoming, *, idle_timeout: float) -> None:
        self.finish_reason: FinishReason | None = None
        self._reading, self._protocol, self._incoming = reading, reading.protocol, incoming
        self._idle_timeout = idle_timeout
        self._heard, self._reader = Heard(request=reading.request), EventReader()
        self._events: deque[Event] = deque()
        self._deltas: deque[Delta] = deque()
        self._first: deque[Delta] = deque()
        self._halves = Halves()
        self._relays = reading.request.is_verbatim(reading.protocol.NAME)
        self._calls = Calls()
        self._last_byte = time.monotonic()
        self._is_alive = self._at_end = self._closed = False
        self._page: bytearray | None = None

    @property
    def verbatim(self) -> bool:
        """Return whether the client gets each event as it came; not so where a whole answer came in place of events."""
        return self._relays and self._page is None

    @property
    def usage(self) -> Usage | None:
        return self._heard.usage

    @property
    def stop_sequence(self) -> str:
        return self._heard.stop_sequence

    @property
    def stop_reason(self) -> str:
        """Return the vendor's own word for why a relayed answer ended."""
        return (self._heard.reason or "") if self.verbatim else ""

    def begin(self, ends: float, handover: float) -> None:
        """Wait for the first sign of life until `ends`, and then for the first piece until `handover`: it may not come
        for minutes while a model thinks. Both are on `time.monotonic()`'s scale. Raises a `ProviderError`.

        Every byte of the answer is a sign of life: thinking, a ping, a comment. White space alone is no text.
        """
        try:
            if self._incoming.headers.get("content-encoding", "identity").lower() != "identity":
                # We ask for none. Decoders keep bytes back, so nobody could tell a silence from an unfinished block.
                raise self._unusable("a compressed stream")
            item: Delta | Tick | None = SILENCE
            while item and not (isinstance(item, Delta) and says_something(item)):
                thinks = self._is_alive and self._page is None
                left = (handover if thinks else ends) - time.monotonic()
                if left <= 0 and thinks:
                    break
                if left <= 0:
                    raise ProviderTimeoutError(
                        self._reading.provider, None, "neither text nor a sign of life came in time"
                    )
                item = self._next(left, idle=self._idle_timeout if self._is_alive else left, alive=self._is_alive)
                self._first.extend([item] if isinstance(item, Delta) else [])
        except ProviderError as exc:
            raise self._failed(exc) from None

    def next(self, seconds: float) -> Delta | Tick | None:
        """See `ChatStream.next`."""
        try:
            if self._closed and not self.finish_reason:
                raise InvalidProviderResponseError(self._reading.provider, None, "the stream was closed")
            if self._first:
                return self._first.popleft()
            return self._next(seconds, idle=self._idle_timeout, alive=True)
        except ProviderError as exc:
            raise self._failed(exc) from None

    def close(self) -> None:
        """See `ChatStream.close`."""
        self._closed = True
        self._incoming.close()

    def _next(self, seconds: float, idle: float, alive: bool) -> Delta | Tick | None:
        """Return the next event, `SILENCE` after `seconds` or with the first sign of life, None at the end."""
        ends, looked = time.monotonic() + seconds, False
        while True:
            while self._deltas or self._events:
                if not self._deltas:
                    self._take(self._events.popleft())
                elif (delta := self._halves.completed(self._deltas.popleft())).pieces or delta.raw is not None:
                    return delta
            if self.finish_reason:
                return self._halves.last()
            if self._at_end:
                self._end()
                continue
            left = max(ends - time.monotonic(), 0)
            if looked and not left or self._is_alive and not alive:
                return SILENCE
            self._receive(left, idle)
            looked = True

    def _end(self) -> None:
        """Complete the answer at the end of its body. Raises a `ProviderError` where it is not."""
        if self._page is None:
            may_omit = self._protocol.MAY_OMIT_TERMINATOR and self._incoming.framing.is_told
            self._complete(may_omit_terminator=may_omit)
            return
        reply = self._reading.whole(self._response(bytes(self._page)))
        self.finish_reason, self._heard.usage = reply.finish_reason, reply.usage
        self._heard.stop_sequence = reply.stop_sequence
        self._deltas.append(Delta(tuple(Piece(number, part) for number, part in enumerate(reply.parts))))
        self._incoming.finish()

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
            raise ProviderTimeoutError(self._reading.provider, None, f"the stream was silent for {silent:.1f} s")

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

    def _take(self, event: Event) -> None:
        """Turn an event, which may also be the last, into a delta."""
        if self.finish_reason:
            return
        data = event.data.strip()
        if data == self._protocol.TERMINATOR:
            self._heard.done = True
        elif data or event.name == "error":
            self._deltas.append(self._read_event(event))
        if self._heard.done:
            self._complete()

    def _read_event(self, event: Event) -> Delta:
        data = parse_object(event.data)
        if data is None:
            raise self._unusable("an event is no JSON object", event.data)
        if is_error(data) or event.name == "error":
            raise self._reading.failed(self._response(event.data), self.usage)
        try:
            pieces = self._protocol.read_event(data, self._heard)
        except UnusableReply as reply:
            unusable = reply
        else:
            if not self._relays:
                pieces = tuple(piece for piece in pieces if is_shown(piece.part, self._reading.request))
            self._calls.hear(pieces)
            return Delta(pieces, data if self._relays else None)
        raise self._unusable(unusable.why, event.data)

    def _complete(self, *, may_omit_terminator: bool = False) -> None:
        # A reason is asked for beside the terminator: many a proxy sends a [DONE] after an answer that broke off, too.
        if not (self._heard.done or may_omit_terminator):
            raise self._unusable("it ended without the event that must be the last")
        if self._heard.reason is None:
            raise self._unusable("it ended without a finish reason")
        most = self._reading.request.max_tokens
        reasons = self._protocol.FINISH_REASONS
        finish = finish_reason(self._heard.reason, reasons, self.usage, most, calls=bool(self._calls))
        if finish == "tool_calls" and not self._relays and not self._calls.all_sound():
            raise self._unusable("the arguments of a call are no JSON object")
        self.finish_reason = "content_filter" if self._heard.refused else finish
        self._incoming.finish()

    def _unusable(self, why: str, body: bytes = b"") -> ProviderError:
        return self._reading.unusable(self._response(body), UnusableReply(why, self.usage))

    def _response(self, body: bytes) -> Response:
        return Response(self._incoming.status, self._incoming.headers, body)

    def _failed(self, exc: ProviderError) -> ProviderError:
        self.close()
        return exc.but(usage=exc.usage or self.usage)


class OnePieceStream:
    """A whole reply as a `ChatStream`, from a server that does not stream."""

    def __init__(self, reply: Reply) -> None:
        self.finish_reason: FinishReason | None = None
        self.usage = reply.usage
        self.stop_sequence = reply.stop_sequence
        self.verbatim = False
        self._reply, self._parts = reply, deque(enumerate(reply.parts))

    def next(self, seconds: float) -> Delta | Tick | None:
        """See `ChatStream.next`."""
        if self._parts:
            return Delta((Piece(*self._parts.popleft()),))
        self.finish_reason = self._reply.finish_reason
        return None

    def close(self) -> None:
        """See `ChatStream.close`. The connection has been given back already."""
