"""Anthropic's answers, whole and as events: read from a provider, written for a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.protocols import sse
from chat.protocols.anthropic.body import Counts
from chat.protocols.anthropic.errors import write_error
from chat.protocols.payload import Heard, UnusableReply, as_object, as_text, count, finish_reason, part_of, usage_of
from chat.protocols.replies import noted
from chat.types import (
    Answer,
    ChatRequest,
    Delta,
    FinishReason,
    Piece,
    Reply,
    Start,
    Tick,
    Told,
    Usage,
    Wish,
    parts_of,
)

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


def read_event(data: dict[str, Any], heard: Heard) -> tuple[Piece, ...]:
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
        return tuple(Piece(0, part) for part in parts_of(_read_message(data, heard)))
    is_text = kind in ("content_block_start", "content_block_delta") and delta.get("type") in ("text", "text_delta")
    return tuple(Piece(data.get("index", 0), part) for part in parts_of(part_of(delta.get("text")))) if is_text else ()


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


# --- for a client -----------------------------------------------------------------------------------------------------
STOP_REASONS: Mapping[FinishReason, str] = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}
PING = sse.write({"type": "ping"}, "ping")


def write_reply(answer: Answer) -> dict[str, Any]:
    """See `Face.write_reply`."""
    content = [{"type": "text", "text": answer.text}] if answer.text else []
    return _message(answer.request_id, answer.model, content, answer.charged) | _stopped(answer) | noted(answer)


class EventWriter:
    """See `EventWriter` of `Face`. The answer is whole where `message_stop` is its last event."""

    def __init__(self, wish: Wish, request_id: str) -> None:
        self.wish, self.request_id, self.opened = wish, request_id, False

    def write_event(self, item: Start | Delta | Tick | Answer) -> str:
        """See `EventWriter.write_event`."""
        if isinstance(item, Delta):
            if not item.text:
                return ""
            delta = _event("content_block_delta", index=0, delta={"type": "text_delta", "text": item.text})
            return delta if self.opened else self._open() + delta
        if isinstance(item, Tick):
            return PING
        if isinstance(item, Start):
            stored = item.answer
            usage = stored.charged if stored else item.usage
            request_id = stored.request_id if stored else self.request_id
            opening = _message(request_id, self.wish.model.name, [], usage) | noted(stored)
            return _event("message_start", message=opening)
        closing = _event("content_block_stop", index=0) if self.opened else ""
        told = _event("message_delta", delta=_stopped(item), usage=_counts(item.charged))
        return closing + told + _event("message_stop")

    def write_error(self, error: Told) -> str:
        """See `EventWriter.write_error`."""
        return sse.write(write_error(error, self.request_id), "error")

    def _open(self) -> str:
        self.opened = True
        return _event("content_block_start", index=0, content_block={"type": "text", "text": ""}) + PING


def _event(kind: str, **data: Any) -> str:
    return sse.write({"type": kind} | data, kind)


def _stopped(answer: Answer) -> dict[str, str | None]:
    """Return why the answer ended, in Anthropic's two fields."""
    if answer.stop_sequence:
        return {"stop_reason": "stop_sequence", "stop_sequence": answer.stop_sequence}
    return {"stop_reason": STOP_REASONS[answer.finish_reason], "stop_sequence": None}


def _message(request_id: str, model: str, content: list[dict[str, Any]], usage: Usage) -> dict[str, Any]:
    return {
        "id": f"msg_{request_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _counts(usage),
    }


def _counts(usage: Usage) -> Counts:
    return {"input_tokens": usage.prompt_tokens, "output_tokens": usage.completion_tokens}
