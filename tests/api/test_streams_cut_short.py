"""Streams that somebody leaves or breaks: nothing goes on running, and what had arrived is charged."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.utils import timezone

from chat.billing import outbox
from chat.completion import arrival
from chat.models import IdempotentRequest
from chat.routing import cooldown
from tests.support.events import begun, end_of, events_of, leave
from tests.support.loopback import Fault, status
from tests.support.rig import eventually, route_of
from tests.support.streamed import FIRST, PAUSES, STALL, TEXT, State

pytestmark = pytest.mark.django_db


def test_a_client_that_leaves_pays_what_it_was_sent_and_the_provider_may_stop(rig):
    rig.first.always = STALL
    with begun(rig.chat(stream=True)) as events:
        next(events)
    assert rig.first.left.wait(2)
    record = rig.record()
    assert (record.state, record.error, record.estimated) == (State.TRUNCATED, "ClientLeft", True)
    assert (rig.tokens(), record.tokens_used) == ((FIRST, 0), FIRST)
    (line,) = rig.events("chat_truncated")
    assert (line["reason"], line["tokens_used"], line["attempts"]) == ("ClientLeft", FIRST, 1)
    assert not rig.events("chat_completed")


def test_a_server_may_close_what_it_never_began_to_send(rig, settings):
    settings.CHAT_MAX_IN_FLIGHT_PER_USER = 1
    rig.first.then(STALL)
    leave(rig.chat(stream=True))
    assert rig.first.left.wait(2)
    assert (rig.record().state, rig.tokens()[1], rig.chat().status_code) == (State.TRUNCATED, 0, 200)


def test_a_bug_of_ours_ends_the_stream_with_an_error_and_the_provider_is_left(rig, monkeypatch):
    rig.first.always = STALL
    with begun(rig.chat(stream=True)) as events:
        next(events)
        monkeypatch.setattr("chat.api.streaming.has_left", lambda request: 1 / 0)
        monkeypatch.setattr(arrival, "TICK", 0.01)
        ((name, error),) = events
    assert (name, error["error"], error["status"]) == ("error", "internal_error", 500)
    assert rig.first.left.wait(2)
    assert (rig.record().state, rig.tokens()) == (State.TRUNCATED, (FIRST, 0))


def test_a_bug_before_anything_is_sent_leaves_nothing_running(rig, settings, monkeypatch):
    settings.CHAT_MAX_IN_FLIGHT_PER_USER = 1
    rig.first.then(STALL)
    with monkeypatch.context() as patch:
        patch.setattr("chat.protocols.native.EventWriter", lambda wish, request_id: 1 / 0)
        assert rig.chat(stream=True).status_code == 500
    assert rig.first.left.wait(2)
    assert (rig.record().state, rig.tokens()[1], rig.chat().status_code) == (State.TRUNCATED, 0, 200)


def failing(get_response):
    """A middleware that fails once the view has answered."""
    return lambda request: 1 / bool(get_response(request) is None)


def replacing(get_response):
    """A middleware that has another answer than the view."""
    return lambda request: get_response(request) and HttpResponse(status=500)


@pytest.mark.parametrize("place", ["the view", "innermost", "outermost", "silent"])
def test_neither_does_an_error_that_takes_the_place_of_a_stream(rig, settings, monkeypatch, place):
    settings.CHAT_MAX_IN_FLIGHT_PER_USER = 1
    ours, own = settings.MIDDLEWARE, f"{__name__}.{'replacing' if place == 'silent' else 'failing'}"
    rig.first.then(STALL)
    with monkeypatch.context() as patch:
        if place == "the view":
            patch.setattr("chat.api.chat.ChatView.finalize_response", lambda *args, **kwargs: 1 / 0)
        else:
            settings.MIDDLEWARE = [own, *ours] if place == "outermost" else [*ours, own]
        assert rig.chat(stream=True, headers={"Idempotency-Key": "k"}).status_code == 500
    settings.MIDDLEWARE = ours
    assert rig.first.left.wait(2)
    assert (rig.record().state, rig.tokens()[1], IdempotentRequest.objects.count()) == (State.TRUNCATED, 0, 0)
    assert rig.chat().status_code == 200


def test_a_bill_that_cannot_be_written_is_written_later(rig, monkeypatch):
    def away(*args):
        raise OperationalError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "write", away)
        patch.setattr(outbox.time, "sleep", lambda seconds: None)
        assert end_of(events_of(rig.chat(stream=True)))[0] == "done"
    assert rig.events("budget_settlement_failed")[0]["tokens_used"] == 21
    rig.chat()
    assert rig.tokens() == (42, 0)


def test_a_provider_whose_streams_always_break_off_rests_after_five(rig):
    rig.first.always = Fault("stream_cut", text=TEXT)
    for _ in range(5):
        assert end_of(events_of(rig.chat(stream=True)))[0] == "error"
    response = rig.chat(stream=True)
    assert (response.status_code, response.json()["error"], rig.calls) == (502, "invalid_provider_response", (5, 0))


def test_one_whole_stream_is_proof_that_it_works_and_a_client_that_leaves_is_none_of_a_fault(rig):
    for fault in [*["stream_cut"] * 4, "ok", *["stream_cut"] * 4]:
        rig.first.then(Fault(fault, text=TEXT))
        events_of(rig.chat(stream=True))
    rig.first.always = STALL
    leave(rig.chat(stream=True))
    rig.first.always = "ok"
    assert rig.chat().status_code == 200


@pytest.mark.django_db(transaction=True)
def test_of_two_streams_in_a_race_the_slower_is_closed(rig, settings):
    settings.CHAT_HEDGE_AFTER = 0.05
    silent = threading.Event()
    rig.first.always = lambda request: (silent.wait(10), STALL)[1]
    events = events_of(rig.chat("pair", stream=True))
    assert (end_of(events)[0], end_of(events)[1]["provider"]) == ("done", "second")
    eventually(lambda: rig.calls == (1, 1))  # a busy machine's provider may be late to read what was sent
    silent.set()
    assert rig.first.left.wait(5)
    eventually(lambda: rig.events("provider_attempt_abandoned"))
    assert rig.tokens() == (21, 0)


def test_what_we_count_is_never_more_than_was_reserved(rig):
    rig.first.always = Fault("stream_cut", text="Grüße! " * 40)  # counted on the high side, it would be
    end_of(events_of(rig.chat(stream=True, max_tokens=4)))
    record = rig.record()
    assert (record.state, record.completion_tokens, record.overrun) == (State.TRUNCATED, 4, 0)


def test_a_client_that_takes_too_long_is_no_fault_of_the_provider(rig, settings):
    settings.CHAT_STREAM_MAX = 0.05
    for _ in range(cooldown.FAILURES_IN_A_ROW):
        stream = iter(rig.chat(stream=True).streaming_content)
        next(stream)
        threading.Event().wait(0.06)
        assert b"provider_timeout" in b"".join(stream)
    assert cooldown.state(route_of("first"))["failures_in_a_row"] == 0


def test_a_client_that_leaves_a_probe_ends_the_rest(rig, time_machine):
    rig.first.always = status(429, headers={"retry-after": "30"})
    rig.chat()
    rig.first.always = PAUSES
    time_machine.move_to(timezone.now() + timedelta(seconds=31))
    stream = rig.chat(stream=True)
    next(iter(stream.streaming_content))
    stream.close()
    assert cooldown.state(route_of("first"))["state"] == "available"


def test_a_stream_that_is_a_probe_lets_others_in_with_its_first_text(rig, time_machine):
    rig.first.always = status(429, headers={"retry-after": "30"})
    rig.chat()
    time_machine.move_to(timezone.now() + timedelta(seconds=31))
    rig.first.then(STALL)
    with begun(rig.chat(stream=True)) as events:
        next(events)
        rig.first.then("stream_cut")
        assert end_of(events_of(rig.chat(stream=True)))[0] == "error"
        assert (rig.chat().json()["error"], rig.calls) == ("invalid_provider_response", (3, 0))
