"""From an exception to a response: DRF's EXCEPTION_HANDLER, and the same for errors that never reach DRF."""

from __future__ import annotations

from typing import Any

import structlog
from django.core.exceptions import DisallowedHost, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import NoReverseMatch, reverse
from django.utils.cache import patch_vary_headers
from django.views.csrf import csrf_failure as django_csrf_failure
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import exception_handler as drf_exception_handler

from chat.exceptions import CSRFFailed, GenAIException, TooManyAttempts
from chat.problems.envelopes import NATIVE, format_by_path, format_of, problem_details, told
from chat.problems.negotiation import PROBLEM_JSON, problem_page, wants_page, wants_problem_json
from chat.problems.table import Description, Problem, describe, find, level_of
from chat.problems.words import LONGEST_ECHO

LONGEST_SLEEP = 120
"""The seconds that OpenAI's SDK would wait at most. Anthropic's, told to try again, would sleep for a day."""

log = structlog.get_logger(__name__)


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER: look `exc` up in the problems table, let DRF's own handler set headers and roll back,
    then give the response the contract's body.

    Never returns None, so that every error has that body; for a bug it sends `got_request_exception` itself.
    """
    request: HttpRequest = context["request"]._request
    description = describe(exc)
    report_caught(exc, description.problem, request)
    response = drf_exception_handler(_translated(exc, description), context)
    assert response is not None
    as_details = wants_problem_json(request) and accepted(context["request"]) == "json"
    response.data = body(description, request, as_details)
    if as_details:
        response.content_type = PROBLEM_JSON
    for name, value in headers(description, request).items():
        response[name] = value
    return response


def error_response(exc: BaseException, request: HttpRequest) -> HttpResponse:
    """Return the same response for code outside DRF: middleware, unknown paths, Django's own views."""
    description = describe(exc)
    report(exc, description.problem, request)
    status = description.status
    response: HttpResponse
    if wants_page(request):
        response = HttpResponse(problem_page(body(description, request, False), status, request), status=status)
    else:
        as_details = wants_problem_json(request)
        response = JsonResponse(
            body(description, request, as_details),
            status=status,
            content_type=PROBLEM_JSON if as_details else "application/json",
            json_dumps_params={"separators": (",", ":"), "ensure_ascii": False},
        )
    for name, value in headers(description, request).items():
        response[name] = value
    response["Content-Length"] = str(len(response.content))
    patch_vary_headers(response, ["Accept"])
    response.is_problem = True  # type: ignore[attr-defined]
    return response


def answer_uncaught(exc: Exception, request: HttpRequest) -> HttpResponse | None:
    """Return the answer to an exception that a view let out, a failure to render included. The admin has pages of its
    own, but none that tells an operator of a refusal, an unknown address or an outage."""
    problem = find(exc)
    if is_admin(request) and not isinstance(exc, TooManyAttempts) and problem.status not in (403, 404, 503):
        return None
    if problem.traceback:
        got_request_exception.send(sender=answer_uncaught, request=request)
    return error_response(exc, request)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW."""
    if is_admin(request):
        return django_csrf_failure(request, reason)
    return error_response(CSRFFailed("The CSRF token is missing or does not match."), request)


def is_admin(request: HttpRequest) -> bool:
    """Return whether the path belongs to the admin, which answers people with its own pages."""
    try:
        return bool(request.path.startswith(reverse("admin:index")))
    except NoReverseMatch:
        return False


def report(exc: BaseException, problem: Problem, request: HttpRequest) -> None:
    """Write one line: the error's code, with everything that the exception stores. `request.reported` is for the set-up
    of the log, which may then leave out Django's own line."""
    facts: dict[str, Any] = {}
    if isinstance(exc, GenAIException):  # what a stranger's exception stores may be anything, a whole request included
        facts = {name: _short(value) for name, value in exc.facts().items()}
    facts["error_class"] = type(exc).__name__
    facts["detail"] = str(getattr(exc, "message", "") or getattr(exc, "detail", "") or exc)[:1000]
    request.reported = True  # type: ignore[attr-defined]
    getattr(log, level_of(exc))(problem.code, **facts, exc_info=exc if problem.traceback else None)


def report_caught(exc: BaseException, problem: Problem, request: HttpRequest) -> None:
    """Report an error that Django itself does not see, and a bug to whoever listens for `got_request_exception`."""
    report(exc, problem, request)
    if problem.traceback:
        got_request_exception.send(sender=report_caught, request=request)


def _short(value: Any) -> Any:
    """Return a fact that a log line can hold: a name that the client made up may be as long as a body."""
    return value[:LONGEST_ECHO] if isinstance(value, str) else value


def accepted(request: Any) -> str:
    """Return the format of the answer; errors that come before it is chosen are JSON."""
    return getattr(getattr(request, "accepted_renderer", None), "format", "json")


def body(description: Description, request: HttpRequest, as_details: bool) -> dict[str, Any]:
    """Return the error's body: that of the API which the path belongs to, or RFC 9457's, for a client that asks for
    its details so."""
    request_id = getattr(request, "request_id", "")
    if as_details:
        return problem_details(description, request_id, _type_uri(description.problem.code, request))
    return format_of(request).write_error(told(description), request_id)


def headers(description: Description, request: HttpRequest) -> dict[str, str]:
    """`X-Should-Retry`, which the official SDKs obey before the status, and `Retry-After` where waiting can mend it.
    Where the SDKs go, a wait that nobody would sit through is a no: they sleep in the middle of their caller's work.
    `Vary` is for a shared cache, where a header chose the body's shape."""
    too_long = (description.retry_after or 0) > LONGEST_SLEEP and format_of(request) is not NATIVE
    result = {"X-Should-Retry": "true" if description.should_retry and not too_long else "false"}
    if description.retry_after is not None:
        result["Retry-After"] = str(description.retry_after)
    if format_by_path(request) is None:
        result["Vary"] = "anthropic-version"
    return result


def _translated(exc: Exception, description: Description) -> drf.APIException:
    translated = exc if isinstance(exc, drf.APIException) else drf.APIException()
    translated.status_code = description.status
    return translated


def _type_uri(code: str, request: HttpRequest) -> str:
    path = reverse("error", kwargs={"code": code})
    try:
        return request.build_absolute_uri(path)
    except (DisallowedHost, SuspiciousOperation):
        return path
