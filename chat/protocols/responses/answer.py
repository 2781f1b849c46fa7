"""A whole answer as clients of the Responses API get it: the response object and its items."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from chat.protocols.payload import as_list, as_object
from chat.protocols.replies import noted
from chat.protocols.responses.body import NAME, Counts
from chat.types import Answer, Call, FinishReason, Part, Refusal, Text, Usage, Wish

ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""The fields of a request that its response repeats, and what they are where the client said nothing."""
REASONS: Mapping[FinishReason, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why an answer is incomplete."""
PREFIXES = {"message": "msg", "function_call": "fc", "custom_tool_call": "ctc"}


def write_reply(answer: Answer, wish: Wish) -> dict[str, Any]:
    """See `Face.write_reply`."""
    if answer.raw:
        return renamed(answer.raw, answer.request_id, answer.model, wish, answer.charged) | noted(answer)
    head = response_of(answer.request_id, answer.created, answer.model, wish)
    return head | ended(answer, list(items_of(answer, wish)))


def response_of(request_id: str, created: int, model: str, wish: Wish | None) -> dict[str, Any]:
    """Return the response object before there is anything in it."""
    said = asked(wish)
    return {
        "id": f"resp_{request_id}",
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "previous_response_id": None,
        "store": False,
        "usage": None,
        **{name: default if said.get(name) is None else said[name] for name, default in ECHOED.items()},
    }


def ended(answer: Answer, output: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of a response that are known at its end."""
    reason = why_incomplete(answer)
    return {
        "status": "incomplete" if reason else "completed",
        "completed_at": None if reason else answer.created,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": counts(answer.charged),
        **noted(answer),
    }


def why_incomplete(answer: Answer) -> str:
    """Return the reason, "" for an answer that is complete: also in its own words, a refusal is."""
    refuses = any(isinstance(part, Refusal) for part in answer.parts)
    return "" if refuses and answer.finish_reason == "content_filter" else REASONS.get(answer.finish_reason, "")


def renamed(
    raw: Mapping[str, Any], request_id: str, model: str, wish: Wish | None, charged: Usage | None = None
) -> dict[str, Any]:
    """Return the provider's own response under our names, with what was charged for it. A stored one keeps its id, by
    which alone it is found again."""
    names: dict[str, Any] = {"model": model} | ({} if raw.get("store") is True else {"id": f"resp_{request_id}"})
    if "safety_identifier" in raw:  # the client's own, in place of our pseudonym
        names["safety_identifier"] = asked(wish).get("safety_identifier")
    if charged:
        total = {"input_tokens": charged.prompt_tokens, "output_tokens": charged.completion_tokens}
        names["usage"] = counts(charged) | as_object(raw.get("usage")) | total | {"total_tokens": charged.total}
    return {**raw, **names}


def counts(usage: Usage) -> Counts:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total,
    }


def asked(wish: Wish | None) -> Mapping[str, Any]:
    """Return the client's own body."""
    raw = wish.request.raw if wish else None
    return raw.body if raw and raw.protocol == NAME else {}


# --- items ------------------------------------------------------------------------------------------------------------
def items_of(answer: Answer, wish: Wish | None) -> Iterator[dict[str, Any]]:
    """Yield the items of an answer: texts that follow each other are one message. Thoughts are not shown: a client
    would send them back, and only the vendor who made them could read them."""
    items: list[dict[str, Any]] = []
    ids = Ids(answer.request_id, answer.created)
    for part in answer.parts:
        if isinstance(part, Text | Refusal):
            if not items or items[-1]["type"] != "message":
                items.append(ids.item("message") | {"role": "assistant", "content": []})
            items[-1]["content"].append(content_of(part))
        elif isinstance(part, Call):
            kind = kind_of(part, wish)
            items.append(ids.item(kind) | call_of(part, kind))
    cut = bool(items) and answer.finish_reason == "length"
    for number, item in enumerate(items, 1):
        # A custom call has no status.
        status = {"status": "incomplete" if cut and number == len(items) else "completed"}
        yield item | (status if item["type"] != "custom_tool_call" else {})


class Ids:
    """Makes the ids of an answer's items: the same for the same answer, and unique in a conversation, where OpenAI
    refuses an item that comes twice."""

    def __init__(self, request_id: str, created: int) -> None:
        self._digest = hashlib.sha256(f"{request_id} {created}".encode()).hexdigest()[:40]
        self._made = 0

    def item(self, kind: str) -> dict[str, Any]:
        """Return the beginning of one more item."""
        self._made += 1
        return {"id": f"{PREFIXES[kind]}_{self._digest}{self._made:04x}", "type": kind}


def content_of(part: Part) -> dict[str, Any]:
    """Return a part of a message."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    text = part.text if isinstance(part, Text) else ""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_of(call: Call, kind: str) -> dict[str, Any]:
    """Return the fields of a call: one without arguments has an empty object."""
    said = {"input": call.arguments} if kind == "custom_tool_call" else {"arguments": call.arguments or "{}"}
    return {"call_id": call.id, "name": call.name} | said


def kind_of(call: Call, wish: Wish | None) -> str:
    """Return whether a call is one of a function or of a custom tool, whose input is plain text."""
    tools = map(as_object, as_list(asked(wish).get("tools")))
    custom = any(tool.get("type") == "custom" and tool.get("name") == call.name for tool in tools)
    return "custom_tool_call" if custom else "function_call"
