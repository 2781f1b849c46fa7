"""`POST /chat` with `"stream": true`: what goes out and when, what it costs, and what is kept of it."""

from __future__ import annotations

import time

import pytest

from chat.billing import budgets
from chat.completion import arrival
from chat.models import Conversation
from chat.routing import cooldown
from tests.support.events import COMMENT, begun, end_of, events_of, text_of
from tests.support.loopback import Fault, status
from tests.support.rig import route_of
from tests.support.streamed import FIRST, PAUSES, STALL, TEXT, State

pytestmark = pytest.mark.django_db


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


@pytest.mark.parametrize("reason", ["abort", "insufficient_system_resource"])
def test_an_answer_that_a_server_gave_up_is_no_answer(rig, reason):
    choice = {"message": {"content": "half an ans"}, "finish_reason": reason}
    rig.first.always = status(200, body={"choices": [choice]})
    assert rig.chat().json()["error"] == "invalid_provider_response"
