"""One chat over several routes: retries, failover and hedging within one deadline and one budget of provider calls."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import structlog

from chat import cooldown
from chat.catalogue import SIMULATOR, ProviderEntry, Route
from chat.conf import conf
from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.hedging import race
from chat.providers.anthropic import AnthropicProvider
from chat.providers.base import ChatReply, ChatRequest, Provider
from chat.providers.openai import OpenAIProvider
from chat.providers.simulator import SimulatorProvider
from chat.providers.transport import Transport

BACKOFF_BASE, BACKOFF_CAP = 0.5, 8.0
"""Seconds: the n-th retry waits a random time up to base x 2^n, at most the cap (full jitter)."""
LONGEST_WAIT = 2.0
"""Seconds of a provider's Retry-After that are worth waiting for while the client waits for us."""
SHORTEST_ATTEMPT = 0.05
"""Seconds below which no further attempt is begun."""

RETRY, NEXT, END = "retry", "next_route", "end"
DECISIONS: list[tuple[type[ProviderError], Callable[[Any], bool], str]] = [
    # What a failure leads to; the first row that fits holds.
    (ProviderRequestRejectedError, lambda exc: True, END),
    (ProviderRateLimitError, lambda exc: True, NEXT),
    (ProviderUnavailableError, lambda exc: exc.unsent or exc.status_code in {500, 502, 503, 529}, RETRY),
    (ProviderTimeoutError, lambda exc: exc.unsent, RETRY),
    (ProviderError, lambda exc: True, NEXT),
]
TELLS_MOST = [
    # Of several failures, the client hears of the first kind in this list.
    ProviderRequestRejectedError,
    ProviderRateLimitError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    InvalidProviderResponseError,
    ProviderError,
]
ALL_PROVIDERS = "all_providers"

log = structlog.get_logger(__name__)
sleep = time.sleep
clock = time.monotonic


@dataclass
class Course:
    """What became of one chat: who answered and what it took. `provider_seconds` were spent waiting for providers;
    `abandoned` is called with the tokens of a hedged call that turned out to cost something after all."""

    abandoned: Callable[[int], None] = lambda tokens: None
    provider: str = ""
    attempts: int = 0
    provider_seconds: float = 0.0
    uncharged_tokens: int = 0
    failures: list[Attempt] = field(default_factory=list)


@dataclass
class Attempt:
    """One call to one provider, or the decision not to make it; either `reply` or `failure` is set once it is over."""

    route: Route
    reply: ChatReply | None = None
    failure: ProviderError | None = None
    crash: BaseException | None = None

    @property
    def provider(self) -> str:
        return self.route.provider.key

    def usage(self) -> int:
        """The tokens that the provider says it billed."""
        usage = self.reply.usage if self.reply else self.failure.usage if self.failure else None
        return usage.total if usage else 0


def run(
    request: ChatRequest, routes: Sequence[Route], *, deadline: float, max_attempts: int, course: Course
) -> ChatReply:
    """Ask the routes in their order until one answers; `course` tells what happened, also when this raises.

    `deadline` is on `time.monotonic()`'s scale. Raises the `ProviderError` that tells the client most, with the
    provider `all_providers` where every one of several routes failed.
    """
    waiting = list(routes)
    while waiting:
        route = waiting.pop(0)
        while True:
            attempts = _ask(request, route, waiting, deadline=deadline, max_attempts=max_attempts, course=course)
            if reply := next((attempt.reply for attempt in attempts if attempt.reply), None):
                return reply
            failure = attempts[-1].failure
            assert failure is not None
            wait = None
            if len(attempts) == 1:
                wait = _retry_wait(failure, course.attempts, len(waiting), deadline=deadline, max_attempts=max_attempts)
            _log_failures(attempts, wait, len(waiting), course)
            if wait is None:
                break
            sleep(wait)
        if _decision(failure) == END or course.attempts >= max_attempts or clock() + SHORTEST_ATTEMPT > deadline:
            break
        if waiting:
            log.warning("provider_failover", failed=failure.provider, to=waiting[0].provider.key)
    raise _verdict(course, routes)


def _ask(
    request: ChatRequest, route: Route, waiting: list[Route], *, deadline: float, max_attempts: int, course: Course
) -> list[Attempt]:
    """Ask one route, and the next one beside it when CHAT_HEDGE_AFTER is set and this one is silent that long.

    The attempts that are over, a success last; a route that was asked beside is taken from `waiting`.
    """
    if failure := _at_rest(route):
        course.failures.append(Attempt(route, failure=failure))
        return course.failures[-1:]
    started = clock()
    course.attempts += 1
    after, others = conf.CHAT_HEDGE_AFTER, [other for other in waiting if other.provider.key != route.provider.key]
    if after is None or not others or course.attempts >= max_attempts:
        attempts = [_call(request, route, deadline)]
    else:

        def beside() -> Attempt:
            if failure := _at_rest(others[0]):
                return Attempt(others[0], failure=failure)
            waiting.remove(others[0])
            course.attempts += 1
            log.info("provider_hedge", silent=route.provider.key, to=others[0].provider.key, after=after)
            return _call(request, others[0], deadline)

        attempts = race(
            lambda: _call(request, route, deadline),
            beside,
            after=after,
            won=lambda attempt: attempt.reply is not None,
            abandoned=lambda attempt: course.abandoned(attempt.usage()) if attempt.usage() else None,
        )
    course.provider_seconds += clock() - started
    for attempt in attempts:
        if attempt.crash:
            raise attempt.crash
        if attempt.reply:
            course.provider = attempt.provider
        else:
            course.uncharged_tokens += attempt.usage()
            course.failures.append(attempt)
    return attempts


def _at_rest(route: Route) -> ProviderError | None:
    """The failure that put the route's provider to rest, if it rests. The simulator never does: it is asked to fail."""
    if route.provider.protocol == SIMULATOR:
        return None
    return cooldown.resting(route.provider.key, route.provider.timeout)


def _call(request: ChatRequest, route: Route, deadline: float) -> Attempt:
    """One provider call. Never raises, since it may run in a thread of its own."""
    attempt, started = Attempt(route), clock()
    try:
        attempt.reply = provider(route.provider).complete(
            request, model=route.upstream_model, timeout=deadline - started
        )
    except ProviderError as exc:
        exc.details["duration_ms"] = round((clock() - started) * 1000, 1)
        attempt.failure = exc
    except BaseException as exc:  # raised again by the thread that serves the chat
        attempt.crash = exc
    if route.provider.protocol != SIMULATOR:
        if attempt.failure:
            cooldown.failed(attempt.failure)
        elif attempt.reply:
            cooldown.succeeded(attempt.provider)
    return attempt


def _decision(failure: ProviderError) -> str:
    return next(row[2] for row in DECISIONS if isinstance(failure, row[0]) and row[1](failure))


def _retry_wait(
    failure: ProviderError, attempts: int, others: int, *, deadline: float, max_attempts: int
) -> float | None:
    """Seconds after which to ask the same route again; None where that is not worth it.

    One call is kept for each route that was not asked yet, and a wait that does not fit the deadline is not begun.
    """
    if attempts == 0 or max_attempts - attempts <= others:
        return None
    asked = failure.retry_after or 0.0
    if _decision(failure) == RETRY:
        wait = max(asked, random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2**attempts)))
    elif isinstance(failure, ProviderRateLimitError) and asked and not others:
        wait = asked
    else:
        return None
    return wait if asked <= LONGEST_WAIT and clock() + wait + SHORTEST_ATTEMPT < deadline else None


def _log_failures(attempts: list[Attempt], wait: float | None, others: int, course: Course) -> None:
    for failure in (attempt.failure for attempt in attempts):
        if failure is None or "duration_ms" not in failure.details:
            continue  # it rests and was not asked
        critical = failure.details.get("kind") in {"key", "credit"}
        next_step = END if _decision(failure) == END or not others else NEXT
        (log.critical if critical else log.warning)(
            "provider_attempt_failed",
            provider=failure.provider,
            attempt=course.attempts,
            reason=type(failure).__name__,
            status_code=failure.status_code,
            retry_after=failure.retry_after,
            detail=failure.message,
            decision=f"retry in {wait:.2f} s" if wait is not None else next_step,
            **failure.details,
        )


def _verdict(course: Course, routes: Sequence[Route]) -> ProviderError:
    """The failure to tell the client of; its wait is the earliest of all."""
    last = {attempt.route: attempt.failure for attempt in course.failures}
    failures = [exc for exc in last.values() if exc]
    if not failures:
        return ProviderTimeoutError(
            routes[0].provider.key, None, "The deadline had passed before a provider was asked."
        )
    best = min(failures, key=lambda exc: TELLS_MOST.index(type(exc)))
    if len(routes) > 1 and len(last) == len(routes):
        best.provider = ALL_PROVIDERS
    if len(failures) > 1:
        best.retry_after = min(exc.wait for exc in failures)
    return best


@cache
def _transport(pool_size: int) -> Transport:
    return Transport(pool_size=pool_size)


def provider(entry: ProviderEntry) -> Provider:
    """The client for an entry of models.toml; kept for the life of the process, as are its connections."""
    if entry.protocol == SIMULATOR:
        return SimulatorProvider(
            key=SIMULATOR, latency=conf.SIMULATOR_LATENCY, failure_rate=conf.SIMULATOR_FAILURE_RATE
        )
    return _client(entry, conf.PROVIDER_POOL_SIZE)


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
