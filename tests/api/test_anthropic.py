"""`POST /v1/messages`: what of Anthropic's API is understood, what reaches the provider, and what comes back."""

from __future__ import annotations

import json
import re

import pytest

from tests.support import messages as api
from tests.support.asking import ANTHROPIC, OPENAI, body_for, client_of, events_of, post, refused, sent
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import answer

pytestmark = pytest.mark.django_db
TEXT = "one two three"
USAGE = {"input_tokens": 9, "output_tokens": 12}
HELLO = [{"role": "user", "content": "Hello!"}]
PING = ("ping", {"type": "ping"})
PROTOCOLS = pytest.mark.parametrize("protocol", ["openai", "anthropic"])


def ask(rig, **changes):
    return post(rig, ANTHROPIC, headers={"X-Request-ID": "r-1"}, **changes)


def message(content, reason, usage, **more):
    head = {"id": "msg_r-1", "type": "message", "role": "assistant", "model": "alone", "content": content}
    return head | {"stop_reason": reason, "stop_sequence": None, "usage": usage} | more


def named(kind, **data):
    return (kind, {"type": kind} | data)


def begun(usage, **more):
    """The events before the first text."""
    block = {"type": "text", "text": ""}
    opening = named("message_start", message=message([], None, usage, **more))
    return [opening, named("content_block_start", index=0, content_block=block), PING]


def words(*pieces):
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return [named("content_block_delta", index=0, delta=delta) for delta in deltas]


def ended(reason, usage):
    """The events after the last."""
    delta = {"stop_reason": reason, "stop_sequence": None}
    closing = named("message_delta", delta=delta, usage=usage)
    return [named("content_block_stop", index=0), closing, named("message_stop")]


# --- what comes back --------------------------------------------------------------------------------------------------
CACHED = {"input_tokens": 4, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 2}
OWN = {"usage": CACHED | {"output_tokens": 12, "service_tier": "standard"}, "stop_details": None}
"""What only a provider of the same API says, beside `message`."""


@PROTOCOLS
def test_a_whole_answer(rig, protocol):
    rig.configure(protocol).first.always = Fault(text=TEXT)
    response = ask(rig)
    more = OWN if protocol == "anthropic" else {}
    assert response.json() == message([{"type": "text", "text": TEXT}], "end_turn", USAGE) | more
    assert (response["Request-Id"], "X-Cached" in response) == ("r-1", False)


def test_a_streamed_one_begins_with_the_estimate(rig):
    rig.first.always = Fault(text=TEXT)
    start, *events = events_of(ask(rig, stream=True))
    known = {"input_tokens": 13, "output_tokens": 0}
    assert [start, *events] == [*begun(known), *words("one ", "two ", "three"), *ended("end_turn", USAGE)]


def test_a_providers_own_events_are_relayed(rig):
    rig.configure("anthropic").first.always = Fault(text=TEXT)
    (_, opening), *events = events_of(ask(rig, stream=True))
    told = CACHED | {"output_tokens": 1, "service_tier": "standard"}
    assert opening["message"] == message([], None, told, stop_details=None)
    assert events == [*begun({})[1:], *words("one ", "two ", "three"), *ended("end_turn", {"output_tokens": 12})]


@pytest.mark.parametrize(
    ("reason", "theirs"), [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal")]
)
def test_why_an_answer_ended(rig, reason, theirs):
    rig.first.always = status(200, body=answer("openai", "half", finish_reason=reason))
    assert ask(rig).json()["stop_reason"] == theirs
    assert events_of(ask(rig, stream=True))[-2][1]["delta"] == {"stop_reason": theirs, "stop_sequence": None}


def test_an_answer_without_text_has_no_blocks(rig):
    rig.configure("anthropic").first.always = "refusal"
    whole = ask(rig).json()
    assert whole == message([], "refusal", USAGE) | OWN
    kinds = [name for name, _ in events_of(ask(rig, stream=True))]
    assert kinds == ["message_start", "message_delta", "message_stop"]


def test_an_earlier_answer_stands_in_and_says_so(rig):
    rig.first.then(Fault(text=TEXT)).always = status(501)
    fresh, response = ask(rig).json(), ask(rig)
    note = {"cached": True, "message": "LLM is unavailable, showing cached response"}
    nothing = dict.fromkeys(USAGE, 0)
    assert response.json() == fresh | {"usage": nothing} | note
    assert response["X-Cached"] == "true"
    response = ask(rig, stream=True)
    assert events_of(response) == [*begun(nothing, **note), *words(TEXT), *ended("end_turn", nothing)]
    assert (response["X-Cached"], rig.tokens()) == ("true", (21, 0))


LOOK = {"name": "look", "description": "Look at it.", "input_schema": {"type": "object"}}
CALLS = [
    {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "sky"}'}},
    {"id": "call_2", "type": "function", "function": {"name": "look", "arguments": ""}},
]
BLOCKS = [
    {"type": "text", "text": "So."},
    {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "sky"}},
    {"type": "tool_use", "id": "call_2", "name": "look", "input": {}},
]


def test_calls_of_another_vendors_model(rig):
    said = answer("openai", message={"content": "So.", "tool_calls": CALLS}, finish_reason="tool_calls")
    rig.first.always = status(200, body=said)
    response = ask(rig, tools=[LOOK]).json()
    assert (response["content"], response["stop_reason"]) == (BLOCKS, "tool_use")
    assert rig.first.requests[-1].json["tools"][0]["function"]["name"] == "look"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["look.up", "look_" * 20])
def test_a_tool_whose_name_the_other_vendor_refuses_is_called_by_the_clients(rig, name, stream):
    tools = [LOOK | {"name": name}]
    written = sent(rig, ANTHROPIC, tools=tools)["tools"][0]["function"]["name"]
    assert re.fullmatch("[A-Za-z0-9_-]{1,64}", written)
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": written, "arguments": "{}"}}
    whole = answer("openai", message={"content": None, "tool_calls": [call]}, finish_reason="tool_calls")
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    chunks = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
    rig.first.always = Fault("stream_paced", body=chunks, seconds=0) if stream else status(200, body=whole)
    response = ask(rig, tools=tools, stream=stream)
    opened = [data["content_block"] for _, data in events_of(response) if "content_block" in data] if stream else None
    assert [block["name"] for block in opened or response.json()["content"]] == [name]


def test_and_their_results(rig):
    results = [{"type": "tool_result", "tool_use_id": f"call_{n}", "content": "blue"} for n in (1, 2)]
    talk = [*HELLO, {"role": "assistant", "content": BLOCKS}, {"role": "user", "content": results}]
    roles = [turn["role"] for turn in sent(rig, ANTHROPIC, messages=talk, tools=[LOOK])["messages"]]
    assert roles == ["user", "assistant", "tool", "tool"]


def test_the_vendors_own_words_of_its_own_request(rig):
    """Claude Code recovers from them."""
    told = {"type": "invalid_request_error", "message": "messages.1: Invalid `signature` in `thinking` block"}
    rig.configure("anthropic").first.always = status(400, body={"type": "error", "error": told})
    response = ask(rig)
    assert (response.status_code, response["X-Should-Retry"]) == (400, "false")
    assert response.json() == {"type": "error", "error": told, "request_id": "r-1"}
    details = {"error_code": "x", "workspace": "wrkspc_011CZkZaBF1tNoB5", "echo": ["sk-first-7Hq2mZ9xWc4T"]}
    rig.first.always = status(400, body={"type": "error", "error": told | {"details": details}})
    assert ask(rig).json()["error"]["details"] == {"error_code": "x", "workspace": "***", "echo": ["***"]}
    rig.first.always = status(400, body={"type": "error", "error": told | {"message": "`thinking` is not supported."}})
    assert ask(rig, thinking={"type": "adaptive"}).json()["error"]["message"] == "`thinking` is not supported."


def test_a_thread_is_done_without(rig):
    """The runner of tools in Anthropic's package asks for one, and recovers by this code alone."""
    error = refused(rig, ANTHROPIC, "thread_unsupported_request", thread={"type": "create"})
    assert error["details"]["param"] == "thread"


# --- who asks ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-api-key": "KEY"}, 200),
        ({"Authorization": "Bearer KEY"}, 200),
        ({"Authorization": "Token KEY"}, 200),
        ({"Authorization": "Bearer KEY", "x-api-key": "another's"}, 200),
        ({"Authorization": "Basic KEY", "x-api-key": "KEY"}, 200),
        ({"Authorization": "Bearer wrong", "x-api-key": "KEY"}, 401),
        ({"x-api-key": "wrong"}, 401),
        ({"x-api-key": "caf\u00e9"}, 401),
        ({"x-api-key": "KEY and more"}, 401),
        ({"x-api-key": ""}, 401),
        ({}, 401),
    ],
    ids=repr,
)
def test_a_key_in_either_header(rig, headers, expected):
    keys = {name: value.replace("KEY", rig.token) for name, value in headers.items()}
    client = client_of(rig)
    client.defaults.pop("HTTP_AUTHORIZATION")
    response = client.post(ANTHROPIC, body_for(ANTHROPIC), format="json", headers=keys)
    assert response.status_code == expected, response.content
    if expected == 401:
        code = "authentication_failed" if any(headers.values()) else "not_authenticated"
        error = response.json()["error"]
        assert (error["type"], error["details"]) == ("authentication_error", {"error_code": code})
    assert rig.token not in response.content.decode()


# --- what reaches the provider ----------------------------------------------------------------------------------------
TALK = [
    {"role": "user", "content": [{"type": "text", "text": " a"}, {"type": "text", "text": "b\n", "citations": []}]},
    {"role": "assistant", "content": "c"},
    {"role": "user", "content": "d"},
]
TURNS = [
    {"role": "user", "content": " ab\n"},
    {"role": "assistant", "content": "c"},
    {"role": "user", "content": "d"},
]
BRIEF = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind.", "cache_control": None}]


@pytest.mark.parametrize("system", ["Be brief.\n\nBe kind.", BRIEF])
def test_the_system_prompt_and_the_parts_of_messages(rig, system):
    payload = sent(rig, ANTHROPIC, system=system, messages=TALK)
    assert payload["messages"] == [{"role": "system", "content": "Be brief.\n\nBe kind."}, *TURNS]


@pytest.mark.parametrize("system", [None, "", " \n", [], [{"type": "text", "text": ""}]])
def test_a_system_prompt_that_says_nothing_is_none(rig, system):
    assert sent(rig, ANTHROPIC, system=system)["messages"] == HELLO


def test_a_provider_of_the_same_api_gets_the_body_and_its_headers_as_they_came(rig):
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "new-1,new-2", "anthropic-workspace-id": "wrkspc_1"}
    body = {"system": BRIEF[:1], "messages": TALK, "metadata": {"user_id": "me"}, "brand_new": {"a": 1}}
    response = post(rig.configure("anthropic"), ANTHROPIC, headers=headers, **body)
    assert response.status_code == 200, response.content
    request = rig.first.requests[-1]
    assert request.json == {"model": "m", "max_tokens": 64} | body
    found = [request.headers.get(name) for name in (*headers, "x-api-key")]
    assert found == ["2026-10-21", "new-1,new-2", None, "sk-first-7Hq2mZ9xWc4T"]
    assert "authorization" not in request.headers


def test_another_request_has_the_version_that_is_known_here(rig):
    sent(rig.configure("anthropic"), OPENAI)
    assert rig.first.requests[-1].headers["anthropic-version"] == "2023-06-01"


def test_an_answer_may_be_sent_back_as_it_came(rig):
    said = ask(rig).json()
    turn = {"role": said["role"], "content": said["content"]}
    messages = sent(rig, ANTHROPIC, messages=[*HELLO, turn, *HELLO])["messages"]
    assert messages[1] == {"role": "assistant", "content": "hello"}


SAMPLING = [
    ({}, {}),
    ({"max_tokens": 4096}, {"max_tokens": 4096}),
    ({"temperature": 0}, {"temperature": 0.0}),
    ({"top_p": 0.5}, {"top_p": 0.5}),
    ({"stop_sequences": ["x"]}, {"stop": ["x"]}),
    ({"stop_sequences": []}, {}),
    ({"stop_sequences": None, "top_p": None, "temperature": None}, {}),
]


@pytest.mark.parametrize(("asked", "openai"), SAMPLING)
@PROTOCOLS
def test_how_it_is_drawn_and_where_it_stops(rig, protocol, asked, openai):
    payload = sent(rig.configure(protocol), ANTHROPIC, **asked)
    own = {name: value for name, value in asked.items() if value is not None}
    wanted = {"openai": openai, "anthropic": own}[protocol]
    assert payload == {"model": "m", "messages": HELLO, "max_tokens": 64} | wanted


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_is_compacted_by_its_own_vendor_alone(rig, stream):
    asked = {"compaction": {"type": "summarize"}, "stream": stream}
    assert refused(rig, ANTHROPIC, "unsupported_parameter", **asked)["details"]["param"] == "compaction"
    block = {"type": "compaction", "content": "So far ...", "signature": "EqQB-proof"}
    whole = api.message(block, stop_reason="compaction")
    told = Fault("stream_paced", body=api.stream(whole).decode(), seconds=0) if stream else status(200, body=whole)
    rig.configure("anthropic").first.always = told
    response = ask(rig, **asked)
    if stream:
        events = events_of(response)
        assert named("content_block_start", index=0, content_block=block) in events
        assert (events[-2][1]["delta"]["stop_reason"], events[-1][0]) == ("compaction", "message_stop")
    else:
        assert (response.json()["content"], response.json()["stop_reason"]) == ([block], "compaction")
    assert rig.first.requests[-1].json["compaction"] == asked["compaction"]
    again = [{"role": "user", "content": [block, {"type": "text", "text": "And now?"}]}]
    rig.first.always = "ok"
    assert sent(rig, ANTHROPIC, messages=again)["messages"] == again
    assert (rig.tokens(), rig.record().state) == ((123 + 21, 0), "settled")
