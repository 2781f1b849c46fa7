"""OpenAI's answers, whole and as chunks, as a client gets them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from chat.protocols import sse
from chat.protocols.ids import fit
from chat.protocols.openai.errors import write_error
from chat.protocols.openai.translate import LONGEST_ID
from chat.protocols.payload import as_list, as_object
from chat.protocols.replies import noted
from chat.types import Answer, Call, Delta, Piece, Refusal, Start, Text, Tick, Told, Usage, Wish


def write_reply(answer: Answer, wish: Wish) -> dict[str, Any]:
    """See `Face.write_reply`."""
    if answer.raw is not None:
        return _relayed(answer, answer.raw)
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    texts = [part.text for part in answer.parts if isinstance(part, Text)]
    refusals = [part.text for part in answer.parts if isinstance(part, Refusal)]
    calls = [call_of(part) for part in answer.parts if isinstance(part, Call)]
    if texts or not (calls or refusals):
        message["content"] = "".join(texts)
    if refusals:
        message["refusal"] = "".join(refusals)
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
    head = _head(answer.request_id, answer.created, answer.model, "chat.completion")
    return head | {"choices": [choice], "usage": counts(answer.charged)} | noted(answer)


def _relayed(answer: Answer, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provider's own body with our id and model, and the counts that were charged. Some compatible servers
    say that an answer has ended where it calls a tool: SDKs go by the reason."""
    choices = raw["choices"]
    if answer.finish_reason == "tool_calls" and choices[0].get("finish_reason") == "stop":
        choices = [choices[0] | {"finish_reason": "tool_calls"}, *choices[1:]]
    charged = as_object(raw.get("usage")) | counts(answer.charged)
    head = {"id": f"chatcmpl-{answer.request_id}", "object": "chat.completion", "model": answer.model}
    return {**raw, **head, "created": answer.created, "choices": choices, "usage": charged}


def call_of(call: Call) -> dict[str, Any]:
    """Return a call as OpenAI has it."""
    function = {"name": call.name, "arguments": call.arguments.strip() or "{}"}
    return {"id": fit(call.id, LONGEST_ID), "type": "function", "function": function}


class EventWriter:
    """See `EventWriter` of `Face`. Each chunk is whole in itself; `[DONE]` alone says that the answer is."""

    def __init__(self, wish: Wish, request_id: str) -> None:
        self.request_id, self.include_usage = request_id, wish.usage_in_stream
        self.head = _head(request_id, int(time.time()), wish.model.name, "chat.completion.chunk")
        self.calls: dict[Any, bool] = {}  # by the part's own key, in their order: whether arguments were sent
        self.closing: list[dict[str, Any]] = []

    def write_event(self, item: Start | Delta | Tick | Answer) -> str:
        """See `EventWriter.write_event`."""
        if isinstance(item, Delta):
            return "".join(map(self._piece, item.pieces)) if item.raw is None else self._relay(item.raw)
        if isinstance(item, Tick):
            return sse.COMMENT
        if isinstance(item, Start):
            return self._open(item)
        return self._close(item)

    def _open(self, start: Start) -> str:
        if start.verbatim:
            return ""
        if stored := start.answer:
            self.head = _head(stored.request_id, stored.created, stored.model, "chat.completion.chunk")
        return self._chunk({"role": "assistant", "content": "", "refusal": None}, None, **noted(start.answer))

    def _piece(self, piece: Piece) -> str:
        of, part = piece
        if isinstance(part, Text | Refusal):
            return self._chunk({"content" if isinstance(part, Text) else "refusal": part.text}, None)
        return self._fragment(of, part) if isinstance(part, Call) else ""

    def _fragment(self, of: Any, call: Call) -> str:
        opened = ""
        if of not in self.calls:
            self.calls[of] = False
            function = {"name": call.name, "arguments": ""}
            opened = self._call(of, {"id": fit(call.id, LONGEST_ID), "type": "function", "function": function})
        if not call.arguments:
            return opened
        self.calls[of] = True
        return opened + self._call(of, {"function": {"arguments": call.arguments}})

    def _call(self, of: Any, fields: dict[str, Any]) -> str:
        return self._chunk({"tool_calls": [{"index": list(self.calls).index(of), **fields}]}, None)

    def _relay(self, raw: Mapping[str, Any]) -> str:
        """Return a provider's own chunk. Those that end the answer wait until its bill is settled."""
        chunk = {**raw, **{name: self.head[name] for name in ("id", "created", "model")}}
        choices = as_list(raw.get("choices"))
        if not choices or any(as_object(choice).get("finish_reason") for choice in choices):
            self.closing.append(chunk)
            return ""
        if not self.include_usage:
            chunk.pop("usage", None)
        return sse.write(chunk)

    def _close(self, answer: Answer) -> str:
        usage = self.head | {"choices": [], "usage": counts(answer.charged)}
        if not self.closing:
            silent = [of for of, sent in self.calls.items() if not sent]
            last = "".join(self._call(of, {"function": {"arguments": "{}"}}) for of in silent)
            last += self._chunk({}, answer.finish_reason)
            return f"{last}{sse.write(usage) if self.include_usage else ''}data: [DONE]\n\n"
        chunks = [self._ended(chunk, answer) for chunk in self.closing if as_list(chunk.get("choices"))]
        told = next(filter(None, (as_object(chunk.get("usage")) for chunk in self.closing)), {})
        usage["usage"] = told | counts(answer.charged)
        return "".join(map(sse.write, [*chunks, usage] if self.include_usage else chunks)) + "data: [DONE]\n\n"

    def _ended(self, chunk: dict[str, Any], answer: Answer) -> dict[str, Any]:
        choices = [
            choice | {"finish_reason": "tool_calls"}
            if answer.finish_reason == "tool_calls" and as_object(choice).get("finish_reason") == "stop"
            else choice
            for choice in chunk["choices"]
        ]
        untold = {name: value for name, value in chunk.items() if name != "usage"}
        return untold | {"choices": choices} | ({"usage": None} if self.include_usage else {})

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


def counts(usage: Usage) -> dict[str, Any]:
    """Return a usage as OpenAI has it; the details of it are there where there is something to tell."""
    told: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total,
    }
    if usage.cached_tokens or usage.cache_write_tokens:
        cached = {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens}
        told["prompt_tokens_details"] = cached
    if usage.reasoning_tokens:
        told["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning_tokens}
    return told
