"""Every row of HTTP.md's error table, produced through HTTP."""

from __future__ import annotations

import pytest
from django.core import exceptions as dj
from django.db import DataError, IntegrityError, InterfaceError, InternalError, OperationalError, ProgrammingError
from django.http import Http404, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions as drf

from chat import exceptions as tree
from chat.dashboard.usage import UsageView
from chat.problems import table
from tests.problems.world import BIG, Unforeseen, anonymous
from tests.support.contract import PROBLEM, TABLE, ask, chat_body, check_error, send

ROWS = [
    ("bad_request", lambda w: w.client.get("/health", headers={"Host": "evil.example"})),
    ("invalid_json", lambda w: send(w.client, "{")),
    ("invalid_message_format", lambda w: ask(w.client, messages=[])),
    ("invalid_request", lambda w: ask(w.client, temperature=3)),
    ("invalid_request", lambda w: w.crash(tree.ValidationError("secret words"))),
    ("unsupported_parameter", lambda w: w.crash(tree.UnsupportedParameter("tools"))),
    ("not_authenticated", anonymous),
    ("authentication_failed", lambda w: anonymous(w, "0" * 64)),
    ("permission_denied", lambda w: w.forbid(UsageView, "/usage")),
    ("csrf_failed", lambda w: w.session()),
    ("model_not_found", lambda w: ask(w.client, model="gpt-9")),
    ("not_found", lambda w: w.client.get("/nowhere")),
    ("not_found", lambda w: w.client.get("/conversations/1")),
    ("method_not_allowed", lambda w: w.client.get("/chat")),
    ("unsupported_media_type", lambda w: send(w.client, "a=1", "application/x-www-form-urlencoded")),
    ("request_too_large", lambda w: send(w.client, BIG)),
    ("token_budget_exceeded", lambda w: w.budget(50)),
    ("rate_limit_exceeded", lambda w: w.with_setting("CHAT_RATE_LIMIT", "1/h")),
    ("request_in_progress", lambda w: w.running()),
    ("idempotency_key_reused", lambda w: w.twice(chat_body(), chat_body("Another"))),
    ("too_many_concurrent_requests", lambda w: w.with_setting("CHAT_MAX_IN_FLIGHT_PER_USER", 0)),
    ("overloaded", lambda w: w.with_setting("CHAT_MAX_IN_FLIGHT", 0)),
    ("provider_rate_limited", lambda w: ask(w.client, "/fault rate_limit")),
    ("provider_unavailable", lambda w: w.crash(tree.ProviderUnavailableError("anthropic", 503, "secret words"))),
    ("provider_timeout", lambda w: ask(w.client, "/fault timeout")),
    ("invalid_provider_response", lambda w: ask(w.client, "/fault garbage")),
    ("provider_rejected_request", lambda w: ask(w.client, "/fault rejected")),
    ("provider_error", lambda w: ask(w.client, "/fault bad_key")),
    ("service_temporarily_unavailable", lambda w: w.database(OperationalError)),
    ("service_temporarily_unavailable", lambda w: w.database(InterfaceError)),
    ("service_temporarily_unavailable", lambda w: w.database(InternalError)),
    ("service_temporarily_unavailable", lambda w: w.crash(tree.DatabaseUnavailableError("secret words"))),
    ("service_temporarily_unavailable", lambda w: w.crash(tree.SystemError("secret words"))),
    ("budget_exceeded", lambda w: w.crash(tree.BudgetError("secret words"))),
    ("internal_error", lambda w: w.crash(Unforeseen("secret words"))),
    ("internal_error", lambda w: ask(w.client, "/fault crash")),
]
TRACEBACKS = {"service_temporarily_unavailable", "internal_error"}


@pytest.mark.parametrize(("code", "produce"), ROWS, ids=[f"{i}-{row[0]}" for i, row in enumerate(ROWS)])
def test_a_row_through_http(world, log, code, produce):
    response = produce(world)
    body = check_error(response, code)
    assert "secret words" not in response.content.decode()
    (line,) = [line for line in log.of(body["request_id"]) if line["event"] == code]
    assert line["level"] == TABLE[code].level


@pytest.mark.parametrize(("code", "produce"), ROWS, ids=[f"{i}-{row[0]}" for i, row in enumerate(ROWS)])
def test_the_same_row_as_problem_details(world, code, produce):
    world.client.defaults["HTTP_ACCEPT"] = PROBLEM
    body = check_error(produce(world), code, problem=True)
    assert body["status"] == TABLE[code].status
    assert body["instance"].startswith("urn:uuid:")
    assert body["type"] == ("" if code == "bad_request" else "http://testserver") + f"/errors/{code}"
    entry = world.client.get(body["type"]).json()
    assert (entry["code"], entry["title"]) == (code, body["title"])


@pytest.mark.parametrize(("code", "produce"), ROWS, ids=[f"{i}-{row[0]}" for i, row in enumerate(ROWS)])
def test_the_same_row_as_a_page(world, code, produce):
    world.client.defaults["HTTP_ACCEPT"] = "text/html"
    response = produce(world)
    assert response.status_code == TABLE[code].status
    assert code in response.content.decode()
    assert "secret words" not in response.content.decode()


def test_the_table_is_the_contracts():
    # A 406 has a test of its own: who accepts problem details accepts something.
    assert {code for code, _ in ROWS} | {"not_acceptable"} == TABLE.keys() == table.BY_CODE.keys()
    for code, problem in table.BY_CODE.items():
        again = table.describe(problem.example).should_retry
        assert (problem.status, again) == (TABLE[code].status, TABLE[code].should_retry)


def test_no_format_that_is_offered(auth_client, log):
    body = check_error(auth_client.get("/usage", headers={"Accept": "application/xml"}), "not_acceptable")
    assert [line["event"] for line in log.of(body["request_id"])][1] == "not_acceptable"


@pytest.mark.parametrize(
    ("exc", "has_traceback"),
    [
        (OperationalError("secret words"), True),
        (tree.DatabaseUnavailableError("secret words"), True),
        (RuntimeError("secret words"), True),
        (tree.SystemError("secret words"), False),
        (tree.ProviderTimeoutError("anthropic", None, "secret words"), False),
    ],
)
def test_tracebacks_are_in_the_log_where_the_table_says_so(world, log, exc, has_traceback):
    world.crash(exc)
    (line,) = [line for line in log.lines if line.get("error_class") == type(exc).__name__]
    assert line.get("exception", "").startswith("Traceback") == has_traceback
    assert line["detail"] == "secret words"


# --- the lookup -------------------------------------------------------------------------------------------------------
def subclasses(cls):
    return [cls, *(inner for child in cls.__subclasses__() for inner in subclasses(child))]


def test_every_exception_of_the_tree_has_a_row_on_purpose():
    ours = [cls for cls in subclasses(tree.GenAIException) if cls.__module__.startswith("chat.")]
    assert len(ours) >= 15
    assert [cls for cls in ours if cls not in table.BY_CLASS] == []


class Closer(tree.ProviderTimeoutError):
    pass


class Closest(Closer):
    pass


class NewKind(tree.ProviderError):
    pass


class NewLimit(tree.BudgetError):
    pass


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (tree.ProviderTimeoutError("x", None, ""), "provider_timeout"),
        (Closer("x", None, ""), "provider_timeout"),
        (Closest("x", None, ""), "provider_timeout"),
        (NewKind("x", None, ""), "provider_error"),
        (NewLimit(""), "budget_exceeded"),
        (Unforeseen(""), "internal_error"),
        (ZeroDivisionError(""), "internal_error"),
    ],
)
def test_the_nearest_class_of_the_mro_wins(world, exc, code):
    check_error(world.crash(exc), code)


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (dj.BadRequest("secret words"), "bad_request"),
        (dj.SuspiciousOperation("secret words"), "bad_request"),
        (MultiPartParserError("secret words"), "bad_request"),
        (UnreadablePostError("secret words"), "bad_request"),
        (dj.RequestDataTooBig("secret words"), "request_too_large"),
        (dj.PermissionDenied("secret words"), "permission_denied"),
        (Http404("secret words"), "not_found"),
        (drf.NotFound("secret words"), "not_found"),
        (drf.PermissionDenied("secret words"), "permission_denied"),
        (drf.UnsupportedMediaType("secret words"), "unsupported_media_type"),
        (drf.APIException("secret words"), "internal_error"),
        # Statements that are wrong, or data that the tables refuse: bugs, and no outage.
        (IntegrityError("secret words"), "internal_error"),
        (DataError("secret words"), "internal_error"),
        (ProgrammingError("secret words"), "internal_error"),
    ],
)
def test_what_the_frameworks_raise_has_the_row_of_what_it_means(world, exc, code):
    check_error(response := world.crash(exc), code)
    assert "secret words" not in response.content.decode()


@pytest.mark.parametrize("exc", [drf.ParseError("Not so"), drf.ValidationError({"title": ["Not so."]})])
def test_what_their_parsers_and_serializers_say_is_for_the_client(world, exc):
    code = "invalid_json" if isinstance(exc, drf.ParseError) else "invalid_request"
    body = check_error(world.crash(exc), code)
    assert "Not so." in body["message"]
    assert body.get("fields") in (None, {"title": ["Not so."]})
