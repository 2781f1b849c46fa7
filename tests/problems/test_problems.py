"""Every row of HTTP.md's error table, produced through HTTP."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError, connection
from knox.models import get_token_model
from rest_framework.throttling import BaseThrottle

from chat import exceptions as tree
from chat.api import endpoint as faces
from chat.api import idempotency
from chat.dashboard.usage import UsageView
from chat.models import BudgetPeriod, TokenBudget, UsageRecord
from chat.problems import table
from tests.support.contract import PROBLEM, TABLE, ask, chat_body, check_error, send

BIG = b'{"model": "' + b"a" * 2_700_000 + b'"}'


class World:
    """What a row needs to be produced."""

    def __init__(self, client, settings, monkeypatch, user):
        self.client, self.settings, self.monkeypatch, self.user = client, settings, monkeypatch, user

    def crash(self, exc):
        def fail(chat):
            raise exc

        self.monkeypatch.setattr(faces, "complete_chat", fail)
        return ask(self.client)

    def budget(self, limit):
        TokenBudget.objects.create(user=self.user, limit=limit)
        return ask(self.client, max_tokens=100)

    def twice(self, *bodies):
        return [self.client.post("/chat", body, format="json", headers={"Idempotency-Key": "k"}) for body in bodies][-1]

    def running(self):
        body = chat_body()
        with idempotency.once(self.user, "k", ["chat", body], 60):
            return self.twice(body)

    def forbid(self, view, path):
        def deny(self, request):
            raise PermissionDenied

        self.monkeypatch.setattr(view, "get", deny)
        return self.client.get(path)

    def session(self):
        from rest_framework.test import APIClient

        browser = APIClient(enforce_csrf_checks=True)
        browser.force_login(self.user)
        browser.defaults.update(self.client.defaults)
        return ask(browser)

    def with_setting(self, name, value):
        setattr(self.settings, name, value)
        return [ask(self.client) for _ in range(2)][-1]

    def database(self, error):
        def away(execute, sql, *args):
            if "chat_budgetperiod" in sql:
                raise error("could not connect to server db.internal")
            return execute(sql, *args)

        with connection.execute_wrapper(away):
            return ask(self.client)


def anonymous(world, key=None):
    world.client.credentials(**({"HTTP_AUTHORIZATION": f"Token {key}"} if key else {}))
    return ask(world.client)


class Unforeseen(tree.GenAIException):
    pass


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
    ("service_temporarily_unavailable", lambda w: w.crash(tree.DatabaseUnavailableError("secret words"))),
    ("service_temporarily_unavailable", lambda w: w.crash(tree.SystemError("secret words"))),
    ("budget_exceeded", lambda w: w.crash(tree.BudgetError("secret words"))),
    ("internal_error", lambda w: w.crash(Unforeseen("secret words"))),
    ("internal_error", lambda w: ask(w.client, "/fault crash")),
]
TRACEBACKS = {"service_temporarily_unavailable", "internal_error"}


@pytest.fixture
def world(auth_client, settings, monkeypatch, user):
    return World(auth_client, settings, monkeypatch, user)


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


# --- facts of single rows ---------------------------------------------------------------------------------------------
def test_a_budget_that_is_renewed_and_one_that_is_too_small(world, time_machine, log):
    time_machine.move_to(datetime(2028, 2, 29, 23, 59, 50, tzinfo=UTC), tick=False)
    get_token_model().objects.update(expiry=None)
    world.settings.UPGRADE_URL = "https://example.org/upgrade"
    body = check_error(world.budget(50), "token_budget_exceeded")
    assert not UsageRecord.objects.exclude(state="refused").exists()
    assert "retry_after" not in body
    assert "more than your whole budget" in body["message"]
    TokenBudget.objects.update(limit=250)
    assert ask(world.client, max_tokens=200).status_code == 200
    body = check_error(ask(world.client, max_tokens=230), "token_budget_exceeded")
    assert (body["retry_after"], body["resets_at"]) == (10, "2028-03-01T00:00:00Z")
    assert body["upgrade_url"] == "https://example.org/upgrade"
    assert body["tokens_remaining"] == 250 - body["tokens_used"] < body["tokens_needed"] <= 250 == body["tokens_limit"]
    line = log.events("token_budget_exceeded")[-1]
    assert (line["user_id"], line["tokens_limit"]) == (world.user.pk, 250)
    time_machine.shift(10)
    assert ask(world.client, max_tokens=200).status_code == 200


RENEWED = "until it is renewed, on 2028-03-01 at 00:00 UTC."
ADVICE = [
    # The budget, what of it is used and is reserved, max_tokens (the prompt takes 13); what is said after the need.
    (
        (250, 100, 0, 200),
        f"and your budget of 250 has 150 left {RENEWED} "
        "Lower max_tokens to 137 at most, wait until then, or ask for a larger budget.",
    ),
    (
        (250, 250, 0, 200),
        f"and your budget of 250 has 0 left {RENEWED} Wait until then, or ask for a larger budget.",
    ),
    ((250, 225, 0, 16), f"and your budget of 250 has 25 left {RENEWED} Wait until then, or ask for a larger budget."),
    (
        (250, 50, 190, 64),
        f"and your budget of 250 has 10 left (chats in flight hold 190) {RENEWED} "
        "Wait until those chats are over, or ask for a larger budget.",
    ),
    (
        (250, 200, 40, 64),  # nor would it fit without them
        f"and your budget of 250 has 10 left (chats in flight hold 40) {RENEWED} "
        "Wait until then, or ask for a larger budget.",
    ),
    (
        (250, 100, 0, 300),
        f"more than your whole budget of 250, which has 150 left {RENEWED} "
        "Lower max_tokens to 137 at most, or ask for a larger budget.",
    ),
    (
        (250, 250, 0, 300),
        f"more than your whole budget of 250, which has 0 left {RENEWED} "
        "Wait until then and lower max_tokens to 237 at most, or ask for a larger budget.",
    ),
    ((0, 0, 0, 16), f"more than your whole budget of 0, which has 0 left {RENEWED} Ask for a larger budget."),
]


@pytest.mark.parametrize(("numbers", "words"), ADVICE, ids=[str(row[0]) for row in ADVICE])
def test_a_budgets_message_advises_what_helps(auth_client, user, time_machine, numbers, words):
    time_machine.move_to(datetime(2028, 2, 29, 12, tzinfo=UTC), tick=False)
    get_token_model().objects.update(expiry=None)
    limit, used, reserved, max_tokens = numbers
    TokenBudget.objects.create(user=user, limit=limit)
    start = datetime(2028, 2, 1, tzinfo=UTC)
    BudgetPeriod.objects.create(user=user, period="month", start=start, used=used, reserved=reserved)
    body = check_error(ask(auth_client, max_tokens=max_tokens), "token_budget_exceeded")
    joint = " " if words.startswith("and") else ", "
    assert body["message"] == f"This request needs {max_tokens + 13} tokens{joint}{words}"
    if "then and" in words:
        time_machine.move_to(datetime(2028, 3, 1, tzinfo=UTC), tick=False)
    if found := re.search(r"ower max_tokens to (\d+)", body["message"]):
        assert ask(auth_client, max_tokens=int(found[1]) + 1).status_code == 429
        assert ask(auth_client, max_tokens=int(found[1])).status_code == 200


def test_a_prompt_that_the_budget_cannot_hold_is_to_be_shortened(auth_client, user):
    TokenBudget.objects.create(user=user, limit=250)
    message = check_error(ask(auth_client, "word " * 1000), "token_budget_exceeded")["message"]
    assert message.endswith(" UTC. Shorten the messages, or ask for a larger budget.")
    assert "max_tokens" not in message


FROM_PROVIDERS = [
    ("rate_limit", "provider_rate_limited", 7),
    ("unavailable", "provider_unavailable", 60),
    ("hang", "provider_timeout", 5),
    ("html", "invalid_provider_response", 5),
    ("bad_key", "provider_error", 300),
    ("terminal_429", "provider_error", 300),
]


@pytest.mark.parametrize(("fault", "code", "wait"), FROM_PROVIDERS)
@pytest.mark.parametrize("model", ["claude", "gpt"])
def test_what_a_real_provider_answers(auth_client, upstream, settings, log, model, fault, code, wait):
    settings.CHAT_MAX_ATTEMPTS, upstream.always = 1, fault
    if fault == "hang":
        settings.CHAT_DEADLINE = 0.3
    response = ask(auth_client, model=model)
    body = check_error(response, code)
    assert (body["provider"], body["retry_after"]) == (model, wait)
    if code == "provider_unavailable":
        assert body["status_page"] == ("https://status.example/claude" if model == "claude" else None)
    assert "Something is wrong." not in response.content.decode()  # the provider's own text
    if fault not in ("hang", "html"):
        assert log.events("provider_attempt_failed")[0]["text"] == "Something is wrong."


def test_all_routes_failed_with_the_error_that_tells_most(auth_client, upstream):
    upstream.then("rate_limit", "unavailable")
    body = check_error(ask(auth_client, model="both"), "provider_rate_limited")
    assert (body["provider"], body["retry_after"]) == ("all_providers", 7)


def test_the_rejection_of_a_prompt_names_its_reason(auth_client, upstream):
    from tests.support.loopback import status

    too_long = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}
    upstream.then(status(400, body=too_long))
    body = check_error(ask(auth_client, model="claude"), "provider_rejected_request")
    assert body["reason"] == "context_length"


def test_the_throttles_of_rest_framework_have_a_row_too(auth_client, monkeypatch):
    class Always(BaseThrottle):
        def allow_request(self, request, view):
            return False

        def wait(self):
            return 2.5

    monkeypatch.setattr(UsageView, "throttle_classes", [Always])
    response = auth_client.get("/usage")
    body = json.loads(response.content)
    assert (response.status_code, body["error"]) == (429, "rate_limit_exceeded")
    assert body["retry_after"] == int(response["Retry-After"]) == 3
