"""`POST /v1/chat/completions`: what of OpenAI's API is understood, what reaches the provider, and what comes back."""

from __future__ import annotations

import time

import pytest

from tests.support.asking import OPENAI, events_of, post, refused, sent
from tests.support.loopback import Fault, status
from tests.support.loopback_faults import answer

pytestmark = pytest.mark.django_db
TEXT = "one two three"
USAGE = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
CACHED = {"prompt_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3}}
USAGES = {"openai": USAGE, "anthropic": USAGE | CACHED}
"""By the provider's protocol."""
HELLO = [{"role": "user", "content": "Hello!"}]
PROTOCOLS = pytest.mark.parametrize("protocol", ["openai", "anthropic"])


def ask(rig, **changes):
    return post(rig, OPENAI, headers={"X-Request-ID": "r-1"}, **changes)


def chunk(created, delta, reason=None, **more):
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return ("", head("chat.completion.chunk", created) | {"choices": [choice]} | more)


def head(kind, created):
    return {"id": "chatcmpl-r-1", "object": kind, "created": created, "model": "alone", "system_fingerprint": None}


# --- what comes back --------------------------------------------------------------------------------------------------
@PROTOCOLS
def test_a_whole_answer(rig, protocol):
    rig.configure(protocol).first.always = Fault(text=TEXT)
    response = ask(rig)
    body = response.json()
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    assert body == head("chat.completion", body["created"]) | {"choices": [choice], "usage": USAGES[protocol]}
    assert type(body["created"]) is int
    assert abs(body["created"] - time.time()) < 60
    assert (response["X-Request-ID"], "X-Cached" in response) == ("r-1", False)


@PROTOCOLS
@pytest.mark.parametrize("options", [{}, {"stream_options": None}, {"stream_options": {"include_usage": False}}])
def test_a_streamed_one(rig, protocol, options):
    rig.configure(protocol).first.always = Fault(text=TEXT)
    events = events_of(ask(rig, stream=True, **options))
    at = events[0][1]["created"]
    assert events == [
        chunk(at, {"role": "assistant", "content": "", "refusal": None}),
        *[chunk(at, {"content": word}) for word in ("one ", "two ", "three")],
        chunk(at, {}, "stop"),
        ("", "[DONE]"),
    ]


@PROTOCOLS
def test_a_streamed_one_with_its_usage_in_a_chunk_of_its_own(rig, protocol):
    rig.configure(protocol).first.always = Fault(text="word")
    events = events_of(ask(rig, stream=True, stream_options={"include_usage": True, "include_obfuscation": False}))
    at = events[0][1]["created"]
    assert events == [
        chunk(at, {"role": "assistant", "content": "", "refusal": None}, usage=None),
        *[chunk(at, {"content": half}, usage=None) for half in ("wo", "rd")],
        chunk(at, {}, "stop", usage=None),
        ("", head("chat.completion.chunk", at) | {"choices": [], "usage": USAGES[protocol]}),
        ("", "[DONE]"),
    ]


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
def test_why_an_answer_ended(rig, reason):
    rig.first.always = status(200, body=answer("openai", "half", finish_reason=reason))
    for response in (ask(rig).json(), events_of(ask(rig, stream=True))[-2][1]):
        assert response["choices"][0]["finish_reason"] == reason


def test_an_earlier_answer_stands_in_and_says_so(rig):
    rig.first.then(Fault(text=TEXT)).always = status(501)
    fresh, response = ask(rig).json(), ask(rig)
    note = {"cached": True, "message": "LLM is unavailable, showing cached response"}
    nothing = dict.fromkeys(USAGE, 0)
    assert response.json() == fresh | {"usage": nothing, "created": response.json()["created"]} | note
    assert response["X-Cached"] == "true"
    response = ask(rig, stream=True, stream_options={"include_usage": True})
    events = events_of(response)
    assert (response["X-Cached"], {key: events[0][1][key] for key in note}) == ("true", note)
    assert (events[1][1]["choices"][0]["delta"], events[-2][1]["usage"]) == ({"content": TEXT}, nothing)
    assert rig.tokens() == (21, 0)


# --- what reaches the provider ----------------------------------------------------------------------------------------
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "kind."}]},
    {"role": "user", "content": [{"type": "text", "text": " a"}, {"type": "text", "text": "b\n"}]},
    {"role": "assistant", "content": "c"},
    {"role": "user", "content": "d"},
]


def test_roles_and_parts_reach_openais_protocol_as_they_came(rig):
    assert sent(rig, OPENAI, messages=TALK)["messages"] == TALK


def test_roles_and_parts_in_anthropics_protocol(rig):
    payload = sent(rig.configure("anthropic"), OPENAI, messages=TALK)
    assert (payload["system"], payload["messages"]) == ("Be brief.\n\nBe kind.", TALK[2:])


@pytest.mark.parametrize(
    ("asked", "most"),
    [
        ({}, 64),
        ({"max_tokens": None, "max_completion_tokens": None}, 64),
        ({"max_tokens": 7}, 7),
        ({"max_completion_tokens": 8}, 8),
        ({"max_tokens": 9, "max_completion_tokens": 9}, 9),
        ({"max_tokens": 4096}, 4096),
    ],
)
@PROTOCOLS
def test_the_most_that_an_answer_may_have(rig, protocol, asked, most):
    assert sent(rig.configure(protocol), OPENAI, **asked)["max_tokens"] == most


SAMPLING = [
    ({}, {}, {}),
    ({"temperature": 0}, {"temperature": 0.0}, {"temperature": 0.0}),
    ({"temperature": 1}, {"temperature": 1.0}, {"temperature": 1.0}),
    ({"top_p": 0.5}, {"top_p": 0.5}, {"top_p": 0.5}),
    ({"stop": "x"}, {"stop": "x"}, {"stop_sequences": ["x"]}),
    ({"stop": ["x", "y"]}, {"stop": ["x", "y"]}, {"stop_sequences": ["x", "y"]}),
    ({"stop": []}, {"stop": []}, {}),
    ({"seed": 7, "of_tomorrow": {"a": [1]}}, {"seed": 7, "of_tomorrow": {"a": [1]}}, None),
]


@pytest.mark.parametrize(("asked", "openai", "anthropic"), SAMPLING)
@PROTOCOLS
def test_how_it_is_drawn_and_where_it_stops(rig, protocol, asked, openai, anthropic):
    wanted = {"openai": openai, "anthropic": anthropic}[protocol]
    if wanted is None:
        refused(rig.configure(protocol), OPENAI, "unsupported_parameter", **asked)
        return
    payload = sent(rig.configure(protocol), OPENAI, **asked)
    assert payload == {"model": "m", "messages": HELLO, "max_tokens": 64} | wanted


def test_an_answer_may_be_sent_back_as_it_came(rig):
    said = ask(rig).json()["choices"][0]["message"] | {"annotations": [], "audio": None, "tool_calls": None}
    assert sent(rig, OPENAI, messages=[*HELLO, said, *HELLO])["messages"][1] == said
    rig.configure("anthropic")
    assert sent(rig, OPENAI, messages=[*HELLO, said, *HELLO])["messages"][1] == {
        "role": "assistant",
        "content": "hello",
    }
