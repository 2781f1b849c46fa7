"""One chat over several routes: retries, failover and hedging within one deadline and one budget of provider calls."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from chat.conf import conf
from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.providers.base import ChatStream
from chat.routing.attempts import Attempt, at_rest, call, log_failure
from chat.routing.fitting import remember_refusal
from chat.routing.hedging import race
from chat.types import ChatReply, ChatRequest, Route

BACKOFF_BASE, BACKOFF_CAP = 0.5, 8.0
"""Seconds: after its n-th call a chat retries in a random time up to base x 2^n, at most the cap (full jitter)."""
LONGEST_WAIT = 2.0
"""Seconds of a provider's Retry-After that are worth waiting for while the client waits for us."""
SHORTEST_ATTEMPT = 0.05
"""Seconds below which no further attempt is begun."""

RETRY, NEXT, END = "retry", "next_route", "end"
DECISIONS: list[tuple[type[ProviderError], Callable[[Any], Any], str]] = [
    # What a failure leads to; the first row that fits holds.
    # This upstream model, or our rate there, does not take it; another may.
    (ProviderRequestRejectedError, lambda exc: exc.param or exc.reason == "too_large", NEXT),
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
    """What became of one chat: who answered and what it took. `provider_seconds` were spent waiting for providers, also
    between two tries; `abandoned` is called, in a thread of its own, with the tokens of a hedged call that turned out
    to cost something after all."""

    abandoned: Callable[[int], None] = lambda tokens: None
    answered: Attempt | None = None
    attempts: int = 0
    provider_seconds: float = 0.0
    uncharged_tokens: int = 0
    failures: list[Attempt] = field(default_factory=list)

    @property
    def provider(self) -> str:
        return self.answered.provider if self.answered else ""

    @property
    def upstream_model(self) -> str:
        return self.answered.route.upstream_model if self.answered else ""

    def waited(self, seconds: float) -> None:
        """Count a wait for the provider within its stream."""
        self.provider_seconds += seconds

    def last_failures(self) -> list[ProviderError]:
        """The last failure of each route that was asked or found at rest."""
        last = {id(attempt.route): attempt.failure for attempt in self.failures}
        return [failure for failure in last.values() if failure]


def run(
    request: ChatRequest,
    routes: Sequence[Route],
    *,
    user: str,
    deadline: float,
    max_attempts: int,
    course: Course,
    stream: bool = False,
) -> ChatReply | ChatStream:
    """Ask the routes in their order until one answers `user`, or with `stream` begins to; `course` tells what happened,
    also when this raises.

    `deadline` is on `time.monotonic()`'s scale. Raises the `ProviderError` that tells the client most, with the
    provider `all_providers` where every one of several routes failed.
    """
    # Copies, since a model may list one route twice, and each entry counts for itself.
    routes = [Route(route.provider, route.upstream) for route in routes]
    chat = _Chat(request, user, list(routes), deadline, max_attempts, course, stream)
    route, waited = chat.waiting.pop(0), False
    while chat.has_time():
        attempts = chat.ask(route, waited=waited)
        step, wait = chat.next_step(attempts)
        answered = next((attempt for attempt in attempts if attempt.reply), None)
        for attempt in attempts:
            retry = f"retry in {wait:.2f} s" if step == RETRY else step
            log_failure(attempt, "answered" if answered else END if attempt.crash else retry)
        if answered and answered.reply:
            course.answered = answered
            return answered.reply
        if crash := next((attempt.crash for attempt in attempts if attempt.crash), None):
            raise crash
        if step == END:
            break
        waited = step == RETRY and isinstance(attempts[0].failure, ProviderRateLimitError)
        if step == RETRY:
            started = clock()
            sleep(wait)
            course.provider_seconds += clock() - started
        else:
            failed, route = route, chat.waiting.pop(0)
            log.warning("provider_failover", failed=failed.provider.key, to=route.provider.key)
    raise _verdict(course, routes)


@dataclass
class _Chat:
    """One chat on its way; `waiting` are the routes that it has not come to yet."""

    request: ChatRequest
    user: str
    waiting: list[Route]
    deadline: float
    max_attempts: int
    course: Course
    stream: bool

    def has_time(self) -> bool:
        return clock() + SHORTEST_ATTEMPT <= self.deadline

    def ask(self, route: Route, *, waited: bool) -> list[Attempt]:
        """The attempts that are over: one of `route`, and of the next one beside it when CHAT_HEDGE_AFTER is set and
        this one is silent that long. A route that was asked beside is taken from `waiting`.

        With `waited`, the wait that the provider itself asked for is over, and no rest is in the way.
        """
        failure = None if waited else at_rest(route, self.user)
        attempts = [Attempt(route, self.user, failure=failure)] if failure else self._ask(route)
        answered = next((attempt for attempt in attempts if attempt.reply), None)
        for attempt in attempts:
            if attempt is not answered:
                self.course.uncharged_tokens += attempt.tokens
                attempt.drop()
            if attempt.number and attempt.failure:
                remember_refusal(attempt.route, attempt.failure)
        self.course.failures += [attempt for attempt in attempts if attempt.failure]
        return attempts

    def _ask(self, route: Route) -> list[Attempt]:
        started, first = clock(), self._begin(route)
        try:
            if conf.CHAT_HEDGE_AFTER is None or self.course.attempts >= self.max_attempts or not self._others(route):
                return [first()]
            return race(
                first,
                lambda: self._beside(route),
                after=conf.CHAT_HEDGE_AFTER,
                decides=lambda attempt: bool(attempt.reply or (attempt.failure and _decision(attempt.failure) == END)),
                abandoned=self._abandon,
            )
        finally:
            self.course.provider_seconds += clock() - started

    def _begin(self, route: Route) -> Callable[[], Attempt]:
        self.course.attempts += 1
        attempt = Attempt(route, self.user, self.course.attempts)
        return partial(call, attempt, self.request, self.deadline - clock(), stream=self.stream)

    def _others(self, route: Route) -> list[Route]:
        return [other for other in self.waiting if other.provider.key != route.provider.key]

    def _beside(self, route: Route) -> Callable[[], Attempt] | None:
        """The call to make beside a silent one. A route at rest is passed over, and stays in `waiting`."""
        for other in self._others(route) if self.has_time() else []:
            if not at_rest(other, self.user):
                self.waiting.remove(other)
                log.info("provider_hedge", silent=route.provider.key, to=other.provider.key)
                return self._begin(other)
        return None

    def _abandon(self, attempt: Attempt) -> None:
        attempt.drop()
        log.info(
            "provider_attempt_abandoned",
            provider=attempt.provider,
            attempt=attempt.number,
            duration_ms=attempt.duration_ms,
            tokens=attempt.tokens,
        )
        log_failure(attempt, "abandoned")
        if attempt.tokens:
            self.course.abandoned(attempt.tokens)

    def next_step(self, attempts: list[Attempt]) -> tuple[str, float]:
        """What to do if `attempts` brought no answer, and the seconds to wait before a retry."""
        failures = [attempt.failure for attempt in attempts if attempt.failure]
        ended = any(_decision(failure) == END for failure in failures)
        if ended or self.course.attempts >= self.max_attempts or not self.has_time():
            return END, 0.0
        if len(attempts) == 1 and attempts[0].number and failures:
            wait = self._retry_wait(attempts[0].route, failures[0])
            if wait is not None:
                return RETRY, wait
        return (NEXT if self.waiting else END), 0.0

    def _retry_wait(self, route: Route, failure: ProviderError) -> float | None:
        """Seconds after which to ask the same route again; None where that is not worth it.

        One call is kept for each route that was not asked yet, and a wait that does not fit the deadline is not begun.
        """
        made, others = self.course.attempts, len(self.waiting)
        asked = failure.retry_after or 0.0
        if self.max_attempts - made <= others or asked > LONGEST_WAIT:
            return None
        if _decision(failure) == RETRY and not at_rest(route, self.user):
            wait = max(asked, random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2**made)))
        elif isinstance(failure, ProviderRateLimitError) and asked and not others:
            wait = asked
        else:
            return None
        return wait if clock() + wait + SHORTEST_ATTEMPT < self.deadline else None


def _decision(failure: ProviderError) -> str:
    return next(row[2] for row in DECISIONS if isinstance(failure, row[0]) and row[1](failure))


def _verdict(course: Course, routes: Sequence[Route]) -> ProviderError:
    """The failure to tell the client of; its wait is the earliest of all."""
    failures = course.last_failures()
    if not failures:
        return ProviderTimeoutError(
            routes[0].provider.key, None, "The deadline had passed before a provider was asked."
        )
    # A route that cannot do what was asked is no news beside one that could, later.
    failures = [exc for exc in failures if not getattr(exc, "param", "")] or failures
    best = min(failures, key=lambda exc: next(i for i, kind in enumerate(TELLS_MOST) if isinstance(exc, kind)))
    best.retry_after = min(exc.wait for exc in failures)
    if len(course.last_failures()) == len(routes) > 1:
        best.provider = ALL_PROVIDERS
    return best
