"""Which provider rests. Shared by all workers through the cache; without it each process decides for itself.

Five failures in a row, or a 429 that names its wait, put a provider to rest. When the rest ends one chat is let through
as a probe: if it is served the provider is back, if not it rests again. A stream that begins lets the others in, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog
from django.core.cache import cache

from chat import exceptions
from chat.exceptions import ProviderError, ProviderRateLimitError, ProviderRequestRejectedError
from chat.providers.failures import CREDIT_SPENT, KEY_REFUSED

FAILURES_IN_A_ROW = 5
REST = 30.0
"""Seconds of an ordinary rest."""
LONG_REST = 300.0
"""Seconds of rest after one of `FAULTS`."""
FAULTS = {verdict.fact: verdict.meaning for verdict in (KEY_REFUSED, CREDIT_SPENT)}
"""What nothing mends but an operator."""
MEMORY = 600
"""Seconds after which the cache forgets a provider's failures."""
REFRESH = 1.0
"""Seconds for which a process trusts what it last read from the cache, so that a chat need not pay a round trip."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Rest:
    """Why a provider rests, and until when (seconds since the epoch). What other workers read from the cache."""

    cause: str
    status_code: int | None
    kind: str
    until: float

    def left(self) -> float:
        return self.until - time.time()

    def error(self, provider: str) -> ProviderError:
        """The failure that put the provider to rest, once more, without asking the provider."""
        cause: type[ProviderError] = getattr(exceptions, self.cause)
        wait = max(1.0, self.left())
        message = f"{provider} rests for {wait:.0f} more seconds after {self.cause}."
        details = {"kind": self.kind} if self.kind else None
        return cause(provider, self.status_code, message, wait, details=details, unsent=True)


_seen: dict[str, tuple[float, Rest | None, int]] = {}


def _keys(provider: str) -> tuple[str, str, str]:
    return f"cooldown:{provider}", f"cooldown-failures:{provider}", f"cooldown-probe:{provider}"


def _read(provider: str, *, fresh: bool = False) -> tuple[Rest | None, int]:
    read_at, rest, failures = _seen.get(provider, (float("-inf"), None, 0))
    if fresh or time.monotonic() - read_at > REFRESH:
        rest_key, failures_key, _ = _keys(provider)
        found = cache.get_many([rest_key, failures_key])
        rest, failures = found.get(rest_key), found.get(failures_key, 0)
        _seen[provider] = (time.monotonic(), rest, failures)
    return rest, failures


def resting(provider: str, probe_seconds: float) -> ProviderError | None:
    """The error to answer with if `provider` rests, else None: ask it.

    When a rest is over, exactly one caller gets None; the others go on resting until that probe is decided, for
    `probe_seconds` at the most.
    """
    rest, _ = _read(provider)
    if rest is None:
        return None
    if rest.left() <= 0 and cache.add(_keys(provider)[2], 1, timeout=int(probe_seconds) + 1):
        return None
    return rest.error(provider)


def state(provider: str) -> dict[str, Any]:
    """For operators: `state` is `available`, `resting` or `probing`; `cause` and `why` it rests, and for how many more
    seconds."""
    rest, failures = _read(provider, fresh=True)
    if rest is None:
        return {"state": "available", "failures_in_a_row": failures}
    left = max(0.0, rest.left())
    return {
        "state": "resting" if left else "probing",
        "failures_in_a_row": failures,
        "cause": rest.cause,
        "why": FAULTS.get(rest.kind, ""),
        "seconds_left": round(left, 1),
    }


def forget_faults(providers: Iterable[str]) -> None:
    """End the rests that only an operator can end. For a server that starts, perhaps with a new key."""
    for provider in providers:
        rest, _ = _read(provider, fresh=True)
        if rest and rest.kind in FAULTS:
            cache.delete_many(_keys(provider))
            _seen.pop(provider, None)
            log.info("provider_cooldown", provider=provider, state="over")


def succeeded(provider: str) -> None:
    """The provider answered: forget its failures, and end a rest whose time is over.

    A rest that lasts is not ended by a chat that had begun before it: a provider that named its wait still means it.
    """
    rest, failures = _read(provider)
    if rest and rest.left() > 0:
        return
    if rest or failures:
        cache.delete_many(_keys(provider))
        _seen.pop(provider, None)
        if rest:
            log.info("provider_cooldown", provider=provider, state="over")


def began(provider: str) -> None:
    """A stream of the provider has begun: end a rest whose time is over, since its end may be minutes away.

    Until something succeeds, one more failure makes it rest again: one whose streams always break off does not work.
    """
    rest, _ = _read(provider)
    if rest and rest.left() <= 0:
        rest_key, failures_key, probe_key = _keys(provider)
        cache.set(failures_key, FAILURES_IN_A_ROW - 1, timeout=MEMORY)
        cache.delete_many([rest_key, probe_key])
        _seen.pop(provider, None)
        log.info("provider_cooldown", provider=provider, state="over")


def failed(exc: ProviderError) -> None:
    """Count a failure, and put the provider to rest if it is time. A rejected request is none: the provider works."""
    if isinstance(exc, ProviderRequestRejectedError):
        succeeded(exc.provider)
        return
    rest_key, _, probe_key = _keys(exc.provider)
    seconds = _rest_after(exc)
    if seconds is None:
        rest, _ = _read(exc.provider)
        if rest and rest.left() > 0:
            exc.retry_after = max(exc.wait, rest.left())
        elif rest:
            cache.delete(probe_key)  # a probe that decided nothing: the next chat may try
        return
    exc.retry_after = max(exc.wait, seconds)
    rest = Rest(type(exc).__name__, exc.status_code, exc.details.get("kind", ""), time.time() + seconds)
    current, _ = _read(exc.provider)
    if current and current.until >= rest.until:
        exc.retry_after = max(exc.wait, current.left())
        return
    cache.set(rest_key, rest, timeout=int(seconds) + MEMORY)
    cache.delete(probe_key)
    _seen[exc.provider] = (time.monotonic(), rest, FAILURES_IN_A_ROW)
    facts = {"provider": exc.provider, "cause": rest.cause, "seconds": round(seconds, 1)}
    log.warning("provider_cooldown", state="resting", **facts)


def _rest_after(exc: ProviderError) -> float | None:
    """How long the provider must rest now, in seconds; None if it need not."""
    kind = exc.details.get("kind")
    if kind in FAULTS:
        return LONG_REST
    if type(exc) is ProviderError:
        return None  # an upstream model that does not exist says nothing of the provider's health
    rest, _ = _read(exc.provider, fresh=True)
    if isinstance(exc, ProviderRateLimitError) and exc.retry_after is not None:
        return exc.retry_after
    if rest and rest.left() > 0:
        return None  # this chat had begun before the rest, which is no reason to prolong it
    failures = _count(exc.provider)
    return REST if rest or failures >= FAILURES_IN_A_ROW else None


def _count(provider: str) -> int:
    key = _keys(provider)[1]
    if cache.add(key, 1, timeout=MEMORY):
        failures = 1
    else:
        try:
            failures = cache.incr(key)
        except ValueError:  # it expired between the two
            failures = 1
    _seen.pop(provider, None)
    return failures
