"""System checks of the settings: a mistake stops the start with an id and a way out, instead of becoming a 500."""

from __future__ import annotations

import re
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from chat.conf import conf

RATE = re.compile(r"[1-9]\d{0,8}/(?:[1-9]\d{0,5})?[smhd]")
# As a browser sends it: in lower case, without a path, without its scheme's own port. Anything else would never match.
ORIGIN = re.compile(r"(?!http://.*:80$|https://.*:443$)[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
PERIODS = ("hour", "day", "month")
COUNT = (1, 10**6)
SECONDS = (0.01, 3600)
RATES = ("CHAT_RATE_LIMIT", "CONVERSATION_RATE_LIMIT", "LOGIN_RATE_LIMIT", "BAD_KEY_RATE_LIMIT")
RANGES: dict[str, tuple[float, float]] = {
    "CHAT_DEADLINE": SECONDS,
    "CHAT_HEDGE_AFTER": SECONDS,
    "CHAT_MAX_ATTEMPTS": COUNT,
    "CHAT_MAX_IN_FLIGHT": COUNT,
    "CHAT_MAX_IN_FLIGHT_PER_USER": COUNT,
    "CONVERSATIONS_PER_USER": COUNT,
    "MESSAGES_PER_CONVERSATION": COUNT,
    "CHAT_KEEP_ALIVE": SECONDS,
    "CHAT_STREAM_IDLE_TIMEOUT": SECONDS,
    "CHAT_STREAM_MAX": SECONDS,
    "DATABASE_POOL": COUNT,
    "KEY_TTL_DAYS": (1, 3650),
    "MAX_BODY_BYTES": (1, 10**9),
    "MAX_V1_BODY_BYTES": (1, 10**9),
    "PROVIDER_POOL_SIZE": COUNT,
    "REPLY_CACHE_TTL": (0, 10**9),
    "RESERVATION_MARGIN": (0, 86_400),
    "SIMULATOR_FAILURE_RATE": (0, 1),
    "SIMULATOR_LATENCY": (0, 3600),
    "TOKEN_BUDGET_DEFAULT": (0, 10**15),
    "TRUSTED_PROXY_HOPS": (0, 10),
    "WEB_CONCURRENCY": COUNT,
}


def is_rate(rate: str) -> bool:
    """Whether `rate` is one that django-ratelimit understands as it is meant, such as 10/m or 100/5m."""
    return RATE.fullmatch(rate) is not None


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """E001 rate, E002 token estimate, E003 budget period, E004 several workers without Redis, E005 numbers,
    E006 origins of front ends; W001 one user's share."""
    errors: list[CheckMessage] = []

    def refuse(number: int, message: str, hint: str) -> None:
        errors.append(Error(message, hint=hint, id=f"chat.E{number:03}"))

    for name in RATES:
        if not is_rate(getattr(conf, name)):
            refuse(1, f"{name} is {getattr(conf, name)!r}.", "Write it as 10/m, 100/h or 5/10s.")
    if conf.CHAT_TOKEN_ESTIMATE not in {"natural", "strict"}:
        refuse(2, f"CHAT_TOKEN_ESTIMATE is {conf.CHAT_TOKEN_ESTIMATE!r}.", "It is natural or strict.")
    if conf.TOKEN_BUDGET_PERIOD not in PERIODS:
        refuse(3, f"TOKEN_BUDGET_PERIOD is {conf.TOKEN_BUDGET_PERIOD!r}.", "It is hour, day or month.")
    if settings.WEB_CONCURRENCY > 1 and not settings.REDIS_URL:
        refuse(
            4,
            f"WEB_CONCURRENCY is {settings.WEB_CONCURRENCY}, but there is no REDIS_URL.",
            "Each worker would count the rate limit on its own, so users would get a multiple of it. Set REDIS_URL.",
        )
    for name, (least, most) in RANGES.items():
        value = getattr(conf, name)
        if value is not None and not least <= value <= most:  # NaN is in no range
            refuse(5, f"{name} is {value}.", f"It is a number from {least} to {most}.")
    for origin in settings.CORS_ALLOWED_ORIGINS:
        if not ORIGIN.fullmatch(origin):
            refuse(6, f"CORS_ALLOWED_ORIGINS holds {origin!r}.", "Name each origin as https://app.example.org.")
    if not errors and max(1, conf.CHAT_MAX_IN_FLIGHT // 4) < conf.CHAT_MAX_IN_FLIGHT_PER_USER:
        errors.append(
            Warning(
                f"CHAT_MAX_IN_FLIGHT_PER_USER is {conf.CHAT_MAX_IN_FLIGHT_PER_USER}, more than a quarter of "
                f"CHAT_MAX_IN_FLIGHT ({conf.CHAT_MAX_IN_FLIGHT}).",
                hint="A few users could take all of it. Left out, it is a tenth.",
                id="chat.W001",
            )
        )
    return errors
