"""OpenAI's chat/completions: a server that refuses what OpenAI's own refuses, and calls the tools it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from chat.protocols.openai.strict import is_strict
from tests.support.enforcing.model import answer
from tests.support.loopback import Fault, Recorded, status
from tests.support.messages import halves

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
LONGEST_ID = 40
THINKING = re.compile(r"o\d|gpt-[56]")
FIELDS = {
    *("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p"),
    *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "stop", "seed", "n"),
    *("user", "safety_identifier", "metadata", "store", "prompt_cache_key", "service_tier", "verbosity"),
}
USAGE = {
    "prompt_tokens": 36,
    "prompt_tokens_details": {"cached_tokens": 12},
    "completion_tokens": 87,
    "completion_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 123,
}


def vendor(recorded: Recorded) -> Fault:
    """Answer a chat, or refuse it."""
    sent = recorded.json
    for param, message in _complaints(sent):
        told = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
        return status(400, body={"error": told})
    said = _reply(sent)
    reason = "tool_calls" if "tool_calls" in said else "stop"
    head: dict[str, Any] = {"id": "chatcmpl-1", "created": 1756315696, "model": "gpt-4.1-2025-04-14"}
    if sent.get("stream"):
        wants_usage = (sent.get("stream_options") or {}).get("include_usage")
        chunks = [head | {"object": "chat.completion.chunk"} | chunk for chunk in _chunks(said, reason, wants_usage)]
        lines = [*(json.dumps(chunk) for chunk in chunks), "[DONE]"]
        return Fault("stream_paced", body="".join(f"data: {line}\n\n" for line in lines), seconds=0)
    whole = {"role": "assistant", "content": None, "refusal": None} | said
    choice = {"index": 0, "message": whole, "logprobs": None, "finish_reason": reason}
    return status(200, body=head | {"object": "chat.completion", "choices": [choice], "usage": USAGE})


# --- what is refused --------------------------------------------------------------------------------------------------
def _complaints(sent: dict[str, Any]) -> Iterator[tuple[str | None, str]]:
    for name in sent.keys() - FIELDS:
        yield name, f"Unrecognized request argument supplied: {name}"
    if sent.get("tools") and THINKING.match(sent["model"]) and sent.get("reasoning_effort") != "none":
        yield "reasoning_effort", "Function tools with reasoning_effort are not supported for this model."
    for number, tool in enumerate(sent.get("tools", [])):
        function, where = tool["function"], f"tools[{number}].function"
        if not NAME.fullmatch(function["name"]):
            yield f"{where}.name", f"Invalid '{where}.name': string does not match pattern."
        if function.get("strict") and not is_strict(function.get("parameters")):
            yield f"{where}.parameters", f"Invalid schema for function '{function['name']}'."
    form = (sent.get("response_format") or {}).get("json_schema") or {}
    if form.get("strict") and not is_strict(form["schema"]):
        yield "response_format", f"Invalid schema for response_format '{form['name']}'."
    yield from _unanswered(sent["messages"])


def _unanswered(messages: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Results stand directly after their calls, one for each."""
    waiting: list[str] = []
    for number, message in enumerate(messages):
        where = f"messages.[{number}]"
        if message["role"] == "tool":
            if message["tool_call_id"] not in waiting:
                yield f"{where}.role", "messages with role 'tool' must be a response to a preceding 'tool_calls'."
                return
            waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            break
        waiting = [call["id"] for call in message.get("tool_calls") or []]
        if any(len(name) > LONGEST_ID for name in waiting):
            yield f"{where}.tool_calls", "Invalid 'tool_calls[0].id': string too long. Expected maximum length 40."
    if waiting:
        yield "messages", "An assistant message with 'tool_calls' must be followed by tool messages to each."


# --- what is answered -------------------------------------------------------------------------------------------------
def _reply(sent: dict[str, Any]) -> dict[str, Any]:
    messages, form = sent["messages"], (sent.get("response_format") or {}).get("json_schema") or {}
    functions = [tool["function"] for tool in sent.get("tools", [])]
    said = answer(
        _text(messages[-1]),
        schema=form.get("schema"),
        tools=[(function["name"], function["parameters"]) for function in functions],
        results=[_text(message) for message in messages if message["role"] == "tool"],
    )
    if not said.calls:
        return {"content": said.words if said.object is None else json.dumps(said.object)}
    told = [{"name": said.tool, "arguments": json.dumps(given)} for given in said.calls]
    return {
        "tool_calls": [{"id": f"call_{n:04}", "type": "function", "function": one} for n, one in enumerate(told)],
    }


def _text(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _chunks(said: dict[str, Any], reason: str, wants_usage: bool | None) -> Iterator[dict[str, Any]]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": None}]
    deltas += [{"content": piece} for piece in halves(said.get("content", ""))]
    for index, call in enumerate(said.get("tool_calls", [])):
        function = call["function"]
        deltas.append({"tool_calls": [{"index": index, **call, "function": function | {"arguments": ""}}]})
        pieces = halves(function["arguments"])
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces]
    for delta in deltas:
        yield {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    if wants_usage:
        yield {"choices": [], "usage": USAGE}
