"""OpenAI's Responses API, for tests: answers and events as its own servers send them, and requests as clients do."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from chat.protocols import responses
from chat.types import Catalogue, ChatRequest, Model, Upstream, Wish
from tests.support.loopback import Fault, status

USAGE = {
    "input_tokens": 36,
    "input_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 4},
    "output_tokens": 87,
    "output_tokens_details": {"reasoning_tokens": 64},
    "total_tokens": 123,
}


def message(*parts: dict[str, Any], number: int = 1, **more: Any) -> dict[str, Any]:
    fixed = {"type": "message", "status": "completed", "role": "assistant"}
    return {"id": f"msg_{number:04}", **fixed, "content": list(parts), **more}


def text(words: str) -> dict[str, Any]:
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": []}


def refusal(words: str) -> dict[str, Any]:
    return {"type": "refusal", "refusal": words}


def call(name: str, arguments: str, number: int = 1, **more: Any) -> dict[str, Any]:
    ids = {"id": f"fc_{number:04}", "call_id": f"call_{number:04}"}
    return {"type": "function_call", "status": "completed", **ids, "name": name, "arguments": arguments, **more}


def custom_call(name: str, words: str, number: int = 1) -> dict[str, Any]:
    ids = {"id": f"ctc_{number:04}", "call_id": f"call_{number:04}"}
    return {"type": "custom_tool_call", **ids, "name": name, "input": words}


def reasoning(*summary: str, proof: str = "gAAAA-proof", number: int = 1) -> dict[str, Any]:
    parts = [{"type": "summary_text", "text": words} for words in summary]
    return {"id": f"rs_{number:04}", "type": "reasoning", "summary": parts, "encrypted_content": proof}


def response(*output: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A whole answer. One that is not complete says so by its `incomplete_details`."""
    status = "incomplete" if changes.get("incomplete_details") else "completed"
    return {
        "id": "resp_68af4030592c81938ec0a5fbab4a3e9f05438e46b5f69a3b",
        "object": "response",
        "created_at": 1756315696,
        "status": status,
        "background": False,
        "billing": {"payer": "developer"},
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": 64,
        "model": "gpt-6-luna-2026-09-01",
        "output": list(output),
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": "medium", "summary": None},
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": USAGE,
        "user": None,
        "metadata": {},
        **changes,
    }


def words_of(words: str) -> list[str]:
    return re.findall(r"\s*\S+\s*|\s+", words)


def events_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of a streamed answer, in the order and with the fields of OpenAI's own."""
    begun = {**answer, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    told = [{"type": f"response.{kind}", "response": begun} for kind in ("created", "in_progress")]
    for index, item in enumerate(answer["output"]):
        told += _item(item, index)
    told.append({"type": f"response.{answer['status']}", "response": answer})
    return [{"type": event["type"], "sequence_number": number, **event} for number, event in enumerate(told)]


def written(events: list[dict[str, Any]]) -> str:
    return "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)


def _item(item: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    kind = item["type"]
    about = {"item_id": item["id"], "output_index": index}
    empty: dict[str, dict[str, Any]] = {
        "message": {"content": []},
        "function_call": {"arguments": ""},
        "custom_tool_call": {"input": ""},
    }
    begun = {**item, **empty.get(kind, {}), **({"status": "in_progress"} if "status" in item else {})}
    if kind == "reasoning":
        begun |= {"summary": [], "encrypted_content": "gAAAA-incomplete"}
    yield {"type": "response.output_item.added", "output_index": index, "item": begun}
    if kind == "message":
        for number, part in enumerate(item["content"]):
            yield from _content(part, {**about, "content_index": number})
    elif kind == "function_call":
        yield from _deltas("function_call_arguments", "arguments", item["arguments"], about)
    elif kind == "custom_tool_call":
        yield from _deltas("custom_tool_call_input", "input", item["input"], about)
    elif kind == "reasoning":
        for number, part in enumerate(item["summary"]):
            where = {**about, "summary_index": number}
            yield {"type": "response.reasoning_summary_part.added", **where, "part": {**part, "text": ""}}
            yield from _deltas("reasoning_summary_text", "text", part["text"], where)
            yield {"type": "response.reasoning_summary_part.done", **where, "part": part}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _content(part: dict[str, Any], about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    name = "text" if part["type"] == "output_text" else "refusal"
    more: dict[str, Any] = {"logprobs": []} if name == "text" else {}
    yield {"type": "response.content_part.added", **about, "part": {**part, name: ""}}
    yield from _deltas("output_text" if name == "text" else "refusal", name, part[name], about | more)
    yield {"type": "response.content_part.done", **about, "part": part}


def _deltas(stem: str, name: str, words: str, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for piece in words_of(words):
        yield {"type": f"response.{stem}.delta", **about, "delta": piece, "obfuscation": "x7Rq"}
    yield {"type": f"response.{stem}.done", **about, name: words}


@dataclass
class Vendor:
    """A server of OpenAI's two APIs that gives `answer` whole or streamed, cut after `cut` events, and all the same
    answers "hello" on chat/completions."""

    answer: dict[str, Any]
    cut: int | None = None

    def __call__(self, recorded: Any) -> Fault | str:
        if not recorded.path.endswith("/responses"):
            return "ok"
        if not recorded.json.get("stream"):
            return status(200, {"content-type": "application/json"}, self.answer)
        return Fault("stream_paced", body=written(events_of(self.answer)[: self.cut]), seconds=0)


TEXT = response(message(text("Good day.")))
CALLS = response(
    reasoning("First look."),
    message(text("I look.")),
    call("look", '{"at": 1}'),
    call("look", "{}", 2),
)


# --- a client's requests ----------------------------------------------------------------------------------------------
CATALOGUE = Catalogue({"m": Model("m", (), 4096, 64)}, {}, {})
GPT, PLAIN = Upstream("gpt-6-luna"), Upstream("some-model")
PNG = base64.b64encode(b"\x89PNG...").decode()
PDF = base64.b64encode(b"%PDF-1.7 ...").decode()
SCHEMA = {
    "type": "object",
    "properties": {"at": {"type": "string"}},
    "required": ["at"],
    "additionalProperties": False,
}
CALL = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "sky"}'}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "blue"}
USER = {"role": "user", "content": "Hi"}


def wish_of(said: Any = "Hi", **body: Any) -> Wish:
    return responses.read_request({"model": "m", "input": said, **body}, CATALOGUE, {})


def read(said: Any = "Hi", **body: Any) -> ChatRequest:
    return wish_of(said, **body).request


def write(request: ChatRequest, upstream: Upstream = PLAIN, *, stream: bool = False) -> dict[str, Any]:
    return responses.write_request(replace(request, max_tokens=64), upstream, host="api.openai.com", stream=stream)


def passed(*, upstream: Upstream = PLAIN, **body: Any) -> dict[str, Any]:
    """What a client's own body becomes on its way."""
    return write(read(**body), upstream)


def needs_of(*args: Any, **body: Any) -> list[tuple[str, str]]:
    return [(need.kind, need.path) for need in read(*args, **body).needs]


LOOK = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}, "strict": False}
HELLO = [{"role": "user", "content": "Hello!"}]
