"""Retries, failover and their story in the log, from `POST /chat` to real sockets."""

import socket

import pytest
from django.core.cache import cache

from chat.routing import cooldown
from tests.support.loopback import status
from tests.support.loopback_faults import error
from tests.support.rig import ONE_ATTEMPT

pytestmark = pytest.mark.django_db


def says(kind, code=None, message="Something is wrong.", headers=None):
    """What makes a status and a protocol into an error answer."""
    return lambda number, protocol: status(number, headers, error(protocol, kind, code, message))


# --- what a failure leads to ------------------------------------------------------------------------------------------

# protocol, the provider's answer, the code alone, and the calls that reach the first and the second route of a pair
RETRY, NEXT, END = (2, 1), (1, 1), (1, 0)
REJECTED, LIMITED, DOWN = "provider_rejected_request", "provider_rate_limited", "provider_unavailable"
SLOW, INVALID, OURS = "provider_timeout", "invalid_provider_response", "provider_error"
ROWS = [
    ("openai", 400, says("invalid_request_error"), REJECTED, END),
    ("openai", 400, says("invalid_request_error", "context_length_exceeded"), REJECTED, END),
    ("openai", 400, says("invalid_request_error", "content_policy_violation"), REJECTED, END),
    ("openai", 400, says("invalid_request_error", "invalid_prompt"), REJECTED, END),
    ("openai", 401, says("invalid_request_error", "invalid_api_key"), OURS, NEXT),
    ("openai", 402, says("billing"), OURS, NEXT),
    ("openai", 403, says("request_forbidden", "unsupported_country_region_territory"), OURS, NEXT),
    ("openai", 404, says("invalid_request_error", "model_not_found"), OURS, NEXT),
    ("openai", 408, says("timeout"), SLOW, NEXT),
    ("openai", 409, says("conflict"), DOWN, NEXT),
    ("openai", 413, says("too_large"), REJECTED, NEXT),
    ("openai", 418, says("teapot"), OURS, NEXT),
    ("openai", 422, says("unprocessable"), REJECTED, END),
    ("openai", 429, says("requests", "rate_limit_exceeded", headers={"retry-after": "7"}), LIMITED, NEXT),
    ("openai", 429, says("rate_limit_error", "slow_down"), LIMITED, NEXT),
    ("openai", 429, says("insufficient_quota", "insufficient_quota"), OURS, NEXT),
    ("openai", 429, says("insufficient_quota", "credit_balance_exhausted"), OURS, NEXT),
    ("openai", 429, says("insufficient_quota", "organization_spend_limit_exceeded"), OURS, NEXT),
    ("openai", 500, says("server_error"), DOWN, RETRY),
    ("openai", 501, says("server_error"), DOWN, NEXT),
    ("openai", 502, says("server_error"), DOWN, RETRY),
    ("openai", 503, says("service_unavailable_error", "server_is_overloaded"), DOWN, RETRY),
    ("openai", 503, says("server_error", headers={"retry-after": "1"}), DOWN, RETRY),
    ("openai", 503, says("server_error", headers={"retry-after": "3"}), DOWN, NEXT),
    ("openai", 504, says("timeout"), SLOW, NEXT),
    ("openai", 529, says("overloaded"), DOWN, RETRY),
    ("anthropic", 400, says("invalid_request_error"), REJECTED, END),
    ("anthropic", 400, says("invalid_request_error", message="prompt is too long: 9 > 8"), REJECTED, END),
    ("anthropic", 400, says("invalid_request_error", message="Your credit balance is too low …"), OURS, NEXT),
    ("anthropic", 401, says("authentication_error"), OURS, NEXT),
    ("anthropic", 402, says("billing_error"), OURS, NEXT),
    ("anthropic", 403, says("permission_error"), OURS, NEXT),
    ("anthropic", 404, says("not_found_error"), OURS, NEXT),
    ("anthropic", 409, says("conflict_error"), DOWN, NEXT),
    ("anthropic", 413, says("request_too_large"), REJECTED, NEXT),
    ("anthropic", 429, says("rate_limit_error", headers={"retry-after": "7"}), LIMITED, NEXT),
    ("anthropic", 429, says("rate_limit_error", "ramp_limit_exceeded"), LIMITED, NEXT),
    ("anthropic", 429, says("rate_limit_error", "enforced_spend_limit_reached"), OURS, NEXT),
    ("anthropic", 429, says("rate_limit_error", "contract_spend_limit_reached"), OURS, NEXT),
    ("anthropic", 500, says("api_error"), DOWN, RETRY),
    ("anthropic", 504, says("timeout_error"), SLOW, NEXT),
    ("anthropic", 529, says("overloaded_error"), DOWN, RETRY),
    ("openai", 0, lambda *_: "reset", DOWN, NEXT),
    ("openai", 0, lambda *_: "close", DOWN, NEXT),
    ("openai", 0, lambda *_: "html", INVALID, NEXT),
    ("openai", 0, lambda *_: "redirect", INVALID, NEXT),
]


@pytest.mark.parametrize(("protocol", "number", "answer", "code", "calls"), ROWS)
def test_each_failure_is_retried_passed_on_or_final(rig, protocol, number, answer, code, calls):
    rig.configure(protocol)
    rig.first.always = answer(number, protocol)
    response = rig.chat("pair")
    assert rig.calls == calls
    assert len(rig.slept) == (1 if calls == RETRY else 0)
    if calls == END:
        assert (response.status_code, response.json()["error"]) == (400, code)
    else:
        assert (response.status_code, response.json()["provider"]) == (200, "second")
    rig.second.always = rig.first.always
    cache.clear()
    cooldown._seen.clear()
    alone = rig.chat("alone", headers=ONE_ATTEMPT).json()
    assert (alone["error"], alone["provider"]) == (code, "first")


def test_a_refused_connection_is_retried_since_nothing_was_sent(rig):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
    rig.configure(urls={"first": url})
    assert rig.chat("pair").status_code == 200
    assert len(rig.slept) == 1
    assert [line["decision"][:5] for line in rig.events("provider_attempt_failed")] == ["retry", "next_"]


def test_a_url_that_nothing_can_be_sent_to_is_our_fault_and_the_next_route_answers(rig):
    rig.configure(urls={"first": "http://127.0.0.1:99999/v1"})
    assert rig.chat("pair").json()["provider"] == "second"
    assert rig.chat("alone").json()["error"] == OURS


@pytest.mark.parametrize(
    ("model", "limit", "headers", "calls"),
    [
        ("alone", 3, {}, (3, 0)),
        ("alone", 5, {}, (5, 0)),
        ("alone", 1, {}, (1, 0)),
        ("pair", 3, {}, (2, 1)),  # one call is kept for the route that was not asked yet
        ("pair", 2, {}, (1, 1)),
        ("pair", 1, {}, (1, 0)),
        ("twice", 3, {}, (3, 0)),
        ("pair", 3, ONE_ATTEMPT, (1, 0)),
        ("pair", 3, {"x-stainless-retry-count": "17"}, (1, 0)),
        ("pair", 3, {"x-stainless-retry-count": "1"}, (2, 1)),
        ("pair", 3, {"x-stainless-retry-count": "²"}, (2, 1)),
    ],
)
def test_no_more_calls_than_allowed_reach_providers(rig, settings, model, limit, headers, calls):
    settings.CHAT_MAX_ATTEMPTS = limit
    rig.first.always = rig.second.always = "unavailable"
    response = rig.chat(model, headers=headers)
    assert (response.status_code, response.json()["error"], rig.calls) == (503, DOWN, calls)
    assert rig.tokens() == (0, 0)
    everyone = model == "twice" or calls[1]
    assert response.json()["provider"] == ("all_providers" if everyone else "first")


def test_retries_back_off_with_full_jitter(rig, settings):
    settings.CHAT_MAX_ATTEMPTS = 9
    settings.CHAT_DEADLINE = 60.0
    rig.first.always = "unavailable"
    assert int(rig.chat()["Retry-After"]) == 60
    assert [0 <= wait <= cap for wait, cap in zip(rig.slept, (1, 2, 4, 8), strict=True)] == [True] * 4
    assert len(set(rig.slept)) == 4
    assert rig.calls == (5, 0), "with the fifth failure it rests, and nobody waits for it"


def test_a_wait_that_does_not_fit_the_deadline_is_not_begun(rig, settings):
    settings.CHAT_DEADLINE = 1.0
    rig.first.always = status(503, {"retry-after": "1.5"})
    assert rig.chat().status_code == 503
    assert (rig.slept, rig.calls) == ([], (1, 0))


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        (SLOW, LIMITED, LIMITED),
        (DOWN, SLOW, SLOW),
        (INVALID, DOWN, DOWN),
        (OURS, INVALID, INVALID),
        (DOWN, REJECTED, REJECTED),
    ],
)
def test_of_several_failures_the_client_hears_the_one_that_tells_most(rig, first, second, code):
    faults = {SLOW: status(504), LIMITED: "rate_limit", DOWN: status(501), INVALID: "html", OURS: status(404)}
    rig.first.always, rig.second.always = faults[first], faults.get(second, status(400))
    body = rig.chat("pair").json()
    assert (body["error"], body["provider"]) == (code, "all_providers")


# --- the story in the log ---------------------------------------------------------------------------------------------
def test_each_attempt_is_in_the_log_and_the_end_once(rig):
    rig.first.always = "unavailable"
    rig.chat("pair", headers={"X-Request-ID": "story-1"})
    attempts = rig.events("provider_attempt_failed")
    assert [(line["provider"], line["attempt"], line["status_code"]) for line in attempts] == [
        ("first", 1, 503),
        ("first", 2, 503),
    ]
    assert [line["decision"] for line in attempts] == [f"retry in {rig.slept[0]:.2f} s", "next_route"]
    assert all(line["reason"] == "ProviderUnavailableError" and line["duration_ms"] > 0 for line in attempts)
    (switch,) = rig.events("provider_failover")
    assert (switch["failed"], switch["to"]) == ("first", "second")
    (end,) = rig.events("chat_completed")
    assert (end["attempts"], end["provider"], end["request_id"]) == (3, "second", "story-1")
    assert end["provider_ms"] >= sum(line["duration_ms"] for line in attempts)
    assert 0 < end["overhead_ms"] < 1000
    assert {line["request_id"] for line in rig.events()} == {"story-1"}


def test_a_bug_in_a_client_is_a_500_told_once_with_what_it_took(rig, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("a bug")

    monkeypatch.setattr("chat.protocols.openai.read_reply", broken)
    response = rig.chat("pair")
    assert (response.status_code, response.json()["error"]) == (500, "internal_error")
    (attempt,) = rig.events("provider_attempt_failed")
    assert (attempt["reason"], attempt["decision"]) == ("RuntimeError", "end")
    (end,) = rig.events("internal_error")
    assert (end["attempts"], end["provider_ms"] > 0, end["exc_info"] is not None) == (1, True, True)
    assert (rig.tokens(), rig.record().error) == ((0, 0), "RuntimeError")


def test_an_error_line_says_what_it_took_too(rig):
    rig.first.always = rig.second.always = status(501)
    rig.chat("pair")
    (end,) = rig.events("provider_unavailable")
    assert (end["attempts"], end["provider_ms"] > 0, end["overhead_ms"] > 0) == (2, True, True)
    assert [line["decision"] for line in rig.events("provider_attempt_failed")] == ["next_route", "end"]
