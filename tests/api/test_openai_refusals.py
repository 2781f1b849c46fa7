"""`POST /v1/chat/completions`: what is refused, by which name, and what is accepted since it asks for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from chat.protocols.bodies import Only
from chat.protocols.openai.body import OF_A_MESSAGE, ChatCompletion
from tests.support.asking import OPENAI, refused, sent

pytestmark = pytest.mark.django_db


# --- what is not to be had --------------------------------------------------------------------------------------------
NOTHING = {
    name: only.values
    for name, field in ChatCompletion.model_fields.items()
    for only in field.metadata
    if isinstance(only, Only)
}
HARMLESS = [(name, value) for name, values in NOTHING.items() for value in (None, *values)]
LABELS = [
    (name, value) for name in ("user", "safety_identifier", "prompt_cache_key") for value in (None, "", "a" * 512)
]


@pytest.mark.parametrize(("name", "value"), [*HARMLESS, *LABELS], ids=repr)
def test_what_asks_for_nothing_changes_nothing(rig, name, value):
    assert sent(rig, OPENAI, **{name: value}) == sent(rig, OPENAI)


TEXT = {"type": "text", "text": "x"}
A_TOOL = {"type": "function", "function": {"name": "f"}}
OTHERWISE = [
    *[(name, {"something": "else"}) for name in NOTHING],
    ("n", 2),
    ("n", True),
    ("logprobs", True),
    ("logprobs", 0),
    ("frequency_penalty", 0.1),
    ("presence_penalty", False),
    ("response_format", {"type": "json_object"}),
    ("seed", 0),
    ("service_tier", "priority"),
    ("store", True),
    ("tools", [A_TOOL]),
    ("tool_choice", "auto"),
    ("modalities", ["text", "audio"]),
    ("reasoning_effort", "low"),
    ("metadata", {"a": "b"}),
]


@pytest.mark.parametrize(("name", "value"), OTHERWISE, ids=repr)
@pytest.mark.parametrize("stream", [False, True])
def test_what_asks_for_more_is_refused_by_its_name(rig, name, value, stream):
    error = refused(rig, OPENAI, "unsupported_parameter", stream=stream, **{name: value})
    assert error["param"] == name
    assert name in error["message"]


PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
MESSAGES = [
    *[("messages[0]." + name, {"role": "user", "content": "x", name: ["something"]}) for name in OF_A_MESSAGE],
    ("messages[0].role", {"role": "tool", "content": "x"}),
    ("messages[0].role", {"role": "function", "content": "x"}),
    ("messages[0].content[0].type", {"role": "user", "content": [PICTURE]}),
    ("messages[0].content[1].type", {"role": "user", "content": [TEXT, {"type": "file"}]}),
]


@pytest.mark.parametrize(("param", "message"), MESSAGES)
def test_so_is_what_a_message_asks_for(rig, param, message):
    error = refused(rig, OPENAI, "unsupported_parameter", messages=[message])
    assert (error["param"], set(error)) == (param, {"message", "type", "param", "code"})


NOT_TO_BE_LEFT_OUT = [
    ("messages[0].role 'tool' is not supported here; only system, developer, user and assistant are.", MESSAGES[-4][1]),
    ("messages[0].content[0].type 'image_url' is not supported here; only text is.", MESSAGES[-2][1]),
    ("messages[0].content[1].type 'file' is not supported here; only text is.", MESSAGES[-1][1]),
]


@pytest.mark.parametrize(("words", "message"), NOT_TO_BE_LEFT_OUT)
def test_what_cannot_be_left_out_is_told_what_may_be_in_its_place(rig, log, words, message):
    error = refused(rig, OPENAI, "unsupported_parameter", messages=[message])
    assert error["message"].startswith(words)
    assert "eave it out" not in error["message"]
    assert log.events("unsupported_parameter")[0]["param"] == error["param"]


def test_so_is_an_option_of_the_stream(rig):
    options = {"include_obfuscation": True}
    error = refused(rig, OPENAI, "unsupported_parameter", stream=True, stream_options=options)
    assert error["param"] == "stream_options.include_obfuscation"


# --- what is wrong ----------------------------------------------------------------------------------------------------
NO_STOPS: list[Any] = ["", [""], ["x"] * 5, [5], 5, {}]
WRONG = [
    ("max_token", {"max_token": 7}),
    ("system", {"system": "Be brief."}),
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
    ("stream_options.usage", {"stream_options": {"usage": True}, "stream": True}),
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
    ("messages[0]", [{"role": "user", "content": "x", "mood": "good"}]),
    *[("messages[0].role", [{"role": role, "content": "x"}]) for role in ("robot", None, 5, ["user"])],
    *[("messages[0].content", [{"role": "user", "content": content}]) for content in NO_CONTENT],
    *[
        ("messages[0].content[0]", [{"role": "user", "content": [part]}])
        for part in ("x", {}, {"type": "text"}, {"type": "text", "text": 5}, {"type": ["text"]}, {"type": "smell"})
    ],
    ("messages[0].content", [{"role": "user", "content": [{"type": "text", "text": " "}]}]),
    (
        "messages[1].content[1]",
        [{"role": "user", "content": "x"}, {"role": "user", "content": [TEXT, TEXT | {"a": 1}]}],
    ),
]


@pytest.mark.parametrize(("param", "messages"), MALFORMED, ids=repr)
def test_a_message_that_is_malformed_is_pointed_at(rig, param, messages):
    assert refused(rig, OPENAI, "invalid_message_format", messages=messages)["param"] == param
