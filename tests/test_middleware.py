"""The request's id: on every response, the client's own only if it is well-formed."""

from __future__ import annotations

import pytest
import requests
from django.db import connection

from tests.conf.test_settings import python
from tests.support.contract import UUID4, ask, check_error, check_ids

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("request_id", ["a", "req_1.2-3", "A" * 128, "0b0d2b9e-6f8c-4a58-9c3b-6a1a3c1f4f10"])
def test_a_well_formed_id_is_kept(api_client, request_id):
    response = api_client.get("/nowhere", headers={"X-Request-ID": request_id})
    assert check_ids(response, request_id) == response.json()["request_id"]


FORGED = {
    "newline": 'planted\n{"event": "forged"}',
    "trailing newline": "planted\n",
    "long": "planted" * 800,
    "one too long": "a" * 129,
    "quotes": 'planted"}',
    "unicode": "plantéd",
    "digits of another script": "planted١",
    "space": "planted id",
    "empty": "",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
@pytest.mark.parametrize("path", ["/health", "/nowhere"])
def test_a_forged_id_is_replaced_and_never_printed(api_client, log, forged, path):
    response = api_client.get(path, headers={"X-Request-ID": forged})
    assert UUID4.fullmatch(check_ids(response))
    assert "plant" not in log.text + str(response.headers) + response.content.decode()
    assert {line["request_id"] for line in log.lines} == {response["X-Request-ID"]}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 200),
        ("/health", 200),
        ("/chat", 401),
        ("/nowhere", 404),
        ("/static/nothing.js", 404),
        ("/admin", 301),
        ("/admin/", 302),
        ("/admin/login/", 200),
        ("/api-auth/login/", 200),
        ("/api-auth/logout/", 405),
    ],
)
def test_every_response_carries_the_id(api_client, path, status):
    response = api_client.get(path)
    assert response.status_code == status
    assert UUID4.fullmatch(check_ids(response))


def test_a_request_that_names_no_path_gets_an_answer_like_any_other(api_client):
    assert check_error(api_client.generic("OPTIONS", "*"), "not_found")


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no pool")
@pytest.mark.parametrize("path", ["/conversations", "/usage", "/errors"])
def test_no_connection_of_the_pool_is_held_while_a_client_receives_its_answer(auth_client, path):
    assert auth_client.get(path).status_code == 200
    assert connection.connection is None


@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "delete", "head", "options", "trace"])
def test_every_method_carries_it(auth_client, method):
    assert UUID4.fullmatch(check_ids(getattr(auth_client, method)("/chat")))


def test_redirects_of_other_middleware_carry_it(api_client, settings):
    settings.SECURE_SSL_REDIRECT = True
    response = api_client.get("/usage")
    assert response.status_code == 301
    check_ids(response)


def test_an_id_is_not_shared_by_two_requests(auth_client):
    assert check_ids(ask(auth_client)) != check_ids(ask(auth_client))


def test_over_a_socket(live_server):
    response = requests.get(f"{live_server}/nowhere", headers={"X-Request-ID": "mine"}, timeout=5)
    assert (response.headers["X-Request-ID"], response.headers["Request-Id"]) == ("mine", "mine")
    response = requests.get(f"{live_server}/health", headers={"X-Request-ID": b"\xff\xfe"}, timeout=5)
    assert UUID4.fullmatch(response.headers["X-Request-ID"])


# --- caches -----------------------------------------------------------------------------------------------------------
OWN = ["/usage", "/keys", "/conversations", "/models", "/v1/models", "/health/ready", "/nowhere", "/chat", "/admin/"]


@pytest.mark.parametrize("path", OWN)
@pytest.mark.parametrize("by", ["key", "x-api-key", "bad key", "session"])
def test_no_answer_to_somebody_is_stored_on_its_way(api_client, user, token, path, by):
    if by == "session":
        api_client.force_login(user)
    headers = {"key": {"Authorization": f"Token {token}"}, "x-api-key": {"x-api-key": token}}
    response = api_client.get(
        path, headers=headers.get(by, {"Authorization": "Token wrong"} if by == "bad key" else {})
    )
    assert "no-store" in response["Cache-Control"]


def test_nor_is_an_error_or_a_chat(auth_client):
    for response in (ask(auth_client), ask(auth_client, model="none"), ask(auth_client, stream=True)):
        assert response["Cache-Control"] == "no-store"
        response.close()


@pytest.mark.parametrize("path", ["/models", "/errors", "/schema"])
def test_what_is_everybodys_may_be(api_client, path):
    assert "no-store" not in api_client.get(path).headers.get("Cache-Control", "")


# --- what browsers are told -------------------------------------------------------------------------------------------
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "inline", "unsafe"),
    [
        ("/admin/login/", False, {"'unsafe-eval'"}),  # for Alpine.js
        ("/models", True, {"'unsafe-hashes'"}),
        ("/docs", False, set()),
        ("/", False, set()),
        ("/errors", False, set()),
        ("/playground", False, set()),
    ],
)
def test_a_page_may_run_only_its_own_files(client, path, inline, unsafe):
    policy = client.get(path, headers={"Accept": "text/html"})["Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert (rules["default-src"], rules["frame-ancestors"]) == ("'none'", "'none'")
    assert ("'unsafe-inline'" in rules["style-src"]) is inline
    assert rules["script-src"].startswith("'self'")
    assert {word for word in rules["script-src"].split() if "unsafe" in word} == unsafe


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/models", "/nowhere", "/health", "/schema"])
def test_what_is_no_page_may_do_nothing_at_all(client, path):
    assert client.get(path)["Content-Security-Policy"].startswith("default-src 'none'; frame-ancestors 'none'")


def test_browsers_insist_on_tls_for_a_day_and_this_host_alone():
    words = "from django.conf import settings as s; print(s.SECURE_HSTS_SECONDS, s.SECURE_HSTS_PRELOAD)"
    given = {"DJANGO_SETTINGS_MODULE": "genai_site.settings.production", "DJANGO_SECRET_KEY": "x" * 60}
    given |= {"DJANGO_ALLOWED_HOSTS": "a.example"}
    assert python("-c", words, **given) == (0, "86400 False\n")
    assert python("-c", words, **given | {"SECURE_HSTS_SECONDS": "60", "SECURE_HSTS_PRELOAD": "true"}) == (
        0,
        "60 True\n",
    )
