"""The doors for people: the log-in of the admin and of the browsable API, with a limit and an event."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from chat.throttling import limit_logins

LONGEST_NAME = 150
"""Characters of a username, by Django's own model; no more is counted or logged of what was typed."""

log = structlog.get_logger(__name__)


def limited(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return a log-in view with a limit by address and by name, and the event `login_failed`. The view raises
    `TooManyAttempts`, which the middleware answers."""

    @wraps(view)
    def door(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        username = request.POST.get("username", "")[:LONGEST_NAME]
        limit_logins(request, username)
        response = view(request, *args, **kwargs)
        if response.status_code == 200:  # the form again: who is let in is redirected
            log.warning("login_failed", username=username)
        return response

    return door
