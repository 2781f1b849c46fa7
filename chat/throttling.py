"""The rate limits of users, as DRF throttles."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from chat.conf import conf
from chat.exceptions import RateLimitExceededError
from chat.limits import counted, seconds_left, window
from chat.usage import allowance


class RateThrottle(BaseThrottle):
    """At most so many POSTs of a user in a fixed window. A subclass says of what, and how many."""

    group: ClassVar[str]

    def rate(self, user: Any) -> str:
        """Return the user's rate, such as 10/m."""
        raise NotImplementedError

    def told(self, view: APIView, usage: dict[str, Any], rate: str) -> None:
        """Tell the client how it stands, in whichever headers."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Count the request; raises `RateLimitExceededError` where it is one too many. Only a POST counts."""
        if request.method != "POST":
            return True
        rate, user_id = self.rate(request.user), request.user.pk
        usage = counted(request._request, self.group, lambda group, request: str(user_id), rate)
        if usage is None:
            return True
        self.told(view, usage, rate)
        if usage["should_limit"]:
            raise RateLimitExceededError(usage["limit"], seconds_left(usage), user_id)
        return True


class ChatRateThrottle(RateThrottle):
    """`CHAT_RATE_LIMIT`, or the user's own `TokenBudget.rate_limit`.

    Sets the `RateLimit` headers of the IETF draft (draft-ietf-httpapi-ratelimit-headers) on the view's response.
    """

    group = "chat"

    def rate(self, user: Any) -> str:
        return allowance(user).rate_limit or conf.CHAT_RATE_LIMIT

    def told(self, view: APIView, usage: dict[str, Any], rate: str) -> None:
        limit = usage["limit"]
        view.headers["RateLimit-Policy"] = f'"chat";q={limit};w={window(rate)}'
        view.headers["RateLimit"] = f'"chat";r={max(0, limit - usage["count"])};t={seconds_left(usage)}'


class ConversationRateThrottle(RateThrottle):
    """`CONVERSATION_RATE_LIMIT`."""

    group = "conversations"

    def rate(self, user: Any) -> str:
        return conf.CONVERSATION_RATE_LIMIT
