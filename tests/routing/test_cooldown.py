"""Which provider rests, for how long, and who finds out that it is back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest
from django.core.cache import cache
from structlog.testing import capture_logs

from chat.exceptions import (
    InvalidProviderResponseError,
    ProviderError,
    ProviderRateLimitError,
    ProviderRequestRejectedError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from chat.routing import cooldown
from chat.types import ProviderEntry, Route, Upstream

PROBE_SECONDS = 30.0
ME, YOU = "1", "2"


def route(provider="p", model="m"):
    return Route(ProviderEntry(provider, "openai", provider, timeout=PROBE_SECONDS), Upstream(model))


@pytest.fixture(autouse=True)
def clock(time_machine):
    time_machine.move_to(datetime(2026, 11, 23, 12, tzinfo=UTC), tick=False)
    return time_machine


@pytest.fixture
def in_memory(settings):
    """A cache that forgets by the test's clock; Redis has its own."""
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "cooldown"}}
    yield
    cache.clear()


def outage(provider="p"):
    return ProviderUnavailableError(provider, 503, "down")


def limited(seconds=None):
    return ProviderRateLimitError("p", 429, "slow down", seconds)


def fault(kind):
    return ProviderError("p", 401, "refused", details={"kind": kind})


def fail(exc=None, times=1, user=ME, model="m"):
    """Return what the user is told of the last of them."""
    for _ in range(times):
        exc = exc or outage()
        told = cooldown.failed(exc, route(exc.provider, model), user)
    return told


def resting(provider="p", user=ME, model="m"):
    """What another process would be told."""
    cooldown._seen.clear()
    return cooldown.resting(route(provider, model), user)


def state(provider="p"):
    return cooldown.state(route(provider))


@pytest.mark.parametrize(
    "exc",
    [
        outage(),
        ProviderTimeoutError("p", None, "slow"),
        InvalidProviderResponseError("p", 200, "garbage"),
        limited(),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_five_failures_in_a_row_put_a_provider_to_rest(exc, clock):
    fail(exc, 4)
    assert resting() is None
    fail(exc)
    told = resting()
    assert (type(told), told.provider, told.status_code) == (type(exc), "p", exc.status_code)
    assert (told.wait, told.unsent, resting("q")) == (30, True, None)
    clock.shift(29.5)
    assert resting().wait == 1
    clock.shift(0.5)
    assert resting() is None


@pytest.mark.parametrize(
    "between",
    [
        lambda: cooldown.succeeded(route(), ME),
        lambda: fail(ProviderRequestRejectedError("p", 400, "too long")),
    ],
    ids=["a success", "a rejected request"],
)
def test_they_must_be_in_a_row(between):
    fail(times=4)
    between()
    fail(times=4)
    assert resting() is None
    fail()
    assert resting() is not None


def test_failures_long_ago_are_forgotten(clock, in_memory):
    fail(times=4)
    clock.shift(cooldown.MEMORY + 1)
    fail(times=4)
    assert resting() is None


@pytest.mark.parametrize(
    ("exc", "seconds"), [(limited(7.5), 7.5), (limited(120), 120), (fault("key"), 300), (fault("credit"), 300)]
)
def test_a_named_wait_and_a_fault_that_only_an_operator_mends_rest_at_once(exc, seconds, clock):
    assert fail(exc).wait == seconds
    told = resting()
    assert (type(told), told.wait, told.details.get("kind")) == (type(exc), seconds, exc.details.get("kind"))
    clock.shift(seconds - 0.25)
    assert resting() is not None
    clock.shift(0.25)
    assert resting() is None


@pytest.mark.parametrize("kind", ["call", "other"])
def test_a_failure_of_one_call_says_nothing_of_the_routes_health(kind, clock):
    fail(fault(kind), 10)
    assert resting() is None
    fail(times=5)
    clock.shift(cooldown.REST)
    assert [resting() is None, resting() is None] == [True, False]
    fail(fault(kind))  # the probe decided nothing, so the next chat may be one
    assert [resting() is None, resting() is None] == [True, False]


@pytest.mark.parametrize("news", [limited(3), outage(), None], ids=["a shorter wait", "an outage", "a success"])
def test_a_rest_is_neither_cut_short_nor_prolonged_by_a_chat_that_had_begun_before_it(news, clock):
    fail(limited(60))
    clock.shift(45)
    for _ in range(6):
        cooldown.succeeded(route(), ME) if news is None else fail(news)
    assert (type(resting()), resting().wait) == (ProviderRateLimitError, 15)


def test_a_failure_during_a_rest_waits_for_its_end(clock):
    fail(times=5)
    clock.shift(10)
    late = fail(InvalidProviderResponseError("p", 200, "not usable"))
    assert late.retry_after == pytest.approx(20)


def test_nor_is_a_shorter_wait_the_true_one(clock):
    fail(fault("key"))
    assert fail(limited(3)).retry_after == pytest.approx(300)


def test_a_longer_wait_prolongs_it(clock):
    fail(times=5)
    fail(limited(90))
    assert resting().wait == 90


def test_exactly_one_of_many_callers_is_the_probe(clock):
    fail(times=5)
    clock.shift(cooldown.REST)
    barrier = Barrier(16)

    def ask(number):
        barrier.wait()
        return cooldown.resting(route(), ME)

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(ask, range(16)))
    assert sorted(type(exc).__name__ for exc in told) == ["NoneType"] + ["ProviderUnavailableError"] * 15
    assert {exc.wait for exc in told if exc} == {1}


def test_a_probe_that_is_served_ends_the_rest_for_all(clock):
    fail(times=5)
    clock.shift(cooldown.REST)
    assert resting() is None
    with capture_logs() as logs:
        cooldown.succeeded(route(), ME)
    assert [(line["event"], line["state"]) for line in logs] == [("provider_cooldown", "over")]
    assert [resting(), resting(), state()["state"]] == [None, None, "available"]
    fail(times=4)
    assert resting() is None


@pytest.mark.parametrize(("exc", "seconds"), [(outage(), 30), (limited(5), 5), (fault("key"), 300)])
def test_a_probe_that_fails_makes_it_rest_again(clock, exc, seconds):
    fail(times=5)
    clock.shift(cooldown.REST)
    assert resting() is None
    fail(exc)
    assert resting().wait == seconds
    clock.shift(seconds)
    assert [resting() is None, resting() is None] == [True, False]


@pytest.mark.parametrize("exc", [outage(), limited(60), fault("key")], ids=lambda exc: type(exc).__name__)
def test_the_first_text_of_a_probe_lets_the_others_in_but_one_failure_puts_it_back_to_rest(clock, exc):
    fail(exc, 1 if type(exc) is not ProviderUnavailableError else 5)
    cooldown.began(route(), ME)
    assert resting() is not None, "a rest that lasts is not ended by a stream that had been asked for before it"
    clock.shift(resting().wait)
    assert [resting() is None, resting() is None] == [True, False]
    with capture_logs() as logs:
        cooldown.began(route(), ME)
    assert [(line["event"], line["state"]) for line in logs] == [("provider_cooldown", "over")]
    assert [resting(), resting(), state()["state"]] == [None, None, "available"]
    fail(InvalidProviderResponseError("p", 200, "it broke off"))
    assert resting().wait == 30


def test_but_a_whole_one_is_a_fresh_start(clock):
    fail(times=5)
    clock.shift(cooldown.REST)
    assert resting() is None
    cooldown.began(route(), ME)
    cooldown.succeeded(route(), ME)
    fail(times=4)
    assert resting() is None


def test_a_stream_that_begins_forgets_no_failure(clock):
    fail(times=4)
    cooldown.began(route(), ME)
    fail()
    assert resting() is not None


def test_a_probe_that_is_never_decided_is_followed_by_another(clock, in_memory):
    fail(times=5)
    clock.shift(cooldown.REST)
    assert resting() is None
    clock.shift(PROBE_SECONDS)
    assert resting() is not None
    clock.shift(1.5)
    assert [resting() is None, resting() is None] == [True, False]


def test_a_rest_nobody_asked_about_is_forgotten(clock, in_memory):
    fail(times=5)
    clock.shift(cooldown.REST + cooldown.MEMORY + 1)
    assert [resting(), resting()] == [None, None]


def test_operators_see_why_and_how_long(clock):
    fail(times=3)
    assert state() == {"state": "available", "failures_in_a_row": 3}
    with capture_logs() as logs:
        fail(times=2)
    facts = {"provider": "p", "cause": "ProviderUnavailableError", "seconds": 30.0}
    assert [line.items() >= facts.items() for line in logs] == [True]
    seen = {"state": "resting", "failures_in_a_row": 5, "cause": "ProviderUnavailableError", "why": ""}
    assert state() == seen | {"seconds_left": 30.0}
    clock.shift(31)
    assert state() == seen | {"state": "probing", "seconds_left": 0.0}


def test_a_server_that_starts_tries_a_refused_key_again_but_no_provider_that_is_down(clock):
    fail(fault("key"))
    fail(outage("q"), times=5)
    assert state()["why"] == "our API key is refused"
    cooldown.forget_faults(map(route, "pqr"))
    assert (resting("p"), resting("q") is None) == (None, False)
