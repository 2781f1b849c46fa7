"""The wait for the next piece of a streamed answer, and the moments at which a stream must be over."""

from __future__ import annotations

import math
import time

from chat.conf import conf
from chat.exceptions import ServerStopping, StreamTooLong
from chat.types import ChatStream, Delta, Tick

TICK = 1.0
"""Seconds of silence after which a stream says that it is alive, so that somebody can look whether the client is."""


_last_moment = math.inf


def end_streams_at(moment: float) -> None:
    """End the streams that are not over at `moment`, on `time.monotonic()`'s scale: the server is being stopped."""
    global _last_moment
    _last_moment = min(_last_moment, moment)


def next_item(reply: ChatStream, provider: str, ends: float) -> Delta | Tick | None:
    """Return the next piece, a `Tick` after a second without any, or None at the proper end.

    `ends` is when the stream must be over, on `time.monotonic()`'s scale. Raises the `ProviderError` that broke it off,
    `StreamTooLong` or `ServerStopping`.
    """
    now = time.monotonic()
    if now >= _last_moment:
        raise ServerStopping("The server was told to stop before the stream was over.")
    if now >= ends:
        message = f"not at its end {conf.CHAT_STREAM_MAX:.0f} s after its first text (CHAT_STREAM_MAX)"
        raise StreamTooLong(provider, None, message)
    return reply.next(min(TICK, ends - now))
