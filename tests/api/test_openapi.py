"""The OpenAPI schema: every endpoint, and every error with its example."""

from __future__ import annotations

import json
from functools import partial
from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import call_command

from chat.dashboard.errors import error_entry
from chat.problems.table import BY_CODE
from tests.support.contract import PROBLEM, TABLE, ask, check_error
from tests.support.schema import JSON, operations, target, validator

YAML = partial(yaml.load, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # the first takes a tenth of the time


def codes(operation: dict[str, Any]) -> dict[str, int]:
    """The errors of an operation and their statuses."""
    return {
        code: int(status)
        for status, response in operation["responses"].items()
        for code in response.get("content", {}).get(PROBLEM, {}).get("examples", {})
    }


def test_it_is_valid_and_gives_no_warning():
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=StringIO())


# --- the endpoints ----------------------------------------------------------------------------------------------------
def test_every_endpoint_of_the_contract_is_there_and_no_other(schema):
    assert sorted(operations(schema)) == [
        "DELETE /conversations/{conversation_id}",
        "DELETE /keys/{key_id}",
        "GET /",
        "GET /conversations",
        "GET /conversations/{conversation_id}",
        "GET /errors",
        "GET /errors/{code}",
        "GET /health",
        "GET /health/ready",
        "GET /keys",
        "GET /models",
        "GET /models/{name}",
        "GET /schema",
        "GET /usage",
        "GET /v1/models",
        "GET /v1/models/{name}",
        "POST /chat",
        "POST /conversations",
        "POST /v1/chat/completions",
        "POST /v1/embeddings",
        "POST /v1/messages",
        "POST /v1/messages/count_tokens",
        "POST /v1/responses",
    ]
    assert schema["openapi"] == "3.1.0"


def test_keys_in_either_scheme_or_the_session_open_what_is_closed(schema):
    for name, operation in operations(schema).items():
        closed = any(path in name for path in ("/chat", "/conversations", "/keys", "/usage", "/v1/"))
        assert ({} in operation["security"]) == (not closed), name
        theirs = ["x_api_key"] if "/v1/messages" in name or "/v1/models" in name else []
        either = [{scheme: []} for scheme in ["key", "token", *theirs, "session"]]
        assert not closed or operation["security"] == either, name
    schemes = schema["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {
        "key": "http",
        "token": "apiKey",
        "x_api_key": "apiKey",
        "session": "apiKey",
    }


def test_it_tells_nothing_that_is_ours(schema):
    assert not [
        word for word in ("Serializer", "serializer", "to_internal_value", "x-spec-enum") if word in str(schema)
    ]


@pytest.mark.parametrize("path", ["/schema", "/schema/"])
@pytest.mark.parametrize(
    ("accept", "kind", "read"),
    [
        ("*/*", JSON, json.loads),
        ("text/html,*/*;q=0.8", JSON, json.loads),
        ("application/yaml", "application/yaml", YAML),
        ("application/vnd.oai.openapi", "application/vnd.oai.openapi", YAML),
    ],
)
def test_it_is_served_to_anyone_without_a_database(
    api_client, path, accept, kind, read
):  # no django_db mark: it may not
    response = api_client.get(path, headers={"Accept": accept, "Authorization": "Token wrong"})
    assert (response.status_code, response["Content-Type"].partition(";")[0]) == (200, kind)
    assert read(response.content)["info"]["title"] == "Chat API"


@pytest.mark.parametrize("path", ["/docs", "/docs/", "/docs?script"])
@pytest.mark.parametrize("accept", ["text/html", JSON, "*/*"])
def test_so_is_the_page_of_it(api_client, path, accept):
    response = api_client.get(path, headers={"Accept": accept})
    assert response.status_code == 200
    assert b"cdn" not in response.content
    check_error(api_client.post(path), "method_not_allowed")


# --- the errors -------------------------------------------------------------------------------------------------------
COMMON = {"bad_request", "not_acceptable", "internal_error"}
KEYED = COMMON | {"not_authenticated", "authentication_failed", "service_temporarily_unavailable"}
KEYED |= {"rate_limit_exceeded"}  # of bad keys
BODY = {"csrf_failed", "invalid_json", "invalid_request", "unsupported_media_type", "request_too_large"}
NEVER = {"method_not_allowed", "permission_denied", "budget_exceeded"}
"""No operation answers with these: another method than its own, a right that none asks for, a budget that none has."""
CHAT = TABLE.keys() - NEVER
FOREIGN = TABLE.keys() - NEVER - {"not_found"}
CHATS = (
    *("POST /chat", "POST /v1/chat/completions", "POST /v1/embeddings"),
    *("POST /v1/messages", "POST /v1/messages/count_tokens", "POST /v1/responses"),
)
EXPECTED = {
    "GET /": COMMON,
    "GET /conversations": KEYED | {"not_found"},
    "POST /conversations": KEYED | BODY | {"too_many_concurrent_requests", "overloaded"},
    "GET /conversations/{conversation_id}": KEYED | {"not_found"},
    "DELETE /conversations/{conversation_id}": KEYED | {"csrf_failed", "not_found"},
    "GET /errors/{code}": COMMON | {"not_found"},
    "GET /health/ready": COMMON,
    "GET /keys": KEYED | {"not_found"},
    "DELETE /keys/{key_id}": KEYED | {"csrf_failed", "not_found"},
    "GET /models/{name}": COMMON | {"model_not_found"},
    "GET /usage": KEYED,
    "GET /v1/models": KEYED,
    "GET /v1/models/{name}": KEYED | {"model_not_found"},
    "POST /chat": CHAT,
    "POST /v1/chat/completions": FOREIGN,
    "POST /v1/embeddings": FOREIGN,
    "POST /v1/messages": FOREIGN,
    "POST /v1/messages/count_tokens": KEYED
    | BODY
    | {"model_not_found", "invalid_message_format", "too_many_concurrent_requests", "overloaded"},
    "POST /v1/responses": FOREIGN,
}


@pytest.mark.parametrize("name", EXPECTED)
def test_an_operation_names_every_error_that_it_can_answer_with(schema, name):
    found = codes(operations(schema)[name])
    assert found.keys() == EXPECTED[name]
    assert found == {code: TABLE[code].status for code in found}


@pytest.mark.parametrize("code", sorted(CHAT))
def test_an_error_has_the_tables_example_and_a_schema_that_it_meets(schema, code):
    content = operations(schema)["POST /chat"]["responses"][str(TABLE[code].status)]["content"]
    plain, details = (target(schema, content[kind]["examples"][code])["value"] for kind in (JSON, PROBLEM))
    wanted = error_entry(BY_CODE[code])["example"]
    waits = {"retry_after"}
    assert {key: plain[key] for key in plain.keys() - waits} == {key: wanted[key] for key in wanted.keys() - waits}
    assert (details["status"], details["detail"]) == (TABLE[code].status, plain["message"])
    validator(schema, content[JSON]["schema"]).validate(plain)
    validator(schema, content[PROBLEM]["schema"]).validate(details)
    others = {"error": "unheard_of"}, {"message": 5}, {"another": "fact"}
    for change in others:
        assert not validator(schema, content[JSON]["schema"]).is_valid(plain | change)


def test_every_response_documents_its_headers(schema):
    for name, operation in operations(schema).items():
        for status, response in operation["responses"].items():
            headers = set(response["headers"])
            assert headers >= {"X-Request-ID", "Request-Id"}, name
            problem = PROBLEM in response.get("content", {})
            assert ("X-Should-Retry" in headers) == problem, (name, status)
            assert ("Retry-After" in headers) == (problem and status in ("409", "429", "502", "503", "504"))
            assert ("RateLimit" in headers) == ("RateLimit-Policy" in headers)
            assert ("RateLimit" in headers) == (name in CHATS and status != "401")
            assert ("WWW-Authenticate" in headers) == (status == "401")
            assert all(target(schema, header)["schema"] for header in response["headers"].values())


@pytest.mark.django_db
@pytest.mark.parametrize("fault", ["rate_limit", "outage", "timeout", "garbage", "rejected", "bad_key", "crash"])
@pytest.mark.parametrize("kind", [JSON, PROBLEM])
def test_a_providers_failure_is_as_described(schema, auth_client, fault, kind):
    response = ask(auth_client, f"/fault {fault}", headers={"Accept": kind})
    assert response.status_code >= 400
    content = operations(schema)["POST /chat"]["responses"][str(response.status_code)]["content"]
    validator(schema, content[kind]["schema"]).validate(response.json())
