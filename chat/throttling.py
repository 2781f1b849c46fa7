"""The rate limit: a DRF throttle over django-ratelimit's atomic counter."""

from __future__ import annotations

from typing import Any

import structlog
from django_ratelimit.core import get_usage
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from chat.conf import conf
from chat.exceptions import RateLimitExceededError
from chat.usage import allowance

log = structlog.get_logger(__name__)

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class ChatRateThrottle(BaseThrottle):
    """At most `CHAT_RATE_LIMIT` (or the user's own `TokenBudget.rate_limit`) POSTs in a fixed window, each user apart.

    Sets the `RateLimit` headers of the IETF draft (draft-ietf-httpapi-ratelimit-headers) on the view's response.
    """

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the request; raises `RateLimitExceededError` where it is one too many. Only a POST counts."""
        if request.method != "POST":
            return True
        rate = allowance(request.user).rate_limit or conf.CHAT_RATE_LIMIT
        user_id = request.user.pk
        usage = count(request, user_id, rate)
        if not usage["limit"]:  # the counter was lost in the middle, as when Redis goes away: now there is a new one
            usage = count(request, user_id, rate)
        if not usage["limit"]:
            log.warning("rate_limit_not_counted", detail="The counter was lost twice; this chat goes uncounted.")
            return True
        limit, reset_in = usage["limit"], usage["time_left"] + 1  # its time_left is one second short
        view.headers["RateLimit-Policy"] = f'"chat";q={limit};w={window(rate)}'
        view.headers["RateLimit"] = f'"chat";r={max(0, limit - usage["count"])};t={reset_in}'
        if usage["should_limit"]:
            raise RateLimitExceededError(limit, reset_in, user_id)
        return True


def count(request: Request, user_id: Any, rate: str) -> dict[str, Any]:
    """Add one to the user's counter of this window, and read it."""
    usage: dict[str, Any] = get_usage(
        request, group="chat", key=lambda group, request: str(user_id), rate=rate, increment=True
    )
    return usage


def window(rate: str) -> int:
    """The seconds of a rate such as 10/m or 5/10s."""
    multiple, unit = rate.split("/")[1][:-1], rate[-1]
    return int(multiple or 1) * SECONDS[unit]
