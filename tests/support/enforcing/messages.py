"""Anthropic's messages: a server that refuses what Anthropic's own refuses, and calls the tools it has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from chat.protocols.anthropic.subset import fits
from tests.support import messages
from tests.support.enforcing.model import Said, answer
from tests.support.loopback import Fault, Recorded, status

ID = re.compile(r"[a-zA-Z0-9_-]+")
NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
REQUIRED = ("model", "max_tokens", "messages")
FIELDS = {
    *REQUIRED,
    *("system", "stream", "stop_sequences", "temperature", "top_p", "top_k", "metadata", "service_tier", "container"),
    *("tools", "tool_choice", "thinking", "output_config", "context_management", "mcp_servers", "inference_geo"),
}
TOOL_FIELDS = {"name", "description", "input_schema", "strict", "type", "cache_control", "input_examples"}
PROOF = messages.thinking("")["signature"]
"""The signature of this server's own thoughts; it knows no other."""


def vendor(recorded: Recorded) -> Fault:
    """Answer a chat, or refuse it."""
    sent = recorded.json
    if not {"x-api-key", "anthropic-version"} <= recorded.headers.keys():
        return refusal("anthropic-version: header is required")
    for message in complaints(sent):
        return refusal(message)
    whole = messages.message(*blocks_of(said_of(sent)), model=sent["model"])
    if sent.get("stream"):
        return Fault("stream_paced", body=messages.stream(whole).decode(), seconds=0)
    return status(200, body=whole)


def refusal(message: str) -> Fault:
    told = {"type": "error", "error": {"type": "invalid_request_error", "message": message}, "request_id": "req_011"}
    return status(400, body=told)


# --- what is refused --------------------------------------------------------------------------------------------------
def complaints(sent: dict[str, Any]) -> Iterator[str]:
    yield from (f"{name}: Field required" for name in REQUIRED if name not in sent)
    yield from (f"{name}: Extra inputs are not permitted" for name in sorted(sent.keys() - FIELDS))
    for number, tool in enumerate(sent.get("tools", [])):
        where = f"tools.{number}.custom"
        yield from (f"{where}.{name}: Extra inputs are not permitted" for name in sorted(tool.keys() - TOOL_FIELDS))
        if not NAME.fullmatch(tool["name"]):
            yield f"{where}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        if tool["input_schema"].get("type") != "object":
            yield f"{where}.input_schema.type: Field required"
        if tool.get("strict") and not fits(tool["input_schema"]):
            yield f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false"
    form = (sent.get("output_config") or {}).get("format")
    if form and not fits(form["schema"]):
        yield "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
    yield from of_turns(turns_of(sent["messages"]), bool(sent.get("tools")))


def turns_of(said: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return role and blocks of each turn; Anthropic's servers join what one side says twice."""
    turns: list[tuple[str, list[dict[str, Any]]]] = []
    for one in said:
        content = one["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if turns and turns[-1][0] == one["role"]:
            turns[-1][1].extend(blocks)
        else:
            turns.append((one["role"], [*blocks]))
    return turns


def of_turns(turns: list[tuple[str, list[dict[str, Any]]]], has_tools: bool) -> Iterator[str]:
    if not turns or turns[-1][0] != "user":
        yield "This model does not support assistant message prefill. The conversation must end with a user message."
    seen, waiting = set[str](), list[str]()
    for number, (role, blocks) in enumerate(turns):
        where = f"messages.{number}"
        if role not in ("user", "assistant"):
            yield f'{where}: Unexpected role "{role}".'
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        first = [block["type"] for block in blocks[: len(results)]]
        if set(results) != set(waiting) or len(results) != len(waiting) or set(first) - {"tool_result"}:
            yield f"{where}: `tool_use` ids were found without `tool_result` blocks immediately after: {waiting}."
        if any(block["type"] == "text" and not block["text"] for block in blocks):
            yield f"{where}: text content blocks must be non-empty"
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
        yield from of_calls(where, [block for block in blocks if block["type"] == "tool_use"], seen)
        yield from of_thoughts(where, blocks)
        if waiting and not has_tools:
            yield "Requests which include `tool_use` or `tool_result` blocks must define tools"
    if waiting:
        yield f"`tool_use` ids were found without `tool_result` blocks immediately after: {waiting}."


def of_calls(where: str, calls: list[dict[str, Any]], seen: set[str]) -> Iterator[str]:
    for call in calls:
        if not ID.fullmatch(call["id"]):
            yield f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        if call["id"] in seen:
            yield f"{where}: `tool_use` ids must be unique"
        if not isinstance(call["input"], dict):
            yield f"{where}.tool_use.input: Input should be a valid dictionary"
        seen.add(call["id"])


def of_thoughts(where: str, blocks: list[dict[str, Any]]) -> Iterator[str]:
    for block in blocks:
        if block["type"] == "thinking" and block["signature"] != PROOF:
            yield f"{where}: Invalid `signature` in `thinking` block"


# --- what is answered -------------------------------------------------------------------------------------------------
def said_of(sent: dict[str, Any]) -> Said:
    turns = turns_of(sent["messages"])
    results = [text_of(block["content"]) for _, said in turns for block in said if block["type"] == "tool_result"]
    return answer(
        text_of(turns[-1][1]),
        schema=((sent.get("output_config") or {}).get("format") or {}).get("schema"),
        tools=[(tool["name"], tool["input_schema"]) for tool in sent.get("tools", [])],
        results=results,
    )


def text_of(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


def blocks_of(said: Said) -> list[dict[str, Any]]:
    if said.calls:
        return [messages.call(said.tool, number, **given) for number, given in enumerate(said.calls)]
    return [messages.text(said.words if said.object is None else json.dumps(said.object))]
