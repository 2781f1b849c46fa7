"""OpenAI's answers, whole and as chunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.protocols.payload import Heard, UnusableReply, as_object, as_text, count, finish_reason, part_of, usage_of
from chat.types import ChatRequest, FinishReason, Part, Reply, Usage, parts_of

FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "model_length": "length",  # Mistral
    "content_filter": "content_filter",
    "tool_calls": "stop",
    "function_call": "stop",
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
    message, reason = as_object(choice.get("message")), choice.get("finish_reason")
    text, refusal = as_text(_text(message.get("content"), "text")), as_text(message.get("refusal"))
    refusal = refusal or as_text(_text(message.get("content"), "refusal"))
    if reason in ABORTED:
        raise UnusableReply(BROKEN_OFF, usage)
    if not text.strip() and refusal.strip():
        return Reply.of(refusal, "content_filter", usage)
    if not text.strip() and not (isinstance(reason, str) and reason):
        raise UnusableReply("neither text nor an end", usage)
    return Reply.of(text, finish_reason(reason, FINISH_REASONS, usage, request.max_tokens), usage)


def read_event(data: dict[str, Any], heard: Heard) -> tuple[Part, ...]:
    """See `Protocol.read_event`."""
    # Usage comes in an extra chunk without choices, in the last one with choices, or in every one.
    heard.usage = _usage(data) or heard.usage
    choices = data.get("choices")
    choice = as_object(choices[0]) if isinstance(choices, list) and choices else {}
    # A server that does not stream may answer the whole message as one event.
    delta, reason = as_object(choice.get("delta") or choice.get("message")), choice.get("finish_reason")
    if reason in ABORTED:
        raise UnusableReply(BROKEN_OFF, heard.usage)
    if isinstance(reason, str) and reason:
        heard.reason = reason
    refusal = part_of(delta.get("refusal")) or _text(delta.get("content"), "refusal")
    heard.refused = heard.refused or bool(refusal)
    return parts_of(_text(delta.get("content"), "text") + refusal)


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
    return usage_of(*counts)
