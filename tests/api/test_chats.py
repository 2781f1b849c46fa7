"""What is the same for a chat on either face: the budget and the limits it shares with `/chat`, what is recorded, how a
stream breaks off, and what a second request under the same Idempotency-Key gets."""

from __future__ import annotations

import pytest

from chat.completion import arrival
from chat.models import BudgetPeriod, IdempotentRequest, TokenBudget, UsageRecord
from chat.protocols.sse import COMMENT
from tests.support.asking import ANTHROPIC, OPENAI, PATHS, RESPONSES, body_for, client_of, events_of, post
from tests.support.loopback import Fault, status
from tests.support.rig import ONE_ATTEMPT

pytestmark = pytest.mark.django_db
State = UsageRecord.State
TEXT = "one two three"
KEY = {"Idempotency-Key": "order-7"}
LAST = {OPENAI: ("", "[DONE]"), ANTHROPIC: ("message_stop", {"type": "message_stop"})}
OTHER = {OPENAI: ANTHROPIC, ANTHROPIC: OPENAI}
EITHER = pytest.mark.parametrize("path", PATHS)
STREAMED = pytest.mark.parametrize("stream", [False, True])


def code_of(path, data):
    error = data["error"]
    return error["code"] if path == OPENAI else error["details"]["error_code"]


def text_of(path, events):
    if path == ANTHROPIC:
        return "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
    choices = [choice for _, data in events if isinstance(data, dict) for choice in data.get("choices", [])]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def finish(response):
    """The response, read to its end."""
    return events_of(response) if response.streaming else response.json()


# --- one account ------------------------------------------------------------------------------------------------------
@STREAMED
def test_all_faces_draw_on_one_budget(rig, user, stream):
    TokenBudget.objects.create(user=user, limit=70)
    assert rig.chat(max_tokens=30).status_code == 200
    finish(post(rig, OPENAI, max_tokens=30, stream=stream))
    assert (rig.tokens(), BudgetPeriod.objects.count()) == ((42, 0), 1)
    response = post(rig, ANTHROPIC, stream=stream)
    assert (response.status_code, code_of(ANTHROPIC, response.json())) == (429, "token_budget_exceeded")
    assert rig.calls == (2, 0)


@EITHER
def test_and_share_one_rate_limit(rig, settings, path):
    settings.CHAT_RATE_LIMIT = "2/h"
    assert rig.chat().status_code == 200
    response = post(rig, path)
    assert (response["RateLimit-Policy"], response["RateLimit"].split(";")[1]) == ('"chat";q=2;w=3600', "r=0")
    refused = post(rig, OTHER[path])
    assert (refused.status_code, code_of(OTHER[path], refused.json())) == (429, "rate_limit_exceeded")
    assert rig.chat().json()["error"] == "rate_limit_exceeded"


@EITHER
@STREAMED
def test_what_was_used_is_recorded(rig, user, path, stream):
    finish(post(rig, path, stream=stream))
    record = rig.record()
    assert (record.user, record.state, record.tokens_used, record.estimated) == (user, State.SETTLED, 21, False)
    (line,) = rig.events("chat_completed")
    assert (line["model"], line["provider"], line["tokens_used"]) == ("alone", "first", 21)
    assert rig.tokens() == (21, 0)


@EITHER
@STREAMED
def test_an_address_may_end_in_a_slash(rig, path, stream):
    response = client_of(rig).post(path + "/", body_for(path, stream=stream), format="json")
    assert (response.status_code, response.streaming) == (200, stream)
    finish(response)


@EITHER
def test_an_sdk_on_its_last_try_is_not_tried_for_again(rig, path):
    rig.first.always = "unavailable"
    assert post(rig, path, ONE_ATTEMPT).status_code == 503
    assert rig.calls == (1, 0)


@EITHER
@pytest.mark.parametrize("count", ["0", "1", "-1", "many", ""])
def test_before_that_it_is(rig, path, count):
    rig.first.then("unavailable")
    assert post(rig, path, {"x-stainless-retry-count": count}).status_code == 200
    assert rig.calls == (2, 0)


# --- streams ----------------------------------------------------------------------------------------------------------
@EITHER
def test_the_headers_of_a_stream(rig, path):
    response = post(rig, path, {"X-Request-ID": "s-1"}, stream=True)
    assert (response["Cache-Control"], response["X-Accel-Buffering"]) == ("no-store", "no")
    assert (response["X-Request-ID"], response["Request-Id"]) == ("s-1", "s-1")
    assert events_of(response)[-1] == LAST[path]


BREAKS = [
    ("stream_cut", "invalid_provider_response", "server_error", "api_error"),
    ("stream_reset", "invalid_provider_response", "server_error", "api_error"),
    ("stream_garbage", "invalid_provider_response", "server_error", "api_error"),
    ("stream_error", "provider_unavailable", "service_unavailable_error", "overloaded_error"),
    ("stream_stall", "provider_timeout", "server_error", "timeout_error"),
]


@pytest.mark.parametrize(("fault", "code", "openai", "anthropic"), BREAKS, ids=[row[0] for row in BREAKS])
@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
@EITHER
def test_a_stream_that_breaks_off_ends_in_an_error_and_never_looks_whole(
    rig, settings, path, protocol, fault, code, openai, anthropic
):
    settings.CHAT_STREAM_IDLE_TIMEOUT = 0.3
    rig.configure(protocol).first.always = Fault(fault, text=TEXT)
    events = events_of(post(rig, path, {"X-Request-ID": "s-1"}, stream=True))
    name, data = events[-1]
    assert (text_of(path, events[:-1]), LAST[path] in events) == ("one ", False)
    assert (code_of(path, data), name) == (code, "" if path == OPENAI else "error")
    if path == OPENAI:
        assert (set(data), set(data["error"])) == ({"error"}, {"message", "type", "param", "code"})
        assert data["error"]["type"] == openai
        assert all(choice["finish_reason"] is None for _, data in events[:-1] for choice in data["choices"])
    else:
        assert (set(data), data["type"], data["request_id"]) == ({"type", "error", "request_id"}, "error", "s-1")
        assert data["error"]["type"] == anthropic
        assert not {"content_block_stop", "message_delta"} & {name for name, _ in events}
    record, (used, reserved) = rig.record(), rig.tokens()
    assert (record.state, record.tokens_used, reserved) == (State.TRUNCATED, used, 0)
    assert used > 0
    assert str(used) in data["error"]["message"]


@EITHER
def test_a_bug_of_ours_ends_it_so_too(rig, monkeypatch, path):
    monkeypatch.setattr("chat.api.streaming.has_left", lambda request: 1 / 0)
    events = events_of(post(rig, path, stream=True))
    assert (code_of(path, events[-1][1]), LAST[path] in events) == ("internal_error", False)
    assert rig.tokens()[1] == 0


@EITHER
def test_in_a_silence_a_stream_says_that_it_lives(rig, settings, monkeypatch, path):
    monkeypatch.setattr(arrival, "TICK", 0.02)
    settings.CHAT_KEEP_ALIVE, settings.CHAT_STREAM_IDLE_TIMEOUT = 0.05, 0.4
    rig.first.always = Fault("stream_stall", text=TEXT)
    events = events_of(post(rig, path, stream=True))
    sign = (":", COMMENT.strip()) if path == OPENAI else ("ping", {"type": "ping"})
    *_, first, second, _ = events
    assert (first, second) == (sign, sign)
    assert len([event for event in events if event == sign]) >= 3
    assert text_of(path, events) == "one "


# --- the same request again -------------------------------------------------------------------------------------------
@EITHER
def test_a_whole_answer_is_replayed_as_it_was(rig, path):
    first = post(rig, path, KEY)
    again = post(rig, path, KEY)
    assert (again.content, again["Idempotent-Replayed"]) == (first.content, "true")
    assert again["X-Request-ID"] != first["X-Request-ID"]
    assert (rig.calls, rig.tokens()) == ((1, 0), (21, 0))


@EITHER
def test_a_streamed_one_is_with_the_same_id_text_and_end(rig, path):
    rig.first.always = Fault(text=TEXT)
    options = {"stream": True} | ({"stream_options": {"include_usage": True}} if path == OPENAI else {})
    first, response = events_of(post(rig, path, KEY, **options)), post(rig, path, KEY, **options)
    again = events_of(response)
    assert response["Idempotent-Replayed"] == "true"
    assert (text_of(path, first), text_of(path, again)) == (TEXT, TEXT)
    if path == OPENAI:
        assert (again[0], again[2:]) == (first[0], first[4:])
    else:
        ids = [events[0][1]["message"]["id"] for events in (first, again)]
        assert (ids[0], again[4:]) == (ids[1], first[6:])
    assert (rig.calls, rig.tokens()) == ((1, 0), (21, 0))


@EITHER
def test_one_that_broke_off_is_not_kept(rig, path):
    rig.first.then(Fault("stream_cut", text=TEXT))
    assert LAST[path] not in events_of(post(rig, path, KEY, stream=True))
    assert not IdempotentRequest.objects.exists()
    response = post(rig, path, KEY, stream=True)
    assert ("Idempotent-Replayed" in response, events_of(response)[-1]) == (False, LAST[path])


@EITHER
@pytest.mark.parametrize("change", [{"stream": True}, {"top_p": 0.5}], ids=repr)
def test_another_request_under_the_same_key_is_refused(rig, path, change):
    post(rig, path, KEY)
    response = post(rig, path, KEY, **change)
    assert (response.status_code, code_of(path, response.json())) == (422, "idempotency_key_reused")


def test_so_is_the_same_body_on_another_face(rig):
    assert post(rig, ANTHROPIC, KEY).status_code == 200
    response = post(rig, OPENAI, KEY, max_tokens=64)
    assert (response.status_code, code_of(OPENAI, response.json())) == (422, "idempotency_key_reused")


TOOL = {"type": "function", "function": {"name": "look"}}
ASKED = [{"stop": ["STOP"]}, {"top_p": 0.5}, {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "none"}, {"n": 2}]
ASKED += [{"response_format": {"type": "json_object"}}, {"reasoning_effort": "low"}, {"seed": 7}, {"max_tokens": 63}]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_an_answer_to_what_was_asked_otherwise_is_no_stand_in(rig, asked):
    assert post(rig, OPENAI).status_code == 200
    rig.first.always = status(501)
    assert post(rig, OPENAI)["X-Cached"] == "true"
    assert post(rig, OPENAI, **asked).status_code == 503


@STREAMED
@pytest.mark.parametrize("path", ["/chat", *PATHS, RESPONSES])
def test_an_earlier_answer_says_so_in_a_header_on_every_face(rig, path, stream):
    assert "X-Cached" not in post(rig, path).headers
    rig.first.always = status(501)
    response = post(rig, path, stream=stream)
    assert (response.status_code, response.streaming, response["X-Cached"]) == (200, stream, "true")
    assert b"hello" in (b"".join(response.streaming_content) if stream else response.content)
    assert rig.tokens() == (21, 0)
