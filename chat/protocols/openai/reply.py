"""OpenAI's answers, whole and as chunks, as a provider sends them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from chat.protocols.ids import originals
from chat.protocols.openai.thoughts import thoughts_of
from chat.protocols.openai.translate import LONGEST_NAME
from chat.protocols.payload import Heard, UnusableReply, as_object, as_text, count, finish_reason, part_of, usage_of
from chat.types import (
    Call,
    ChatRequest,
    FinishReason,
    Part,
    Piece,
    Refusal,
    Reply,
    Text,
    Thinking,
    Usage,
    compact,
    parts_of,
    text_of,
)

FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",  # Mistral
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}

BROKEN_OFF = "it broke off half-way"

ABORTED = ("error", "abort", "insufficient_system_resource")
"""Finish reasons of OpenRouter, vLLM and DeepSeek for an answer that broke off half-way."""


def read_reply(data: dict[str, Any], request: ChatRequest) -> Reply:
    """See `Protocol.read_reply`."""
    usage = _usage(data)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UnusableReply("no choices", usage)
    choice = as_object(choices[0])
    reason, verbatim = choice.get("finish_reason"), request.is_verbatim("openai")
    names = {} if verbatim else originals((tool.name for tool in request.tools), LONGEST_NAME)
    if reason in ABORTED:
        raise UnusableReply(BROKEN_OFF, usage)
    parts = _parts(as_object(choice.get("message")), names)
    calls = any(isinstance(part, Call) for part in parts)
    if not text_of(parts).strip() and not calls and not (isinstance(reason, str) and reason):
        raise UnusableReply("neither text nor an end", usage)
    ended = finish_reason(reason, FINISH_REASONS, usage, request.max_tokens, calls=calls)
    if not calls and any(isinstance(part, Refusal) for part in parts):
        ended = "content_filter"
    # Of several answers, only a client of this format can ask: all are counted, and the body has them apart.
    for further in choices[1:]:
        parts += _parts(as_object(as_object(further).get("message")), names)
    return Reply(parts, ended, usage, raw=data if verbatim else None)


def _parts(message: Mapping[str, Any], names: Mapping[str, str]) -> tuple[Part, ...]:
    text = as_text(_text(message.get("content"), "text"))
    refusal = as_text(message.get("refusal")) or as_text(_text(message.get("content"), "refusal"))
    thoughts = as_text(thoughts_of(message))
    parts: list[Part] = [Thinking(thoughts)] if thoughts else []
    parts += parts_of(text) + ((Refusal(refusal),) if refusal.strip() and not text.strip() else ())
    return (*parts, *(_call(as_object(call), names) for call in _listed(message.get("tool_calls"))))


def _call(call: Mapping[str, Any], names: Mapping[str, str]) -> Call:
    function = as_object(call.get("function") or call.get("custom"))
    name = as_text(function.get("name"))
    return Call(as_text(call.get("id")) or new_id(), names.get(name, name), _arguments(function))


def _arguments(function: Mapping[str, Any]) -> str:
    found = function.get("arguments", function.get("input"))
    return compact(found) if isinstance(found, dict) else part_of(found)


def new_id() -> str:
    """Return an id for a call whose server gave none."""
    return f"call_{uuid.uuid4().hex[:24]}"


# --- chunks -----------------------------------------------------------------------------------------------------------
def read_event(data: dict[str, Any], heard: Heard) -> tuple[Piece, ...]:
    """See `Protocol.read_event`."""
    # Usage comes in an extra chunk without choices, in the last one with choices, or in every one.
    heard.usage = _usage(data) or heard.usage
    choices = data.get("choices")
    pieces: list[Piece] = []
    for choice in map(as_object, choices if isinstance(choices, list) else ()):
        number = index if isinstance(index := choice.get("index"), int) else 0
        # A server that does not stream may answer the whole message as one event.
        delta, reason = as_object(choice.get("delta") or choice.get("message")), choice.get("finish_reason")
        if reason in ABORTED:
            raise UnusableReply(BROKEN_OFF, heard.usage)
        if isinstance(reason, str) and reason:
            heard.reason = reason
        pieces += _pieces(delta, number, heard)
    return tuple(pieces)


def _pieces(delta: Mapping[str, Any], number: Any, heard: Heard) -> list[Piece]:
    pieces: list[Piece] = []
    if thoughts := thoughts_of(delta):
        pieces.append(Piece((number, "thoughts"), Thinking(thoughts)))
    if text := _text(delta.get("content"), "text"):
        pieces.append(Piece((number, "content"), Text(text)))
    if refusal := part_of(delta.get("refusal")) or _text(delta.get("content"), "refusal"):
        heard.refused = True
        pieces.append(Piece((number, "refusal"), Refusal(refusal)))
    calls = _listed(delta.get("tool_calls"))
    return pieces + [_fragment(as_object(call), place, number, heard) for place, call in enumerate(calls)]


def _fragment(call: Mapping[str, Any], place: int, number: Any, heard: Heard) -> Piece:
    """Return a fragment of a call. Some servers leave out the index, give all calls the same one, or repeat the id."""
    index, given = call.get("index"), as_text(call.get("id"))
    key = (number, index if isinstance(index, int) else place)
    function = as_object(call.get("function") or call.get("custom"))
    name, arguments = as_text(function.get("name")), _arguments(function)
    known = heard.parts.get(key)
    if known and (not given or given == known[1]):
        return Piece(known[0], Call("", "", arguments))
    of = (number, "call", len(heard.parts))
    heard.parts[key] = heard.parts[of] = of, given or new_id()
    if not heard.request.is_verbatim("openai") and len(name) >= LONGEST_NAME - 9:
        name = originals((tool.name for tool in heard.request.tools), LONGEST_NAME).get(name, name)
    return Piece(of, Call(heard.parts[key][1], name, arguments))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(content: Any, kind: str) -> str:
    """Return the text of a message's content, which some servers send as a list of parts. It may end in half a
    character, whose other half is in the next event."""
    if isinstance(content, list):
        parts = [as_object(part) for part in content]
        return "".join(part_of(part.get(kind)) for part in parts if part.get("type") == kind)
    return part_of(content) if kind == "text" else ""


def _usage(data: dict[str, Any]) -> Usage | None:
    usage = as_object(data.get("usage"))
    counts = [count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    prompt = as_object(usage.get("prompt_tokens_details"))
    completion = as_object(usage.get("completion_tokens_details"))
    return usage_of(
        *counts,
        cached_tokens=count(prompt.get("cached_tokens")) or 0,
        cache_write_tokens=count(prompt.get("cache_write_tokens")) or 0,
        reasoning_tokens=count(completion.get("reasoning_tokens")) or 0,
    )
