"""OpenAI's whole answers, as a provider sends them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from chat.protocols.ids import originals
from chat.protocols.openai.body import NAME
from chat.protocols.openai.translate import LONGEST_NAME
from chat.protocols.payload import UnusableReply, as_list, as_object, as_text, count, finish_reason, part_of, usage_of
from chat.types import (
    Call,
    ChatRequest,
    FinishReason,
    Part,
    Refusal,
    Reply,
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
TEXTS = ("reasoning_content", "reasoning")
"""The fields beside the content in which compatible servers tell what the model thinks."""
KIND = "thinking"
"""The type of Mistral's part among those of the content, which tells the same."""


def read_reply(data: dict[str, Any], request: ChatRequest) -> Reply:
    """See `Protocol.read_reply`."""
    usage = usage_in(data)
    choices = data.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UnusableReply("no choices", usage)
    choice = as_object(choices[0])
    reason, verbatim = choice.get("finish_reason"), request.is_verbatim(NAME)
    if reason in ABORTED:
        raise UnusableReply(BROKEN_OFF, usage)
    parts = _parts(as_object(choice.get("message")), request)
    calls = any(isinstance(part, Call) for part in parts)
    if not text_of(parts).strip() and not calls and not (isinstance(reason, str) and reason):
        raise UnusableReply("neither text nor an end", usage)
    ended = finish_reason(reason, FINISH_REASONS, usage, request.max_tokens, calls=calls)
    if not calls and any(isinstance(part, Refusal) for part in parts):
        ended = "content_filter"
    # Of several answers, only a client of this format can ask: all are counted, and the body has them apart.
    for further in choices[1:]:
        parts += _parts(as_object(as_object(further).get("message")), request)
    return Reply(parts, ended, usage, raw=data if verbatim else None)


def _parts(message: Mapping[str, Any], request: ChatRequest) -> tuple[Part, ...]:
    text = as_text(text_in(message.get("content"), "text"))
    refusal = as_text(message.get("refusal")) or as_text(text_in(message.get("content"), "refusal"))
    thoughts = as_text(thoughts_of(message))
    parts: list[Part] = [Thinking(thoughts)] if thoughts else []
    parts += parts_of(text) + ((Refusal(refusal),) if refusal.strip() and not text.strip() else ())
    calls = as_list(message.get("tool_calls"))
    names = originals(request, NAME, LONGEST_NAME) if calls else {}
    return (*parts, *(_call(as_object(call), names) for call in calls))


def _call(call: Mapping[str, Any], names: Mapping[str, str]) -> Call:
    function = as_object(call.get("function") or call.get("custom"))
    name = as_text(function.get("name"))
    return Call(as_text(call.get("id")) or new_id(), names.get(name, name), arguments_in(function))


def arguments_in(function: Mapping[str, Any]) -> str:
    found = function.get("arguments", function.get("input"))
    return compact(found) if isinstance(found, dict) else part_of(found)


def new_id() -> str:
    """Return an id for a call whose server gave none."""
    return f"call_{uuid.uuid4().hex[:24]}"


# --- thoughts ---------------------------------------------------------------------------------------------------------
def thoughts_of(message: Mapping[str, Any]) -> str:
    """Return the thoughts in a message or a delta, "" for none."""
    name = field_of(message)
    parts = [as_object(part) for part in as_list(message.get("content"))]
    return message[name] if name else "".join(thought_in(part) for part in parts if part.get("type") == KIND)


def field_of(message: Mapping[str, Any]) -> str:
    """Return the name of the field that tells the thoughts of a message as a text, "" where none does."""
    return next((name for name in TEXTS if isinstance(message.get(name), str) and message[name]), "")


def thought_in(part: Mapping[str, Any]) -> str:
    """Return the text of Mistral's part."""
    return "".join(part_of(as_object(inner).get("text")) for inner in as_list(part.get(KIND)))


# --- both -------------------------------------------------------------------------------------------------------------
def text_in(content: Any, kind: str) -> str:
    """Return the text of a message's content, which some servers send as a list of parts. It may end in half a
    character, whose other half is in the next event."""
    if isinstance(content, list):
        parts = [as_object(part) for part in content]
        return "".join(part_of(part.get(kind)) for part in parts if part.get("type") == kind)
    return part_of(content) if kind == "text" else ""


def usage_in(data: dict[str, Any]) -> Usage | None:
    if not (usage := as_object(data.get("usage"))):
        return None  # as in all chunks but the last
    counts = [count(usage.get(name)) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    prompt = as_object(usage.get("prompt_tokens_details"))
    completion = as_object(usage.get("completion_tokens_details"))
    return usage_of(
        *counts,
        cached_tokens=count(prompt.get("cached_tokens")) or 0,
        cache_write_tokens=count(prompt.get("cache_write_tokens")) or 0,
        reasoning_tokens=count(completion.get("reasoning_tokens")) or 0,
    )
