"""A second route beside a silent first one (CHAT_HEDGE_AFTER)."""

import threading
import time
from contextlib import contextmanager
from unittest.mock import Mock

import pytest

from chat.exceptions import ProviderUnavailableError
from chat.models import UsageRecord
from chat.providers.client import Client
from chat.routing import cooldown
from chat.routing.hedging import race
from tests.support.loopback import Fault, status
from tests.support.rig import ONE_ATTEMPT, SLACK, eventually, route_of

pytestmark = pytest.mark.django_db(transaction=True)
AFTER = 0.1


@pytest.fixture(autouse=True)
def hedged(settings):
    settings.CHAT_HEDGE_AFTER = AFTER


@contextmanager
def held(fault):
    """A behaviour that answers only when the block ends."""
    release = threading.Event()
    try:
        yield lambda request: (release.wait(10), fault)[1]
    finally:
        release.set()


def test_the_second_route_is_asked_when_the_first_is_silent_and_the_first_answer_wins(rig):
    with held("ok") as rig.first.always:
        response = rig.chat("pair", headers={"X-Request-ID": "race-1"})
        assert (response.status_code, response.json()["provider"], rig.calls) == (200, "second", (1, 1))
        assert (rig.tokens(), rig.record().uncharged_tokens) == ((21, 0), 0)
    eventually(lambda: rig.record().uncharged_tokens == 21)
    assert rig.tokens() == (21, 0)
    (end,) = rig.events("chat_completed")
    assert (end["attempts"], AFTER * 1000 <= end["provider_ms"] < 5000) == (2, True)
    (late,) = rig.events("provider_attempt_abandoned")
    assert (late["provider"], late["attempt"], late["tokens"]) == ("first", 1, 21)
    assert {line["request_id"] for line in (end, late, *rig.events("provider_hedge"))} == {"race-1"}


def test_tokens_that_come_in_before_the_bill_is_settled_are_not_lost(rig, monkeypatch):
    from chat.billing import budgets

    settle, release = budgets.settle, threading.Event()

    def late(settlement):
        release.set()
        eventually(lambda: rig.record().uncharged_tokens == 21)
        settle(settlement)

    monkeypatch.setattr(budgets, "settle", late)
    rig.first.always = lambda request: (release.wait(10), "ok")[1]
    assert rig.chat("pair").json()["provider"] == "second"
    assert (rig.record().state, rig.record().uncharged_tokens, rig.tokens()) == ("settled", 21, (21, 0))


def test_abandoned_calls_keep_no_database_connection(rig, settings):
    settings.CHAT_HEDGE_AFTER, calls = 0.01, 12  # more than PostgreSQL's pool has
    for _ in range(calls):
        with held("ok") as rig.first.always:
            assert rig.chat("pair").json()["provider"] == "second"
    eventually(lambda: sum(UsageRecord.objects.values_list("uncharged_tokens", flat=True)) == calls * 21)
    assert rig.begin("pair").result(5).status_code == 200


def test_an_answer_in_time_is_not_hedged(rig, settings):
    settings.CHAT_HEDGE_AFTER = 5.0
    assert (rig.chat("pair").json()["provider"], rig.calls) == ("first", (1, 0))


def test_a_failure_before_the_hedge_is_retried_and_passed_on_as_without_it(rig, settings):
    settings.CHAT_HEDGE_AFTER = 5.0
    rig.first.always = "unavailable"
    assert (rig.chat("pair").json()["provider"], rig.calls) == ("second", (2, 1))
    assert [line["attempt"] for line in rig.events("provider_attempt_failed")] == [1, 2]


def test_the_slow_first_answer_wins_over_a_failing_hedge_which_is_logged(rig):
    rig.first.always, rig.second.always = Fault("slow", seconds=1.0), "html"
    assert rig.chat("pair").json()["provider"] == "first"
    (line,) = rig.events("provider_attempt_failed")
    assert (line["provider"], line["attempt"], line["decision"]) == ("second", 2, "answered")


def test_unusable_answers_of_the_race_are_recorded_and_not_charged(rig):
    rig.first.always = Fault("slow", seconds=1.0)
    rig.second.always = "no_choices"
    rig.chat("pair")
    assert (rig.tokens(), rig.record().uncharged_tokens) == ((21, 0), 21)


@pytest.mark.parametrize("limit", [2, 3])
def test_with_both_failing_the_verdict_is_over_both(rig, settings, limit):
    settings.CHAT_MAX_ATTEMPTS = limit
    with held(status(503)) as rig.first.always:
        rig.second.always = lambda request: (rig.first.always, status(504))[1]
        chat = rig.begin("pair")
        assert rig.second.arrived.wait(5)
    body = chat.result(10).json()
    assert (body["error"], body["provider"], rig.calls) == ("provider_timeout", "all_providers", (1, 1))
    attempts = {(line["provider"], line["attempt"], line["decision"]) for line in rig.events("provider_attempt_failed")}
    assert attempts == {("first", 1, "end"), ("second", 2, "end")}
    assert rig.tokens() == (0, 0)


def test_a_rejection_ends_the_race(rig):
    with held("ok") as rig.first.always:
        rig.second.always = status(400)
        assert rig.chat("pair").json()["error"] == "provider_rejected_request"


@pytest.mark.parametrize("limit", [{"headers": ONE_ATTEMPT}, {"model": "alone"}, {"model": "twice"}])
def test_no_hedge_without_a_call_or_another_provider_to_spare(rig, limit):
    rig.first.always = Fault("slow", seconds=0.25)
    options = {"model": "pair", **limit}
    assert (rig.chat(**options).status_code, rig.calls) == (200, (1, 0))


def test_a_route_at_rest_is_not_asked_beside(rig):
    for _ in range(cooldown.FAILURES_IN_A_ROW):
        cooldown.failed(ProviderUnavailableError("second", 503, ""), route_of("second"), "1")
    rig.first.always = Fault("slow", seconds=0.3)
    assert (rig.chat("pair").json()["provider"], rig.calls) == ("first", (1, 0))
    assert rig.events("chat_completed")[0]["attempts"] == 1


def test_the_deadline_holds_and_nothing_is_left_running(rig, settings):
    settings.CHAT_DEADLINE = 0.6
    rig.first.always = rig.second.always = "drip_body"
    started = time.monotonic()
    responses = [future.result(10) for future in [rig.begin("pair") for _ in range(4)]]
    assert time.monotonic() - started < settings.CHAT_DEADLINE + SLACK
    assert {response.json()["error"] for response in responses} == {"provider_timeout"}
    assert rig.tokens() == (0, 0)
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "provider call"])


def test_a_bug_in_one_call_does_not_cost_the_other_ones_answer(rig, monkeypatch):
    real = Client.complete

    def broken_second(self, request, **how):
        if self.key == "second":
            raise RuntimeError("a bug")
        return real(self, request, **how)

    monkeypatch.setattr(Client, "complete", broken_second)
    rig.first.always = Fault("slow", seconds=1.0)
    assert rig.chat("pair").json()["provider"] == "first"
    (line,) = rig.events("provider_attempt_failed")
    assert (line["reason"], line["decision"], line["exc_info"] is not None) == ("RuntimeError", "answered", True)


# --- the race itself --------------------------------------------------------------------------------------------------
def test_an_interrupted_race_still_says_what_became_of_its_calls():
    release, abandoned = threading.Event(), Mock()

    def second():
        raise SystemExit

    with pytest.raises(SystemExit):
        race(lambda: release.wait(10), second, after=0.01, decides=bool, abandoned=abandoned)
    release.set()
    eventually(lambda: abandoned.called)
    abandoned.assert_called_once_with(True)


def test_a_race_without_a_second_waits_for_the_first():
    results = race(lambda: time.sleep(0.05) or 1, lambda: None, after=0.01, decides=bool, abandoned=Mock())
    assert results == [1]
