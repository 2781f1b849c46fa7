"""`POST /chat` with `"stream": true`: what goes out and when, what it costs, and what is kept of it."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.utils import timezone

from chat.billing import budgets, outbox, tokens
from chat.completion import arrival
from chat.models import Conversation, IdempotentRequest, UsageRecord
from chat.routing import cooldown
from tests.support.events import COMMENT, begun, end_of, events_of, leave, text_of
from tests.support.loopback import Fault, status
from tests.support.rig import eventually, route_of

pytestmark = pytest.mark.django_db
State = UsageRecord.State
TEXT = "one two three"
PAUSES = Fault("stream_pauses", seconds=0.03, text=TEXT)
STALL = Fault("stream_stall", text=TEXT)
FIRST = tokens.estimate_prompt(["Hello!"], strict=False) + tokens.estimate_text("one ")
"""What a chat costs whose provider reported nothing and got as far as the first word."""


@pytest.fixture
def quick(settings, monkeypatch):
    """Silences of a stream are looked at often."""
    monkeypatch.setattr(arrival, "TICK", 0.02)
    settings.CHAT_KEEP_ALIVE = 0.05


@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_an_answer_in_pieces_and_then_what_a_whole_one_has_besides(rig, protocol):
    rig.configure(protocol).first.always = Fault(text=TEXT)
    facts = rig.chat().json()
    assert facts.pop("response") == TEXT
    response = rig.chat(stream=True, headers={"X-Request-ID": "stream-1"})
    events = events_of(response)
    assert [data["text"] for name, data in events if name == "delta"] == ["one ", "two ", "three"]
    assert end_of(events) == ("done", facts | {"request_id": "stream-1"})
    assert (response["Content-Type"], response["Cache-Control"]) == (
        "text/event-stream; charset=utf-8",
        "no-store",
    )
    assert (response["X-Accel-Buffering"], response["X-Request-ID"]) == ("no", "stream-1")
    assert {"RateLimit", "RateLimit-Policy"} <= set(response.headers)
    assert (rig.tokens(), rig.record().state, rig.record().estimated) == ((42, 0), State.SETTLED, False)


@pytest.mark.parametrize(
    ("accepted", "stream"), [("text/event-stream", True), ("*/*", True), ("*/*", False), ("*/*", None)]
)
def test_the_body_asks_for_a_stream_and_not_the_accept_header(rig, accepted, stream):
    response = rig.chat(stream=stream, headers={"Accept": accepted})
    assert (response.status_code, response.streaming) == (200, bool(stream))
    if stream:
        assert end_of(events_of(response))[0] == "done"
    rig.first.always = status(501)
    response = rig.chat(content="Bye!", stream=stream, headers={"Accept": accepted})
    assert (response.status_code, response["Content-Type"]) == (503, "application/json")


def test_a_stream_counts_against_the_rate_limit(rig, settings):
    settings.CHAT_RATE_LIMIT = "1/h"
    events_of(rig.chat(stream=True))
    response = rig.chat(stream=True)
    assert (response.status_code, response.json()["error"]) == (429, "rate_limit_exceeded")


def test_the_first_text_goes_out_while_the_provider_still_talks(rig):
    rig.first.always = STALL
    with begun(rig.chat(stream=True)) as events:
        assert next(events) == ("delta", {"text": "one "})
        assert (rig.record().state, rig.tokens()[0]) == (State.RESERVED, 0)
        assert not rig.first.left.is_set()


def test_in_a_silence_comments_go_out(rig, quick):
    rig.first.always = STALL
    with begun(rig.chat(stream=True)) as events:
        assert [next(events)[0] for _ in range(4)] == ["delta", COMMENT, COMMENT, COMMENT]


def test_but_not_before_it_is_time(rig, quick, settings):
    settings.CHAT_KEEP_ALIVE, settings.CHAT_STREAM_IDLE_TIMEOUT = 15.0, 0.3
    rig.first.always = STALL
    assert [name for name, _ in events_of(rig.chat(stream=True))] == ["delta", "error"]


def test_a_stream_that_never_ends_is_ended(rig, quick, settings):
    settings.CHAT_STREAM_MAX = 0.5
    rig.first.always = Fault("stream_pings_after_text", seconds=0.02, text=TEXT)
    name, error = end_of(events_of(rig.chat(stream=True)))
    assert (name, error["error"], error["status"]) == ("error", "provider_timeout", 504)
    assert "longer than a stream may take here" in error["message"]
    assert f"charged, {rig.tokens()[0]} tokens; ask for a shorter one" in error["message"]
    assert "retry_after" not in error  # the next would end in the same way
    assert rig.first.left.wait(5)
    assert (rig.record().state, rig.tokens()[1]) == (State.TRUNCATED, 0)


def test_when_the_server_is_being_stopped_it_ends_in_time_and_may_be_sent_again(rig, quick, monkeypatch):
    monkeypatch.setattr(arrival, "_last_moment", float("inf"))
    rig.first.always = STALL
    with begun(rig.chat(stream=True)) as events:
        next(events)
        arrival.end_streams_at(time.monotonic())
        arrival.end_streams_at(time.monotonic() + 60)  # told twice
        name, error = list(events)[-1]
    assert (name, error["error"], error["status"]) == ("error", "service_temporarily_unavailable", 503)
    assert (error["retry_after"], f"what had arrived is charged, {FIRST} tokens" in error["message"]) == (5, True)
    assert (rig.record().state, rig.record().error, rig.tokens()) == (State.TRUNCATED, "ServerStopping", (FIRST, 0))
    assert cooldown.state(route_of("first"))["failures_in_a_row"] == 0


def test_its_time_begins_with_the_first_text_so_that_nobody_pays_for_none(rig, settings):
    settings.CHAT_STREAM_MAX = 0.3
    rig.first.always = Fault("stream_slow_first", seconds=0.4, text=TEXT)
    events = events_of(rig.chat(stream=True))
    assert (text_of(events), end_of(events)[0]) == (TEXT, "done")


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


def test_a_stream_counts_as_in_flight_until_it_is_over(rig, settings):
    settings.CHAT_MAX_IN_FLIGHT_PER_USER = 1
    with begun(rig.chat(stream=True)) as events:
        next(events)
        assert rig.chat().json()["error"] == "too_many_concurrent_requests"
        assert rig.chat(stream=True).json()["error"] == "too_many_concurrent_requests"
        assert list(events)[-1][0] == "done"
    assert rig.chat().status_code == 200


def test_an_exchange_is_stored_once_its_answer_is_whole(rig, user):
    conversation = Conversation.objects.create(user=user)
    for fault in ("stream_cut", "stream_error", "ok"):
        rig.first.then(Fault(fault, text=TEXT))
        events_of(rig.chat(stream=True, conversation_id=str(conversation.pk)))
    assert list(conversation.messages.values_list("role", "content")) == [("user", "Hello!"), ("assistant", TEXT)]


def test_a_streamed_answer_may_stand_in_later_and_be_streamed_itself(rig):
    rig.first.then(Fault("stream_cut", text="half an"), status(501), Fault(text=TEXT))
    events_of(rig.chat(stream=True))
    assert rig.chat(stream=True).status_code == 503  # half an answer is kept by nobody
    events_of(rig.chat(stream=True))
    rig.first.always = status(501)
    whole, events = rig.chat().json(), events_of(rig.chat(stream=True))
    assert (whole["response"], text_of(events)) == (TEXT, TEXT)
    name, facts = end_of(events)
    assert (name, facts["cached"], facts["tokens_used"]) == ("done", True, 0)
    assert facts["message"] == whole["message"]
    assert rig.record().state == State.RELEASED


def test_the_log_books_the_waits_within_a_stream_as_the_providers(rig):
    rig.first.always = PAUSES
    events_of(rig.chat(stream=True))
    (line,) = rig.events("chat_completed")
    waited = 7 * PAUSES.seconds * 1000
    assert line["provider_ms"] >= waited
    assert (line["provider"], line["tokens_used"], line["attempts"]) == ("first", 21, 1)


def test_so_it_does_where_the_stream_breaks_off(rig, settings):
    settings.CHAT_STREAM_IDLE_TIMEOUT = 0.3
    rig.first.always = STALL
    events_of(rig.chat(stream=True))
    (line,) = rig.events("chat_truncated")
    assert (line["reason"], line["provider_ms"] >= 300) == ("ProviderTimeoutError", True)
    assert line["overhead_ms"] < line["provider_ms"] + 1000


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


@pytest.mark.parametrize(("fault", "end"), [("ok", "done"), ("stream_cut", "error")])
def test_the_database_connection_is_given_back_before_a_client_is_waited_for(rig, monkeypatch, fault, end):
    story = []
    monkeypatch.setattr(budgets, "release_connection", lambda: story.append("released"))
    rig.first.always = Fault(fault, text=TEXT)
    with begun(rig.chat(stream=True)) as events:
        for name, _ in events:
            story.append(name)
    assert story[-2:] == ["released", end]
    assert story.index("released") < story.index("delta")


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


@pytest.mark.parametrize("reason", ["abort", "insufficient_system_resource"])
def test_an_answer_that_a_server_gave_up_is_no_answer(rig, reason):
    choice = {"message": {"content": "half an ans"}, "finish_reason": reason}
    rig.first.always = status(200, body={"choices": [choice]})
    assert rig.chat().json()["error"] == "invalid_provider_response"
