"""System checks of the settings: a mistake stops the start with an id and a way out, instead of becoming a 500."""

from __future__ import annotations

import re
from typing import Any

from django.core.checks import CheckMessage, Error, Warning

from chat.conf import DECLARED, conf

RATE = re.compile(r"[1-9]\d{0,8}/(?:[1-9]\d{0,5})?[smhd]")
# As a browser sends it: in lower case, without a path, without its scheme's own port. Anything else would never match.
ORIGIN = re.compile(r"(?!http://.*:80$|https://.*:443$)[a-z][a-z0-9+.-]*://([a-z0-9_.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?")
CHOICES = {"CHAT_TOKEN_ESTIMATE": 2, "TOKEN_BUDGET_PERIOD": 3}
"""The numbers of the errors."""


def is_rate(rate: str) -> bool:
    """Return whether `rate` is one that django-ratelimit understands as it is meant, such as 10/m or 100/5m."""
    return RATE.fullmatch(rate) is not None


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Return what is wrong: E001 rate, E002 token estimate, E003 budget period, E004 several workers without Redis,
    E005 numbers, E006 origins of front ends; W001 one user's share."""
    errors: list[CheckMessage] = []

    def refuse(number: int, message: str, hint: str) -> None:
        errors.append(Error(message, hint=hint, id=f"chat.E{number:03}"))

    for name, setting in DECLARED.items():
        value = getattr(conf, name)
        if setting.is_rate and not is_rate(value):
            refuse(1, f"{name} is {value!r}.", "Write it as 10/m, 100/h or 5/10s.")
        if setting.choices and value not in setting.choices:
            refuse(CHOICES[name], f"{name} is {value!r}.", f"It is one of: {', '.join(setting.choices)}.")
        if setting.range and value is not None and not setting.range[0] <= value <= setting.range[1]:  # nor is NaN
            refuse(5, f"{name} is {value}.", f"It is a number from {setting.range[0]} to {setting.range[1]}.")
    if conf.WEB_CONCURRENCY > 1 and not conf.REDIS_URL:
        refuse(
            4,
            f"WEB_CONCURRENCY is {conf.WEB_CONCURRENCY}, but there is no REDIS_URL.",
            "Each worker would count the rate limit on its own, so users would get a multiple of it. Set REDIS_URL.",
        )
    for origin in conf.CORS_ALLOWED_ORIGINS:
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
