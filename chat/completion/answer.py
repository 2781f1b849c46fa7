"""What a chat comes to: a whole answer, or one that is still arriving."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from chat.conf import conf
from chat.exceptions import ProviderTimeoutError, SystemError
from chat.providers.base import ChatStream
from chat.types import Answer, Usage

TICK = 1.0
"""Seconds of silence after which a stream says that it is alive, so that somebody can look whether the client is."""


_last_moment = math.inf


def end_streams_at(moment: float) -> None:
    """The server is being stopped: streams that are not over at `moment`, on `time.monotonic()`'s scale, end then."""
    global _last_moment
    _last_moment = min(_last_moment, moment)


class ServerStopping(SystemError):
    """A stream would have outlasted its server. `tokens_charged` is what the user pays for what had arrived."""

    tokens_charged = 0


class StreamTooLong(ProviderTimeoutError):
    """A stream was not over after CHAT_STREAM_MAX, which says nothing of the provider: the client may have been the
    slow one."""


class AnswerStream(Protocol):
    """An answer while it goes out. Iterate for its pieces of text, and for "" at each second without one; then `answer`
    is set. Raises the `ProviderError` that broke it off, or `ServerStopping`. What had arrived is charged however it
    ends, by `close()` too.
    """

    answer: Answer | None
    ignored: Sequence[str]
    budget_limit: int

    @property
    def usage(self) -> Usage | None:
        """What the provider has reported so far."""

    def __iter__(self) -> AnswerStream: ...

    def __next__(self) -> str: ...

    def close(self) -> None:
        """The client has left, or nothing more is wanted. Safe to call at any time, and twice."""


class Arriving:
    """An `AnswerStream` from a provider. `ends` is when it must be over, on `time.monotonic()`'s scale; `waited` is
    called with the seconds of each wait for the provider, and `whole` and `broken` once, one of them, with what was
    said, to settle the bill."""

    def __init__(
        self,
        reply: ChatStream,
        *,
        provider: str,
        ignored: Sequence[str],
        budget_limit: int,
        ends: float,
        waited: Callable[[float], None],
        whole: Callable[[str, ChatStream], Answer],
        broken: Callable[[str, ChatStream, BaseException | None], None],
    ) -> None:
        self.answer: Answer | None = None
        self.ignored, self.budget_limit = ignored, budget_limit
        self._reply, self._provider, self._ends = reply, provider, ends
        self._waited, self._whole, self._broken = waited, whole, broken
        self._said: list[str] = []
        self._over = False

    @property
    def usage(self) -> Usage | None:
        return self._reply.usage

    def __iter__(self) -> Arriving:
        return self

    def __next__(self) -> str:
        if self._over:
            raise StopIteration
        try:
            piece = self._piece()
        except BaseException as exc:
            self._break(exc)
            raise
        if piece is None:
            self._over = True
            self.answer = self._whole("".join(self._said), self._reply)
            raise StopIteration
        self._said.append(piece)
        return piece

    def close(self) -> None:
        if not self._over:
            self._break(None)

    def _piece(self) -> str | None:
        now = time.monotonic()
        if now >= _last_moment:
            raise ServerStopping("The server was told to stop before the stream was over.")
        left = self._ends - now
        if left <= 0:
            message = f"not at its end {conf.CHAT_STREAM_MAX:.0f} s after its first text (CHAT_STREAM_MAX)"
            raise StreamTooLong(self._provider, None, message)
        try:
            return self._reply.next(min(TICK, left))
        finally:
            self._waited(time.monotonic() - now)

    def _break(self, exc: BaseException | None) -> None:
        self._over = True
        try:
            self._reply.close()
        finally:
            self._broken("".join(self._said), self._reply, exc)


class Stored:
    """An `AnswerStream` of an answer that is there already."""

    usage: Usage | None = None

    def __init__(self, answer: Answer) -> None:
        self.answer: Answer | None = answer
        self.usage = answer.usage
        self.ignored, self.budget_limit = answer.ignored, answer.budget_limit
        self._pieces = iter([answer.text] if answer.text else [])

    def __iter__(self) -> Stored:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        pass
