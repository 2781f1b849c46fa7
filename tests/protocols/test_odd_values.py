"""Every value within a request, and within a provider's answer, is in turn another than it should be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from chat.exceptions import GenAIException
from chat.protocols import anthropic, fields, openai, responses
from chat.protocols.payload import Heard, UnusableReply, parse_object
from chat.types import Answer, Catalogue, Model, Upstream, Usage, Wish
from tests.support import messages
from tests.support import responses as items
from tests.support.enforcing import completions

CATALOGUE = Catalogue({"m": Model("m", (), 4096, 64)}, {}, {})
PROTOCOLS: dict[str, Any] = {"openai": openai, "anthropic": anthropic, "responses": responses}
ODD: tuple[Any, ...] = (
    *(None, True, -1, 0.5, "", "x", "\ud800", [], {}, [0], [[]], [{}]),
    *({"type": []}, {"type": "object", "properties": []}, {"anyOf": 3, "name": {}}),
)
UPSTREAMS = [Upstream(name) for name in ("m", "gpt-6-luna", "claude-opus-5-5")]

# --- requests, of all that a client may send --------------------------------------------------------------------------
SCHEMA = {
    "type": "object",
    "properties": {
        "at": {"type": "string"},
        "n": {"anyOf": [{"$ref": "#/$defs/n"}]},
        "l": {"type": "array", "items": {"type": "null"}},
    },
    "required": ["at", "n", "l"],
    "additionalProperties": False,
    "$defs": {"n": {"type": "integer"}},
}
FUNCTION = {"name": "look", "description": "Look.", "parameters": SCHEMA, "strict": True}
PNG = f"data:image/png;base64,{messages.PNG}"
PDF = f"data:application/pdf;base64,{messages.PDF}"
OPENAI = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "name": "Ann",
            "content": [
                {"type": "text", "text": "Hi"},
                {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
                {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
                {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "refusal": None,
            "audio": {"id": "x"},
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
                {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "x"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "blue"}]},
        {"role": "tool", "tool_call_id": "c2", "content": "done"},
    ],
    "tools": [{"type": "function", "function": FUNCTION}, {"type": "custom", "custom": {"name": "run"}}],
    "tool_choice": {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "look"}}]},
    },
    "response_format": {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA, "strict": True}},
    "functions": [FUNCTION],
    "function_call": {"name": "look"},
    "prediction": {"type": "content", "content": "x"},
    "stop": ["x"],
    "n": 2,
    "temperature": 1,
    "top_p": 1,
    "max_tokens": 64,
    "reasoning_effort": "low",
    "stream": True,
    "stream_options": {"include_usage": True},
    "metadata": {"a": "b"},
    "logit_bias": {"1": 2},
}
ANTHROPIC = {
    "model": "m",
    "max_tokens": 64,
    "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, messages.IMAGE, messages.PAPER, messages.NOTE]},
        {"role": "assistant", "content": [messages.thinking("hm"), messages.redacted(), messages.call("look", at="x")]},
        {"role": "user", "content": [messages.result([{"type": "text", "text": "blue"}, messages.IMAGE])]},
    ],
    "tools": [
        {**messages.LOOK, "input_schema": SCHEMA, "strict": True, "input_examples": [{"at": "x"}]},
        messages.SEARCH,
    ],
    "tool_choice": {"type": "tool", "name": "look", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
    "container": {"skills": []},
    "mcp_servers": [{"type": "url", "url": "https://x"}],
    "stop_sequences": ["x"],
    "temperature": 1,
    "top_k": 3,
    "metadata": {"user_id": "u"},
    "stream": True,
}
RESPONSES = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "Hi"},
                {"type": "input_image", "image_url": PNG, "detail": "low"},
                {"type": "input_file", "file_data": PDF, "filename": "a.pdf"},
            ],
        },
        items.reasoning("hm"),
        items.CALL,
        {**items.OUTPUT, "output": [{"type": "input_text", "text": "blue"}]},
        items.custom_call("run", "x", 2),
        {"type": "custom_tool_call_output", "call_id": "call_0002", "output": "done"},
    ],
    "tools": [{"type": "function", **FUNCTION}, {"type": "custom", "name": "run", "format": {"type": "text"}}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "look"}]},
    "text": {"format": {"type": "json_schema", "name": "it", "schema": SCHEMA, "strict": True}, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "max_output_tokens": 64,
    "store": False,
    "stream": True,
    "metadata": {"a": "b"},
}
BODIES: dict[str, Any] = {"openai": OPENAI, "anthropic": ANTHROPIC, "responses": RESPONSES}


OF_ONE_VENDOR = (
    *("functions", "function_call", "prediction", "logit_bias", "context_management", "container", "mcp_servers"),
    *("top_k", "stop", "stop_sequences", "n", "thinking", "include", "name", "audio", "input_examples", "verbosity"),
)
OWN = ("custom", "input_audio", "custom_tool_call", "custom_tool_call_output", messages.SEARCH["type"])


def everybodys(value: Any) -> Any:
    """The same without what only one vendor knows."""
    if isinstance(value, dict):
        kept = (name for name in value if name not in OF_ONE_VENDOR or (name == "name" and "role" not in value))
        return {name: everybodys(value[name]) for name in kept}
    return [everybodys(one) for one in value if not is_own(one)] if isinstance(value, list) else value


def is_own(one: Any) -> bool:
    return isinstance(one, dict) and (one.get("type") in OWN or one.get("tool_call_id") == "c2")


ALL = [(face, body) for face, whole in BODIES.items() for body in (whole, everybodys(whole))]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values within one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, found in inner:
        yield (*path, name)
        yield from places(found, (*path, name))


def changed(whole: Any, path: tuple[Any, ...], odd: Any) -> Any:
    copy = holder = deepcopy(whole)
    for name in path[:-1]:
        holder = holder[name]
    holder[path[-1]] = odd
    return copy


def variants(whole: Any) -> Iterator[Any]:
    for path in places(whole):
        for odd in ODD:
            yield changed(whole, path, odd)


def sent_by(wish: Wish) -> Iterator[Any]:
    """What goes out to each route that can do all that is asked."""
    for protocol in PROTOCOLS.values():
        for upstream in UPSTREAMS:
            request = replace(wish.request, max_tokens=2048)
            if not fields.refused(request, upstream, protocol):
                yield protocol.write_request(request, upstream, host="x", stream=True)


@pytest.mark.parametrize(("face", "whole"), ALL)
def test_a_request_is_read_or_refused(face, whole):
    for body in variants(whole):
        try:
            wish = PROTOCOLS[face].read_request(body, CATALOGUE, {})
        except GenAIException:
            continue
        for sent in sent_by(wish):
            json.dumps(sent, allow_nan=False)
        assert all(isinstance(text, str) for text in wish.request.texts())


# --- answers ----------------------------------------------------------------------------------------------------------
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
OPENAI_REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}], "tool_calls": [CALL]},
            "logprobs": None,
            "finish_reason": "tool_calls",
        },
        {"index": 1, "message": {"content": "Hi", "reasoning_content": "hm", "refusal": "no"}, "finish_reason": "stop"},
    ],
    "usage": completions.USAGE,
}
REPLIES: dict[str, Any] = {
    "openai": OPENAI_REPLY,
    "anthropic": messages.message(
        messages.thinking("hm"), messages.redacted(), messages.text("Hi"), messages.call("look", at="x")
    ),
    "responses": items.response(
        items.reasoning("hm"), items.message(items.text("Hi"), items.refusal("no")), items.call("look", "{}")
    ),
}
CHUNKS: dict[str, Any] = {
    "openai": [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": "Hi", "reasoning": "hm"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **CALL}], "refusal": "no"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}], "usage": completions.USAGE},
    ],
    "anthropic": list(messages.events(REPLIES["anthropic"])),
    "responses": items.events_of(REPLIES["responses"]),
}


def asked(face: str) -> Wish:
    wish: Wish = PROTOCOLS[face].read_request(everybodys(BODIES[face]), CATALOGUE, {})
    return wish


@pytest.mark.parametrize("face", BODIES)
@pytest.mark.parametrize("spoken", REPLIES)
def test_an_answer_is_read_or_unusable(spoken, face):
    wish = asked(face)
    for data in variants(REPLIES[spoken]):
        try:
            reply = PROTOCOLS[spoken].read_reply(data, wish.request)
        except UnusableReply:
            continue
        usage = reply.usage or Usage(1, 1)
        answer = Answer(
            reply.parts, usage, reply.finish_reason, "p", usage.total, "m", "r-1", 1, raw=getattr(reply, "raw", None)
        )
        json.dumps(PROTOCOLS[face].write_reply(answer, wish), allow_nan=False)


@pytest.mark.parametrize("spoken", CHUNKS)
def test_events_are_read_or_unusable(spoken):
    for number, event in enumerate(CHUNKS[spoken]):
        for odd in variants(event):
            heard = Heard(request=asked("openai" if spoken != "openai" else "anthropic").request)
            try:
                for data in (*CHUNKS[spoken][:number], odd, *CHUNKS[spoken][number + 1 :]):
                    pieces = PROTOCOLS[spoken].read_event(data, heard)
                    assert all(isinstance(getattr(piece.part, "text", ""), str) for piece in pieces)
            except UnusableReply:
                continue


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1E+400"])
def test_a_number_that_no_json_can_hold_is_none(number):
    assert parse_object(f'{{"a": [{number}]}}'.encode()) == {"a": [None]}
    assert parse_object(b'{"a": [1e40, "1e400"]}') == {"a": [1e40, "1e400"]}
