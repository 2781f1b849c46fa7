"""A front end of another origin, which the operator named, can read every answer; all others none."""

from __future__ import annotations

import pytest

from chat.exceptions import ProviderTimeoutError
from tests.conf.test_settings import python
from tests.support.contract import ask, check_error, check_ids, send

APP, STRANGER = "https://app.example", "https://stranger.example"
READABLE = (
    "x-request-id request-id retry-after x-should-retry ratelimit ratelimit-policy idempotent-replayed x-cached "
    "x-budget-limited x-ignored-parameters"
)
SDKS = (
    "authorization content-type x-api-key anthropic-version idempotency-key x-request-id x-stainless-retry-count "
    "traceparent tracestate baggage sentry-trace x-client-request-id"
)


@pytest.fixture
def named(settings):
    settings.CORS_ALLOWED_ORIGINS = [APP, "http://localhost:5173"]


def readable(response, origin=APP):
    """That a browser hands this answer, with the headers that the contract has, to scripts of `origin`."""
    assert response["Access-Control-Allow-Origin"] == origin
    assert set(response["Access-Control-Expose-Headers"].split(", ")) == set(READABLE.split())
    assert "origin" in response["Vary"].lower()
    assert "Access-Control-Allow-Credentials" not in response.headers
    return response


def provider_fails(monkeypatch):
    def fail(chat):
        raise ProviderTimeoutError("anthropic", None, "")

    monkeypatch.setattr("chat.api.endpoint.complete_chat", fail)


def bug(monkeypatch):
    monkeypatch.setattr("chat.views.models.catalogue.current", lambda: 1 / 0)


def limit(settings):
    settings.CHAT_RATE_LIMIT = "1/h"


ERRORS = {
    "bad_request": lambda c: c.get("/models", HTTP_HOST="elsewhere.example"),
    "invalid_json": lambda c: send(c, "{"),
    "authentication_failed": lambda c: ask(c.credentials(HTTP_AUTHORIZATION="Token wrong") or c),
    "not_found": lambda c: c.get("/nowhere"),
    "method_not_allowed": lambda c: c.get("/api-auth/logout/"),
    "request_too_large": lambda c: send(c, " " * 3_000_000),
    "csrf_failed": lambda c: c.post("/api-auth/login/", {"username": "ada"}),
}


@pytest.mark.django_db
@pytest.mark.usefixtures("named")
class TestAnOriginThatIsNamed:
    def test_reads_an_answer(self, auth_client):
        assert readable(ask(auth_client, headers={"Origin": APP})).status_code == 200

    @pytest.mark.parametrize("code", ERRORS)
    def test_reads_an_error(self, auth_client, code):
        auth_client.defaults["HTTP_ORIGIN"] = APP
        auth_client.handler.enforce_csrf_checks = True
        check_error(readable(ERRORS[code](auth_client)), code)

    def test_reads_that_a_provider_failed(self, auth_client, monkeypatch):
        provider_fails(monkeypatch)
        check_error(readable(ask(auth_client, headers={"Origin": APP})), "provider_timeout")

    def test_reads_that_the_rate_limit_is_used_up(self, auth_client, settings):
        limit(settings)
        ask(auth_client)
        check_error(readable(ask(auth_client, headers={"Origin": APP})), "rate_limit_exceeded")

    @pytest.mark.parametrize("path", ["/models", "/models/claude-3"])
    def test_reads_that_we_failed(self, api_client, monkeypatch, path):
        bug(monkeypatch)
        check_error(readable(api_client.get(path, headers={"Origin": APP})), "internal_error")

    def test_reads_a_middlewares_failure(self, api_client, settings):
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_handlers.Bomb"]
        response = api_client.get("/models", headers={"Origin": APP, "X-Bomb": "bug"})
        check_error(readable(response), "internal_error")

    def test_is_each_of_those_named(self, api_client):
        origin = "http://localhost:5173"
        readable(api_client.get("/models", headers={"Origin": origin}), origin)


PREFLIGHT = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": SDKS.replace(" ", ",")}


@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("path", ["/chat", "/chat/", "/conversations"])
def test_a_preflight_is_answered_without_the_database_and_logged(
    api_client, log, path
):  # no django_db mark: it may not
    response = readable(api_client.options(path, headers={"Origin": APP, "X-Request-ID": "pre"} | PREFLIGHT))
    assert (response.status_code, response.content) == (200, b"")
    assert {"POST", "GET", "DELETE"} <= set(response["Access-Control-Allow-Methods"].split(", "))
    assert set(SDKS.split()) <= set(response["Access-Control-Allow-Headers"].split(", "))
    check_ids(response, "pre")
    assert [line["event"] for line in log.of("pre")] == ["incoming_request", "response_sent"]


@pytest.mark.django_db
@pytest.mark.usefixtures("named")
@pytest.mark.parametrize("origin", [STRANGER, "null", f"{APP}.stranger.example", "http://app.example", "", "http://["])
def test_no_other_origin_is_let_in(api_client, origin):
    for response in (
        api_client.get("/models", headers={"Origin": origin}),
        api_client.options("/chat", headers={"Origin": origin} | PREFLIGHT),
    ):
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.django_db
def test_by_default_there_is_none(api_client):
    assert "Access-Control-Allow-Origin" not in api_client.get("/models", headers={"Origin": APP}).headers


@pytest.mark.parametrize("module", ["development", "production"])
def test_the_environment_names_them(module):
    words = "from django.conf import settings as s; print(s.CORS_ALLOWED_ORIGINS)"
    environment = {"DJANGO_SETTINGS_MODULE": f"genai_site.settings.{module}"}
    assert python("-c", words, **environment) == (0, "[]\n")
    given = environment | {"CORS_ALLOWED_ORIGINS": f"{APP}, http://localhost:5173"}
    assert python("-c", words, **given) == (0, f"['{APP}', 'http://localhost:5173']\n")


def test_the_environment_admits_more_headers():
    words = "from django.conf import settings as s; print('x-tenant' in s.CORS_ALLOW_HEADERS)"
    assert python("-c", words, CORS_ALLOWED_HEADERS="x-tenant,x-team") == (0, "True\n")
