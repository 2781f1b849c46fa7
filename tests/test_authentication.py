"""Who gets in: a key in either scheme, or a browser's session with its CSRF token."""

from __future__ import annotations

from datetime import timedelta

import pytest
import requests
from django.utils import timezone
from knox.models import get_token_model
from rest_framework.test import APIClient

from tests.support.contract import ask, chat_body, check_error, nothing_reserved

pytestmark = pytest.mark.django_db


def credentials(client, header):
    client.credentials(HTTP_AUTHORIZATION=header)
    return client


@pytest.mark.parametrize("scheme", ["Token", "Bearer", "token", "BEARER", "tOkEn", "Token  "])
def test_a_key_in_either_scheme(api_client, token, scheme):
    assert ask(credentials(api_client, f"{scheme} {token}")).status_code == 200


NONE = ["", "Basic YWRhOng=", "Digest x", "Tokens {token}", "{token}", "Negotiate"]


@pytest.mark.parametrize("header", NONE)
def test_no_credentials(api_client, token, header):
    with nothing_reserved():
        response = ask(credentials(api_client, header.format(token=token)))
    check_error(response, "not_authenticated")
    assert response["WWW-Authenticate"] == 'Token realm="api", Bearer realm="api"'


BAD = {
    "unknown": "Token " + "0" * 64,
    "another end": "Token {half}" + "0" * 49,
    "only the stored start": "Token {half}",
    "longer": "Token {token}0",
    "upper case": "Token {upper}",
    "nothing": "Token",
    "nothing, bearer": "Bearer ",
    "two words": "Token {half} {half}",
    "not utf-8": "Token \xff\xfe",
    "not ascii": "Token clé",
    "control": "Token a\x01b",
    "nul": "Token a\x00b",
    "huge": "Token " + "a" * 60_000,
}


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_a_bad_key(api_client, token, log, header):
    header = header.format(token=token, half=token[:15], upper=token.upper() + "X")
    with nothing_reserved():
        response = ask(credentials(api_client, header))
    check_error(response, "authentication_failed")
    (line,) = log.events("authentication_failed")
    assert line["level"] == "warning"
    for word in header.split()[1:]:
        assert word not in log.text + response.content.decode()


def expire(user):
    get_token_model().objects.update(expiry=timezone.now() - timedelta(seconds=1))


def revoke(user):
    get_token_model().objects.all().delete()


def close(user):
    user.is_active = False
    user.save()


@pytest.mark.parametrize(
    ("event", "words"), [(expire, "This key has expired."), (revoke, "not known"), (close, "account is not active")]
)
def test_a_key_that_was_good(auth_client, user, event, words):
    assert ask(auth_client).status_code == 200
    event(user)
    with nothing_reserved():
        response = ask(auth_client)
    assert words in check_error(response, "authentication_failed")["message"]


def test_the_last_second_of_a_key(auth_client, user, time_machine):
    expiry = get_token_model().objects.get().expiry
    time_machine.move_to(expiry - timedelta(seconds=1), tick=False)
    assert ask(auth_client).status_code == 200
    time_machine.move_to(expiry, tick=False)
    check_error(ask(auth_client), "authentication_failed")


def test_a_key_costs_one_query_however_many_the_user_has(auth_client, user, django_assert_num_queries):
    for _ in range(20):
        get_token_model().objects.create(user=user)
    auth_client.get("/chat")  # notes that the key is in use, for ten minutes
    with django_assert_num_queries(1):
        assert auth_client.get("/chat").status_code == 405


def test_a_bad_key_costs_no_more(api_client, token, django_assert_num_queries):
    with django_assert_num_queries(1):
        ask(credentials(api_client, "Token " + token[:-1]))
    with django_assert_num_queries(0):
        ask(credentials(api_client, "Token \xff"))


def test_the_key_names_the_user_in_the_log(auth_client, user, log):
    ask(auth_client)
    assert [line["user_id"] for line in log.events("response_sent")] == [user.pk]
    assert "user_id" not in log.events("incoming_request")[0]
    auth_client.credentials()
    ask(auth_client)
    assert "user_id" not in log.events("response_sent")[-1]


@pytest.mark.parametrize("path", ["/models", "/errors", "/health", "/health/ready", "/"])
def test_open_endpoints_do_not_mind_a_bad_key(api_client, path):
    assert credentials(api_client, "Token \xff").get(path).status_code == 200


def test_bytes_of_any_kind_over_a_socket(live_server):
    headers = {"Authorization": b"Token \xc3\xa9\xff"}
    response = requests.post(f"{live_server}/chat", json={}, headers=headers, timeout=5)
    assert (response.status_code, response.json()["error"]) == (401, "authentication_failed")


# --- the session ------------------------------------------------------------------------------------------------------
@pytest.fixture
def browser(user):
    client = APIClient(enforce_csrf_checks=True)
    client.raise_request_exception = False
    client.get("/api-auth/login/")
    form = {"username": "ada", "password": "a password for tests"}
    csrf = {"X-CSRFToken": client.cookies["csrftoken"].value}
    assert client.post("/api-auth/login/", form, headers=csrf).status_code == 302
    return client


def test_a_session_reads_without_and_writes_with_a_csrf_token(browser, log, user):
    assert browser.get("/usage").status_code == 200
    with nothing_reserved():
        check_error(ask(browser), "csrf_failed")
        check_error(browser.delete("/conversations/1"), "csrf_failed")
        check_error(ask(browser, headers={"X-CSRFToken": "a" * 32}), "csrf_failed")
    assert ask(browser, headers={"X-CSRFToken": browser.cookies["csrftoken"].value}).status_code == 200
    assert log.events("response_sent")[-1]["user_id"] == user.pk


def test_a_key_wins_over_a_session_and_needs_no_csrf_token(browser, token):
    assert credentials(browser, f"Token {token}").post("/chat", chat_body(), format="json").status_code == 200
    check_error(credentials(browser, "Token wrong").get("/usage"), "authentication_failed")


def test_a_session_ends_with_its_account(browser, user):
    close(user)
    check_error(browser.get("/usage"), "not_authenticated")
