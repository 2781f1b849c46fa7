"""The outermost layers: an id for every request, its two log lines, the answer to errors that nothing else caught."""

from __future__ import annotations

import re
import socket
import struct
import sys
import time
import uuid
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any
from urllib.parse import unquote_plus

import structlog
from django.conf import settings
from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied, RequestDataTooBig
from django.core.signals import got_request_exception, request_finished
from django.dispatch import receiver
from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.common import CommonMiddleware
from rest_framework.exceptions import APIException, MethodNotAllowed
from rest_framework.response import Response

from chat.billing.budgets import release_connection
from chat.conf import conf, largest_body
from chat.exceptions import BodyTooLarge, SystemError
from chat.handlers import answer_uncaught, error_response, is_admin
from chat.observability.client_address import client_ip
from chat.observability.redaction import keep_private

VALID_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
STATIC = "/" + settings.STATIC_URL.lstrip("/")
LONGEST_FACT = 500
"""Characters of a path, and of a query, that are logged; each line of the request has them."""
SECRET_NAMES = re.compile(r"(?i)key|token|passw|pwd|secret|auth|session|csrf|signature|credential")
BY_STATUS: dict[int, Callable[[HttpRequest], Exception]] = {
    400: lambda request: BadRequest(),
    403: lambda request: PermissionDenied(),
    404: lambda request: Http404(),
    405: lambda request: MethodNotAllowed(str(request.method)),
    413: lambda request: RequestDataTooBig(),
    503: lambda request: SystemError("Another middleware answered 503."),
    500: lambda request: APIException(),
}

log = structlog.get_logger("chat.request")


class RequestIDMiddleware:
    """Gives each request its id: the client's own `X-Request-ID` if it is well-formed, else a new UUID4.

    The id is on `request.request_id`, in every log line until the thread's next request (Django writes some of its
    own after the response), and in the headers `X-Request-ID` and `Request-Id` of every response. The address of who
    asks is on `request.client_ip`, and in these lines.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.monotonic()
        request_id = request.headers.get("X-Request-ID", "")
        if not VALID_ID.fullmatch(request_id):
            request_id = str(uuid.uuid4())
        request.request_id = request_id  # type: ignore[attr-defined]
        address = client_ip(
            request.META.get("REMOTE_ADDR", ""),
            request.META.get("HTTP_X_FORWARDED_FOR", ""),  # the server has joined its lines
            conf.TRUSTED_PROXY_HOPS,
        )
        request.client_ip = address  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        keep_private(())
        structlog.contextvars.bind_contextvars(
            request_id=request_id,
            method=request.method,
            path=cut(request.path),
            client_ip=address,
            **({"query": masked_query(cut(request.META["QUERY_STRING"]))} if request.META.get("QUERY_STRING") else {}),
        )
        told = not request.path_info.startswith(STATIC)  # a page asks for a dozen files
        if told:
            log.info("incoming_request")
        response = self.get_response(request)
        if not response.streaming:
            end_stream(request)
        # A client may take its time to receive it.
        release_connection()
        limit_writes(request)
        response["X-Request-ID"] = response["Request-Id"] = request_id
        response.headers.setdefault("Content-Security-Policy", policy_of(request, response))
        if is_from_somebody(request):
            response.headers.setdefault("Cache-Control", "no-store")
        duration = round((time.monotonic() - started) * 1000, 1)
        if told:
            log.info("response_sent", status_code=response.status_code, duration_ms=duration)
        return response


def end_stream(request: HttpRequest) -> None:
    """End the stream in whose place another response goes out: a server closes that response, and no other."""
    stream = getattr(request, "stream", None)
    if stream is not None and not stream.gi_running:  # one that runs reports an error of its own
        stream.close()


def is_from_somebody(request: HttpRequest) -> bool:
    """Return whether the request carries a key or a session, good or not: its answer may be one person's own."""
    carriers = ("HTTP_AUTHORIZATION", "HTTP_X_API_KEY")
    return settings.SESSION_COOKIE_NAME in request.COOKIES or any(name in request.META for name in carriers)


class ErrorMiddleware:
    """Gives the contract's shape to every error without it: those of other middleware and of Django's own views."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost as exc:
            return error_response(exc, request)
        request.is_guarded = True  # type: ignore[attr-defined]
        if is_too_large(request):
            return error_response(BodyTooLarge(largest_body(request.path_info)), request)
        response = self.get_response(request)
        if response.status_code < 400 or is_admin(request) or is_ours(response):
            return response
        if response.status_code == 416:  # of a static file, whose range stands in a header
            return response
        # What is left: a failing middleware's page, DEBUG's technical pages, and bare errors of Django's own views.
        from_status = BY_STATUS.get(response.status_code) or BY_STATUS[400 if response.status_code < 500 else 500]
        ours = error_response(getattr(request, "uncaught", None) or from_status(request), request)
        for name, value in response.headers.items():
            ours.setdefault(name, value)  # the security headers, Allow, Vary
        ours.cookies = response.cookies
        return ours

    def process_exception(self, request: HttpRequest, exc: Exception) -> HttpResponse | None:
        """See `answer_uncaught`."""
        return answer_uncaught(exc, request)


class SlashMiddleware(CommonMiddleware):
    """Django's own, which leads from a path of the admin or the login to the same with a slash, but only where nothing
    is lost on the way: a redirected POST has no body, and with DEBUG on Django makes a crash of it."""

    def should_redirect_with_slash(self, request: HttpRequest) -> bool:
        return request.method in ("GET", "HEAD") and super().should_redirect_with_slash(request)


LOG_OUT = b'document.getElementById("logoutForm").submit()'
INLINE = {
    "style": " 'unsafe-inline'",
    "script": f" 'unsafe-hashes' 'sha256-{b64encode(sha256(LOG_OUT).digest()).decode()}'",
}
"""What stands inline in REST framework's pages: styles, and the link to log out."""
UNFOLD = {"style": "", "script": " 'unsafe-eval'"}
"""The admin's pages, which are django-unfold's, run on Alpine.js. It makes functions of the expressions in their
attributes, for sidebar, filters and dark mode: none works without 'unsafe-eval'. Inline scripts stay forbidden."""
NO_PAGE = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE = (
    "default-src 'none'; script-src 'self'{script}; style-src 'self'{style}; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
TEXT_ALONE = "; require-trusted-types-for 'script'; trusted-types 'none'"
"""Our own pages never make markup of a string, and the browser holds them to it."""


def policy_of(request: HttpRequest, response: HttpResponse) -> str:
    """Return the Content-Security-Policy: a page may load its own files, and nothing inline may run. Only REST
    framework's pages have something inline, and only Swagger UI makes markup of strings, those of our own document."""
    if not response.get("Content-Type", "").startswith("text/html"):
        return NO_PAGE
    if is_admin(request):
        return PAGE.format(**UNFOLD)
    renderer = getattr(response, "accepted_renderer", None)
    if getattr(renderer, "format", "") == "api":
        return PAGE.format(**INLINE)
    strict = PAGE.format(style="", script="")
    return strict if getattr(request.resolver_match, "url_name", "") == "docs" else strict + TEXT_ALONE


def limit_writes(request: HttpRequest) -> None:
    """End the connection, where the server tells us which that is, of a client that takes nothing of what is written to
    it for CHAT_STREAM_IDLE_TIMEOUT seconds: it would hold a thread, and a stream's provider, for good."""
    sock = request.META.get("gunicorn.socket")
    if sock is not None:
        seconds, fraction = divmod(conf.CHAT_STREAM_IDLE_TIMEOUT, 1)
        limit = struct.pack("ll", int(seconds), int(fraction * 1e6))
        with suppress(OSError):  # it has left already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)  # the server resets Python's own


def cut(text: str) -> str:
    """Return the beginning of `text` that a line of the log can hold."""
    return text if len(text) <= LONGEST_FACT else text[:LONGEST_FACT] + "…"


def masked_query(query: str) -> str:
    """Return the query string without the values of parameters that sound like a secret, however their names are
    escaped."""
    pairs = (pair.partition("=") for pair in query.split("&"))
    return "&".join(
        name + equals + (value and "***" if SECRET_NAMES.search(unquote_plus(name)) else value)
        for name, equals, value in pairs
    )


def is_ours(response: HttpResponse) -> bool:
    """Return whether the error already has the contract's shape."""
    return isinstance(response, Response) or getattr(response, "is_problem", False)


def is_too_large(request: HttpRequest) -> bool:
    """Return whether the body is over its path's limit, before anything of it is read."""
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0) > largest_body(request.path_info)
    except ValueError:
        return False


@receiver(got_request_exception)
def remember(sender: Any, request: HttpRequest | None = None, **kwargs: Any) -> None:
    """Keep what a failing middleware raised: Django turns it into a page before ErrorMiddleware sees it, and writes a
    line of its own, which that has then no need of."""
    if request is not None:
        end_stream(request)
        guarded = getattr(request, "is_guarded", False)  # what fails further out has nobody else to tell of it
        request.reported = guarded and not is_admin(request)  # type: ignore[attr-defined]
        request.uncaught = sys.exc_info()[1]  # type: ignore[attr-defined]


@receiver(request_finished)
def forget(**kwargs: Any) -> None:
    """Let go of the chat that the log was not to quote: a thread would hold it, however large, to its next request."""
    keep_private(())
