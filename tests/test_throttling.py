"""The rate limit as a client sees it."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import caches
from django.core.checks import run_checks

from chat.models import TokenBudget
from chat.throttling import window
from tests.support.contract import ask, chat_body, check_error, nothing_reserved, send

pytestmark = pytest.mark.django_db
BOTH = {"RateLimit-Policy", "RateLimit"}


@pytest.fixture(autouse=True)
def _limit(settings):
    settings.CHAT_RATE_LIMIT = "3/m"


def left(response):
    quota, wait = re.fullmatch(r'"chat";r=(\d+);t=(\d+)', response["RateLimit"]).groups()
    return int(quota), int(wait)


def test_the_headers_count_down_and_a_refusal_says_how_long(auth_client, time_machine):
    time_machine.move_to(datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC), tick=False)  # no window ends in between
    answers = [ask(auth_client) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert [left(answer)[0] for answer in answers] == [2, 1, 0, 0, 0]
    assert {answer["RateLimit-Policy"] for answer in answers} == {'"chat";q=3;w=60'}
    body = check_error(answers[3], "rate_limit_exceeded")
    assert body["limit"] == 3
    assert body["retry_after"] == body["reset_in"] == left(answers[3])[1]


def test_the_wait_is_the_true_one(auth_client, time_machine):
    time_machine.move_to(datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC), tick=False)
    for _ in range(3):
        ask(auth_client)
    wait = check_error(ask(auth_client), "rate_limit_exceeded")["retry_after"]
    assert 1 <= wait <= 60
    time_machine.shift(timedelta(seconds=wait) - timedelta(milliseconds=1))
    assert check_error(ask(auth_client), "rate_limit_exceeded")["retry_after"] == 1
    time_machine.shift(timedelta(milliseconds=1))
    response = ask(auth_client)
    assert (response.status_code, left(response)) == (200, (2, 60))


FAILURES = {
    "json": lambda c: send(c, "{"),
    "messages": lambda c: ask(c, messages=[]),
    "model": lambda c: ask(c, model="gpt-9"),
    "provider": lambda c: ask(c, "/fault rate_limit"),
    "bug": lambda c: ask(c, "/fault crash"),
    "media type": lambda c: send(c, "a=1", "text/plain"),
}


@pytest.mark.parametrize("fail", FAILURES.values(), ids=FAILURES)
def test_errors_behind_the_limit_count_and_carry_the_headers(auth_client, fail):
    assert left(fail(auth_client))[0] == 2
    assert left(fail(auth_client))[0] == 1


def test_what_takes_no_slot(auth_client, token):
    for request in (auth_client.get, auth_client.options, auth_client.head, auth_client.put):
        assert not BOTH & request("/chat").headers.keys()
    for header in ("", "Token wrong", "Token \xff"):
        auth_client.credentials(HTTP_AUTHORIZATION=header)
        response = ask(auth_client)
        assert response.status_code == 401
        assert not BOTH & response.headers.keys()
    auth_client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    assert not BOTH & auth_client.post("/conversations", {}, format="json").headers.keys()
    assert left(ask(auth_client))[0] == 2


def test_one_user_does_not_use_up_anothers(auth_client, django_user_model):
    for _ in range(4):
        ask(auth_client)
    auth_client.credentials()
    auth_client.force_login(django_user_model.objects.create_user("bob"))
    assert left(ask(auth_client))[0] == 2


@pytest.mark.parametrize(("rate", "quota", "seconds"), [("1/h", 1, 3600), ("2/10s", 2, 10), ("1/d", 1, 86400)])
def test_a_users_own_rate(auth_client, user, rate, quota, seconds):
    TokenBudget.objects.create(user=user, limit=100_000, rate_limit=rate)
    answers = [ask(auth_client) for _ in range(quota + 1)]
    assert answers[0]["RateLimit-Policy"] == f'"chat";q={quota};w={seconds}'
    assert check_error(answers[-1], "rate_limit_exceeded")["limit"] == quota


def test_the_limit_comes_before_the_body_and_costs_nothing(auth_client):
    for _ in range(3):
        ask(auth_client)
    with nothing_reserved():
        check_error(send(auth_client, "{"), "rate_limit_exceeded")
        check_error(auth_client.post("/chat", chat_body(model="gpt-9"), format="json"), "rate_limit_exceeded")


def test_a_counter_that_vanishes_half_way_starts_afresh(auth_client, monkeypatch, settings):
    # As when Redis goes away between the two steps, and the process's own memory takes over.
    ask(auth_client)
    kind = type(caches[settings.RATELIMIT_USE_CACHE])
    incr = kind.incr

    def lost(self, key, *args, **kwargs):
        self.delete(key)
        return incr(self, key, *args, **kwargs)

    monkeypatch.setattr(kind, "incr", lost)
    response = ask(auth_client)
    assert (response.status_code, left(response)[0]) == (200, 2)


@pytest.mark.parametrize("rate", ["", "10", "10/", "ten/m", "10/x", "0/m", "10/0s", "-1/m", "10/m ", "1.5/m", "a.b"])
def test_a_malformed_rate_is_found_at_the_start(settings, rate):
    settings.CHAT_RATE_LIMIT = rate
    assert "chat.E001" in [message.id for message in run_checks()]


@pytest.mark.parametrize("rate", ["10/m", "5/10s", "1/h", "1000/2d"])
def test_a_sound_rate_is_not(settings, rate):
    settings.CHAT_RATE_LIMIT = rate
    assert "chat.E001" not in [message.id for message in run_checks()]
    assert window(rate) in (60, 10, 3600, 172_800)
