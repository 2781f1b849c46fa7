"""Anthropic's Messages API.

Source: platform.claude.com/docs/en/api/messages, /api/errors and /api/rate-limits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chat.providers.failures import AGAINST_POLICY, CREDIT_SPENT, KEY_REFUSED, TOO_LARGE, TOO_LONG, UNKNOWN_MODEL
from chat.providers.http import HTTPProvider
from chat.providers.payload import UnusableReply, as_object, as_text, count, part_of, usage_of
from chat.providers.streams import Heard
from chat.types import SAMPLING, ChatReply, ChatRequest, Upstream, Usage

VERSION = "2023-06-01"
MODEL = re.compile(r"claude-(?:[a-z]+-)*(\d+)(?:[-.](\d{1,2})(?!\d))?")
"""A model's name, with its version: claude-haiku-4-5-20251001 is of 4.5, claude-opus-4-20250514 of 4."""
WITHOUT_SAMPLING = (4, 7)
"""The first version that refuses sampling fields. Source: Anthropic's migration guide to Claude Opus 4.7."""

WORDS = {
    "enforced_spend_limit_reached": CREDIT_SPENT,
    "contract_spend_limit_reached": CREDIT_SPENT,
    "billing_error": CREDIT_SPENT,
    "authentication_error": KEY_REFUSED,
    "not_found_error": UNKNOWN_MODEL,
    "request_too_large": TOO_LARGE,
}
"""Values of `error.details.error_code` and `error.type`."""

PHRASES = {
    "you have reached your specified api usage limits": CREDIT_SPENT,
    "your credit balance is too low": CREDIT_SPENT,
    "prompt is too long": TOO_LONG,
    "input length and `max_tokens` exceed context limit": TOO_LONG,
    "output blocked by content filtering policy": AGAINST_POLICY,
}
"""How the message of a 400 begins, where nothing else tells these cases from a bad request."""


class AnthropicProvider(HTTPProvider):
    """A server that answers `POST {base_url}/v1/messages`."""

    path = "/v1/messages"
    models_path = "/v1/models?limit=1000"
    vendor = "api.anthropic.com"
    words = WORDS
    phrases = PHRASES
    finish_reasons = {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "tool_use": "stop",
        "pause_turn": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "refusal": "content_filter",
    }

    def root(self, base_url: str) -> str:
        # The SDK's base URL has no /v1; who knows OpenAI's writes one.
        return base_url.strip().rstrip("/").removesuffix("/v1")

    def headers(self, api_key: str) -> dict[str, str]:
        return {"anthropic-version": VERSION} | ({"x-api-key": api_key} if api_key else {})

    def payload(self, request: ChatRequest, upstream: Upstream) -> dict[str, Any]:
        said = [message for message in request.messages if message.content.strip()]  # a blank block is refused
        system = "\n\n".join(message.content for message in said if message.role == "system")
        # The API itself joins turns of one role and lets the assistant begin, so turns go as they came.
        turns = [{"role": role, "content": text} for role, text, _ in said if role != "system"]
        if turns and turns[-1]["role"] == "assistant":
            turns[-1]["content"] = turns[-1]["content"].rstrip()  # else refused
        optional = self.optional(request, upstream)
        if stops := optional.pop("stop", None):
            optional["stop_sequences"] = stops
        payload = {"model": upstream.model, "max_tokens": request.max_tokens, "messages": turns}
        if pseudonym := self.pseudonym(request, upstream):
            payload["metadata"] = {"user_id": pseudonym}
        return payload | thinking(upstream.effort) | optional | ({"system": system} if system else {})

    def takes(self, name: str, asked: Mapping[str, Any], upstream: Upstream) -> bool:
        """See `HTTPProvider.takes`. Source: Anthropic's API reference and its migration guides."""
        if name == "name":
            return False  # models read it, so to leave it out would change the conversation
        if name == "stop":
            return all(text.strip() for text in asked["stop"])
        if name not in SAMPLING:
            return True
        version = MODEL.search(upstream.model)
        if version and (int(version[1]), int(version[2] or 0)) >= WITHOUT_SAMPLING:
            return False
        # The two are refused together, so the one that asks for nothing gives way.
        temperature, top_p = float(asked.get("temperature", 1)), float(asked.get("top_p", 1))
        return temperature == 1 if name == "top_p" else temperature < 1 or temperature == top_p == 1

    def read_reply(self, data: dict[str, Any], request: ChatRequest) -> ChatReply:
        usage, reason, blocks = _usage(data), data.get("stop_reason"), data.get("content")
        if not isinstance(blocks, list):
            raise UnusableReply("no content", usage)
        parts = [as_object(block) for block in blocks]
        text = "".join(as_text(part.get("text")) for part in parts if part.get("type") == "text")
        if not text.strip() and not (isinstance(reason, str) and reason):
            raise UnusableReply("neither text nor an end", usage)
        return ChatReply(text, self.finish(reason, usage, request), usage, as_text(data.get("stop_sequence")))

    def read_event(self, data: dict[str, Any], heard: Heard) -> str:
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
            return self._read_message(data, heard)
        is_text = kind in ("content_block_start", "content_block_delta") and delta.get("type") in ("text", "text_delta")
        return part_of(delta.get("text")) if is_text else ""

    def _read_message(self, data: dict[str, Any], heard: Heard) -> str:
        blocks, reason = data.get("content"), data.get("stop_reason")
        parts = [as_object(block) for block in (blocks if isinstance(blocks, list) else [])]
        heard.stop_sequence = as_text(data.get("stop_sequence"))
        heard.reason, heard.usage, heard.done = reason if isinstance(reason, str) else None, _usage(data), True
        return "".join(part_of(part.get("text")) for part in parts if part.get("type") == "text")


def thinking(effort: str) -> dict[str, Any]:
    """Return the fields that ask for this much thinking; none where an operator has not said how much."""
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    return {"output_config": {"effort": "low" if effort == "minimal" else effort}} if effort else {}


def _usage(data: dict[str, Any]) -> Usage | None:
    usage = as_object(data.get("usage"))
    # `input_tokens` leaves out what the prompt cache wrote or answered; older servers leave out the two, or send null.
    cached = [usage.get(name) or 0 for name in ("cache_creation_input_tokens", "cache_read_input_tokens")]
    counts = [count(value) for value in (usage.get("input_tokens"), *cached)]
    prompt = None if None in counts else sum(value or 0 for value in counts)
    return usage_of(count(prompt), count(usage.get("output_tokens")))
