"""Anthropic's Messages API for tests: what its clients send, and what its servers answer, and what goes out here."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from chat.protocols import anthropic
from chat.protocols.sse import EventReader
from chat.types import Answer, Catalogue, ChatRequest, Delta, Model, Piece, Raw, Told, Usage, Wish

# --- clients ----------------------------------------------------------------------------------------------------------
CATALOGUE = Catalogue({"m": Model("m", (), 4096, 64)}, {}, {})
PNG = base64.b64encode(b"\x89PNG...").decode()
PDF = base64.b64encode(b"%PDF-1.7 ...").decode()
USER = {"role": "user", "content": "Hi"}
SCHEMA = {"type": "object", "properties": {"at": {"type": "string"}}, "additionalProperties": False}
LOOK = {"name": "look", "description": "Look at it.", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20260318", "name": "web_search"}
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
FILE = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
PAPER = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PDF}, "title": "P"}
NOTE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a note"}}
REFERENCE = {"type": "tool_reference", "tool_name": "look"}
CACHE = {"type": "ephemeral"}


def wish_of(*content: Any, headers: dict[str, str] | None = None, **body: Any) -> Wish:
    """What a client wants, of whose one message this is the content."""
    messages = [{"role": "user", "content": list(content)}] if content else [USER]
    given = {"model": "m", "max_tokens": 64, "messages": messages, **body}
    return anthropic.read_request(given, CATALOGUE, headers or {})


def talk(*turns: Any) -> list[dict[str, Any]]:
    """Messages of the user and the assistant by turns."""
    return [{"role": ("user", "assistant")[number % 2], "content": content} for number, content in enumerate(turns)]


# --- servers ----------------------------------------------------------------------------------------------------------
USAGE = {
    "input_tokens": 20,
    "cache_creation_input_tokens": 4,
    "cache_read_input_tokens": 12,
    "output_tokens": 87,
    "output_tokens_details": {"thinking_tokens": 64},
    "service_tier": "standard",
}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def thinking(words: str, signature: str = "EqQB-proof") -> dict[str, Any]:
    return {"type": "thinking", "thinking": words, "signature": signature}


def redacted(data: str = "EmwK-data") -> dict[str, Any]:
    return {"type": "redacted_thinking", "data": data}


def call(name: str, number: int = 1, /, **given: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number:04}", "name": name, "input": given}


def result(content: Any, number: int = 1, **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": f"toolu_{number:04}", "content": content, **more}


def message(*blocks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A whole answer."""
    calls = any(block["type"] == "tool_use" for block in blocks)
    return {
        "id": "msg_01Aq9w938a90dw8q",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-5-5",
        "content": list(blocks),
        "stop_reason": "tool_use" if calls else "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": USAGE,
        **changes,
    }


def events(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The events of a whole answer, with pings where Anthropic's servers send them."""
    usage = whole["usage"] or {}
    opening: dict[str, Any] = {"content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield {"type": "message_start", "message": whole | opening}
    for index, block in enumerate(whole["content"]):
        yield from _block(block, index)
    delta = {name: whole[name] for name in ("stop_reason", "stop_sequence", "stop_details")}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}


def _block(block: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    begun, deltas = dict(block), list[dict[str, Any]]()
    if block["type"] == "text":
        begun["text"] = ""
        deltas = [{"type": "text_delta", "text": piece} for piece in halves(block["text"])]
    elif block["type"] == "thinking":
        begun |= {"thinking": "", "signature": ""}
        deltas = [{"type": "thinking_delta", "thinking": piece} for piece in halves(block["thinking"])]
        deltas.append({"type": "signature_delta", "signature": block["signature"]})
    elif block["type"] in ("tool_use", "server_tool_use"):
        begun["input"] = {}
        typed = json.dumps(block["input"], ensure_ascii=False, separators=(",", ":")) if block["input"] else ""
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *halves(typed))]
    yield {"type": "content_block_start", "index": index, "content_block": begun}
    if index == 0:
        yield {"type": "ping"}
    for delta in deltas:
        yield {"type": "content_block_delta", "index": index, "delta": delta}
    yield {"type": "content_block_stop", "index": index}


def halves(words: str) -> list[str]:
    middle = len(words) // 2
    return [half for half in (words[:middle], words[middle:]) if half]


def stream(whole: dict[str, Any]) -> bytes:
    """The bytes of the events."""
    found = (f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n" for event in events(whole))
    return "".join(found).encode()


# --- what clients get -------------------------------------------------------------------------------------------------
EVENT: Any = TypeAdapter(RawMessageStreamEvent)
COUNTED = Usage(36, 87, 12, 4, 64)
"""The tokens in `USAGE`."""
BY_A_CLIENT = Wish(model=CATALOGUE.models["m"], request=ChatRequest(raw=Raw("anthropic", {})), stream=True)
FAILED = Told("invalid_provider_response", 502, "The provider gave an unusable answer.", {})
ENDED = ["message_delta", "message_stop"]


def answer_of(*parts: Any, finish: Any = "stop", usage: Usage = COUNTED, **changes: Any) -> Answer:
    return Answer(parts, usage, finish, "p", 123, "m", "r-1", 1_730_000_000, **changes)


def deltas(*parts: tuple[Any, Any]) -> list[Delta]:
    """The pieces of a stream, each with the key of its part."""
    return [Delta((Piece(of, part),)) for of, part in parts]


def written(*items: Any, error: Told | None = None) -> list[dict[str, Any]]:
    """The data of the events that a client gets."""
    writer = anthropic.EventWriter(BY_A_CLIENT, "r-1")
    sent = "".join(map(writer.write_event, items)) + (writer.write_error(error) if error else "")
    found = EventReader().feed(sent.encode())
    data = [json.loads(event.data) for event in found]
    assert [event.name for event in found] == [event["type"] for event in data]
    return data


def accumulated(found: list[dict[str, Any]]) -> Any:
    """What Anthropic's package makes of the events."""
    snapshot: Any = None
    typed: dict[int, bytes] = {}
    for event in found:
        if event["type"] not in ("ping", "error"):
            read = EVENT.validate_python(event)
            snapshot = accumulate_event(event=read, current_snapshot=snapshot, json_bufs=typed)
    return snapshot
