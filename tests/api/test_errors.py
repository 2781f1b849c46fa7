"""Every kind of error below /v1/, in the form of the API that the path belongs to, with the headers that SDKs obey."""

from __future__ import annotations

import json

import pytest
from django.db import OperationalError, connection

from chat.api import endpoint as faces
from chat.billing import claims
from chat.models import TokenBudget
from tests.support.asking import ANTHROPIC, OPENAI, PATHS, body_for, client_of, post
from tests.support.contract import LEAKS, PROBLEM, TABLE, check_ids, code_of
from tests.support.loopback import status

pytestmark = pytest.mark.django_db
BIG = b'{"model": "' + b"a" * 34_000_000 + b'"}'


class World:
    """What a row needs to be produced, by requests to `path`."""

    def __init__(self, rig, settings, monkeypatch, user, path):
        self.rig, self.settings, self.monkeypatch, self.user, self.path = rig, settings, monkeypatch, user, path
        self.client = client_of(rig)

    def ask(self, headers=None, **changes):
        return self.client.post(self.path, body_for(self.path, **changes), format="json", headers=headers)

    def send(self, body, kind="application/json"):
        return self.client.generic("POST", self.path, body, content_type=kind)

    def budget(self, limit):
        TokenBudget.objects.create(user=self.user, limit=limit)
        return self.ask(max_tokens=64)

    def with_setting(self, name, value):
        setattr(self.settings, name, value)
        return [self.ask() for _ in range(2)][-1]

    def provider(self, fault, deadline=10.0):
        self.rig.first.always, self.settings.CHAT_DEADLINE = fault, deadline
        return self.ask()

    def running(self):
        face = {OPENAI: "openai", ANTHROPIC: "anthropic"}[self.path]
        with claims.once(self.user, "k", [face, body_for(self.path)], 60):
            return self.ask({"Idempotency-Key": "k"})

    def twice(self):
        self.ask({"Idempotency-Key": "k"})
        return self.ask({"Idempotency-Key": "k"}, top_p=0.5)

    def session(self):
        from rest_framework.test import APIClient

        browser = APIClient(enforce_csrf_checks=True)
        browser.force_login(self.user)
        browser.defaults |= {name: value for name, value in self.client.defaults.items() if "AUTH" not in name}
        return browser.post(self.path, body_for(self.path), format="json")

    def database(self):
        def away(execute, sql, *args):
            if "chat_budgetperiod" in sql:
                raise OperationalError("could not connect to server db.internal")
            return execute(sql, *args)

        with connection.execute_wrapper(away):
            return self.ask()

    def bug(self):
        self.monkeypatch.setattr(faces, "complete_chat", lambda chat: 1 / 0)
        return self.ask()


ROWS = [
    # The code; OpenAI's type, Anthropic's; how to come by it.
    ("bad_request", "invalid_request_error", "invalid_request_error", lambda w: w.ask({"Host": "evil.example"})),
    ("invalid_json", "invalid_request_error", "invalid_request_error", lambda w: w.send("{")),
    ("invalid_message_format", "invalid_request_error", "invalid_request_error", lambda w: w.ask(messages=[])),
    ("invalid_request", "invalid_request_error", "invalid_request_error", lambda w: w.ask(top_p=3)),
    ("invalid_request", "invalid_request_error", "invalid_request_error", lambda w: w.send("[]")),
    (
        "unsupported_parameter",
        "invalid_request_error",
        "invalid_request_error",
        lambda w: w.ask(tools=[{"type": "web_search"}]),
    ),
    ("not_authenticated", "invalid_request_error", "authentication_error", lambda w: w.ask({"Authorization": ""})),
    (
        "authentication_failed",
        "invalid_request_error",
        "authentication_error",
        lambda w: w.ask({"Authorization": "Bearer wrong"}),
    ),
    ("csrf_failed", "request_forbidden", "permission_error", lambda w: w.session()),
    ("model_not_found", "invalid_request_error", "not_found_error", lambda w: w.ask(model="gpt-9")),
    ("not_found", "invalid_request_error", "not_found_error", lambda w: w.client.get(w.path + "/nowhere")),
    ("method_not_allowed", "invalid_request_error", "invalid_request_error", lambda w: w.client.get(w.path)),
    ("unsupported_media_type", "invalid_request_error", "invalid_request_error", lambda w: w.send("a=1", "text/plain")),
    ("request_too_large", "invalid_request_error", "request_too_large", lambda w: w.send(BIG)),
    ("token_budget_exceeded", "insufficient_quota", "rate_limit_error", lambda w: w.budget(20)),
    ("rate_limit_exceeded", "requests", "rate_limit_error", lambda w: w.with_setting("CHAT_RATE_LIMIT", "1/h")),
    ("request_in_progress", "invalid_request_error", "conflict_error", lambda w: w.running()),
    ("idempotency_key_reused", "invalid_request_error", "invalid_request_error", lambda w: w.twice()),
    (
        "too_many_concurrent_requests",
        "requests",
        "rate_limit_error",
        lambda w: w.with_setting("CHAT_MAX_IN_FLIGHT_PER_USER", 0),
    ),
    ("overloaded", "service_unavailable_error", "overloaded_error", lambda w: w.with_setting("CHAT_MAX_IN_FLIGHT", 0)),
    ("provider_rate_limited", "service_unavailable_error", "overloaded_error", lambda w: w.provider("rate_limit")),
    ("provider_unavailable", "service_unavailable_error", "overloaded_error", lambda w: w.provider("unavailable")),
    ("provider_timeout", "server_error", "timeout_error", lambda w: w.provider("hang", 0.3)),
    ("invalid_provider_response", "server_error", "api_error", lambda w: w.provider("html")),
    ("provider_rejected_request", "invalid_request_error", "invalid_request_error", lambda w: w.provider(status(400))),
    ("provider_error", "server_error", "api_error", lambda w: w.provider("bad_key")),
    ("service_temporarily_unavailable", "service_unavailable_error", "api_error", lambda w: w.database()),
    ("internal_error", "server_error", "api_error", lambda w: w.bug()),
]
EACH = pytest.mark.parametrize(
    ("code", "openai", "anthropic", "produce"), ROWS, ids=[f"{i}-{row[0]}" for i, row in enumerate(ROWS)]
)


@pytest.fixture(params=PATHS)
def world(request, rig, settings, monkeypatch, user):
    return World(rig, settings, monkeypatch, user, request.param)


def check(response, code, path, kind):
    """All that any error there has in common."""
    expected, body = TABLE[code], json.loads(response.content)
    assert (response.status_code, response["Content-Type"]) == (expected.status, "application/json"), body
    request_id = check_ids(response)
    assert response["X-Should-Retry"] == may_retry(response, expected.should_retry)
    waits = response.headers.get("Retry-After")
    assert bool(waits) == ("retry_after" in expected.context)
    assert ("WWW-Authenticate" in response.headers) == (expected.status == 401)
    error = body["error"]
    if path == OPENAI:
        assert (body.keys(), set(error)) == ({"error"}, {"message", "type", "param", "code"})
        assert (error["type"], error["code"]) == (kind, code)
    else:
        assert body == {"type": "error", "error": error, "request_id": request_id}
        assert set(error) == {"type", "message", "details"}
        assert (error["type"], error["details"]["error_code"]) == (kind, code)
        assert error["details"].keys() == {"error_code"} | expected.context
        assert str(error["details"].get("retry_after", "")) == (waits or "")
    assert error["message"]
    assert not LEAKS.search(error["message"])
    return error


def test_the_rows_are_all_that_can_come_about_there():
    elsewhere = {"permission_denied", "budget_exceeded", "not_acceptable"}
    assert {row[0] for row in ROWS} | elsewhere == TABLE.keys()


@EACH
def test_an_error_has_the_form_of_the_paths_api(world, code, openai, anthropic, produce):
    check(produce(world), code, world.path, openai if world.path == OPENAI else anthropic)
    assert world.rig.tokens()[1] == 0


@EACH
def test_or_that_of_problem_details_for_who_accepts_them(world, code, openai, anthropic, produce):
    world.client.defaults["HTTP_ACCEPT"] = PROBLEM
    response = produce(world)
    body = json.loads(response.content)
    assert (response["Content-Type"], code_of(body), body["status"]) == (PROBLEM, code, TABLE[code].status)
    assert body["instance"] == f"urn:uuid:{check_ids(response)}"
    assert TABLE[code].context <= body.keys()
    assert response["X-Should-Retry"] == may_retry(response, TABLE[code].should_retry)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_before_the_first_text_a_stream_fails_as_a_whole_answer_does(rig, path, stream):
    rig.first.always = "unavailable"
    kind = "service_unavailable_error" if path == OPENAI else "overloaded_error"
    check(post(rig, path, stream=stream), "provider_unavailable", path, kind)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("accepted", ["application/xml", "text/html", "text/html,*/*;q=0.1", "nonsense", "a/b;q=", ""])
def test_whatever_a_client_accepts_it_gets_json(rig, path, accepted):
    answer = post(rig, path, {"Accept": accepted})
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    kind = "not_found_error" if path == ANTHROPIC else "invalid_request_error"
    check(post(rig, path, {"Accept": accepted}, model="gpt-9"), "model_not_found", path, kind)
    models = client_of(rig).get("/v1/models", headers={"Accept": accepted})
    assert (models.status_code, models["Content-Type"]) == (200, "application/json")


@pytest.mark.parametrize(("path", "form"), [("//v1/chat/completions", OPENAI), ("//v1/messages", ANTHROPIC)])
def test_a_base_url_with_a_slash_too_many_gets_the_vendors_form(rig, path, form):
    response = client_of(rig).post("/", body_for(form), format="json", PATH_INFO=path)
    check(response, "not_found", form, "not_found_error" if form == ANTHROPIC else "invalid_request_error")


@pytest.mark.parametrize("address", ["/v1", "/v1/", "/v1/nowhere", "/v1/completions", "/v1/models/gpt-9"])
@pytest.mark.parametrize(("headers", "form"), [({}, OPENAI), ({"anthropic-version": "2023-06-01"}, ANTHROPIC)])
def test_where_a_path_is_neithers_alone_the_header_of_anthropics_sdks_decides(rig, address, headers, form):
    response = client_of(rig).get(address, headers=headers)
    code = "model_not_found" if "models" in address else "not_found"
    check(response, code, form, "invalid_request_error" if form == OPENAI else "not_found_error")


def varies(response):
    return "anthropic-version" in response.headers.get("Vary", "").lower()


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-06-01"}], ids=repr)
@pytest.mark.parametrize("accept", ["*/*", PROBLEM])
def test_a_shared_cache_is_told_so(rig, headers, accept):
    client = client_of(rig, Accept=accept)
    answers = [client.get(path, headers=headers) for path in ("/v1", "/v1/nowhere", "/v1/models/gpt-9")]
    answers += [
        client.post("/v1/models", headers=headers),
        client.get("/v1", headers=headers | {"Host": "evil.example"}),
    ]
    answers += [client.get("/v1/models", headers=headers | {"Authorization": "Bearer wrong"})]
    assert [response["Vary"] for response in answers if not varies(response)] == []
    assert all("Accept" in response["Vary"] for response in answers)


def test_but_only_where_the_header_decides(rig):
    client = client_of(rig)
    paths = ["/nowhere", "/usage", "/models/gpt-9", OPENAI, ANTHROPIC, OPENAI + "/nowhere", ANTHROPIC + "/nowhere"]
    answers = [client.get(path) for path in paths] + [post(rig, path, top_p=3) for path in PATHS] + [post(rig, OPENAI)]
    assert [response["Vary"] for response in answers if varies(response)] == []


def test_but_it_does_not_where_the_path_is_openais(rig):
    response = post(rig, OPENAI, {"anthropic-version": "2023-06-01"}, top_p=3)
    check(response, "invalid_request", OPENAI, "invalid_request_error")


def test_anthropics_header_for_a_key_is_none_on_openais_path(rig):
    response = post(rig, OPENAI, {"Authorization": "", "x-api-key": rig.token})
    check(response, "not_authenticated", OPENAI, "invalid_request_error")


def test_what_openais_form_has_no_field_for_is_in_the_words(rig, user):
    error = post(rig, OPENAI, model="gpt-9").json()["error"]
    assert (error["param"], "Choose one of alone, pair, twice." in error["message"]) == ("model", True)
    TokenBudget.objects.create(user=user, limit=50)
    error = post(rig, OPENAI, max_tokens=64).json()["error"]
    assert error["param"] is None
    assert "50" in error["message"]


@pytest.mark.parametrize(("reason", "param"), [("context_length_exceeded", "messages"), ("invalid_value", None)])
def test_a_prompt_that_a_provider_finds_too_long_is_the_messages_fault(rig, reason, param):
    body = {"error": {"message": "Something is wrong.", "type": "invalid_request_error", "param": None, "code": reason}}
    rig.first.always = status(422, body=body)
    error = check(post(rig, OPENAI), "provider_rejected_request", OPENAI, "invalid_request_error")
    assert error["param"] == param


def test_an_agent_hears_the_vendors_own_words_of_its_own_request(rig):
    """Redacted: the vendor's message may name our account or a host of ours, or quote our key."""
    quoted = f"Bad tool of sk-first-7Hq2mZ9xWc4T at {rig.first.openai_url}."
    told = {"message": quoted, "type": "for org-a1B2c3D4e5F6", "code": "proj_a1B2c3D4e5F6"}
    told["param"] = "sk-first-7Hq2mZ9xWc4T"
    for code in (400, 413):
        rig.first.always = status(code, body={"error": told})
        response = post(rig, OPENAI)
        words = {"message": "Bad tool of *** at http://***/v1.", "type": "for ***", "param": "***", "code": "***"}
        assert (response.status_code, response.json()) == (code, {"error": told | words})
        assert response["X-Should-Retry"] == "false"
    assert rig.tokens() == (0, 0)


def test_a_field_that_the_vendor_refuses_is_the_clients_matter_and_no_fault_of_ours(rig):
    told = {"message": "Unsupported value: 'reasoning_effort' does not support 'max' with this model."}
    told |= {"type": "invalid_request_error", "param": "reasoning_effort", "code": "unsupported_value"}
    rig.first.always = status(400, body={"error": told})
    response = post(rig, OPENAI, reasoning_effort="max")
    assert (response.status_code, response.json()) == (400, {"error": told})
    rig.first.always = "ok"
    assert post(rig, OPENAI, reasoning_effort="low").status_code == 200  # what one asked in vain is no bar to the next


def test_nobody_else_hears_them(rig):
    told = {"message": "Bad tool.", "type": "invalid_request_error", "param": "tools", "code": "invalid"}
    rig.first.always = status(400, body={"error": told})
    for response in (post(rig, ANTHROPIC), rig.chat()):
        assert response.status_code == 400
        assert "Bad tool" not in response.content.decode()


def may_retry(response, should_retry):
    """Anthropic's SDK sleeps as long as it is told, were it a day, unless it is told not to retry."""
    return "true" if should_retry and int(response.get("Retry-After", 0)) <= 120 else "false"
