"""Which routes rest. Shared by all workers through the cache; without it each process decides for itself.

A rest belongs to a provider (its key is refused, its credit is spent), to a route (a provider and its upstream model)
or to a route for one user, whose own requests may have caused the failures. Five failures in a row, or a 429 that names
its wait, put a route to rest: for everybody where no caller can have caused them, or where two users have met them, and
else for the user who met them all. When a rest ends, one chat is let through as a probe: if it is served the route is
back, if not it rests again. A stream that begins lets the others in, too.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

import structlog
from django.core.cache import cache

from chat import exceptions
from chat.exceptions import (
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.protocols.errors import CREDIT_SPENT, KEY_REFUSED, UNKNOWN_MODEL
from chat.types import Route

FAILURES_IN_A_ROW = 5
REST = 30.0
"""Seconds of an ordinary rest."""
LONG_REST = 300.0
"""Seconds of a provider's rest after one of `FAULTS`."""
NOT_OFFERED = 600.0
"""Seconds for which it is believed that a provider does not offer an upstream model."""
FAULTS = {verdict.fact: verdict.meaning for verdict in (KEY_REFUSED, CREDIT_SPENT)}
"""The faults of a provider that nothing mends but an operator."""
MEMORY = 600
"""Seconds after which the cache forgets a route's failures."""
REFRESH = 1.0
"""Seconds for which a process trusts its last reading of the cache, so that a chat need not pay a round trip."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Rest:
    """Why a route rests, and until when (seconds since the epoch). The cache holds it as a list."""

    cause: str
    status_code: int | None
    kind: str
    until: float

    def left(self) -> float:
        return self.until - time.time()

    def error(self, provider: str) -> ProviderError:
        """Return the failure that put the route to rest, once more, without asking the provider."""
        cause: type[ProviderError] = getattr(exceptions, self.cause)
        wait = max(1.0, self.left())
        message = f"{provider} rests for {wait:.0f} more seconds after {self.cause}."
        details = {"kind": self.kind} if self.kind else None
        return cause(provider, self.status_code, message, wait, details=details, unsent=True)


class Scopes:
    """The cache's keys of one route. A scope is the key of a rest; hashed, since a model's name may hold anything."""

    def __init__(self, route: Route) -> None:
        self.provider = f"cooldown:{route.provider.key}"
        self.route = f"cooldown:{hashlib.sha256(str(route).encode()).hexdigest()}"
        self.users = f"{self.route}:users"
        self.failures = f"{self.route}:failures"
        self.places = [f"{self.failures}:{number}" for number in range(FAILURES_IN_A_ROW)]

    def of_user(self, user: str) -> str:
        return f"{self.users}:{user}"


@dataclass(frozen=True)
class Known:
    """The cache's account of a route: the rests by their scopes, and the number of failures in a row."""

    rests: dict[str, Rest]
    failures: int

    def of(self, scopes: Scopes, user: str) -> dict[str, Rest]:
        """Return the rests that concern `user`."""
        concern = (scopes.provider, scopes.route, scopes.of_user(user))
        return {scope: rest for scope, rest in self.rests.items() if scope in concern}


_seen: dict[str, tuple[float, Known]] = {}


def _read(scopes: Scopes, *, fresh: bool = False) -> Known:
    read_at, known = _seen.get(scopes.route, (float("-inf"), Known({}, 0)))
    if fresh or time.monotonic() - read_at > REFRESH:
        found = cache.get_many([scopes.provider, scopes.route, scopes.users, scopes.failures])
        rests = {scope: found[scope] for scope in (scopes.provider, scopes.route) if scope in found}
        rests |= found.get(scopes.users, {})
        known = Known({scope: Rest(*rest) for scope, rest in rests.items()}, found.get(scopes.failures, 0))
        _seen[scopes.route] = (time.monotonic(), known)
    return known


def resting(route: Route, user: str) -> ProviderError | None:
    """Return the error to answer `user` with if the route rests, else None: ask it.

    When a rest is over, exactly one caller gets None; the others go on resting until that probe is decided, for the
    provider's time-out at the most.
    """
    scopes = Scopes(route)
    rests = _read(scopes).of(scopes, user)
    lasting = [rest for rest in rests.values() if rest.left() > 0]
    if lasting:
        return max(lasting, key=Rest.left).error(route.provider.key)
    for scope, rest in rests.items():
        if not cache.add(_probe(scope), 1, timeout=int(route.provider.timeout) + 1):
            return rest.error(route.provider.key)
    return None


def state(route: Route) -> dict[str, Any]:
    """Return for operators: `state` is `available`, `resting`, `probing` or `not_offered`; `cause` and `why` it rests,
    for how many more seconds, and `users_resting`, those for whom alone it does."""
    scopes = Scopes(route)
    known = _read(scopes, fresh=True)
    shared = [rest for scope, rest in known.rests.items() if scope in (scopes.provider, scopes.route)]
    users = [rest for scope, rest in known.rests.items() if scope.startswith(scopes.users) and rest.left() > 0]
    facts: dict[str, Any] = {"failures_in_a_row": known.failures} | ({"users_resting": len(users)} if users else {})
    if not shared:
        return {"state": "available"} | facts
    rest = max(shared, key=Rest.left)
    left = max(0.0, rest.left())
    not_offered = rest.kind == UNKNOWN_MODEL.fact and left
    return {
        "state": "not_offered" if not_offered else "resting" if left else "probing",
        **facts,
        "cause": rest.cause,
        "why": UNKNOWN_MODEL.meaning if rest.kind == UNKNOWN_MODEL.fact else FAULTS.get(rest.kind, ""),
        "seconds_left": round(left, 1),
    }


def forget_faults(routes: Iterable[Route]) -> None:
    """End the rests that only an operator can end. For a server that starts, perhaps with a new key or other names."""
    for route in routes:
        scopes = Scopes(route)
        known = _read(scopes, fresh=True)
        mended = [scope for scope, rest in known.rests.items() if rest.kind in {*FAULTS, UNKNOWN_MODEL.fact}]
        if mended:
            _end(route, scopes, known, mended)


def succeeded(route: Route, user: str) -> None:
    """Forget the route's failures, and end the rests whose time is over: the route has answered `user`.

    A rest that lasts is not ended by a chat that had begun before it: a provider that named its wait still means it.
    """
    scopes = Scopes(route)
    known = _read(scopes)
    rests = known.of(scopes, user)
    if any(rest.left() > 0 for rest in rests.values()):
        return
    if known.failures:
        cache.delete(scopes.failures)
        _seen.pop(scopes.route, None)
    if rests:
        _end(route, scopes, known, rests)


def began(route: Route, user: str) -> None:
    """End the rests whose time is over: a stream has begun for `user`, and its end may be minutes away.

    Until something succeeds, one more failure makes the route rest again: one whose streams always break off is down.
    """
    scopes = Scopes(route)
    known = _read(scopes)
    rests = known.of(scopes, user)
    if rests and all(rest.left() <= 0 for rest in rests.values()):
        places = dict.fromkeys(scopes.places, [user, True])
        cache.set_many({scopes.failures: FAILURES_IN_A_ROW - 1, **places}, timeout=MEMORY)
        _end(route, scopes, known, rests)


def failed(exc: ProviderError, route: Route, user: str) -> ProviderError:
    """Count a failure that `user` met, rest the route or its provider if it is time, and return the failure to tell of,
    which waits as long as the rest. A rejected request is no failure: the provider works."""
    if isinstance(exc, ProviderRequestRejectedError):
        succeeded(route, user)
        return exc
    scopes = Scopes(route)
    waits = []
    if rest := _rest_after(exc, scopes, user):
        waits.append(rest[1])
        _put_to_rest(exc, route, scopes, *rest)
    for scope, old in _read(scopes).of(scopes, user).items():
        if old.left() > 0:
            waits.append(old.left())
        else:
            cache.delete(_probe(scope))  # a probe that decided nothing of this: the next chat may try
    return exc.but(retry_after=max(exc.wait, *waits)) if waits else exc


def _rest_after(exc: ProviderError, scopes: Scopes, user: str) -> tuple[str, float] | None:
    """Return the scope of the rest that is due now, and its seconds."""
    kind = exc.details.get("kind")
    if kind in FAULTS:
        return scopes.provider, LONG_REST
    if kind == UNKNOWN_MODEL.fact:
        return scopes.route, NOT_OFFERED
    if type(exc) is ProviderError:
        return None  # a failure of this call alone
    rests = _read(scopes, fresh=True).of(scopes, user)
    if isinstance(exc, ProviderRateLimitError) and exc.retry_after is not None:
        return scopes.route, exc.retry_after
    if any(rest.left() > 0 for rest in rests.values()):
        return None  # this chat had begun before the rest, which is no reason to prolong it
    in_a_row = _count(scopes, user, _may_be_the_callers(exc))
    probed = [scope for scope in rests if scope != scopes.provider]  # whose rest is over: the key has been taken
    if probed:
        return probed[0], REST
    if len(in_a_row) < FAILURES_IN_A_ROW:
        return None
    callers = {caller for caller, _ in in_a_row}
    for_one = len(callers) == 1 and any(callers_own for _, callers_own in in_a_row)
    return scopes.of_user(user) if for_one else scopes.route, REST


def _may_be_the_callers(exc: ProviderError) -> bool:
    """Return whether the request itself may have caused `exc`, such as a prompt that crashes the provider's server."""
    if isinstance(exc, ProviderUnavailableError):
        return exc.status_code == 500
    return not (isinstance(exc, ProviderRateLimitError) or (isinstance(exc, ProviderTimeoutError) and exc.unsent))


def _count(scopes: Scopes, user: str, callers_own: bool) -> list[tuple[str, bool]]:
    """Count a failure; return those in a row once they are five: who met it, whether the caller may have caused it."""
    if cache.add(scopes.failures, 1, timeout=MEMORY):
        number = 1
    else:
        try:
            number = cache.incr(scopes.failures)
        except ValueError:  # it expired between the two
            number = 1
    cache.set(scopes.places[number % FAILURES_IN_A_ROW], [user, callers_own], timeout=MEMORY)
    _seen.pop(scopes.route, None)
    if number < FAILURES_IN_A_ROW:
        return []
    return [(caller, own) for caller, own in cache.get_many(scopes.places).values()]


def _put_to_rest(exc: ProviderError, route: Route, scopes: Scopes, scope: str, seconds: float) -> None:
    rest = Rest(type(exc).__name__, exc.status_code, exc.details.get("kind", ""), time.time() + seconds)
    known = _read(scopes, fresh=True)
    current = known.rests.get(scope)
    if current and current.until >= rest.until:
        return
    if scope in (scopes.provider, scopes.route):
        cache.set(scope, astuple(rest), timeout=int(seconds) + MEMORY)
    else:
        _write_users(scopes, known.rests | {scope: rest})
    cache.delete(_probe(scope))
    _seen.pop(scopes.route, None)
    facts = {"provider": route.provider.key, "cause": rest.cause, "seconds": round(seconds, 1)}
    if scope != scopes.provider:
        facts |= {"upstream_model": route.upstream.model, "for_one_user": scope != scopes.route}
    log.warning("provider_cooldown", state="resting", **facts)


def _end(route: Route, scopes: Scopes, known: Known, ended: Iterable[str]) -> None:
    """End the rests of these scopes."""
    ended = set(ended)
    cache.delete_many([*(ended & {scopes.provider, scopes.route}), *map(_probe, ended)])
    if any(scope.startswith(scopes.users) for scope in ended):
        _write_users(scopes, {scope: rest for scope, rest in known.rests.items() if scope not in ended})
    _seen.pop(scopes.route, None)
    log.info("provider_cooldown", provider=route.provider.key, upstream_model=route.upstream.model, state="over")


def _write_users(scopes: Scopes, rests: Mapping[str, Rest]) -> None:
    """Keep the rests that are for single users, together: all of them are read with the route's own in one go."""
    cache.set(scopes.users, dict(_remembered(scopes, rests)), timeout=MEMORY)


def _remembered(scopes: Scopes, rests: Mapping[str, Rest]) -> Iterator[tuple[str, Any]]:
    for scope, rest in rests.items():
        if scope.startswith(scopes.users) and rest.left() > -MEMORY:
            yield scope, astuple(rest)


def _probe(scope: str) -> str:
    return f"{scope}:probe"
