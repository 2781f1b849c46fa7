"""The doors for people: the log-in of the admin and of the browsable API, with a limit and an event."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from chat.exceptions import TooManyAttempts
from chat.handlers import error_response
from chat.problems.table import describe
from chat.throttling import limit_logins

LONGEST_NAME = 150
"""Characters of a username, by Django's own model; no more is counted or logged of what was typed."""

log = structlog.get_logger(__name__)


def limited(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return a log-in view with a limit by address and by name, and the event `login_failed`."""

    @wraps(view)
    def door(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method != "POST":
            return view(request, *args, **kwargs)
        username = request.POST.get("username", "")[:LONGEST_NAME]
        try:
            limit_logins(request, username)
        except TooManyAttempts as exc:
            return refusal(exc, request)
        response = view(request, *args, **kwargs)
        if response.status_code == 200:  # the form again: who is let in is redirected
            log.warning("login_failed", username=username)
        return response

    return door


def refusal(exc: TooManyAttempts, request: HttpRequest) -> HttpResponse:
    """Return the error, as a page for a browser."""
    response = error_response(exc, request)
    if request.get_preferred_type(["application/json", "text/html"]) == "text/html":
        words = {"title": "Too many attempts", "message": describe(exc).message, "code": describe(exc).problem.code}
        context = admin.site.each_context(request) | words
        response.content = render_to_string("admin/chat/too_many_attempts.html", context, request).encode()
        response["Content-Type"] = "text/html; charset=utf-8"
        response["Content-Length"] = str(len(response.content))
    return response
