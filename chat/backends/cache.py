"""The default cache of a site with Redis: Redis while it answers, this process's own memory while it does not.

So the rate limit, the cooldowns and the stored replies go on when Redis is gone, each process for itself, and a hung
Redis costs one time-out in `RETRY_AFTER` seconds instead of several in every request.
"""

from __future__ import annotations

import functools
import threading
import time
from typing import Any, ClassVar

import structlog
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django_redis.serializers import json
from redis.exceptions import ResponseError

RETRY_AFTER = 1.0
"""Seconds for which Redis is left alone after it failed."""
WARN_EVERY = 60.0
"""Seconds between two log lines about it."""
TRIAL = ("health", 1, 60)
"""Key, value and seconds of what is written to see whether Redis takes it."""

log = structlog.get_logger(__name__)
clock = time.monotonic


class JSONSerializer(json.JSONSerializer):
    """JSON and never pickles: who can write to Redis shall not run code here. A value that cannot be read, such as one
    of an older version, is a miss."""

    def loads(self, value: bytes) -> Any:
        try:
            return super().loads(value)
        except ValueError:
            log.warning("cache_value_unreadable", length=len(value))
            return None


class Outage:
    """What this process knows of one Redis; for all threads, while Django gives each thread a cache of its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ask_at: float | None = None
        self.warned_at: float | None = None
        self.refused = False  # it answers and takes nothing, being full, or a replica

    def over(self) -> None:
        self.ask_at, self.refused = None, False

    def may_ask(self) -> bool:
        """Return whether to ask Redis now. In an outage one thread in `RETRY_AFTER` seconds may, and pays the
        time-out."""
        ask_at = self.ask_at
        if ask_at is None:
            return True
        with self.lock:
            if clock() < (self.ask_at or ask_at):
                return False
            self.ask_at = clock() + RETRY_AFTER
            return True

    def noticed(self, exc: Exception) -> None:
        with self.lock:
            self.ask_at = clock() + RETRY_AFTER
            self.refused = isinstance(exc, ResponseError) or isinstance(exc.__cause__, ResponseError)
            warn = self.warned_at is None or clock() - self.warned_at >= WARN_EVERY
            if warn:
                self.warned_at = clock()
        if warn:
            log.warning(
                "cache_unavailable",
                detail="Redis does not answer, or takes nothing; rate limits, cooldowns and stored replies are per "
                "process meanwhile.",
                exc_info=exc,
            )


@functools.cache
def outage_of(location: str) -> Outage:
    """Return what this process knows of the Redis at `location`."""
    return Outage()


def speaks_of_the_counter(exc: Exception) -> bool:
    """Return whether the failure of an `incr` says that the counter is missing, no number, or one that cannot be read.
    Where Redis takes nothing, its own words are the failure or the cause of one."""
    if isinstance(exc, ResponseError):
        return str(exc).startswith("WRONGTYPE")
    return isinstance(exc, TypeError) or (isinstance(exc, ValueError) and not isinstance(exc.__cause__, ResponseError))


class FallbackCache(BaseCache):
    """Django's cache over the alias `redis` and the one that its LOCATION names, in this process's memory."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.local = location
        self.outage = outage_of(caches.settings["redis"]["LOCATION"])

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        if self.outage.may_ask():
            try:
                if self.outage.refused:  # what was meant for it is here, so nothing is read there before it takes again
                    caches["redis"].set(*TRIAL)
                answer = getattr(caches["redis"], method)(*args, **kwargs)
            except Exception as exc:  # whatever the client raises, a chat must not fail for want of a cache
                if method == "incr" and speaks_of_the_counter(exc):
                    self.outage.over()
                    if isinstance(exc, ValueError):
                        raise  # the key is not there: an answer, not a failure
                    caches["redis"].delete(args[0], version=kwargs.get("version"))
                    raise ValueError("The value is no number.") from None
                self.outage.noticed(exc)
            else:
                self.outage.over()
                return answer
        return getattr(caches[self.local], method)(*args, **kwargs)

    def healthy(self) -> bool:
        """Return whether Redis itself answers now, and takes what it is given."""
        try:
            caches["redis"].get("health")
            caches["redis"].set(*TRIAL)
        except Exception as exc:  # see _call
            self.outage.noticed(exc)
            return False
        self.outage.over()
        return True

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return bool(self._call("add", key, value, timeout=timeout, version=version))

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        value = self._call("get", key, default, version=version)
        return default if value is None else value

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        self._call("set", key, value, timeout=timeout, version=version)

    def set_many(self, data: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> list[Any]:
        return list(self._call("set_many", data, timeout=timeout, version=version) or [])

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return bool(self._call("touch", key, timeout=timeout, version=version))

    def delete(self, key: Any, version: Any = None) -> bool:
        return bool(self._call("delete", key, version=version))

    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        unsettled = self.outage.ask_at is not None
        try:
            return int(self._call("incr", key, delta, version=version))
        except ValueError:
            if not unsettled and self.outage.ask_at is None:
                raise
            # The counter is in the other cache, which answered until just now; a new one begins here.
            self.set(key, delta, timeout=86_400, version=version)  # the longest window of a rate; keys name theirs
            return delta

    def get_many(self, keys: Any, version: Any = None) -> dict[Any, Any]:
        found = self._call("get_many", list(keys), version=version)
        return {key: value for key, value in found.items() if value is not None}

    def delete_many(self, keys: Any, version: Any = None) -> None:
        self._call("delete_many", list(keys), version=version)

    def clear(self) -> None:
        self._call("clear")


class CounterCache(FallbackCache):
    """For the rate limit's counters, which are never deleted: a counter that this process has seen need not be asked
    for again, so that counting costs one round trip and not two."""

    seen: ClassVar[dict[str, float]] = {}
    MOST_SEEN = 10_000

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        if self.seen.get(key, 0.0) > clock():
            return False
        added = super().add(key, value, timeout=timeout, version=version)
        if len(self.seen) >= self.MOST_SEEN:
            self.seen.clear()
        self.seen[key] = clock() + timeout
        return added

    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        try:
            return super().incr(key, delta, version=version)
        except ValueError:
            self.seen.pop(key, None)
            raise
