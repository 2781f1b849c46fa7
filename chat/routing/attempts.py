"""One call to one provider: who is asked, what came of it, and what the provider's cooldown learns from it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache

import structlog

from chat.conf import conf
from chat.exceptions import ProviderError, ProviderTimeoutError
from chat.providers.anthropic import AnthropicProvider
from chat.providers.base import ChatStream, Provider
from chat.providers.openai import OpenAIProvider
from chat.providers.simulator import SimulatorProvider
from chat.providers.transport.pool import Transport
from chat.routing import cooldown
from chat.types import SIMULATOR, ChatReply, ChatRequest, ProviderEntry, Route

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Attempt:
    """One call to one provider for `user`, the `number`-th of its chat; 0: the decision not to ask, since it rests.

    Once it is over, one of `reply`, `failure` and `crash` (a bug of ours) is set. The reply of a stream is one that is
    still arriving: its end is to be told to `stream_ended`.
    """

    route: Route
    user: str
    number: int = 0
    reply: ChatReply | ChatStream | None = None
    failure: ProviderError | None = None
    crash: BaseException | None = None
    duration_ms: float = 0.0

    @property
    def provider(self) -> str:
        return self.route.provider.key

    @property
    def tokens(self) -> int:
        """What the provider says it billed."""
        usage = self.reply.usage if self.reply else self.failure.usage if self.failure else None
        return usage.total if usage else 0

    def drop(self) -> None:
        """Nobody will read its reply."""
        if isinstance(self.reply, ChatReply) or self.reply is None:
            return
        self.reply.close()


def at_rest(route: Route, user: str) -> ProviderError | None:
    """Return the failure that put the route to rest for `user`, if it rests; None is leave to ask it, and the only
    leave when a rest has just ended. The simulator never rests: it is asked to fail."""
    return None if route.provider.protocol == SIMULATOR else cooldown.resting(route, user)


def call(attempt: Attempt, request: ChatRequest, seconds: float, *, stream: bool = False) -> Attempt:
    """Make the call, in `seconds` at most (of a stream: until its first text). Never raises, since it may run in a
    thread of its own."""
    entry, started = attempt.route.provider, time.monotonic()
    try:
        ask, upstream = provider(entry), attempt.route.upstream
        if upstream.max_output_tokens:
            request = replace(request, max_tokens=min(request.max_tokens, upstream.max_output_tokens))
        if stream:
            # The client gets its first keep-alive, and with it the status, when it has waited that long in all.
            handover = conf.CHAT_KEEP_ALIVE - (conf.CHAT_DEADLINE - seconds)
            idle_timeout = conf.CHAT_STREAM_IDLE_TIMEOUT
            attempt.reply = ask.stream(
                request, upstream=upstream, timeout=seconds, idle_timeout=idle_timeout, handover=handover
            )
        else:
            attempt.reply = ask.complete(request, upstream=upstream, timeout=seconds)
    except ProviderError as exc:
        attempt.failure = exc.with_traceback(None)  # nobody reads it, and its frames hold the attempt, and the request
    except BaseException as exc:  # raised again by the thread that serves the chat
        attempt.crash = exc
    attempt.duration_ms = round((time.monotonic() - started) * 1000, 1)
    if attempt.reply:
        _learn(attempt, None, begun=not isinstance(attempt.reply, ChatReply))
    elif attempt.failure and not _cut_short(attempt.failure, entry, seconds):
        _learn(attempt, attempt.failure)
    return attempt


def stream_ended(attempt: Attempt, failure: ProviderError | None) -> None:
    """The provider's cooldown learns how a stream ended. Its beginning is no success: one that always breaks off
    would never rest."""
    _learn(attempt, failure)


def _learn(attempt: Attempt, failure: ProviderError | None, *, begun: bool = False) -> None:
    if attempt.route.provider.protocol == SIMULATOR:
        return
    try:
        if failure:
            cooldown.failed(failure, attempt.route, attempt.user)
        elif begun:
            cooldown.began(attempt.route, attempt.user)
        else:
            cooldown.succeeded(attempt.route, attempt.user)
    except Exception as exc:  # a cooldown is a convenience; the chat goes on without
        log.error("cooldown_not_kept", provider=attempt.provider, exc_info=exc)


def log_failure(attempt: Attempt, decision: str) -> None:
    """The attempt's line in the log, if it failed: with what, and what is done about it."""
    facts = {
        "provider": attempt.provider,
        "attempt": attempt.number,
        "duration_ms": attempt.duration_ms,
        "decision": decision,
    }
    if attempt.crash:
        log.error(
            "provider_attempt_failed",
            **facts,
            reason=type(attempt.crash).__name__,
            exc_info=None if decision == "end" else attempt.crash,
        )
    if not attempt.number or not (failure := attempt.failure):
        return
    critical = failure.details.get("kind") in {"key", "credit"}
    (log.critical if critical else log.warning)(
        "provider_attempt_failed",
        **facts,
        reason=type(failure).__name__,
        status_code=failure.status_code,
        retry_after=failure.retry_after,
        detail=failure.message,
        **failure.details,
    )


def _cut_short(failure: ProviderError, entry: ProviderEntry, seconds: float) -> bool:
    """Whether a call timed out for no better reason than that the chat had little time left."""
    own = isinstance(failure, ProviderTimeoutError) and failure.status_code is None
    return own and seconds < min(entry.timeout, conf.CHAT_DEADLINE) / 2


def provider(entry: ProviderEntry) -> Provider:
    """The client for an entry of models.toml; kept for the life of the process, as are its connections.

    Raises `ProviderError` where HTTP cannot carry the entry's URL or key.
    """
    if entry.protocol == SIMULATOR:
        return SimulatorProvider(
            key=SIMULATOR, latency=conf.SIMULATOR_LATENCY, failure_rate=conf.SIMULATOR_FAILURE_RATE
        )
    try:
        return _client(entry, conf.PROVIDER_POOL_SIZE)
    except ValueError as exc:
        raise ProviderError(entry.key, None, str(exc), details={"kind": "key"}, unsent=True) from None


@cache
def _client(entry: ProviderEntry, pool_size: int) -> Provider:
    protocol = AnthropicProvider if entry.protocol == "anthropic" else OpenAIProvider
    return protocol(
        key=entry.key,
        base_url=entry.base_url,
        api_key=entry.api_key or None,
        timeout=entry.timeout,
        connect_timeout=entry.connect_timeout,
        transport=_transport(pool_size),
    )


@cache
def _transport(pool_size: int) -> Transport:
    return Transport(pool_size=pool_size)
