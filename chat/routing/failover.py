"""One chat over several routes: retries, failover and hedging within one deadline and one budget of provider calls."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from chat.conf import conf
from chat.exceptions import (
    ClientLeft,
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.routing.attempts import Result, Stopwatch, at_rest, call, log_failure
from chat.routing.fitting import remember_refusal
from chat.routing.hedging import race
from chat.types import ABANDONED, ALL_PROVIDERS, Attempt, ChatRequest, Outcome, Route

BACKOFF_BASE, BACKOFF_CAP = 0.5, 8.0
"""Seconds: after its n-th call a chat retries in a random time up to base x 2^n, at most the cap (full jitter)."""
LONGEST_WAIT = 2.0
"""Seconds of a provider's Retry-After that are worth waiting for while the client waits for us."""
SHORTEST_ATTEMPT = 0.05
"""Seconds below which no further attempt is begun."""

RETRY, NEXT, END, ANSWERED = "retry", "next_route", "end", "answered"
DECISIONS: list[tuple[type[ProviderError], Callable[[Any], Any], str]] = [
    # What a failure leads to; the first row that fits holds.
    (ClientLeft, lambda exc: True, END),
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
    ClientLeft,
    ProviderRequestRejectedError,
    ProviderRateLimitError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    InvalidProviderResponseError,
    ProviderError,
]

log = structlog.get_logger(__name__)
sleep = time.sleep
clock = time.monotonic


def route(
    request: ChatRequest,
    routes: Sequence[Route],
    *,
    user: str,
    deadline: float,
    max_attempts: int,
    late: Callable[[Attempt], None],
    stream: bool = False,
) -> Outcome:
    """Ask the routes in their order until one answers `user`, or with `stream` begins to; return what came of it.

    `deadline` is on `time.monotonic()`'s scale. `late` gets the attempt of a hedged call that was abandoned and turned
    out to cost something after all, in that call's own thread. The failure is the `ProviderError` that tells the client
    most, with the provider `all_providers` where every one of several routes failed. Raises nothing: whatever ended the
    chat, a bug or a thread that is to end, its bill is settled all the same.
    """
    # Copies, since a model may list one route twice, and each entry counts for itself.
    routes = [Route(route.provider, route.upstream) for route in routes]
    chat = _Chat(request, user, list(routes), deadline, max_attempts, late, stream)
    answered: Result | None = None
    failure: BaseException | None = None
    try:
        answered = chat.run()
        failure = None if answered else _verdict(chat.failed, routes)
    except BaseException as exc:
        failure = exc
    reply, taken = (answered.reply, answered.route) if answered else (None, None)
    return Outcome(reply, taken, failure, chat.records(), chat.waits.seconds)


@dataclass
class _Chat:
    """One chat on its way; `waiting` are the routes that it has not come to yet, `made` the calls that it has made."""

    request: ChatRequest
    user: str
    waiting: list[Route]
    deadline: float
    max_attempts: int
    late: Callable[[Attempt], None]
    stream: bool
    made: int = 0
    waits: Stopwatch = field(default_factory=Stopwatch)
    running: dict[int, Result] = field(default_factory=dict)
    failed: list[Result] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)

    def run(self) -> Result | None:
        """Return the call that answered, or None. Raises what a bug of ours raised in a call."""
        route, waited = self.waiting.pop(0), False
        while self.has_time():
            results = self.ask(route, waited=waited)
            answered = next((result for result in results if result.reply), None)
            step, wait = (ANSWERED, 0.0) if answered else self.next_step(results)
            self.note(results, answered, f"retry in {wait:.2f} s" if step == RETRY else step)
            if answered:
                return answered
            if crash := next((result.crash for result in results if result.crash), None):
                raise crash
            if step == END:
                break
            waited = step == RETRY and isinstance(results[0].failure, ProviderRateLimitError)
            if step == RETRY:
                with self.waits:
                    sleep(wait)
            else:
                silent, route = route, self.waiting.pop(0)
                log.warning("provider_failover", failed=silent.provider.key, to=route.provider.key)
        return None

    def has_time(self) -> bool:
        return clock() + SHORTEST_ATTEMPT <= self.deadline

    def records(self) -> tuple[Attempt, ...]:
        """Return the attempts that are over, and those that were abandoned."""
        abandoned = [result.attempt(ABANDONED) for result in self.running.values()]
        return *self.attempts, *(replace(each, milliseconds=(clock() - each.started) * 1000) for each in abandoned)

    def note(self, results: list[Result], answered: Result | None, decision: str) -> None:
        """Keep what is to be known of calls that are over, and close what nobody will read of them."""
        for result in results:
            self.running.pop(result.number, None)
            led_to = END if result.crash and not answered else decision
            self.attempts.append(result.attempt(led_to, used=result is answered))
            log_failure(result, led_to)
            if result is not answered:
                result.drop()
            if result.failure:
                self.failed.append(result)
                if result.number:
                    remember_refusal(result.route, result.failure)

    def ask(self, route: Route, *, waited: bool) -> list[Result]:
        """Return the calls that are over: one to `route`, and one to the next beside it when CHAT_HEDGE_AFTER is set
        and this one is silent that long. A route that was asked beside is taken from `waiting`.

        With `waited`, the wait that the provider itself asked for is over, and no rest is in the way.
        """
        failure = None if waited else at_rest(route, self.user)
        if failure:
            return [Result(route, self.user, failure=failure)]
        first = self._begin(route)
        with self.waits:
            if conf.CHAT_HEDGE_AFTER is None or self.made >= self.max_attempts or not self._others(route):
                return [first()]
            return race(
                first,
                lambda: self._beside(route),
                after=conf.CHAT_HEDGE_AFTER,
                decides=lambda result: bool(result.reply or (result.failure and _decision(result.failure) == END)),
                abandoned=self._abandon,
            )

    def _begin(self, route: Route) -> Callable[[], Result]:
        self.made += 1
        request = replace(self.request, trace=self.request.trace.child()) if self.request.trace else self.request
        self.running[self.made] = Result(route, self.user, self.made, started=clock(), trace=request.trace)
        seconds = self.deadline - clock()
        return partial(call, route, self.user, self.made, request, seconds, stream=self.stream)

    def _others(self, route: Route) -> list[Route]:
        return [other for other in self.waiting if other.provider.key != route.provider.key]

    def _beside(self, route: Route) -> Callable[[], Result] | None:
        """Return the call to make beside a silent one. A route at rest is passed over, and stays in `waiting`."""
        for other in self._others(route) if self.has_time() else []:
            if not at_rest(other, self.user):
                self.waiting.remove(other)
                log.info("provider_hedge", silent=route.provider.key, to=other.provider.key)
                return self._begin(other)
        return None

    def _abandon(self, result: Result) -> None:
        result.drop()
        attempt = result.attempt(ABANDONED)
        log.info(
            "provider_attempt_abandoned",
            provider=attempt.provider,
            attempt=attempt.number,
            duration_ms=attempt.milliseconds,
            tokens=attempt.tokens,
        )
        log_failure(result, ABANDONED)
        if attempt.tokens:
            self.late(attempt)

    def next_step(self, results: list[Result]) -> tuple[str, float]:
        """Return what to do after `results` that are no answer, and the seconds to wait before a retry."""
        failures = [result.failure for result in results if result.failure]
        ended = any(_decision(failure) == END for failure in failures)
        if ended or self.made >= self.max_attempts or not self.has_time():
            return END, 0.0
        if len(results) == 1 and results[0].number and failures:
            wait = self._retry_wait(results[0].route, failures[0])
            if wait is not None:
                return RETRY, wait
        return (NEXT if self.waiting else END), 0.0

    def _retry_wait(self, route: Route, failure: ProviderError) -> float | None:
        """Return the seconds after which to ask the same route again; None where that is not worth it.

        One call is kept for each route that was not asked yet, and a wait that does not fit the deadline is not begun.
        """
        others = len(self.waiting)
        asked = failure.retry_after or 0.0
        if self.max_attempts - self.made <= others or asked > LONGEST_WAIT:
            return None
        if _decision(failure) == RETRY and not at_rest(route, self.user):
            wait = max(asked, random.uniform(0, min(BACKOFF_CAP, BACKOFF_BASE * 2**self.made)))
        elif isinstance(failure, ProviderRateLimitError) and asked and not others:
            wait = asked
        else:
            return None
        return wait if clock() + wait + SHORTEST_ATTEMPT < self.deadline else None


def _decision(failure: ProviderError) -> str:
    return next(row[2] for row in DECISIONS if isinstance(failure, row[0]) and row[1](failure))


def _verdict(failed: Sequence[Result], routes: Sequence[Route]) -> ProviderError:
    """Return the failure to tell the client of; its wait is the earliest of all."""
    last = {id(result.route): result.failure for result in failed if result.failure}
    if not last:
        return ProviderTimeoutError(
            routes[0].provider.key, None, "The deadline had passed before a provider was asked."
        )
    # A route that cannot do what was asked is no news beside one that could, later.
    failures = [exc for exc in last.values() if not getattr(exc, "param", "")] or list(last.values())
    best = min(failures, key=lambda exc: next(i for i, kind in enumerate(TELLS_MOST) if isinstance(exc, kind)))
    facts = {"provider": ALL_PROVIDERS} if len(last) == len(routes) > 1 else {}
    return best.but(retry_after=min(exc.wait for exc in failures), **facts)
