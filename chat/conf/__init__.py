"""A typed, lazy view of the settings this app reads; `genai_site/settings/base.py` has their defaults and meaning.

Nothing is copied at import time, so `override_settings` works in tests.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings


class Conf:
    """`conf.CHAT_DEADLINE` is `settings.CHAT_DEADLINE` with a type."""

    CHAT_MODELS_FILE: str
    CHAT_SIMULATOR: bool
    CHAT_DEADLINE: float
    CHAT_MAX_ATTEMPTS: int
    CHAT_HEDGE_AFTER: float | None
    CHAT_MAX_IN_FLIGHT: int
    CHAT_MAX_IN_FLIGHT_PER_USER: int
    CHAT_RATE_LIMIT: str
    CONVERSATION_RATE_LIMIT: str
    LOGIN_RATE_LIMIT: str
    BAD_KEY_RATE_LIMIT: str
    CONVERSATIONS_PER_USER: int
    MESSAGES_PER_CONVERSATION: int
    CHAT_TOKEN_ESTIMATE: str
    CHAT_STREAM_IDLE_TIMEOUT: float
    CHAT_STREAM_MAX: float
    CHAT_KEEP_ALIVE: float
    MAX_BODY_BYTES: int
    MAX_V1_BODY_BYTES: int
    REPLY_CACHE_TTL: int
    RESERVATION_MARGIN: float
    TOKEN_BUDGET_DEFAULT: int
    TOKEN_BUDGET_PERIOD: str
    TRUSTED_PROXY_HOPS: int
    UPGRADE_URL: str | None
    PROVIDER_POOL_SIZE: int
    SIMULATOR_LATENCY: float
    SIMULATOR_FAILURE_RATE: float

    def __getattr__(self, name: str) -> Any:
        return getattr(settings, name)


conf = Conf()


def largest_body(path: str) -> int:
    """Return the most bytes that the body of a request to `path` may have."""
    own = conf.MAX_V1_BODY_BYTES if is_vendors(path) else conf.MAX_BODY_BYTES
    return min(own, int(settings.DATA_UPLOAD_MAX_MEMORY_SIZE))


def is_vendors(path: str) -> bool:
    """Return whether `path` belongs to the APIs that vendors' clients speak, however many slashes it begins with."""
    return path.lstrip("/").partition("/")[0] == "v1"
