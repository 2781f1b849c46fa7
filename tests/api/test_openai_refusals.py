"""`POST /v1/chat/completions`: what goes on to a provider that speaks it, what no other can do, and what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from chat.protocols.bodies import Asks
from chat.protocols.openai.body import ChatCompletion
from tests.support.asking import OPENAI, post, refused, sent

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


URL: dict[str, Any] = {"url": "https://a.example"}
PLACES: list[tuple[str, Any]] = [
    ("messages[0].mood", {"role": "user", "content": "x", "mood": "good"}),
    ("messages[0].role", {"role": "function", "name": "f", "content": "x"}),
    ("messages[0].content[0].smell", {"role": "user", "content": [{"type": "smell"}]}),
    ("messages[0].content[1].input_audio", {"role": "user", "content": [TEXT, {"type": "input_audio"}]}),
    ("messages[0].content[0].a", {"role": "user", "content": [TEXT | {"a": 1}]}),
    *[
        ("messages[0].content[1]", {"role": role, "content": [TEXT, {"type": "image_url", "image_url": URL}]})
        for role in ("system", "assistant")
    ],
    (
        "messages[0].content[0].image_url.crop",
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a.example", "crop": 1}}]},
    ),
    (
        "messages[0].content[0].file.pages",
        {
            "role": "user",
            "content": [{"type": "file", "file": {"file_data": "data:text/plain;base64,", "pages": 1}}],
        },
    ),
]


@pytest.mark.parametrize(("param", "message"), PLACES)
def test_so_does_what_only_openai_knows_in_a_message(rig, param, message):
    messages = [message, {"role": "user", "content": "x"}]
    error = refused(rig.configure("anthropic"), OPENAI, "unsupported_parameter", messages=messages)
    assert (error["param"], set(error)) == (param, {"message", "type", "param", "code"})
    assert sent(rig.configure("openai"), OPENAI, messages=messages)["messages"] == messages


LOOK: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
JSON_SCHEMA: dict[str, Any] = {
    "name": "a",
    "schema": {"type": "object", "properties": {}, "additionalProperties": False},
    "strict": True,
}
WITHIN = [
    ("tools[0].defer_loading", {"tools": [LOOK | {"defer_loading": True}]}),
    ("tools[0].function.output", {"tools": [{"type": "function", "function": {"name": "look", "output": "x"}}]}),
    ("response_format.mood", {"response_format": {"type": "json_schema", "json_schema": JSON_SCHEMA, "mood": "good"}}),
    (
        "response_format.json_schema.mood",
        {"response_format": {"type": "json_schema", "json_schema": JSON_SCHEMA | {"mood": "good"}}},
    ),
    ("stream_options.mood", {"stream": True, "stream_options": {"mood": "good"}}),
    *[
        (
            "tool_choice.allowed_tools.tools",
            {
                "tools": [LOOK],
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"tools": tools}},
            },
        )
        for tools in ([], [LOOK, {"type": "mcp", "server_label": "a"}])
    ],
]


@pytest.mark.parametrize(("param", "changes"), WITHIN, ids=repr)
def test_so_does_what_only_openai_knows_within_a_field(rig, param, changes):
    error = refused(rig.configure("anthropic"), OPENAI, "unsupported_parameter", **changes)
    assert error["param"] == param
    assert post(rig.configure("openai"), OPENAI, **changes).status_code == 200


def test_where_to_cache_is_no_need(rig):
    rig.configure("anthropic")
    cache = {"cache_control": {"type": "ephemeral"}}
    messages = [{"role": "user", "content": [TEXT | cache]}]
    assert sent(rig, OPENAI, messages=messages, tools=[LOOK | cache])["messages"] == [{"role": "user", "content": "x"}]


STORED: list[tuple[str, dict[str, Any]]] = [
    ("messages[0].content[0].file.file_id", {"content": [{"type": "file", "file": {"file_id": "file-7"}}]}),
    (
        "messages[0].content[0].image_url.file_id",
        {"content": [{"type": "image_url", "image_url": URL | {"file_id": "file-7"}}]},
    ),
    ("messages[0].content[0].smell.file_id", {"content": [{"type": "smell", "smell": {"file_id": "file-7"}}]}),
    ("messages[0].attached.file_id", {"content": "x", "attached": {"file_id": "file-7"}}),
    ("messages[0].audio.id", {"content": "x", "audio": {"id": "audio_1"}}),
]
STORED_ELSEWHERE = [
    ("audio.voice", {"audio": {"format": "wav", "voice": {"id": "voice_1"}}}),
    ("of_tomorrow.vector_store_ids", {"of_tomorrow": {"vector_store_ids": ["vs_1"]}}),
    ("prompt_cache_options.comparison_response_id", {"prompt_cache_options": {"comparison_response_id": "resp_1"}}),
    *[(name, {name: value}) for name, value in (("preset", "mine"), ("deferred", True))],
]


@pytest.mark.parametrize(
    ("param", "changes"),
    [*STORED_ELSEWHERE, *((param, {"messages": [{"role": "user"} | message]}) for param, message in STORED)],
    ids=repr,
)
def test_what_is_stored_under_our_key_may_be_another_users(rig, param, changes):
    assert refused(rig, OPENAI, "unsupported_parameter", **changes)["param"] == param


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
