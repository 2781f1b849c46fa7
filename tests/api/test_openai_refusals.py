"""`POST /v1/chat/completions`: what goes on to a provider that speaks it, what no other can do, and what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from chat.protocols.bodies import Asks
from chat.protocols.openai.body import ChatCompletion
from tests.support.asking import OPENAI, refused, sent

pytestmark = pytest.mark.django_db


# --- what not every route can do --------------------------------------------------------------------------------------
ASKS = {
    name: asks
    for name, field in ChatCompletion.model_fields.items()
    for asks in field.metadata
    if isinstance(asks, Asks)
}
HARMLESS = [(name, value) for name, asks in ASKS.items() for value in (None, *asks.values)]
HINTS = [(name, {"some": "thing"}) for name, asks in ASKS.items() if not asks.kind]
LABELS = [
    (name, value) for name in ("user", "safety_identifier", "prompt_cache_key") for value in (None, "", "a" * 512)
]


@pytest.mark.parametrize(("name", "value"), [*HARMLESS, *HINTS, *LABELS], ids=repr)
def test_what_asks_for_nothing_stands_against_no_route(rig, name, value):
    rig.configure("anthropic")
    assert sent(rig, OPENAI, **{name: value}) == sent(rig, OPENAI)


TEXT = {"type": "text", "text": "x"}
NEEDS = [(name, {"something": "else"}) for name, asks in ASKS.items() if asks.kind not in ("", "listed", "stored")]
OTHERWISE = [
    *NEEDS,
    ("n", 2),
    ("logprobs", True),
    ("logprobs", 0),
    ("frequency_penalty", 0.1),
    ("presence_penalty", False),
    ("response_format", {"type": "json_object"}),
    ("seed", 0),
    ("modalities", ["text", "audio"]),
    ("of_tomorrow", {"a": "b"}),
]


@pytest.mark.parametrize(("name", "value"), OTHERWISE, ids=repr)
def test_what_only_openai_knows_goes_to_those_who_speak_it(rig, name, value):
    error = refused(rig.configure("anthropic"), OPENAI, "unsupported_parameter", **{name: value})
    assert error["param"] == name
    assert name in error["message"]
    assert sent(rig.configure("openai"), OPENAI, **{name: value})[name] == value


BY_LIST = [
    *[(name, {"something": "else"}) for name, asks in ASKS.items() if asks.kind in ("listed", "stored")],
    ("service_tier", "priority"),
    ("store", True),
]


@pytest.mark.parametrize(("name", "value"), BY_LIST, ids=repr)
@pytest.mark.parametrize("protocol", ["openai", "anthropic"])
def test_what_costs_more_or_is_stored_goes_nowhere_by_itself(rig, protocol, name, value):
    rig.configure(protocol)
    for stream in (False, True):
        assert refused(rig, OPENAI, "unsupported_parameter", stream=stream, **{name: value})["param"] == name


PLACES: list[tuple[str, Any]] = [
    ("messages[0].mood", {"role": "user", "content": "x", "mood": "good"}),
    ("messages[0].role", {"role": "function", "name": "f", "content": "x"}),
    ("messages[0].content[0].smell", {"role": "user", "content": [{"type": "smell"}]}),
    ("messages[0].content[1].input_audio", {"role": "user", "content": [TEXT, {"type": "input_audio"}]}),
    ("messages[0].content[0].a", {"role": "user", "content": [TEXT | {"a": 1}]}),
]


@pytest.mark.parametrize(("param", "message"), PLACES)
def test_so_does_what_only_openai_knows_in_a_message(rig, param, message):
    messages = [message, {"role": "user", "content": "x"}]
    error = refused(rig.configure("anthropic"), OPENAI, "unsupported_parameter", messages=messages)
    assert (error["param"], set(error)) == (param, {"message", "type", "param", "code"})
    assert sent(rig.configure("openai"), OPENAI, messages=messages)["messages"] == messages


def test_a_file_that_is_stored_under_our_key_may_be_another_users(rig):
    file = {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-7"}}]}
    error = refused(rig, OPENAI, "unsupported_parameter", messages=[file])
    assert error["param"] == "messages[0].content[0].file.file_id"


# --- what is wrong ----------------------------------------------------------------------------------------------------
NO_STOPS: list[Any] = ["", [""], [5], 5, {}]
WRONG = [
    ("n", {"n": True}),
    ("tools", {"tools": ["f"]}),
    ("tools[0].function", {"tools": [{"type": "function"}]}),
    ("tools[0].function.name", {"tools": [{"type": "function", "function": {"name": ""}}]}),
    ("tool_choice", {"tool_choice": "perhaps"}),
    ("response_format.json_schema", {"response_format": {"type": "json_schema"}}),
    ("reasoning_effort", {"reasoning_effort": "much"}),
    ("model", {"model": None}),
    ("model", {"model": 5}),
    ("max_tokens", {"max_tokens": 7, "max_completion_tokens": 8}),
    *[(name, {name: value}) for name in ("max_tokens", "max_completion_tokens") for value in (0, 4097, 7.0, True, "7")],
    *[("temperature", {"temperature": value}) for value in (-0.1, 2.1, True, "1")],
    *[("top_p", {"top_p": value}) for value in (-0.1, 1.1, "1")],
    *[("stop", {"stop": value}) for value in NO_STOPS],
    *[("user", {"user": value}) for value in ("a" * 513, 5)],
    ("stream", {"stream": "true"}),
    ("stream_options", {"stream_options": {}}),
    ("stream_options", {"stream_options": {"include_usage": True}, "stream": False}),
    *[("stream_options", {"stream_options": value, "stream": True}) for value in ([], [None], 5, "x", True)],
    ("stream_options.include_usage", {"stream_options": {"include_usage": 1}, "stream": True}),
]


@pytest.mark.parametrize(("param", "changes"), WRONG, ids=repr)
def test_a_field_that_is_wrong_or_unknown_is_named(rig, param, changes):
    error = refused(rig, OPENAI, "invalid_request", **changes)
    assert error["param"] == param
    assert f"{param}: " in error["message"]


NO_CONTENT: list[Any] = [None, 5, "", " \n", [], {}]
MALFORMED = [
    ("messages", None),
    ("messages", []),
    ("messages", "Hello!"),
    ("messages", [{"role": "system", "content": "x"}]),
    ("messages", [{"role": "user", "content": "x"}] * 2001),
    ("messages[0]", ["Hello!"]),
    *[("messages[0].role", [{"role": role, "content": "x"}]) for role in ("robot", None, 5, ["user"])],
    *[("messages[0].content", [{"role": "user", "content": content}]) for content in NO_CONTENT],
    *[
        (f"messages[0].content[0]{place}", [{"role": "user", "content": [part]}])
        for part, place in (
            ("x", ""),
            ({}, ""),
            ({"type": ["text"]}, ""),
            ({"type": "text"}, ".text"),
            ({"type": "text", "text": 5}, ".text"),
            ({"type": "image_url"}, ".image_url"),
            ({"type": "image_url", "image_url": {"url": "data:,x"}}, ".image_url"),
        )
    ],
    ("messages[0].content", [{"role": "user", "content": [{"type": "text", "text": " "}]}]),
    ("messages[0].tool_call_id", [{"role": "tool", "content": "x"}]),
]


@pytest.mark.parametrize(("param", "messages"), MALFORMED, ids=repr)
def test_a_message_that_is_malformed_is_pointed_at(rig, param, messages):
    assert refused(rig, OPENAI, "invalid_message_format", messages=messages)["param"] == param
