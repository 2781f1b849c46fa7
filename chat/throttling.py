"""How much of everything there may be: the slots of chats in flight, so that the rest of the site stays quick while a
provider hangs; and counters in windows of time, over django-ratelimit's atomic one, of users' requests, keys and
log-ins."""

from __future__ import annotations

import threading
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any, ClassVar

import structlog
from django.http import HttpRequest
from django_ratelimit.core import get_usage
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from chat.billing.allowance import allowance
from chat.conf import conf
from chat.exceptions import Overloaded, RateLimitExceededError, TooManyAttempts, TooManyConcurrentRequests

log = structlog.get_logger(__name__)

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_lock = threading.RLock()  # the garbage collector may end a lost stream anywhere, within this lock too
_in_flight: Counter[Any] = Counter()


# --- slots ------------------------------------------------------------------------------------------------------------
@contextmanager
def admitted(user_id: Any) -> Iterator[None]:
    """Count a chat, or another request of a user with a body, as in flight while it runs.

    Raises `Overloaded` above CHAT_MAX_IN_FLIGHT chats and `TooManyConcurrentRequests` above
    CHAT_MAX_IN_FLIGHT_PER_USER of one user; both are per process.
    """
    with _lock:
        if _in_flight.total() >= conf.CHAT_MAX_IN_FLIGHT:
            raise Overloaded("This process has CHAT_MAX_IN_FLIGHT chats in flight.")
        if _in_flight[user_id] >= conf.CHAT_MAX_IN_FLIGHT_PER_USER:
            raise TooManyConcurrentRequests(conf.CHAT_MAX_IN_FLIGHT_PER_USER)
        _in_flight[user_id] += 1
    try:
        yield
    finally:
        with _lock:
            _in_flight[user_id] -= 1
            if not _in_flight[user_id]:
                del _in_flight[user_id]


# --- windows of time --------------------------------------------------------------------------------------------------


def limit_bad_keys(request: HttpRequest) -> None:
    """Count a key that was refused. Raises `TooManyAttempts` after BAD_KEY_RATE_LIMIT of them from one address; good
    keys are not counted, so their users are not kept out."""
    _attempt(request, "bad key", "ip", conf.BAD_KEY_RATE_LIMIT)


def limit_logins(request: HttpRequest, username: str) -> None:
    """Count an attempt to log in. Raises `TooManyAttempts` after LOGIN_RATE_LIMIT of them from one address or for one
    name, however it is spelt."""
    name = unicodedata.normalize("NFKC", username).strip().casefold()
    _attempt(request, "login from", "ip", conf.LOGIN_RATE_LIMIT)
    _attempt(request, "login as", lambda group, request: name, conf.LOGIN_RATE_LIMIT)


def _attempt(request: HttpRequest, group: str, key: Any, rate: str) -> None:
    usage = counted(request, group, key, rate)
    if usage and usage["should_limit"]:
        raise TooManyAttempts(usage["limit"], seconds_left(usage))


def address_of(request: HttpRequest) -> str:
    """Return the client's address, as django-ratelimit's RATELIMIT_IP_META_KEY; all clients of a Unix socket are one.
    The library counts IPv6 by /64, the least that a household gets."""
    try:
        return str(ip_address(request.client_ip))  # type: ignore[attr-defined]
    except ValueError:
        return "0.0.0.0"


def counted(request: HttpRequest, group: str, key: Any, rate: str) -> dict[str, Any] | None:
    """Add one to a counter of this window and return it as django-ratelimit reads it; None where it cannot be had."""
    for _ in range(2):  # a counter may be lost in the middle, as when Redis goes away: then there is a new one
        usage: dict[str, Any] = get_usage(request, group=group, key=key, rate=rate, increment=True)
        if usage["limit"]:
            return usage
    log.warning("rate_limit_not_counted", detail="The counter was lost twice; this request goes uncounted.")
    return None


def seconds_left(usage: dict[str, Any]) -> int:
    """Return the seconds until the window ends: the library's own count is one short."""
    return int(usage["time_left"]) + 1


def window(rate: str) -> int:
    """Return the seconds of a rate such as 10/m or 5/10s."""
    multiple, unit = rate.split("/")[1][:-1], rate[-1]
    return int(multiple or 1) * SECONDS[unit]


class RateThrottle(BaseThrottle):
    """At most so many POSTs of a user in a fixed window. A subclass says of what, and how many."""

    group: ClassVar[str]

    def rate(self, user: Any) -> str:
        """Return the user's rate, such as 10/m."""
        raise NotImplementedError

    def told(self, view: Any, usage: dict[str, Any], rate: str) -> None:
        """Tell the client how it stands, in whichever headers."""

    def allow_request(self, request: Request, view: Any) -> bool:
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

    def told(self, view: Any, usage: dict[str, Any], rate: str) -> None:
        limit = usage["limit"]
        view.headers["RateLimit-Policy"] = f'"chat";q={limit};w={window(rate)}'
        view.headers["RateLimit"] = f'"chat";r={max(0, limit - usage["count"])};t={seconds_left(usage)}'


class ConversationRateThrottle(RateThrottle):
    """`CONVERSATION_RATE_LIMIT`."""

    group = "conversations"

    def rate(self, user: Any) -> str:
        return conf.CONVERSATION_RATE_LIMIT
