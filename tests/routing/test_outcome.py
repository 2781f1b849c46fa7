"""What asking the providers comes to, as a value: the reply or the failure, and a record of each attempt."""

import threading
import time

import pytest

from chat.exceptions import ProviderUnavailableError
from chat.routing import catalogue, cooldown
from chat.routing.failover import route
from chat.types import ChatRequest, Message
from tests.support.loopback import status
from tests.support.rig import eventually, route_of

pytestmark = pytest.mark.django_db
REQUEST = ChatRequest((Message.of("user", "Hello!"),), 64)


@pytest.fixture
def asked(rig):
    """`asked("pair")` is the outcome of that model's routes; `asked.late` are the attempts told of afterwards."""

    def ask(model):
        routes, ends = catalogue.current().models[model].routes, time.monotonic() + 10
        return route(REQUEST, routes, user="1", deadline=ends, max_attempts=3, late=ask.late.append)

    ask.late = []
    return ask


def facts(outcome):
    return [
        (one.provider, one.number, one.status, one.reason, one.decision[:5], one.tokens) for one in outcome.attempts
    ]


def test_an_answer_and_the_attempts_that_led_to_it(rig, asked):
    rig.first.then(status(503), "no_choices")
    outcome = asked("pair")
    assert (outcome.reply.text, outcome.failure) == ("hello", None)
    assert (outcome.provider, outcome.upstream_model) == ("second", "m")
    assert facts(outcome) == [
        ("first", 1, 503, "ProviderUnavailableError", "retry", 0),
        ("first", 2, 200, "InvalidProviderResponseError", "next_", 21),
        ("second", 3, None, "", "answe", 21),
    ]
    assert all(attempt.milliseconds > 0 for attempt in outcome.attempts)
    assert (outcome.calls, outcome.uncharged, outcome.seconds > 0) == (3, 21, True)


def test_a_route_at_rest_is_an_attempt_without_a_call(rig, asked):
    for _ in range(cooldown.FAILURES_IN_A_ROW):
        cooldown.failed(ProviderUnavailableError("first", 503, ""), route_of("first"), "1")
    outcome = asked("pair")
    assert facts(outcome)[0] == ("first", 0, 503, "ProviderUnavailableError", "next_", 0)
    assert (outcome.provider, outcome.calls) == ("second", 1)


def test_the_failure_of_all_is_another_exception_than_that_of_one(rig, asked, monkeypatch):
    told = []
    monkeypatch.setattr("chat.routing.failover.remember_refusal", lambda route, failure: told.append(failure))
    rig.first.always, rig.second.always = status(429, {"retry-after": "7"}), status(501)
    outcome = asked("pair")
    assert (outcome.reply, outcome.provider, outcome.failure.retry_after) == (None, "all_providers", 7)
    assert [(failure.provider, failure.retry_after) for failure in told] == [("first", 7), ("second", None)]


def test_a_bug_is_a_failure_too_so_that_the_bill_is_settled(rig, asked, monkeypatch):
    monkeypatch.setattr("chat.routing.failover.at_rest", lambda *args: 1 / 0)
    outcome = asked("alone")
    assert (type(outcome.failure), outcome.attempts, outcome.reply) == (ZeroDivisionError, (), None)


def test_a_call_that_was_abandoned_is_told_of_when_it_is_over(rig, asked, settings):
    settings.CHAT_HEDGE_AFTER, go_on = 0.1, threading.Event()
    rig.first.always = lambda request: (go_on.wait(10), "ok")[1]
    outcome = asked("pair")
    assert facts(outcome) == [("second", 2, None, "", "answe", 21), ("first", 1, None, "abandoned", "aband", 0)]
    assert (outcome.calls, outcome.uncharged, asked.late) == (2, 0, [])
    go_on.set()
    eventually(lambda: asked.late)
    (late,) = asked.late
    assert (late.provider, late.number, late.reason, late.tokens) == ("first", 1, "abandoned", 21)
