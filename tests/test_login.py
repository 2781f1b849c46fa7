"""The doors that take a secret, the two log-ins and the key: each has a limit and an event."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.support.contract import ask, check_error

pytestmark = pytest.mark.django_db
PAGES = ["/admin/login/", "/api-auth/login/"]
PASSWORDS = {"ada": "a password for tests", "admin": "password"}
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.fixture(autouse=True)
def _clock(time_machine, settings):
    time_machine.move_to(datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC), tick=False)
    settings.LOGIN_RATE_LIMIT = "3/m"


def attempt(client, path, username, password="wrong", address="192.0.2.1", accept=HTML):
    form = {"username": username, "password": password}
    return client.post(path, form, REMOTE_ADDR=address, headers={"Accept": accept})


@pytest.mark.parametrize("path", PAGES)
def test_a_failure_is_logged_with_the_name_and_never_the_password(client, admin_user, log, path):
    assert attempt(client, path, "admin", "planted").status_code == 200
    (line,) = log.events("login_failed")
    assert (line["username"], line["client_ip"], line["level"]) == ("admin", "192.0.2.1", "warning")
    assert attempt(client, path, "admin", "password").status_code == 302
    assert len(log.events("login_failed")) == 1
    assert "planted" not in log.text


def test_who_is_not_let_into_the_admin_is_a_failure(client, user, log):
    attempt(client, "/admin/login/", "ada", PASSWORDS["ada"])
    assert [line["username"] for line in log.events("login_failed")] == ["ada"]


@pytest.mark.parametrize("path", PAGES)
def test_one_address_has_so_many_attempts_whatever_the_names(client, admin_user, path, time_machine):
    for number in range(3):
        assert attempt(client, path, f"guess{number}").status_code == 200
    refused = attempt(client, path, "admin", "password", accept="*/*")
    body = check_error(refused, "rate_limit_exceeded")
    assert (body["limit"], body["message"][:8]) == (3, "Too many")
    assert attempt(client, path, "other", address="192.0.2.2").status_code == 200
    time_machine.shift(body["retry_after"])
    assert attempt(client, path, "admin", "password").status_code == 302


@pytest.mark.parametrize("path", PAGES)
def test_one_name_has_so_many_attempts_wherever_they_come_from(client, admin_user, path):
    for number, spelling in enumerate(["admin", "Admin ", "\uff41dmin"]):
        assert attempt(client, path, spelling, address=f"192.0.2.{number}").status_code == 200
    assert attempt(client, path, "admin", "password", address="192.0.2.9").status_code == 429
    assert attempt(client, path, "another", address="192.0.2.9").status_code == 200


def test_both_pages_and_a_whole_household_count_together(client):
    for number in range(3):
        attempt(client, PAGES[number % 2], f"guess{number}", address=f"2001:db8:1:2::{number}")
    assert attempt(client, PAGES[0], "guess", address="2001:db8:1:2:ffff::1").status_code == 429
    assert attempt(client, PAGES[0], "guess", address="2001:db8:1:3::1").status_code == 200


@pytest.mark.parametrize("path", PAGES)
def test_a_browser_gets_a_page_about_it(client, path, log):
    for _ in range(3):
        attempt(client, path, "ada")
    response = attempt(client, f"{path}?next=/usage", "ada")
    html = response.content.decode()
    assert (response.status_code, response["Content-Type"]) == (429, "text/html; charset=utf-8")
    wait = int(response["Retry-After"])
    assert f"Wait {wait} seconds" in html
    assert response["X-Request-ID"] in html
    assert re.search(rf'href="{path}\?next=/usage"', html)
    assert "style=" not in html
    assert len(log.events("rate_limit_exceeded")) == 1
    assert client.get(path).status_code == 200  # to look at the form is free


def test_behind_a_proxy_the_client_counts(client, settings):
    settings.TRUSTED_PROXY_HOPS = 1

    def status(address):
        form = {"username": address, "password": "x"}
        return client.post(PAGES[0], form, REMOTE_ADDR="", headers={"X-Forwarded-For": f"203.0.113.9, {address}"})

    assert [status("198.51.100.1").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert status("198.51.100.2").status_code == 200
    assert status("garbage").status_code == 200


# --- keys -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["/chat", "/v1/chat/completions", "/v1/messages", "/usage"])
def test_bad_keys_have_a_limit_and_good_ones_are_not_kept_out(api_client, token, settings, path, log):
    settings.BAD_KEY_RATE_LIMIT = "2/m"
    method = api_client.get if path == "/usage" else api_client.post
    bad = [method(path, headers={"Authorization": f"Token wrong{number}"}) for number in range(3)]
    assert [response.status_code for response in bad] == [401, 401, 429]
    assert 1 <= int(bad[2]["Retry-After"]) <= 60
    assert len(log.events("authentication_failed")) == 2
    assert len(log.events("rate_limit_exceeded")) == 1
    good = api_client.get("/usage", headers={"Authorization": f"Token {token}"})
    assert good.status_code == 200
    assert method(path).status_code == 401  # none is no bad one


def test_a_bad_key_in_x_api_key_counts_too_and_open_pages_do_not_mind(api_client, settings):
    settings.BAD_KEY_RATE_LIMIT = "1/m"
    for status in (401, 429):
        assert api_client.post("/v1/messages", headers={"x-api-key": "wrong"}).status_code == status
    api_client.credentials(HTTP_AUTHORIZATION="Token wrong")
    assert check_error(ask(api_client), "rate_limit_exceeded")["limit"] == 1
    for path in ("/health", "/health/ready", "/models", "/"):
        assert api_client.get(path).status_code == 200
