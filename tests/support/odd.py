"""Every value within a request, and within a provider's answer, is in turn another than it should be."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from tests.support import messages
from tests.support import responses as items
from tests.support.enforcing import completions

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0.5, "", "x", "\ud800", [], {}, [0], [[]], [{}]),
    *({"type": []}, {"type": "object", "properties": []}, {"anyOf": 3, "name": {}}),
)

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


# --- embeddings -------------------------------------------------------------------------------------------------------
EMBEDDINGS = {"model": "m", "input": ["a", "b"], "encoding_format": "float", "dimensions": 2, "user": "u"}
VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": number, "embedding": [0.5, -1.0]} for number in range(2)],
    "model": "m",
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}
