"""A chat of another protocol as Anthropic's servers take it: tools, formats, effort, and what a route cannot do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chat.protocols import anthropic, fields
from chat.types import (
    Choice,
    Format,
    Tool,
    Upstream,
)
from tests.support import messages as api
from tests.support.translated import HAIKU, HAIKU_4_5, OPUS, PLAIN, SONNET_4_6, asked_by_openais, write

LOOK = Tool("look", "Look at it.", api.SCHEMA)


def objection(upstream=HAIKU, **body):
    return fields.refused(asked_by_openais(**body), upstream, anthropic)


# --- tools and formats ------------------------------------------------------------------------------------------------
def test_tools():
    body = write(tools=(LOOK, Tool("go"), Tool("see", "", api.SCHEMA, True), Tool("hear", "", {"properties": {}})))
    assert body["tools"] == [
        {"name": "look", "description": "Look at it.", "input_schema": api.SCHEMA},
        {"name": "go", "input_schema": {"type": "object", "properties": {}}},
        {"name": "see", "input_schema": api.SCHEMA, "strict": True},
        {"name": "hear", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert "tool_choice" not in body
    assert "tool_choice" not in write(choice=Choice("any"))


@pytest.mark.parametrize(
    ("choice", "written"),
    [
        (Choice("auto"), {"type": "auto"}),
        (Choice("none"), {"type": "none"}),
        (Choice("any"), {"type": "any"}),
        (Choice("tool", "look"), {"type": "tool", "name": "look"}),
        (Choice(parallel=False), {"type": "auto", "disable_parallel_tool_use": True}),
        (Choice("tool", "look", False), {"type": "tool", "name": "look", "disable_parallel_tool_use": True}),
        (Choice("none", parallel=False), {"type": "none"}),
        (Choice("auto", parallel=True), {"type": "auto"}),
    ],
)
def test_which_tools_may_be_called(choice, written):
    assert write(tools=(LOOK,), choice=choice)["tool_choice"] == written


def test_only_the_allowed_tools_are_sent():
    body = write(tools=(LOOK, Tool("go")), choice=Choice("any", allowed=("go",)))
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["go"], {"type": "any"})


def test_a_format_is_the_apis_own_and_no_forced_tool():
    """Bug 6."""
    body = write(format=Format(api.SCHEMA, "output", True), effort="high")
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": api.SCHEMA}, "effort": "high"}
    assert body["thinking"] == {"type": "adaptive"}
    assert not {"tools", "tool_choice"} & body.keys()


def test_the_words_about_a_format_stand_in_its_schema():
    said = write(format=Format(api.SCHEMA, "place", True, "Where it is."))["output_config"]["format"]["schema"]
    assert said == api.SCHEMA | {"description": "Where it is."}
    own = api.SCHEMA | {"description": "A place."}
    assert write(format=Format(own, "place", True, "Where it is."))["output_config"]["format"]["schema"] == own


# --- thinking ---------------------------------------------------------------------------------------------------------
def thinks(effort, upstream=HAIKU, **more):
    body = write(upstream=upstream, effort=effort, **more)
    return {name: body[name] for name in ("thinking", "output_config") if name in body}


def test_effort():
    for ours, theirs in (("minimal", "low"), ("low", "low"), ("xhigh", "xhigh"), ("max", "max")):
        assert thinks(ours) == {"output_config": {"effort": theirs}, "thinking": {"type": "adaptive"}}
    assert thinks("none") == {"thinking": {"type": "disabled"}}
    assert thinks("") == {}
    assert thinks("high", PLAIN) == {}
    assert thinks("", Upstream("claude-haiku-5-5", effort="low")) == {"output_config": {"effort": "low"}}


def test_no_thinking_is_asked_for_beside_a_forced_call():
    for choice in (Choice("any"), Choice("tool", "look")):
        assert thinks("high", tools=(LOOK,), choice=choice) == {"output_config": {"effort": "high"}}


# --- what a route cannot do -------------------------------------------------------------------------------------------
JSON = {"type": "json_schema", "json_schema": {"name": "x", "schema": api.SCHEMA}}
LOOSE = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}


def tool(**more):
    return {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}, **more}}


@pytest.mark.parametrize(
    ("upstream", "body", "refused"),
    [
        (HAIKU, {}, ""),
        (HAIKU, {"temperature": 0.5}, "temperature"),
        (HAIKU, {"temperature": 1}, ""),
        (HAIKU_4_5, {"temperature": 0.5}, ""),
        (HAIKU_4_5, {"temperature": 1.5}, "temperature"),
        (SONNET_4_6, {"temperature": 0.5, "reasoning_effort": "low"}, "temperature"),
        (HAIKU, {"reasoning_effort": "low"}, ""),
        (HAIKU_4_5, {"reasoning_effort": "low"}, "effort"),
        (HAIKU_4_5, {"reasoning_effort": "none"}, ""),
        (OPUS, {"reasoning_effort": "none"}, "effort"),
        (PLAIN, {"reasoning_effort": "low"}, ""),
        (HAIKU, {"n": 2}, "n"),
        (HAIKU, {"stop": ["a", " "]}, "stop"),
        (HAIKU, {"stop": list("abcd")}, ""),
        (HAIKU, {"seed": 1}, "seed"),
        (HAIKU, {"logprobs": True}, "logprobs"),
        (HAIKU, {"verbosity": "low"}, "verbosity"),
        (HAIKU, {"verbosity": "medium", "user": "x", "metadata": {}, "store": False}, ""),
        (HAIKU, {"service_tier": "flex"}, "service_tier"),
        (HAIKU, {"response_format": {"type": "json_object"}}, "format"),
        (HAIKU, {"response_format": JSON}, ""),
        (HAIKU, {"response_format": LOOSE}, "format"),
        (HAIKU, {"tools": [tool()], "tool_choice": "required", "parallel_tool_calls": False}, ""),
        (OPUS, {"tools": [tool()], "tool_choice": "auto"}, ""),
        (OPUS, {"tools": [tool()], "tool_choice": "required"}, "choice"),
        (HAIKU, {"tools": [tool(strict=True)]}, "tools"),
        (HAIKU, {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0]"),
        (HAIKU, {"messages": [{"role": "user", "name": "Ann", "content": "Hi"}]}, "name"),
    ],
)
def test_what_stands_against_a_route(upstream, body, refused):
    assert objection(upstream, **body) == refused


def test_what_an_operator_says_that_a_server_takes_goes_on():
    upstream = replace(PLAIN, takes={"seed": True})
    request = asked_by_openais(seed=7)
    assert fields.refused(request, upstream, anthropic) == ""
    assert anthropic.write_request(request, upstream, host="x", stream=False)["seed"] == 7
