"""OpenAI's responses: a server that refuses what OpenAI's own refuses, and calls the tools it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from chat.protocols.openai.strict import is_strict
from tests.support import responses
from tests.support.enforcing.model import Said, answer
from tests.support.loopback import Fault, Recorded, status

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
LONGEST_ID = 64
FIELDS = {
    *("model", "input", "instructions", "stream", "stream_options", "max_output_tokens", "temperature", "top_p"),
    *("tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "include", "store", "truncation"),
    *("user", "safety_identifier", "metadata", "prompt_cache_key", "service_tier", "top_logprobs", "max_tool_calls"),
}
PARTS = {
    "user": {"input_text", "input_image", "input_file"},
    "system": {"input_text", "input_image", "input_file"},
    "developer": {"input_text", "input_image", "input_file"},
    "assistant": {"output_text", "refusal"},
}
PROOF = responses.reasoning()["encrypted_content"]
"""What this server's own reasoning is sealed with; it opens no other."""


def vendor(recorded: Recorded) -> Fault:
    """Answer a chat, or refuse it."""
    sent = recorded.json
    for param, message in complaints(sent):
        told = {"message": message, "type": "invalid_request_error", "param": param, "code": None}
        return status(400, body={"error": told})
    repeated = {name: sent[name] for name in ("model", "text", "tools", "tool_choice") if sent.get(name)}
    whole = responses.response(*items_of(said_of(sent)), **repeated)
    if sent.get("stream"):
        return Fault("stream_paced", body=responses.written(responses.events_of(whole)), seconds=0)
    return status(200, body=whole)


# --- what is refused --------------------------------------------------------------------------------------------------
def complaints(sent: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield from ((name, f"Unknown parameter: '{name}'.") for name in sorted(sent.keys() - FIELDS))
    for number, tool in enumerate(sent.get("tools", [])):
        where = f"tools[{number}]"
        if "name" not in tool:
            yield f"{where}.name", f"Missing required parameter: '{where}.name'."
        elif not NAME.fullmatch(tool["name"]):
            yield f"{where}.name", f"Invalid '{where}.name': string does not match pattern."
        if tool.get("strict") and not is_strict(tool["parameters"]):
            yield f"{where}.parameters", f"Invalid schema for function '{tool['name']}'."
    form = (sent.get("text") or {}).get("format") or {"type": "text"}
    if form["type"] == "json_schema" and "name" not in form:
        yield "text.format.name", "Missing required parameter: 'text.format.name'."
    if form.get("strict") and not is_strict(form["schema"]):
        yield "text.format.schema", f"Invalid schema for response_format '{form['name']}'."
    yield from of_items(items_in(sent))


def items_in(sent: dict[str, Any]) -> list[dict[str, Any]]:
    said = sent["input"]
    return [{"role": "user", "content": said}] if isinstance(said, str) else said


def of_items(items: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    calls, answered = list[str](), list[str]()
    for number, item in enumerate(items):
        where, kind = f"input[{number}]", item.get("type", "message")
        if kind == "message":
            yield from of_parts(where, item)
        elif kind == "function_call":
            calls.append(item["call_id"])
            if len(item["call_id"]) > LONGEST_ID:
                yield f"{where}.call_id", f"Invalid '{where}.call_id': string too long."
        elif kind == "function_call_output":
            answered.append(item["call_id"])
            if item["call_id"] not in calls:
                yield "input", f"No tool call found for function call output with call_id {item['call_id']}."
        elif kind == "reasoning":
            if item.get("encrypted_content") not in (None, PROOF):
                yield "input", f"The encrypted content for item {item['id']} could not be verified."
        else:
            yield where, f"Invalid value: '{kind}'."
    for name in calls:
        if answered.count(name) != 1:
            yield "input", f"No tool output found for function call {name}."


def of_parts(where: str, item: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if item["role"] not in PARTS:
        yield f"{where}.role", f"Invalid value: '{item['role']}'."
        return
    content = item["content"]
    for part in () if isinstance(content, str) else content:
        if part["type"] not in PARTS[item["role"]]:
            supported = ", ".join(sorted(PARTS[item["role"]]))
            yield f"{where}.content", f"Invalid value: '{part['type']}'. Supported values are: {supported}."


# --- what is answered -------------------------------------------------------------------------------------------------
def said_of(sent: dict[str, Any]) -> Said:
    items = items_in(sent)
    form = (sent.get("text") or {}).get("format") or {}
    return answer(
        text_of(next((item["content"] for item in reversed(items) if item.get("role") == "user"), "")),
        schema=form.get("schema"),
        tools=[(tool["name"], tool["parameters"]) for tool in sent.get("tools", [])],
        results=[text_of(item["output"]) for item in items if item.get("type") == "function_call_output"],
    )


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def items_of(said: Said) -> list[dict[str, Any]]:
    if said.calls:
        return [responses.call(said.tool, json.dumps(given), number) for number, given in enumerate(said.calls)]
    words = said.words if said.object is None else json.dumps(said.object)
    return [responses.message(responses.text(words))]
