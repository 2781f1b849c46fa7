"""The endpoints: what they answer, and in which order POST /chat checks."""

from __future__ import annotations

import json
import uuid

import pytest
import requests
from django.core.cache import cache
from django.db import OperationalError, connection
from django.utils import timezone
from knox.models import get_token_model

from chat.exceptions import ProviderRateLimitError
from chat.models import UsageRecord
from chat.routing import cooldown
from tests.support.contract import TABLE, ask, chat_body, check_error, check_ids, send
from tests.support.rig import route_of

pytestmark = pytest.mark.django_db
BODY = ["response", "model", "upstream_model", "tokens_used", "cost", "usage", "finish_reason", "provider", "cached"]
BODY.append("request_id")


# --- POST /chat -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", ["claude", "gpt"])
def test_an_answer(auth_client, upstream, model, user):
    response = ask(auth_client, model=model, headers={"X-Request-ID": "req-1"})
    body = response.json()
    assert response.status_code == 200
    assert list(body) == BODY
    assert body == {
        "response": "hello",
        "model": model,
        "upstream_model": upstream.requests[0].json["model"],
        "tokens_used": 21,
        "cost": None,  # a model of an upstream that nobody has a price of
        "usage": {"prompt_tokens": 9, "completion_tokens": 12},
        "finish_reason": "stop",
        "provider": model,
        "cached": False,
        "request_id": check_ids(response, "req-1"),
    }
    assert auth_client.get("/usage").json()["used"] == 21
    record = UsageRecord.objects.get()
    assert (record.request_id, record.user, record.tokens_used, record.state) == ("req-1", user, 21, "settled")


@pytest.mark.parametrize(
    ("fault", "reason"), [("content_filter", "content_filter"), ("refusal", "content_filter"), ("ok", "stop")]
)
def test_the_finish_reason(auth_client, upstream, fault, reason):
    upstream.then(fault)
    assert ask(auth_client, model="gpt").json()["finish_reason"] == reason


def test_the_finish_reason_of_a_short_answer(auth_client):
    assert ask(auth_client, max_tokens=3).json()["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("fault", "words"),
    [("hang", "slow"), ("unavailable", "unavailable"), ("rate_limit", "busy"), ("html", None), ("bad_key", None)],
)
def test_an_earlier_answer_stands_in_when_all_providers_fail(auth_client, upstream, settings, fault, words):
    fresh = ask(auth_client, model="gpt").json()
    settings.CHAT_MAX_ATTEMPTS, settings.CHAT_DEADLINE = 1, 0.5  # not before: a process's first chat reads the prices
    upstream.always = fault
    response = ask(auth_client, model="gpt")
    if words is None:
        assert response.status_code in (502, 503)
        return
    body = response.json()
    assert list(body) == [*BODY, "message"]
    assert body["message"] == f"LLM is {words}, showing cached response"
    assert (body["cached"], body["tokens_used"], body["response"]) == (True, 0, fresh["response"])
    assert body["request_id"] == check_ids(response) != fresh["request_id"]
    assert auth_client.get("/usage").json()["used"] == 21
    assert ask(auth_client, "Other", model="gpt").status_code >= 500


ORDER = [
    # Each request is wrong in all the ways that follow, too, and gets the first complaint.
    ("authentication_failed", {"Authorization": "Token wrong", "Accept": "image/png"}, "{"),
    ("not_authenticated", {"Authorization": "", "Accept": "image/png"}, "{"),
    ("not_acceptable", {"Accept": "image/png"}, "{"),
    ("unsupported_media_type", {"Content-Type": "text/plain"}, "{"),
    ("invalid_json", {}, "{"),
    ("invalid_request", {}, {"messages": [], "temperature": 3}),
    ("model_not_found", {}, {"model": "gpt-9", "messages": [], "temperature": 3}),
    ("invalid_message_format", {}, chat_body("", temperature=3)),
    ("invalid_request", {}, chat_body(temperature=3, conversation_id=str(uuid.uuid4()))),
    ("not_found", {}, chat_body("word " * 20_000, conversation_id=str(uuid.uuid4()))),
    ("token_budget_exceeded", {}, chat_body("/fault outage" + " word" * 20_000)),
]


@pytest.mark.parametrize(("code", "headers", "body"), ORDER, ids=[f"{i}-{case[0]}" for i, case in enumerate(ORDER)])
def test_the_order_of_checks(auth_client, user, token, code, headers, body):
    auth_client.credentials(HTTP_AUTHORIZATION=headers.get("Authorization", f"Token {token}"))
    auth_client.defaults["HTTP_ACCEPT"] = headers.get("Accept", "*/*")
    text = body if isinstance(body, str) else json.dumps(body)
    response = send(auth_client, text, headers.get("Content-Type", "application/json"))
    check_error(response, code)
    assert not UsageRecord.objects.exclude(state="refused").exists()
    counted = TABLE[code].status != 401
    assert ("RateLimit" in response.headers) == counted


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete", "head"])
def test_credentials_come_before_the_method(auth_client, method):
    response = getattr(auth_client, method)("/chat")
    assert (response.status_code, response["Allow"]) == (405, "POST, OPTIONS")
    auth_client.credentials()
    assert getattr(auth_client, method)("/chat").status_code == 401


SLASHED = ["/models", "/models/gpt-4", "/conversations", "/usage", "/errors", "/errors/not_found", "/health"]


@pytest.mark.parametrize("path", [*SLASHED, "/health/ready"])
def test_a_trailing_slash_makes_no_difference(auth_client, path, time_machine):
    time_machine.move_to(timezone.now(), tick=False)  # some tell the seconds until then
    plain, slashed = auth_client.get(path), auth_client.get(f"{path}/")
    assert plain.status_code == slashed.status_code == 200
    assert plain.json() == slashed.json()


def test_a_trailing_slash_does_not_lose_a_body(auth_client, live_server, token):
    assert auth_client.post("/chat/", chat_body(), format="json").status_code == 200
    conversation = auth_client.post("/conversations/", {"title": "x"}, format="json").json()
    assert conversation["title"] == "x"
    assert auth_client.delete(f"/conversations/{conversation['id']}/").status_code == 204


def test_over_a_socket(live_server, token):
    headers = {"Authorization": f"Bearer {token}"}
    response = requests.post(f"{live_server}/chat", json=chat_body(), headers=headers, timeout=10)
    assert (response.status_code, list(response.json())) == (200, BODY)
    response = requests.head(f"{live_server}/chat", headers=headers, timeout=10)
    assert (response.status_code, response.content) == (405, b"")


# --- models, errors, root ---------------------------------------------------------------------------------------------
def test_the_models(api_client, upstream):
    assert api_client.get("/models").json() == {"models": ["both", "claude", "gpt"]}
    assert api_client.get("/models/gpt").json() == {
        "name": "gpt",
        "max_output_tokens": 4096,
        "default_output_tokens": 1024,
    }
    for name in ("gpt-9", "GPT", "a/b", "é", "x" * 5_000):
        body = check_error(api_client.get(f"/models/{name}"), "model_not_found")
        assert body["requested_model"] == name[:200]
        assert body["available_models"] == ["both", "claude", "gpt"]


def test_the_catalogue_of_errors(api_client):
    entries = api_client.get("/errors").json()["errors"]
    assert {entry["code"] for entry in entries} == TABLE.keys()
    for entry in entries:
        code, example = entry["code"], entry["example"]
        assert list(entry) == ["code", "status", "title", "meaning", "what_to_do", "should_retry", "example"]
        assert (entry["status"], entry["should_retry"]) == (TABLE[code].status, TABLE[code].should_retry)
        assert list(example)[:3] == ["error", "message", "request_id"]
        assert example.keys() - {"error", "message", "request_id", "retry_after"} == TABLE[code].context - {
            "retry_after"
        }
        assert api_client.get(f"/errors/{code}").json().keys() == entry.keys()
    for code in ("nothing", "INVALID_JSON", "%00"):
        check_error(api_client.get(f"/errors/{code}"), "not_found")


def test_the_root_names_what_there_is(api_client):
    links = api_client.get("/").json()
    assert links["ready"] == "http://testserver/health/ready"
    assert all(api_client.get(link).status_code in (200, 401) for link in links.values())


@pytest.mark.parametrize("path", ["/", *SLASHED, "/health/ready", "/chat"])
def test_options_and_head(auth_client, path):
    response = auth_client.options(path)
    assert response.status_code == 200
    assert response.json()["name"]
    if path != "/chat":
        head = auth_client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        check_error(auth_client.patch(path, {}, format="json"), "method_not_allowed")


# --- usage ------------------------------------------------------------------------------------------------------------
def test_usage(auth_client, upstream, time_machine):
    time_machine.move_to("2026-12-31T23:00:00Z", tick=False)
    get_token_model().objects.update(expiry=None)
    assert auth_client.get("/usage").json() == {
        "limit": 10_000,
        "used": 0,
        "reserved": 0,
        "remaining": 10_000,
        "period": "month",
        "resets_at": "2027-01-01T00:00:00Z",
        "cost": {"limit": None, "used": "0.000000000", "reserved": "0.000000000", "remaining": None},
        "daily": [],
        "models": [],
    }
    for _ in range(2):
        ask(auth_client, model="gpt")
    upstream.then("bad_key")
    ask(auth_client, model="gpt")
    time_machine.move_to("2027-01-01T00:00:00Z", tick=False)
    cache.clear()
    cooldown._seen.clear()
    ask(auth_client, model="gpt")
    body = auth_client.get("/usage").json()
    assert (body["used"], body["remaining"], body["resets_at"]) == (21, 9_979, "2027-02-01T00:00:00Z")
    assert body["daily"] == [
        {"date": "2026-12-31", "requests": 2, "tokens_used": 42, "cost": None},
        {"date": "2027-01-01", "requests": 1, "tokens_used": 21, "cost": None},
    ]
    assert body["models"] == [{"model": "gpt", "requests": 3, "tokens_used": 63, "cost": None}]


def test_usage_is_the_users_own(auth_client, api_client, django_user_model):
    ask(auth_client)
    auth_client.credentials()
    check_error(auth_client.get("/usage"), "not_authenticated")
    auth_client.force_login(django_user_model.objects.create_user("eve"))
    assert auth_client.get("/usage").json()["used"] == 0


# --- health -----------------------------------------------------------------------------------------------------------
def test_health_touches_nothing(auth_client, django_assert_num_queries, monkeypatch):
    monkeypatch.setattr("django.core.cache.cache.get", None)
    with django_assert_num_queries(0):
        response = auth_client.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "healthy"})


def ready(client):
    response = client.get("/health/ready")
    check_ids(response)
    body = response.json()
    assert response.status_code == (200 if body["status"] == "ready" else 503)
    return body


def test_readiness(auth_client):
    expected = {"status": "ready", "checks": {"database": "ok", "cache": "ok", "providers": "ok"}}
    assert ready(auth_client) == expected


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("login", [False, True], ids=["key", "session"])
def test_readiness_while_the_database_is_away(auth_client, user, login, log):
    if login:
        auth_client.credentials()
        auth_client.force_login(user)

    def away(*args):
        raise OperationalError("could not connect to server db.internal")

    with connection.execute_wrapper(away):
        body = ready(auth_client)
        assert auth_client.get("/health").status_code == 200
        check_error(auth_client.get("/usage"), "service_temporarily_unavailable")
        assert auth_client.get("/usage", headers={"Accept": "text/html"}).status_code == 503
    assert (body["status"], body["checks"]["database"]) == ("unavailable", "unavailable")
    (line,) = (line for line in log.lines if line["event"] == "database_unavailable")
    assert "db.internal" in line["reason"]
    assert ready(auth_client)["status"] == "ready"


def test_readiness_while_all_providers_rest(auth_client, upstream, user):
    cooldown.failed(ProviderRateLimitError("claude", 429, "", 30), route_of("claude", "c-1"), "1")
    assert ready(auth_client)["status"] == "ready"
    cooldown.failed(ProviderRateLimitError("gpt", 429, "", 30), route_of("gpt", "g-1"), "1")
    body = ready(auth_client)
    assert (body["status"], body["checks"]["providers"]) == ("unavailable", "unavailable")
    assert "providers" not in body
    user.is_staff = True
    user.save()
    states = ready(auth_client)["providers"]
    assert states.keys() == {"claude", "gpt"}
    assert {state["state"] for state in states.values()} == {"resting"}
    assert 0 < states["gpt"]["seconds_left"] <= 30


def test_what_is_for_anyone_is_there_for_a_browser_while_the_database_is_away(api_client, user):
    def away(*args):
        raise OperationalError("the database is away")

    api_client.force_login(user)
    with connection.execute_wrapper(away):
        assert [api_client.get(path).status_code for path in ("/", "/models", "/errors")] == [200, 200, 200]


def test_a_models_name_may_hold_anything(api_client):
    check_error(api_client.get("/models/a%0Ab"), "model_not_found")
