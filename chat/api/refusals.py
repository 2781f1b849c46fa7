"""A record of each request for a chat that was refused, so that it can be found and explained like any other."""

from __future__ import annotations

from typing import Any

import structlog
from django.db import Error

from chat.billing import budgets
from chat.exceptions import Overloaded, ProviderError
from chat.observability import metrics, tracing
from chat.problems.table import BY_CLASS
from chat.throttling import counted

MOST = "60/m"
"""The refusals of one user that are written, each with a row of its own; further ones are counted."""

log = structlog.get_logger(__name__)


def note(view: Any, exc: BaseException, status: int) -> None:
    """Store that the request of a known user was refused with `status`, unless it has a record already. Raises nothing:
    the refusal goes out all the same."""
    request = view.request
    if request.method != "POST" or not request.user.is_authenticated or not is_refusal(exc, status):
        return
    user, error = request.user, next(cls.__name__ for cls in type(exc).__mro__ if cls in BY_CLASS)
    metrics.count_refusal(view.face, error)
    facts = {"model": view.model_asked_for(), "face": view.face, "request_id": request._request.request_id}
    tracing.tell_refusal(view.span or tracing.begun(request.headers), error, status, **facts)
    count = counted(request._request, "refusals", lambda group, request: str(user.pk), MOST)
    further = max(0, count["count"] - count["limit"]) if count else 0
    try:
        if not further:
            budgets.refuse(
                user,
                request_id=request._request.request_id,
                face=view.face,
                api_key=view.key_used(),
                model=view.model_asked_for(),
                error=error,
            )
        elif is_round(further):
            budgets.refused_again(user, further)
    except Error as failure:
        log.warning("refusal_not_stored", reason=type(failure).__name__)
    finally:
        budgets.release_connection()


def is_round(count: int) -> bool:
    """Return whether a count is one of those that are stored: all below 100, then those with zeros after their second
    digit, so that a flood costs few writes and the last one stored is short by a tenth at most."""
    return not str(count)[2:].strip("0")


def is_refusal(exc: BaseException, status: int) -> bool:
    """Return whether the request was turned away before anything was reserved for it. A provider's failure has its
    record, and a fault of ours has that or could have none."""
    if isinstance(exc, ProviderError) or isinstance(exc.__cause__, ProviderError):
        return False
    return status < 500 or isinstance(exc, Overloaded)
