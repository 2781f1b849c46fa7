"""Anthropic's answers, whole and as events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.protocols.payload import Heard, UnusableReply, as_object, as_text, count, finish_reason, part_of, usage_of
from chat.types import ChatRequest, FinishReason, Part, Reply, Usage, parts_of

FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}


def read_reply(data: dict[str, Any], request: ChatRequest) -> Reply:
    """See `Protocol.read_reply`."""
    usage, reason, blocks = _usage(data), data.get("stop_reason"), data.get("content")
    if not isinstance(blocks, list):
        raise UnusableReply("no content", usage)
    parts = [as_object(block) for block in blocks]
    text = "".join(as_text(part.get("text")) for part in parts if part.get("type") == "text")
    if not text.strip() and not (isinstance(reason, str) and reason):
        raise UnusableReply("neither text nor an end", usage)
    finish = finish_reason(reason, FINISH_REASONS, usage, request.max_tokens)
    return Reply.of(text, finish, usage, as_text(data.get("stop_sequence")))


def read_event(data: dict[str, Any], heard: Heard) -> tuple[Part, ...]:
    """See `Protocol.read_event`."""
    kind = data.get("type")
    heard.done = kind == "message_stop"
    # `message_delta` repeats of the counts what has changed, each as a total.
    told = as_object(data.get("message") if kind == "message_start" else data).get("usage")
    heard.usage_report |= {name: value for name, value in as_object(told).items() if value is not None}
    heard.counted = heard.counted or (kind == "message_delta" and "output_tokens" in as_object(told))
    if heard.done and heard.reason and not heard.counted:
        heard.usage_report["output_tokens"] = 0  # the first event holds a placeholder
    heard.usage = _usage({"usage": heard.usage_report})
    delta = as_object(data.get("delta"))
    if kind == "message_delta" and isinstance(reason := delta.get("stop_reason"), str):
        heard.reason, heard.stop_sequence = reason, as_text(delta.get("stop_sequence"))
    if kind == "content_block_start":  # its text is empty as a rule
        delta = as_object(data.get("content_block"))
    if kind == "message":  # a server that does not stream may answer the whole message as one event
        return parts_of(_read_message(data, heard))
    is_text = kind in ("content_block_start", "content_block_delta") and delta.get("type") in ("text", "text_delta")
    return parts_of(part_of(delta.get("text"))) if is_text else ()


def _read_message(data: dict[str, Any], heard: Heard) -> str:
    blocks, reason = data.get("content"), data.get("stop_reason")
    parts = [as_object(block) for block in (blocks if isinstance(blocks, list) else [])]
    heard.stop_sequence = as_text(data.get("stop_sequence"))
    heard.reason, heard.usage, heard.done = reason if isinstance(reason, str) else None, _usage(data), True
    return "".join(part_of(part.get("text")) for part in parts if part.get("type") == "text")


def _usage(data: dict[str, Any]) -> Usage | None:
    usage = as_object(data.get("usage"))
    # `input_tokens` leaves out what the prompt cache wrote or answered; older servers leave out the two, or send null.
    cached = [usage.get(name) or 0 for name in ("cache_creation_input_tokens", "cache_read_input_tokens")]
    counts = [count(value) for value in (usage.get("input_tokens"), *cached)]
    prompt = None if None in counts else sum(value or 0 for value in counts)
    return usage_of(count(prompt), count(usage.get("output_tokens")))
