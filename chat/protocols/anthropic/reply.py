"""Anthropic's answers, whole and as events, as a provider gives them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from chat.protocols.anthropic.body import NAME
from chat.protocols.anthropic.content import REDACTED
from chat.protocols.anthropic.translate import LONGEST_NAME
from chat.protocols.ids import originals
from chat.protocols.payload import (
    Heard,
    UnusableReply,
    as_list,
    as_object,
    as_text,
    count,
    finish_reason,
    parse_object,
    part_of,
    usage_of,
)
from chat.types import (
    Call,
    ChatRequest,
    FinishReason,
    Opaque,
    Part,
    Piece,
    Reply,
    Text,
    Thinking,
    Usage,
    compact,
    text_of,
)

FINISH_REASONS: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "compaction": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "content_filter",
}
THOUGHTS = ("thinking", "redacted_thinking")
READ = ("text", *THOUGHTS, "tool_use")
"""The types of blocks that others know, too."""
CACHED = ("cache_creation_input_tokens", "cache_read_input_tokens")
BESIDE = ("compaction", "advisor_message")
"""Types of the inner calls of an answer whose tokens the sums do not have."""


def read_reply(data: dict[str, Any], request: ChatRequest) -> Reply:
    """See `Protocol.read_reply`."""
    usage, reason, blocks = usage_in(data), data.get("stop_reason"), data.get("content")
    if not isinstance(blocks, list):
        raise UnusableReply("no content", usage)
    parts = tuple(_sound(part) for part in _parts(blocks, request))
    calls = any(isinstance(part, Call) for part in parts)
    if not text_of(parts).strip() and not calls and not (isinstance(reason, str) and reason):
        raise UnusableReply("neither text nor an end", usage)
    finish = finish_reason(reason, FINISH_REASONS, usage, request.max_tokens, calls=calls)
    raw = data if request.is_verbatim(NAME) else None
    return Reply(parts, finish, usage, as_text(data.get("stop_sequence")), raw)


def _parts(blocks: Iterable[Any], request: ChatRequest) -> Iterator[Part]:
    """Yield the parts of an answer. What only the vendor knows is for its own clients."""
    names = originals(request, NAME, LONGEST_NAME)
    for block in map(as_object, blocks):
        kind = block.get("type")
        if kind == "text" and (text := part_of(block.get("text"))):
            yield Text(text)
        elif kind in THOUGHTS and (thought := _thought(block)) != Thinking(""):
            yield thought
        elif kind == "tool_use":
            yield _call(block, names, compact(as_object(block.get("input"))))
        elif isinstance(kind, str) and kind not in READ and request.is_verbatim(NAME):
            yield Opaque(NAME, block)


def _thought(block: Mapping[str, Any]) -> Thinking:
    if block.get("type") == "redacted_thinking":
        return Thinking("", f"{REDACTED}{part_of(block.get('data'))}")
    return Thinking(part_of(block.get("thinking")), part_of(block.get("signature")))


def _call(block: Mapping[str, Any], names: Mapping[str, str], arguments: str) -> Call:
    name = as_text(block.get("name"))
    return Call(as_text(block.get("id")) or f"toolu_{uuid.uuid4().hex[:24]}", names.get(name, name), arguments)


def _sound(part: Part) -> Part:
    """Return a part of a whole answer with texts that are fit to be kept."""
    if isinstance(part, Text):
        return Text(as_text(part.text))
    if isinstance(part, Thinking):
        return Thinking(as_text(part.text), as_text(part.signature))
    return part._replace(arguments=as_text(part.arguments)) if isinstance(part, Call) else part


# --- events -----------------------------------------------------------------------------------------------------------
def read_event(data: dict[str, Any], heard: Heard) -> tuple[Piece, ...]:
    """See `Protocol.read_event`."""
    kind = data.get("type")
    reader = READERS.get(kind) if isinstance(kind, str) else None
    return tuple(reader(data, heard)) if reader else ()


def _started(data: dict[str, Any], heard: Heard) -> Iterable[Piece]:
    _count(as_object(data.get("message")).get("usage"), heard)
    return ()


def _block(data: dict[str, Any], heard: Heard) -> Iterator[Piece]:
    """Begin a block. Its text is empty as a rule, and the input of a call is `{}`."""
    block, index = as_object(data.get("content_block")), _index(data)
    kind = block.get("type")
    if kind == "text" and (text := part_of(block.get("text"))):
        yield Piece(("text", index), Text(text))
    elif kind in THOUGHTS and (thought := _thought(block)) != Thinking(""):
        yield Piece(("thinking", index), thought)
    elif kind == "tool_use":
        heard.parts["call", index] = [], compact(as_object(block.get("input")))
        yield Piece(("call", index), _call(block, originals(heard.request, NAME, LONGEST_NAME), ""))
    elif isinstance(kind, str) and kind not in READ and heard.request.is_verbatim(NAME):
        heard.parts["opaque", index] = [], block


def _fragment(data: dict[str, Any], heard: Heard) -> Iterator[Piece]:
    delta, index = as_object(data.get("delta")), _index(data)
    kind = delta.get("type")
    if kind == "text_delta" and (text := part_of(delta.get("text"))):
        yield Piece(("text", index), Text(text))
    elif kind == "thinking_delta" and (thought := part_of(delta.get("thinking"))):
        yield Piece(("thinking", index), Thinking(thought))
    elif kind == "signature_delta" and (signature := part_of(delta.get("signature"))):
        yield Piece(("thinking", index), Thinking("", signature))
    elif kind == "input_json_delta" and ("call", index) in heard.parts:
        if arguments := part_of(delta.get("partial_json")):
            heard.parts["call", index][0].append("")
            yield Piece(("call", index), Call("", "", arguments))
    elif ("opaque", index) in heard.parts:
        heard.parts["opaque", index][0].append(delta)


def _ended(data: dict[str, Any], heard: Heard) -> Iterator[Piece]:
    """End a block. A call whose arguments did not come by then has those of its beginning."""
    index = _index(data)
    if call := heard.parts.pop(("call", index), None):
        fragments, arguments = call
        if not fragments:
            yield Piece(("call", index), Call("", "", arguments))
    if opaque := heard.parts.pop(("opaque", index), None):
        yield Piece(("opaque", index), Opaque(NAME, _grown(*opaque)))


def _grown(deltas: list[dict[str, Any]], block: dict[str, Any]) -> dict[str, Any]:
    """Return a block that nobody here knows with all that came after its beginning."""
    typed = "".join(part_of(delta.get("partial_json")) for delta in deltas)
    found = parse_object(typed.encode("utf-8", "replace")) if typed else None
    more = {name: value for delta in deltas for name, value in delta.items() if name not in ("type", "partial_json")}
    return block | more | ({"input": found} if found is not None else {})


def _told(data: dict[str, Any], heard: Heard) -> Iterable[Piece]:
    """Read why the answer ended, and its counts: each is a total, and those that have not changed may be missing."""
    _count(data.get("usage"), heard)
    heard.counted = heard.counted or "output_tokens" in as_object(data.get("usage"))
    delta = as_object(data.get("delta"))
    if isinstance(reason := delta.get("stop_reason"), str):
        heard.reason, heard.stop_sequence = reason, as_text(delta.get("stop_sequence"))
    return ()


def _stopped(data: dict[str, Any], heard: Heard) -> Iterable[Piece]:
    heard.done = True
    if heard.reason and not heard.counted:
        _count({"output_tokens": 0}, heard)  # the first event holds a placeholder
    return ()


def _whole(data: dict[str, Any], heard: Heard) -> Iterable[Piece]:
    """Read a whole message, which a server that does not stream may answer as one event."""
    reason = data.get("stop_reason")
    heard.stop_sequence = as_text(data.get("stop_sequence"))
    heard.reason, heard.usage, heard.done = reason if isinstance(reason, str) else None, usage_in(data), True
    parts = _parts(as_list(data.get("content")), heard.request)
    return (Piece(number, part) for number, part in enumerate(parts))


READERS: Mapping[str, Callable[[dict[str, Any], Heard], Iterable[Piece]]] = {
    "message_start": _started,
    "content_block_start": _block,
    "content_block_delta": _fragment,
    "content_block_stop": _ended,
    "message_delta": _told,
    "message_stop": _stopped,
    "message": _whole,
}


def _index(data: Mapping[str, Any]) -> int:
    index = data.get("index")
    return index if isinstance(index, int) else 0


def _count(told: Any, heard: Heard) -> None:
    heard.usage_report |= {name: value for name, value in as_object(told).items() if value is not None}
    heard.usage = usage_in({"usage": heard.usage_report})


# --- what it cost -----------------------------------------------------------------------------------------------------
def usage_in(data: Mapping[str, Any]) -> Usage | None:
    """Return the counts of an answer. Its `input_tokens` leave out what the prompt cache wrote or read."""
    usage = as_object(data.get("usage"))
    beside = [item for item in map(as_object, as_list(usage.get("iterations"))) if item.get("type") in BESIDE]
    counts = [_counts(item) for item in (usage, *beside)]
    if any(None in found for found in counts):
        return None
    prompt, written, read, completion = (sum(found) for found in zip(*counts, strict=True))
    thought = count(as_object(usage.get("output_tokens_details")).get("thinking_tokens")) or 0
    kept = count(as_object(usage.get("cache_creation")).get("ephemeral_1h_input_tokens")) or 0
    return usage_of(
        prompt + written + read,
        completion,
        cached_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=thought,
        long_write_tokens=min(kept, written),
    )


def _counts(usage: Mapping[str, Any]) -> list[Any]:
    # Older servers leave the two out, or send null.
    written, read = (count(usage.get(name) or 0) for name in CACHED)
    return [count(usage.get("input_tokens")), written, read, count(usage.get("output_tokens"))]
