"""The cooldown, from `POST /chat` to real sockets."""

from datetime import UTC, datetime

import pytest
import time_machine

from chat.exceptions import ProviderRateLimitError
from chat.routing import cooldown
from tests.support.loopback import status
from tests.support.rig import KEYS, ONE_ATTEMPT, route_of

pytestmark = pytest.mark.django_db
LIMITED, DOWN, OURS = "provider_rate_limited", "provider_unavailable", "provider_error"


def rest(rig, fault="reset"):
    """Make the first provider fail until it rests."""
    rig.first.always = fault
    for _ in range(cooldown.FAILURES_IN_A_ROW):
        rig.chat(headers=ONE_ATTEMPT)
    rig.first.requests.clear()


def test_after_five_outages_the_answer_needs_no_provider(rig):
    rest(rig)
    response = rig.chat()
    assert (response.status_code, response.json()["error"], rig.calls) == (503, DOWN, (0, 0))
    assert int(response["Retry-After"]) in (29, 30)
    assert [line["state"] for line in rig.events("provider_cooldown")] == ["resting"]


@pytest.mark.parametrize("fault", ["html", status(504), status(503, {"retry-after": "7"})])
def test_the_failure_that_puts_it_to_rest_tells_how_long_that_is(rig, fault):
    rig.first.always = fault
    answers = [rig.chat(headers=ONE_ATTEMPT) for _ in range(cooldown.FAILURES_IN_A_ROW)]
    assert max(int(answer["Retry-After"]) for answer in answers[:-1]) < 29
    assert answers[-1]["Retry-After"] == "30"


def test_while_one_route_rests_the_next_is_asked_at_once(rig):
    rest(rig)
    assert rig.chat("pair").json()["provider"] == "second"
    assert (rig.calls, rig.slept) == ((0, 1), [])


def test_with_all_routes_resting_the_earliest_end_is_told(rig):
    rig.first.always, rig.second.always = status(429, {"retry-after": "90"}), status(429, {"retry-after": "20"})
    rig.chat("pair")
    response = rig.chat("pair")
    assert rig.calls == (1, 1)
    assert (response.json()["error"], response.json()["provider"]) == (LIMITED, "all_providers")
    assert int(response["Retry-After"]) in (19, 20)


@pytest.mark.parametrize(("fault", "state"), [("ok", "available"), ("reset", "resting")])
def test_one_probe_decides_whether_the_rest_is_over(rig, fault, state):
    with time_machine.travel(datetime.now(UTC), tick=True) as clock:
        rest(rig)
        clock.shift(cooldown.REST + 1)
        rig.first.always = fault
        rig.chat()
        cooldown._seen.clear()
        assert (rig.calls, cooldown.state(route_of("first"))["state"]) == ((1, 0), state)


@pytest.mark.django_db(transaction=True)
def test_while_the_probe_runs_the_others_go_on_resting(rig):
    with time_machine.travel(datetime.now(UTC), tick=True) as clock:
        rest(rig)
        clock.shift(cooldown.REST + 1)
        rig.first.always = "hang"
        rig.first.arrived.clear()
        probe = rig.begin(headers=ONE_ATTEMPT)
        assert rig.first.arrived.wait(5)
        assert (rig.chat().json()["error"], rig.calls) == (DOWN, (1, 0))
        rig.first.stop()
        assert probe.result(5).status_code in (502, 503)


def test_staff_see_who_rests(rig, user, api_client):
    rest(rig)
    assert "providers" not in api_client.get("/health/ready").json()
    user.is_staff = True
    user.save()
    api_client.credentials(HTTP_AUTHORIZATION=f"Token {rig.token}")
    states = api_client.get("/health/ready").json()["providers"]
    assert (states["first"]["state"], states["second"]["state"]) == ("resting", "available")
    assert states["first"]["cause"] == "ProviderUnavailableError"


@pytest.mark.parametrize("fault", ["bad_key", "terminal_429", status(402)], ids=str)
def test_a_refused_key_or_spent_credit_rests_five_minutes_and_is_never_the_callers_fault(rig, fault):
    rig.first.always = fault
    for _ in range(2):
        response = rig.chat()
        assert (response.status_code, response.json()["error"]) == (503, OURS)
        assert (response["X-Should-Retry"], int(response["Retry-After"])) in [("false", 300), ("false", 299)]
        assert "WWW-Authenticate" not in response
    assert rig.calls == (1, 0)
    assert {line["level"] for line in rig.events("provider_attempt_failed")} == {"critical"}
    assert KEYS["first"] not in rig.caplog.text


def test_chats_that_waited_out_a_short_limit_all_go_on(rig):
    rig.first.always = status(429, {"retry-after": "1"})
    assert rig.chat().json()["error"] == LIMITED
    assert (rig.calls, rig.slept) == ((3, 0), [1.0, 1.0])


def test_a_rest_is_not_waited_for(rig):
    cooldown.failed(ProviderRateLimitError("first", 429, "", 1.5), route_of("first"), "1")
    assert rig.chat()["Retry-After"] == "2"
    assert (rig.calls, rig.slept) == ((0, 0), [])
