"""Anthropic's answers, whole and as events, as a client gets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.protocols import sse
from chat.protocols.anthropic.blocks import Blocks, blocks_of
from chat.protocols.anthropic.errors import write_error
from chat.protocols.anthropic.reply import usage_in
from chat.protocols.payload import as_object
from chat.protocols.replies import noted
from chat.types import Answer, Delta, FinishReason, Start, Tick, Told, Usage, Wish

STOP_REASONS: Mapping[FinishReason, str] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
}
PING = sse.write({"type": "ping"}, "ping")


def write_reply(answer: Answer, wish: Wish) -> dict[str, Any]:
    """See `Face.write_reply`."""
    if answer.raw is not None:
        names = {"id": f"msg_{answer.request_id}", "model": answer.model}
        return {**answer.raw, **names, **_reason(answer.raw, answer), "usage": _charged(answer.raw, answer.charged)}
    content = list(blocks_of(answer))
    return _message(answer.request_id, answer.model, content, answer.charged) | _stopped(answer) | noted(answer)


class EventWriter:
    """See `EventWriter` of `Face`. The answer is whole where `message_stop` is its last event.

    A provider's own events are relayed, but for the last two: they wait for the bill.
    """

    def __init__(self, wish: Wish, request_id: str) -> None:
        self.request_id, self.model = request_id, wish.model.name
        self.blocks = Blocks()
        self.relays = False
        self.opened = False
        self.usage: dict[str, Any] = {}
        self.closing: list[dict[str, Any]] = []

    def write_event(self, item: Start | Delta | Tick | Answer) -> str:
        """See `EventWriter.write_event`."""
        if isinstance(item, Tick):
            return PING
        if isinstance(item, Start):
            self.relays = item.verbatim
            return "" if self.relays else self._open(item.usage, item.answer)
        if isinstance(item, Answer):
            return self._close(item)
        if item.raw is not None and item.raw.get("type") != "message":
            return self._relay(item.raw)
        events = [event for piece in item.pieces for event in self.blocks.hear(piece)]
        if self.relays and not self.opened:  # the provider answered a whole message as one event
            self.relays = False
            return self._open(usage_in(item.raw or {}) or Usage(0, 0), None) + _written(events)
        return _written(events)

    def write_error(self, error: Told) -> str:
        """See `EventWriter.write_error`."""
        return sse.write(write_error(error, self.request_id), "error")

    def _open(self, usage: Usage, stored: Answer | None) -> str:
        self.opened = True
        if stored:
            self.request_id, usage = stored.request_id, stored.charged
        opening = _message(self.request_id, self.model, [], usage) | noted(stored)
        return _written([{"type": "message_start", "message": opening}])

    def _relay(self, event: Mapping[str, Any]) -> str:
        kind = event.get("type")
        if kind == "message_start":
            self.opened = True
            message = {**as_object(event.get("message")), "id": f"msg_{self.request_id}", "model": self.model}
            self.usage |= as_object(message.get("usage"))
            return _written([{**event, "message": message}])
        if kind == "message_stop" or (kind == "message_delta" and as_object(event.get("delta")).get("stop_reason")):
            self.closing.append(dict(event))
            return ""
        return _written([event])

    def _close(self, answer: Answer) -> str:
        if not self.closing:
            last = {"type": "message_delta", "delta": _stopped(answer), "usage": counts(answer.charged)}
            return _written([*self.blocks.close(), last, {"type": "message_stop"}])
        told = (as_object(event.get("usage")) for event in self.closing)
        self.usage |= {name: value for usage in told for name, value in usage.items() if value is not None}
        return _written(self._ended(event, answer) for event in self.closing)

    def _ended(self, event: dict[str, Any], answer: Answer) -> dict[str, Any]:
        """Return one of the last events with what was charged."""
        if event["type"] != "message_delta":
            return event
        delta = as_object(event.get("delta"))
        told = as_object(event.get("usage"))
        if usage_in({"usage": self.usage}) != answer.charged:
            told = told | counts(answer.charged)
        return event | {"delta": delta | _reason(delta, answer), "usage": told}


def _written(events: Any) -> str:
    return "".join(sse.write(event, str(event.get("type", ""))) for event in events)


def _charged(raw: Mapping[str, Any], charged: Usage) -> dict[str, Any]:
    """Return the counts of a provider's own answer, with ours in their place where these were not believed."""
    told = as_object(raw.get("usage"))
    return told if usage_in(raw) == charged else told | counts(charged)


def _reason(said: Mapping[str, Any], answer: Answer) -> dict[str, str]:
    """Return the reason in place of a compatible server's, which says that the turn has ended where a tool is called:
    clients go by it."""
    lies = answer.finish_reason == "tool_calls" and said.get("stop_reason") == "end_turn"
    return {"stop_reason": "tool_use"} if lies else {}


def _stopped(answer: Answer) -> dict[str, str | None]:
    """Return why the answer ended, in Anthropic's two fields; of an answer that was relayed, as it was said then."""
    if answer.stop_reason:
        said = {"stop_reason": answer.stop_reason, "stop_sequence": answer.stop_sequence or None}
        return said | _reason(said, answer)
    if answer.stop_sequence and answer.finish_reason == "stop":
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
        "usage": counts(usage),
    }


def counts(usage: Usage) -> dict[str, Any]:
    """Return a usage as Anthropic has it; the details of it are there where there is something to tell."""
    cached = usage.cached_tokens + usage.cache_write_tokens
    told: dict[str, Any] = {
        "input_tokens": max(usage.prompt_tokens - cached, 0),
        "output_tokens": usage.completion_tokens,
    }
    if cached:
        told["cache_creation_input_tokens"] = usage.cache_write_tokens
        told["cache_read_input_tokens"] = usage.cached_tokens
    if usage.reasoning_tokens:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return told
