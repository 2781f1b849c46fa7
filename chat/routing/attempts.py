"""One call to one provider: who is asked, what came of it, and what the provider's cooldown learns from it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache

import structlog
from django.utils.crypto import salted_hmac

from chat.conf import conf
from chat.exceptions import ClientLeft, ProviderError, ProviderTimeoutError
from chat.protocols.registry import PROTOCOLS
from chat.providers.base import Provider
from chat.providers.client import Client
from chat.providers.simulator import SimulatorProvider
from chat.providers.transport.pool import Transport
from chat.routing import cooldown, thoughts
from chat.types import ABANDONED, SIMULATOR, Attempt, ChatRequest, ChatStream, ProviderEntry, Reply, Route, Trace

log = structlog.get_logger(__name__)


@dataclass(frozen=True, eq=False)
class Result:
    """What came of one call to one provider for `user`, the `number`-th of its chat; 0: of not calling it, since it
    rests. One of `reply`, `failure` and `crash` (a bug of ours) is set.

    The reply of a stream is one that is still arriving: its end is to be told to `learn`.
    """

    route: Route
    user: str
    number: int = 0
    reply: Reply | ChatStream | None = None
    failure: ProviderError | None = None
    crash: BaseException | None = None
    milliseconds: float = 0.0
    started: float = 0.0
    trace: Trace | None = None

    @property
    def tokens(self) -> int:
        """Return the tokens that the provider says it billed."""
        usage = self.reply.usage if self.reply else self.failure.usage if self.failure else None
        return usage.total if usage else 0

    def attempt(self, decision: str, *, used: bool = False) -> Attempt:
        """Return the record of this call; `used` says that its reply is the answer."""
        failed = self.failure or self.crash
        return Attempt(
            self.route.provider.key,
            self.route.upstream_model,
            self.number,
            status=self.failure.status_code if self.failure else None,
            reason=type(failed).__name__ if failed else "" if used else ABANDONED,
            milliseconds=self.milliseconds,
            decision=decision,
            tokens=self.tokens,
            started=self.started,
            trace=self.trace,
        )

    def drop(self) -> None:
        """Close the stream that nobody will read."""
        if self.reply and not isinstance(self.reply, Reply):
            self.reply.close()


class Stopwatch:
    """Adds up the seconds that are spent within it."""

    seconds = 0.0

    def __enter__(self) -> None:
        self.began = time.monotonic()

    def __exit__(self, *exc: object) -> None:
        self.seconds += time.monotonic() - self.began


def at_rest(route: Route, user: str) -> ProviderError | None:
    """Return the failure that put the route to rest for `user`, if it rests; None is leave to ask it, and the only
    leave when a rest has just ended. The simulator never rests: it is asked to fail."""
    return None if route.provider.protocol == SIMULATOR else cooldown.resting(route, user)


def call(route: Route, user: str, number: int, request: ChatRequest, seconds: float, *, stream: bool = False) -> Result:
    """Ask the route's provider, for `seconds` at most (of a stream: until its first text). Never raises, since it may
    run in a thread of its own."""
    started = time.monotonic()
    reply: Reply | ChatStream | None = None
    failure: ProviderError | None = None
    crash: BaseException | None = None
    try:
        reply = _reply(route, user, request, seconds, stream)
    except ProviderError as exc:
        failure = exc.with_traceback(None)  # nobody reads it, and its frames hold the request
    except BaseException as exc:  # raised again by the thread that serves the chat
        crash = exc
    milliseconds = round((time.monotonic() - started) * 1000, 1)
    if reply:
        learn(route, user, None, begun=not isinstance(reply, Reply))
    elif failure and not (isinstance(failure, ClientLeft) or _cut_short(failure, route.provider, seconds)):
        failure = learn(route, user, failure)
    return Result(route, user, number, reply, failure, crash, milliseconds, started, request.trace)


def _reply(route: Route, user: str, request: ChatRequest, seconds: float, stream: bool) -> Reply | ChatStream:
    client, upstream = provider(route), route.upstream
    request = thoughts.for_route(request, route)
    if upstream.max_output_tokens:
        request = replace(request, max_tokens=min(request.max_tokens, upstream.max_output_tokens))
    if client.tells_users_apart(upstream):
        request = replace(request, pseudonym=pseudonym(user))
    if not stream:
        return client.complete(request, upstream=upstream, timeout=seconds)
    # The client gets its first keep-alive, and with it the status, when it has waited that long in all.
    handover = conf.CHAT_KEEP_ALIVE - (conf.CHAT_DEADLINE - seconds)
    idle_timeout = conf.CHAT_STREAM_IDLE_TIMEOUT
    return client.stream(request, upstream=upstream, timeout=seconds, idle_timeout=idle_timeout, handover=handover)


def pseudonym(user: str) -> str:
    """Return the name of `user` towards a provider, who can tell by it which requests are one user's and not whose."""
    return salted_hmac("chat.pseudonym", user, algorithm="sha256").hexdigest()


def learn(route: Route, user: str, failure: ProviderError | None, *, begun: bool = False) -> ProviderError | None:
    """Tell the route's cooldown how a call or a stream ended; return the failure to tell the user of.

    That a stream has `begun` is no success: a route whose streams always break off would never rest.
    """
    if route.provider.protocol == SIMULATOR:
        return failure
    try:
        if failure:
            return cooldown.failed(failure, route, user)
        if begun:
            cooldown.began(route, user)
        else:
            cooldown.succeeded(route, user)
    except Exception as exc:  # a cooldown is a convenience; the chat goes on without
        log.error("cooldown_not_kept", provider=route.provider.key, exc_info=exc)
    return failure


def log_failure(result: Result, decision: str) -> None:
    """Write the call's line in the log, if it failed: with what, and what is done about it."""
    facts = {
        "provider": result.route.provider.key,
        "attempt": result.number,
        "duration_ms": result.milliseconds,
        "decision": decision,
    }
    if result.crash:
        log.error(
            "provider_attempt_failed",
            **facts,
            reason=type(result.crash).__name__,
            exc_info=None if decision == "end" else result.crash,
        )
    if not result.number or not (failure := result.failure):
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
    """Return whether a call timed out for no better reason than that the chat had little time left."""
    own = isinstance(failure, ProviderTimeoutError) and failure.status_code is None
    return own and seconds < min(entry.timeout, conf.CHAT_DEADLINE) / 2


def provider(route: Route) -> Provider:
    """Return the client for a route of models.toml; kept for the life of the process, as are its connections.

    Raises `ProviderError` where HTTP cannot carry the entry's URL or key.
    """
    entry = route.provider
    if entry.protocol == SIMULATOR:
        return SimulatorProvider(
            key=SIMULATOR, latency=conf.SIMULATOR_LATENCY, failure_rate=conf.SIMULATOR_FAILURE_RATE
        )
    try:
        return _client(entry, route.protocol, conf.PROVIDER_POOL_SIZE)
    except ValueError as exc:
        raise ProviderError(entry.key, None, str(exc), details={"kind": "key"}, unsent=True) from None


@cache
def _client(entry: ProviderEntry, protocol: str, pool_size: int) -> Provider:
    return Client(
        PROTOCOLS[protocol],
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
