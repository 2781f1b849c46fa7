"""Models that think before they speak, and answers that end without a word. HTTP in, HTTP out, the bill besides."""

from __future__ import annotations

import json

import pytest

from chat.models import UsageRecord
from chat.routing import cooldown
from tests.support.events import COMMENT, end_of, events_of, text_of
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import answer
from tests.support.rig import eventually, route_of

pytestmark = pytest.mark.django_db
State = UsageRecord.State
FACES = ["/chat", "/v1/chat/completions", "/v1/messages"]
SSE = {"content-type": "text/event-stream"}


@pytest.fixture(params=["openai", "anthropic"])
def protocol(request, rig):
    rig.configure(request.param)
    return request.param


def openai_events(*deltas, finish="stop", usage=True):
    chunks = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    chunks += [{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 12}}] if usage else []
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


# --- answers without a word -------------------------------------------------------------------------------------------
EMPTY = {
    "openai": {
        "length after thinking": ({"message": {"content": ""}, "finish_reason": "length"}, "length"),
        "stop at the client's own text": ({"message": {"content": ""}}, "stop"),
        "null": ({"message": {"content": None}}, "stop"),
        "white space": ({"message": {"content": " \n"}}, "stop"),
        "filtered": ({"message": {"content": None}, "finish_reason": "content_filter"}, "content_filter"),
    },
    "anthropic": {
        "length after thinking": (
            {"content": [{"type": "thinking", "thinking": "hm", "signature": "x"}], "stop_reason": "max_tokens"},
            "length",
        ),
        "stop at the client's own text": ({"content": [], "stop_reason": "stop_sequence"}, "stop"),
        "no blocks": ({"content": []}, "stop"),
        "an empty block": ({"content": [{"type": "text", "text": ""}]}, "stop"),
        "a refusal": ({"content": [], "stop_reason": "refusal"}, "content_filter"),
    },
}
CASES = [(protocol, case) for protocol, cases in EMPTY.items() for case in cases]


@pytest.mark.parametrize(("spoken", "case"), CASES)
def test_an_answer_that_ended_properly_is_one_however_empty(rig, spoken, case):
    changes, finish = EMPTY[spoken][case]
    rig.configure(spoken).first.always = status(200, body=answer(spoken, **changes))
    for _ in range(cooldown.FAILURES_IN_A_ROW):
        response = rig.chat("pair")
        body = response.json()
        assert (response.status_code, body["response"].strip(), body["finish_reason"]) == (200, "", finish)
        assert (body["provider"], body["tokens_used"]) == ("first", 21)
    assert (rig.calls, rig.tokens()) == ((5, 0), (105, 0))
    assert cooldown.state(route_of("first"))["failures_in_a_row"] == 0


@pytest.mark.parametrize("path", FACES)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["reasoning_only", "empty_content"])
def test_on_every_face_whole_and_streamed(rig, auth_client, protocol, path, stream, fault):
    rig.first.always = fault
    body = {"model": "pair", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 20, "stream": stream}
    response = auth_client.post(path, body, format="json")
    assert response.status_code == 200
    text = response.getvalue().decode()
    cut = fault == "reasoning_only"
    ends = {"/chat": "length" if cut else "stop", "/v1/chat/completions": "length" if cut else "stop"}
    word = ends.get(path, "max_tokens" if cut else "end_turn")
    assert f'"{word}"' in text
    assert "error" not in text
    assert (rig.calls, rig.tokens(), rig.record().state) == ((1, 0), (21, 0), State.SETTLED)


def test_an_empty_answer_is_no_last_good_one(rig):
    rig.first.then("ok", "empty_content").always = "unavailable"
    assert rig.chat().json()["response"] == "hello"
    assert rig.chat().json()["response"] == ""
    assert rig.chat().json()["response"] == "hello"


def test_an_empty_turn_is_not_kept_for_the_next_chat(rig, auth_client):
    conversation = auth_client.post("/conversations", {}, format="json").json()["id"]
    rig.first.then("empty_content")
    assert rig.chat(conversation_id=conversation).status_code == 200
    assert rig.chat(conversation_id=conversation).status_code == 200
    assert [turn["content"] for turn in rig.first.requests[-1].json["messages"]] == ["Hello!"]


def test_an_answer_without_an_end_is_none(rig, protocol):
    missing = {"stop_reason": None} if protocol == "anthropic" else {"finish_reason": None}
    rig.first.always = status(200, body=answer(protocol, "", **missing))
    assert rig.chat().json()["error"] == "invalid_provider_response"


# --- life before the first text ---------------------------------------------------------------------------------------
LIFE = {
    "pings": Fault("stream_pings_only", seconds=0.05),
    "comments": Fault("stream_comments_only", seconds=0.05),
}


@pytest.mark.parametrize("life", LIFE)
def test_a_model_that_thinks_beyond_the_deadline_lives(rig, protocol, life, settings):
    settings.CHAT_DEADLINE, settings.CHAT_KEEP_ALIVE, settings.CHAT_STREAM_MAX = 1.0, 0.4, 2.5
    rig.first.always = LIFE[life]
    response = rig.chat("pair", stream=True)
    assert response.status_code == 200
    names = [name for name, _ in events_of(response)]
    assert set(names[:-1]) == {COMMENT}
    assert names[-1] == "error"
    assert (rig.calls, rig.tokens(), rig.record().state) == ((1, 0), (0, 0), State.RELEASED)


@pytest.mark.parametrize(
    "thinking",
    [
        [{"reasoning_content": "hm"}] * 12,
        [{"reasoning": "hm"}] * 12,
        [{"content": None}] * 12,
        [{"content": ""}] * 12,
        [{}] * 12,
    ],
    ids=str,
)
def test_thinking_is_life_and_the_text_follows(rig, thinking, settings):
    settings.CHAT_DEADLINE, settings.CHAT_STREAM_IDLE_TIMEOUT, settings.CHAT_KEEP_ALIVE = 0.5, 2.0, 0.2
    rig.first.always = Fault("stream_paced", seconds=0.1, body=openai_events(*thinking, {"content": "hi"}))
    events = events_of(rig.chat("pair", stream=True))
    assert (text_of(events), end_of(events)[0]) == ("hi", "done")
    assert (rig.calls, rig.tokens()) == ((1, 0), (21, 0))


def test_lines_that_say_nothing_are_life(rig, settings):
    settings.CHAT_DEADLINE, settings.CHAT_KEEP_ALIVE = 0.5, 0.2
    lines = ": thinking\n\n" * 4 + "data:\n\n" * 4 + "data: \n\n" * 4
    rig.first.always = Fault("stream_paced", seconds=0.1, body=lines + openai_events({"content": "hi"}))
    events = events_of(rig.chat("pair", stream=True))
    assert (text_of(events), end_of(events)[0]) == ("hi", "done")


def test_without_a_sign_of_life_the_next_route_is_asked(rig, settings):
    rig.configure(timeout=0.4)
    rig.first.always = Fault("stream_slow_first", seconds=5)
    events = events_of(rig.chat("pair", stream=True))
    assert (text_of(events), rig.calls) == ("hello", (1, 1))


def test_an_error_after_a_ping_is_still_plain_http(rig, protocol):
    ping = 'event: ping\ndata: {"type": "ping"}\n\n' if protocol == "anthropic" else ": ping\n\n"
    overload = {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
    rig.first.always = status(200, SSE, f"{ping}event: error\ndata: {json.dumps(overload)}\n\n")
    assert rig.chat(stream=True, headers={"x-stainless-retry-count": "2"}).json()["error"] == "provider_unavailable"


def test_a_stream_that_breaks_while_the_model_thinks_costs_nothing(rig, settings):
    settings.CHAT_KEEP_ALIVE = 0.2
    thinking = openai_events(*[{"reasoning_content": "hm"}] * 5).partition(
        'data: {"choices": [{"index": 0, "delta": {},'
    )
    rig.first.always = Fault("stream_paced", seconds=0.1, body=thinking[0])
    events = events_of(rig.chat(stream=True))
    assert (text_of(events), end_of(events)[0]) == ("", "error")
    assert "Nothing was charged" in end_of(events)[1]["message"]
    assert (rig.tokens(), rig.record().state) == ((0, 0), State.RELEASED)


# --- streams of other shapes ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "application/x-ndjson", None])
def test_events_under_another_label_are_read(rig, kind):
    rig.first.always = status(200, {"content-type": kind} if kind else {}, openai_events({"content": "hi"}))
    events = events_of(rig.chat(stream=True))
    assert (text_of(events), rig.tokens()) == ("hi", (21, 0))


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_a_whole_answer_to_a_request_for_a_stream_is_read(rig, protocol, kind):
    rig.first.always = status(200, {"content-type": kind}, json.dumps(answer(protocol, "hi")))
    events = events_of(rig.chat(stream=True))
    assert (text_of(events), rig.tokens(), rig.calls) == ("hi", (21, 0), (1, 0))


def test_a_whole_answer_as_one_event_is_read(rig, protocol):
    end = "" if protocol == "anthropic" else "data: [DONE]\n\n"
    rig.first.always = status(200, SSE, f"data: {json.dumps(answer(protocol, 'hi'))}\n\n{end}")
    events = events_of(rig.chat(stream=True))
    assert (text_of(events), rig.tokens(), rig.calls) == ("hi", (21, 0), (1, 0))


def test_two_halves_of_a_character_become_one(rig, protocol):
    halves = ["a\ud83d", "\ude00b\ud83d"]
    if protocol == "openai":
        body = openai_events(*({"content": half} for half in halves))
    else:
        parts = [{"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}]
        parts += [
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": half}}
            for half in halves
        ]
        parts += [
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 12}},
            {"type": "message_stop"},
        ]
        body = "".join(f"data: {json.dumps(part)}\n\n" for part in parts)
    rig.first.always = status(200, SSE, body)
    events = events_of(rig.chat(stream=True))
    assert (text_of(events), rig.tokens()) == ("a\U0001f600b\ufffd", (21, 0))


@pytest.mark.parametrize("path", FACES)
def test_no_reader_takes_a_character_for_the_end_of_a_line(rig, auth_client, path):
    rig.first.always = Fault(text="a\u2028b\u2029c\x85d")
    body = {"model": "alone", "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 20, "stream": True}
    response = auth_client.post(path, body, format="json")
    assert response["Content-Type"] == "text/event-stream; charset=utf-8"
    text = response.getvalue().decode()
    assert not {"\u2028", "\u2029", "\x85"} & set(text)
    assert [text.count(escaped) for escaped in (r"\u2028", r"\u2029", r"\u0085")] == [1, 1, 1]


# --- kept-alive connections -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", ["close", "reset"])
def test_a_kept_connection_that_closes_before_a_byte_is_tried_once_afresh_at_once(rig, stream, fault):
    assert rig.chat().status_code == 200
    rig.first.then(fault)
    response = rig.chat(content="Again!", stream=stream)
    assert response.status_code == 200
    assert response.getvalue()
    assert (rig.slept, rig.events("provider_attempt_failed")) == ([], [])
    eventually(lambda: rig.calls == (3, 0))
    assert cooldown.state(route_of("first"))["failures_in_a_row"] == 0


def test_but_once(rig):
    assert rig.chat().status_code == 200
    rig.first.then("close", "close")
    assert (
        rig.chat(content="Again!", headers={"x-stainless-retry-count": "2"}).json()["error"] == "provider_unavailable"
    )
    eventually(lambda: rig.calls == (3, 0))
