"""OpenAI's answers, whole and as chunks: read from a provider, written for a client."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from chat.protocols import sse
from chat.protocols.openai.body import Choice, Counts
from chat.protocols.openai.errors import write_error
from chat.protocols.payload import Heard, UnusableReply, as_object, as_text, count, finish_reason, part_of, usage_of
from chat.protocols.replies import noted
from chat.types import Answer, ChatRequest, Delta, FinishReason, Part, Piece, Reply, Start, Tick, Told, Usage, Wish, parts_of

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


# --- for a client -----------------------------------------------------------------------------------------------------
def write_reply(answer: Answer) -> dict[str, Any]:
    """See `Face.write_reply`."""
    choice: Choice = {
        "index": 0,
        "message": {"role": "assistant", "content": answer.text, "refusal": None},
        "logprobs": None,
        "finish_reason": answer.finish_reason,
    }
    head = _head(answer.request_id, answer.created, answer.model, "chat.completion")
    return head | {"choices": [choice], "usage": _counts(answer.charged)} | noted(answer)


class EventWriter:
    """See `EventWriter` of `Face`. Each chunk is whole in itself; `[DONE]` alone says that the answer is."""

    def __init__(self, wish: Wish, request_id: str) -> None:
        self.request_id, self.include_usage = request_id, wish.usage_in_stream
        self.head = _head(request_id, int(time.time()), wish.model.name, "chat.completion.chunk")

    def write_event(self, item: Start | Delta | Tick | Answer) -> str:
        """See `EventWriter.write_event`."""
        if isinstance(item, Delta):
            return self._chunk({"content": item.part.text}, None)
        if isinstance(item, Tick):
            return sse.COMMENT
        if isinstance(item, Start):
            if stored := item.answer:
                self.head = _head(stored.request_id, stored.created, stored.model, "chat.completion.chunk")
            return self._chunk({"role": "assistant", "content": "", "refusal": None}, None, **noted(stored))
        last = self._chunk({}, item.finish_reason)
        usage = sse.write(self.head | {"choices": [], "usage": _counts(item.charged)}) if self.include_usage else ""
        return f"{last}{usage}data: [DONE]\n\n"

    def write_error(self, error: Told) -> str:
        """See `EventWriter.write_error`."""
        body = write_error(error, self.request_id)
        # The SDK has no response at hand whose header would tell it.
        body["error"]["message"] += f" (request_id {self.request_id})"
        return sse.write(body)

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self.include_usage else {}
        return sse.write(self.head | {"choices": [choice]} | usage | more)


def _head(request_id: str, created: int, model: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{request_id}",
        "object": kind,
        "created": created,
        "model": model,
        "system_fingerprint": None,
    }


def _counts(usage: Usage) -> Counts:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total,
    }
