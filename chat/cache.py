"""The default cache of a site with Redis: Redis while it answers, this process's own memory while it does not.

So the rate limit, the cooldowns and the stored replies go on when Redis is gone, each process for itself, and a hung
Redis costs one time-out in `RETRY_AFTER` seconds instead of several in every request.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from django.core.cache import caches
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache

RETRY_AFTER = 1.0
"""Seconds for which Redis is left alone after it failed."""
WARN_EVERY = 60.0
"""Seconds between two log lines about it."""

log = structlog.get_logger(__name__)


class FallbackCache(BaseCache):
    """Django's cache over the aliases `redis` and `local`."""

    clock = staticmethod(time.monotonic)

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        self.down_until = 0.0
        self.warned_at: float | None = None

    def _call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        now = self.clock()
        if now >= self.down_until:
            try:
                return getattr(caches["redis"], method)(*args, **kwargs)
            except ValueError:
                raise  # incr of a key that is not there: an answer, not a failure
            except Exception as exc:  # whatever the client raises, a chat must not fail for want of a cache
                self._failed(now, exc)
        return getattr(caches["local"], method)(*args, **kwargs)

    def _failed(self, now: float, exc: Exception) -> None:
        self.down_until = now + RETRY_AFTER
        if self.warned_at is None or now - self.warned_at >= WARN_EVERY:
            self.warned_at = now
            log.warning(
                "cache_unavailable",
                detail="Redis does not answer; rate limits, cooldowns and stored replies are per process meanwhile.",
                exc_info=exc,
            )

    def healthy(self) -> bool:
        """Whether Redis itself answers now."""
        try:
            caches["redis"].get("health")
        except Exception as exc:  # see _call
            self._failed(self.clock(), exc)
            return False
        return True

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return bool(self._call("add", key, value, timeout=timeout, version=version))

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        return self._call("get", key, default, version=version)

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        self._call("set", key, value, timeout=timeout, version=version)

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return bool(self._call("touch", key, timeout=timeout, version=version))

    def delete(self, key: Any, version: Any = None) -> bool:
        return bool(self._call("delete", key, version=version))

    def incr(self, key: Any, delta: int = 1, version: Any = None) -> int:
        return int(self._call("incr", key, delta, version=version))

    def get_many(self, keys: Any, version: Any = None) -> dict[Any, Any]:
        return dict(self._call("get_many", list(keys), version=version))

    def delete_many(self, keys: Any, version: Any = None) -> None:
        self._call("delete_many", list(keys), version=version)

    def clear(self) -> None:
        self._call("clear")
