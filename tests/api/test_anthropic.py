"""`POST /v1/messages`: what of Anthropic's API is understood, what reaches the provider, and what comes back."""

from __future__ import annotations

import pytest

from tests.support.asking import ANTHROPIC, body_for, client_of, events_of, post, sent
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
@PROTOCOLS
def test_a_whole_answer(rig, protocol):
    rig.configure(protocol).first.always = Fault(text=TEXT)
    response = ask(rig)
    assert response.json() == message([{"type": "text", "text": TEXT}], "end_turn", USAGE)
    assert (response["Request-Id"], "X-Cached" in response) == ("r-1", False)


@pytest.mark.parametrize(
    ("protocol", "known"),
    [("openai", {"input_tokens": 0, "output_tokens": 0}), ("anthropic", {"input_tokens": 9, "output_tokens": 1})],
)
def test_a_streamed_one_begins_with_the_usage_that_is_known_by_then(rig, protocol, known):
    rig.configure(protocol).first.always = Fault(text=TEXT)
    events = events_of(ask(rig, stream=True))
    assert events == [*begun(known), *words("one ", "two ", "three"), *ended("end_turn", USAGE)]


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
    assert whole == message([], "refusal", USAGE)
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
BRIEF = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief.", "cache_control": None}]


@pytest.mark.parametrize("system", ["Be brief.", BRIEF])
@PROTOCOLS
def test_the_system_prompt_and_the_parts_of_messages(rig, protocol, system):
    payload = sent(rig.configure(protocol), ANTHROPIC, system=system, messages=TALK)
    if protocol == "openai":
        assert payload["messages"] == [{"role": "system", "content": "Be brief."}, *TURNS]
    else:
        assert (payload["system"], payload["messages"]) == ("Be brief.", TURNS)


@pytest.mark.parametrize("system", [None, "", " \n", [], [{"type": "text", "text": ""}]])
@PROTOCOLS
def test_a_system_prompt_that_says_nothing_is_none(rig, protocol, system):
    payload = sent(rig.configure(protocol), ANTHROPIC, system=system)
    assert (payload["messages"], "system" in payload) == (HELLO, False)


def test_an_answer_may_be_sent_back_as_it_came(rig):
    said = ask(rig).json()
    turn = {"role": said["role"], "content": said["content"]}
    messages = sent(rig, ANTHROPIC, messages=[*HELLO, turn, *HELLO])["messages"]
    assert messages[1] == {"role": "assistant", "content": "hello"}


SAMPLING = [
    ({}, {}, {}),
    ({"max_tokens": 4096}, {"max_tokens": 4096}, {"max_tokens": 4096}),
    ({"temperature": 0}, {"temperature": 0.0}, {"temperature": 0.0}),
    ({"top_p": 0.5}, {"top_p": 0.5}, {"top_p": 0.5}),
    ({"stop_sequences": ["x"]}, {"stop": ["x"]}, {"stop_sequences": ["x"]}),
    ({"stop_sequences": []}, {}, {}),
    ({"stop_sequences": None, "top_p": None, "temperature": None}, {}, {}),
]


@pytest.mark.parametrize(("asked", "openai", "anthropic"), SAMPLING)
@PROTOCOLS
def test_how_it_is_drawn_and_where_it_stops(rig, protocol, asked, openai, anthropic):
    payload = sent(rig.configure(protocol), ANTHROPIC, **asked)
    wanted = {"openai": openai, "anthropic": anthropic}[protocol]
    assert payload == {"model": "m", "messages": HELLO, "max_tokens": 64} | wanted
