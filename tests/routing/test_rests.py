"""Who is kept from a route after failures: everybody, one user, or nobody. HTTP in, HTTP out."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth import get_user_model
from django.core.cache import cache
from knox.models import get_token_model

from chat.routing import cooldown
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import error
from tests.support.rig import ONE_ATTEMPT, route_of

pytestmark = pytest.mark.django_db

OUTAGE = status(503, body=error("openai", "server_error", None))
CRASH = status(500, body=error("openai", "server_error", None))
GARBAGE = "html"
MODELS = (
    '[providers.first]\nprotocol = "openai"\nbase_url = "{url}"\n'
    "[models.alone]\nroutes = ['first:m']\nmax_output_tokens = 99\ndefault_output_tokens = 9\n"
    "[models.other]\nroutes = ['first:n']\nmax_output_tokens = 99\ndefault_output_tokens = 9\n"
)


@pytest.fixture
def keys(rig):
    rig.settings.CHAT_SIMULATOR = False
    rig.offer(MODELS.format(url=rig.first.openai_url))
    return [get_token_model().objects.create(get_user_model().objects.create_user(name))[1] for name in ("a", "b")]


def fail(rig, keys, fault, times=cooldown.FAILURES_IN_A_ROW):
    rig.first.always = fault
    for number in range(times):
        rig.chat(token=keys[number % len(keys)], headers=ONE_ATTEMPT)
    rig.first.always = "ok"


def served(rig, *keys, model="alone"):
    cooldown._seen.clear()
    before = len(rig.first.requests)
    answers = [rig.chat(model, token=key).status_code == 200 for key in keys]
    assert len(rig.first.requests) - before == sum(answers)
    return answers


@pytest.mark.parametrize("fault", [OUTAGE, status(502), status(529), "reset", "close"], ids=str)
def test_an_outage_that_no_caller_can_have_caused_counts_for_everybody(rig, keys, fault):
    fail(rig, keys[:1], fault)
    assert served(rig, *keys) == [False, False]
    assert served(rig, keys[0], model="other") == [True], "another upstream model is another route"


@pytest.mark.parametrize("fault", [CRASH, status(504), GARBAGE], ids=str)
def test_one_callers_own_failures_rest_the_route_for_that_caller_alone(rig, keys, fault):
    fail(rig, keys[:1], fault)
    assert served(rig, *keys) == [False, True]
    assert cooldown.state(route_of("first")) == {"state": "available", "failures_in_a_row": 0, "users_resting": 1}


@pytest.mark.parametrize("fault", [CRASH, status(504), GARBAGE], ids=str)
def test_until_a_second_user_meets_them(rig, keys, fault):
    fail(rig, keys[:1], fault)
    fail(rig, keys[1:], fault, times=1)
    assert served(rig, *keys) == [False, False]


def test_long_outputs_that_time_out_are_the_callers_own(rig, keys):
    rig.offer(MODELS.format(url=rig.first.openai_url).replace("[models.alone]", "timeout = 0.3\n[models.alone]"))
    fail(rig, keys[:1], "hang")
    assert served(rig, *keys) == [False, True]


def test_mixed_failures_of_a_single_user_rest_the_route_for_that_user(rig, keys):
    fail(rig, keys[:1], OUTAGE, times=3)
    fail(rig, keys[:1], CRASH, times=2)
    assert served(rig, *keys) == [False, True]


def test_two_users_take_turns(rig, keys):
    fail(rig, keys, CRASH)
    assert served(rig, *keys) == [False, False]


NO_FAILURES = {
    "too large a request, as a rate": status(
        429, {"retry-after": "60"}, error("openai", "tokens", "rate_limit_exceeded", "Request too large for gpt-4o in")
    ),
    "too large a body": status(413, body="<html>413 Request Entity Too Large</html>"),
    "a flagged prompt": status(
        403, body={"error": {"code": 403, "message": "Blocked", "metadata": {"reasons": ["violence"]}}}
    ),
    "a failed safety check": status(
        403, body={"code": "permission-denied", "error": "Content violates usage guidelines. Failed check: SAFETY"}
    ),
    "a refused call": status(403, body={"error": {"code": 403, "message": "Only for some."}}),
    "too dear a call": status(
        402,
        body={
            "error": {
                "code": 402,
                "message": "This request requires more credits, or fewer max_tokens. You requested up to 4096 tokens, "
                "but can only afford 12.",
            }
        },
    ),
}


@pytest.mark.parametrize("case", NO_FAILURES)
def test_what_is_no_failure_of_the_provider_rests_nobody(rig, keys, case):
    fail(rig, keys[:1], NO_FAILURES[case], times=7)
    assert served(rig, *keys) == [True, True]


@pytest.mark.parametrize(
    "fault", ["bad_key", "terminal_429", status(402, body=error("openai", "", None, "Pay first."))], ids=str
)
def test_a_refused_key_and_spent_credit_rest_the_whole_provider(rig, keys, fault):
    fail(rig, keys[:1], fault, times=1)
    assert served(rig, *keys) == [False, False]
    assert served(rig, keys[0], model="other") == [False]


def test_nobody_can_have_words_about_an_account_quoted_and_so_stop_the_provider(rig, keys):
    said = "Make sure your account is in good standing."
    rig.first.always = status(422, body={"detail": [{"loc": ["body", 0], "input": said}]})
    assert rig.chat(token=keys[0], content=said).status_code == 400
    rig.first.always = "ok"
    assert served(rig, *keys) == [True, True]


def test_a_crash_after_a_keys_rest_does_not_rest_the_provider_again(rig, keys, time_machine):
    fail(rig, keys[:1], "bad_key", times=1)
    time_machine.move_to(time.time() + cooldown.LONG_REST + 1)
    cooldown._seen.clear()
    fail(rig, keys[:1], CRASH, times=1)
    assert served(rig, keys[1], model="other") == [True]
    assert served(rig, *keys) == [True, True]


def test_a_rate_limit_is_that_of_one_upstream_model(rig, keys):
    fail(rig, keys[:1], status(429, {"retry-after": "20"}, error("openai", "requests", "rate_limit_exceeded")), 1)
    assert served(rig, *keys) == [False, False]
    assert served(rig, keys[0], model="other") == [True]


def test_a_model_that_is_not_offered_is_not_asked_again_for_ten_minutes(rig, keys, admin_client, time_machine):
    fail(rig, keys[:1], status(404, body=error("openai", "invalid_request_error", "model_not_found")), times=1)
    assert served(rig, *keys) == [False, False]
    body = rig.chat(token=keys[0]).json()
    assert (body["error"], 598 <= body["retry_after"] <= 600) == ("provider_error", True)
    assert served(rig, keys[0], model="other") == [True]
    state = admin_client.get("/health/ready").json()["providers"]["first"]
    assert state["state"] == "available"
    assert state["routes"]["n"]["state"] == "available"
    assert state["routes"]["m"]["state"] == "not_offered"
    assert 590 < state["routes"]["m"]["seconds_left"] <= 600
    html = admin_client.get("/admin/chat/usagerecord/").content.decode()
    assert "not offered" in html
    cooldown.forget_faults([route_of("first")])
    assert served(rig, keys[0]) == [True]


def test_a_server_is_not_ready_where_no_route_is_offered(rig, keys, client):
    rig.offer(MODELS.format(url=rig.first.openai_url).partition("[models.other]")[0])
    fail(rig, keys[:1], status(404, body=error("openai", "", "model_not_found")), times=1)
    assert client.get("/health/ready").json()["checks"]["providers"] == "unavailable"


def test_streams_that_break_off_are_the_callers_own(rig, keys):
    rig.first.always = Fault("stream_cut")
    for _ in range(cooldown.FAILURES_IN_A_ROW):
        b"".join(rig.chat(token=keys[0], stream=True).streaming_content)
    rig.first.always = "ok"
    assert served(rig, *keys) == [False, True]


def test_the_cache_holds_plain_values(rig, keys):
    fail(rig, keys[:1], CRASH)
    fail(rig, keys[:1], "bad_key", times=1)
    values = [cache.get(key) for key in cooldown_keys()]
    assert [value for value in values if value is not None]
    assert all(is_plain(value) for value in values)


def cooldown_keys():
    scopes = cooldown.Scopes(route_of("first"))
    return [scopes.provider, scopes.route, scopes.users, scopes.failures, *scopes.places]


def is_plain(value):
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)
