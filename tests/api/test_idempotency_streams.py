"""Idempotency-Key on a streamed chat: its whole answer is kept, and what broke off is not."""

from __future__ import annotations

import json

import pytest
import time_machine
from django.utils import timezone

from chat.billing import claims
from chat.models import IdempotentRequest
from tests.support import messages
from tests.support.asking import ANTHROPIC, OPENAI, post, refused
from tests.support.events import begun, end_of, events_of, leave, text_of
from tests.support.loopback import Fault, status

pytestmark = pytest.mark.django_db
KEY = {"Idempotency-Key": "order-7"}
TEXT = "one two three"
GOOD, STALL = Fault(text=TEXT), Fault("stream_stall", text=TEXT)


@pytest.fixture
def chat(rig):
    rig.first.always = GOOD
    return lambda **options: rig.chat(stream=True, headers=KEY, **options)


def test_a_replay_is_streamed_from_the_stored_answer_and_charged_once(rig, chat):
    first = events_of(chat())
    response = chat()
    assert response["Idempotent-Replayed"] == "true"
    again = events_of(response)
    assert (text_of(again), end_of(again)) == (TEXT, end_of(first))
    assert (rig.calls, rig.tokens()) == ((1, 0), (21, 0))


@pytest.mark.parametrize(
    ("reason", "sequence"),
    [
        *[(reason, None) for reason in ("end_turn", "pause_turn", "compaction", "model_context_window_exceeded")],
        ("stop_sequence", "END"),
    ],
)
def test_a_replay_on_anthropics_api_says_why_the_first_answer_ended(rig, reason, sequence):
    said = messages.message(messages.text(TEXT), stop_reason=reason, stop_sequence=sequence)
    written = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in messages.events(said))
    rig.configure("anthropic").first.always = status(200, {"content-type": "text/event-stream"}, written)
    told = []
    for _ in range(2):
        response = post(rig, ANTHROPIC, KEY, stream=True)
        told += [data["delta"] for name, data in events_of(response) if name == "message_delta"]
    assert response["Idempotent-Replayed"] == "true"
    assert [(delta["stop_reason"], delta["stop_sequence"]) for delta in told] == [(reason, sequence)] * 2
    assert len(rig.first.requests) == 1


@pytest.mark.parametrize("heard", [0, 1])
def test_a_client_that_leaves_a_replay_does_not_lose_it(rig, chat, heard):
    events_of(chat())
    response = chat()
    if heard:
        with begun(response) as events:
            next(events)
    leave(response)
    response = chat()
    assert response["Idempotent-Replayed"] == "true"
    leave(response)


def test_while_the_stream_runs_a_second_one_is_told_so(rig, chat):
    rig.first.then(STALL)
    with begun(chat()) as events:
        next(events)
        response = chat()
        assert (response.status_code, response.json()["error"]) == (409, "request_in_progress")


@pytest.mark.parametrize("fault", ["stream_cut", "stream_error", "stream_garbage"])
def test_what_broke_off_is_not_kept(rig, chat, fault):
    rig.first.then(Fault(fault, text=TEXT))
    assert end_of(events_of(chat()))[0] == "error"
    assert not IdempotentRequest.objects.exists()
    response = chat()
    assert ("Idempotent-Replayed" in response, end_of(events_of(response))[0]) == (False, "done")


@pytest.mark.parametrize("heard", [0, 1])
def test_nor_is_an_answer_whose_client_left(rig, chat, heard):
    rig.first.then(STALL)
    response = chat()
    if heard:
        with begun(response) as events:
            next(events)
    leave(response)
    assert not IdempotentRequest.objects.exists()
    assert end_of(events_of(chat()))[0] == "done"


def test_nor_is_an_error_before_the_first_text(rig, chat):
    rig.first.then(status(501))
    assert chat().status_code == 503
    assert end_of(events_of(chat()))[0] == "done"


def test_a_whole_answer_is_another_request_than_a_streamed_one(rig, chat):
    events_of(chat())
    assert rig.chat(headers=KEY).json()["error"] == "idempotency_key_reused"


def test_a_client_that_leaves_before_the_end_is_told_finds_the_answer_kept(rig, chat):
    response = chat()
    with begun(response) as events:
        while rig.tokens() != (21, 0):
            next(events)
    response = chat()
    assert response["Idempotent-Replayed"] == "true"
    leave(response)


def test_the_claim_of_a_killed_worker_lasts_as_long_as_a_stream_may(rig, chat, settings, monkeypatch):
    with monkeypatch.context() as killed:  # a killed worker writes nothing more
        killed.setattr(claims, "persist", lambda claim: None)
        rig.first.then("stream_cut")
        events_of(chat())
    with time_machine.travel(timezone.now(), tick=True) as clock:
        clock.shift(settings.CHAT_DEADLINE + settings.CHAT_STREAM_MAX)
        assert chat().status_code == 409
        clock.shift(settings.RESERVATION_MARGIN + 1)
        response = chat()
        assert ("Idempotent-Replayed" in response, end_of(events_of(response))[0]) == (False, "done")


def test_of_several_streamed_answers_none_is_kept_so_that_is_refused(rig):
    error = refused(rig, OPENAI, "invalid_request", n=2, stream=True, headers={"Idempotency-Key": "k"})
    assert error["param"] == "Idempotency-Key"
    assert post(rig, OPENAI, n=2, headers={"Idempotency-Key": "k"}).status_code == 200
