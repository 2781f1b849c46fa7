"""Answers of the Responses API, whole and as events, as a provider gives them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chat.protocols.ids import originals
from chat.protocols.payload import (
    Heard,
    UnusableReply,
    as_list,
    as_object,
    as_text,
    count,
    finish_reason,
    part_of,
    usage_of,
)
from chat.protocols.responses.body import NAME
from chat.protocols.responses.items import thought_of
from chat.protocols.responses.translate import LONGEST_NAME
from chat.types import (
    Call,
    ChatRequest,
    FinishReason,
    Opaque,
    Part,
    Piece,
    Refusal,
    Reply,
    Text,
    Thinking,
    Usage,
    joined,
)

FINISH_REASONS: Mapping[str, FinishReason] = {
    "completed": "stop",
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}
"""By the reason of an answer that is incomplete, else by its status."""
UNFINISHED = ("failed", "cancelled", "queued", "in_progress")
ARGUMENTS = {"function_call": "arguments", "custom_tool_call": "input"}
"""The kinds of calls, and the field of each that says what the tool is given."""


def read_reply(data: dict[str, Any], request: ChatRequest) -> Reply:
    """See `Protocol.read_reply`."""
    usage, heard = _usage(data), Heard(request=request)
    status, output = _status(data), data.get("output")
    if status in UNFINISHED:
        raise UnusableReply(f"its status is {status}", usage)
    if not isinstance(output, list):
        raise UnusableReply("no output", usage)
    parts = tuple(map(_sound, joined(_whole(output, heard))))
    if not parts and not status:
        raise UnusableReply("neither an output nor an end", usage)
    calls = any(isinstance(part, Call) for part in parts)
    finish = finish_reason(_reason(data), FINISH_REASONS, usage, request.max_tokens, calls=calls)
    if any(isinstance(part, Refusal) for part in parts):
        finish = "content_filter"
    return Reply(parts, finish, usage, raw=data if request.is_verbatim(NAME) else None)


def read_event(data: dict[str, Any], heard: Heard) -> tuple[Piece, ...]:
    """See `Protocol.read_event`."""
    reader = READERS.get(part_of(data.get("type")))
    pieces = tuple(reader(data, heard)) if reader else ()
    heard.refused = heard.refused or any(isinstance(piece.part, Refusal) for piece in pieces)
    return pieces


def _closed(data: dict[str, Any], heard: Heard) -> Iterator[Piece]:
    """Read the last event, which has the whole answer; a server may have sent nothing before."""
    response = as_object(data.get("response"))
    heard.usage = _usage(response) or heard.usage
    if _status(response) in UNFINISHED:
        raise UnusableReply(f"its status is {_status(response)}", heard.usage)
    heard.reason, heard.done = _reason(response) or str(data["type"]).rpartition(".")[2], True
    output = response.get("output")
    return iter(()) if heard.parts or not isinstance(output, list) else _whole(output, heard)


def _whole(output: list[Any], heard: Heard) -> Iterator[Piece]:
    for index, item in enumerate(output):
        yield from _rest(as_object(item), index, heard)


# --- items ------------------------------------------------------------------------------------------------------------
def _added(data: dict[str, Any], heard: Heard) -> Iterator[Piece]:
    item = as_object(data.get("item"))
    if part_of(item.get("type")) in ARGUMENTS and part_of(item.get("name")):
        yield _begun(item, _index(data, item), heard)


def _done(data: dict[str, Any], heard: Heard) -> Iterator[Piece]:
    item = as_object(data.get("item"))
    return _rest(item, _index(data, item), heard)


def _rest(item: dict[str, Any], index: Any, heard: Heard) -> Iterator[Piece]:
    """Yield the pieces of a whole item that had not come before it."""
    kind = part_of(item.get("type"))
    if kind == "message":
        for number, part in enumerate(as_list(item.get("content"))):
            yield from _rest_of_content(as_object(part), (index, number), heard)
    elif kind in ARGUMENTS and part_of(item.get("name")):
        key = ("call", index)
        if key not in heard.parts:
            yield _begun(item, index, heard)
        if rest := _unheard(heard, key, part_of(item.get(ARGUMENTS[kind]))):
            yield Piece(key, Call("", "", rest))
    elif kind == "reasoning":
        key = ("thought", index)
        text, signature = thought_of(item) or ("", "")
        if (rest := _unheard(heard, key, part_of(text))) or signature:
            yield Piece(key, Thinking(rest, signature))
    elif kind and kind not in ARGUMENTS and heard.request.is_verbatim(NAME):
        heard.parts["opaque", index] = 0
        yield Piece(("opaque", index), Opaque(NAME, item))


def _rest_of_content(part: dict[str, Any], place: tuple[Any, Any], heard: Heard) -> Iterator[Piece]:
    kinds: Mapping[str, tuple[str, Any]] = {"output_text": ("text", Text), "refusal": ("refusal", Refusal)}
    if (kind := part_of(part.get("type"))) in kinds:
        name, make = kinds[kind]
        if rest := _unheard(heard, (name, *place), part_of(part.get(name))):
            yield Piece((name, *place), make(rest))


def _begun(item: dict[str, Any], index: Any, heard: Heard) -> Piece:
    """Return the first fragment of a call, which has its id and name."""
    key, name = ("call", index), part_of(item.get("name"))
    heard.parts[key] = 0
    name = originals(heard.request, NAME, LONGEST_NAME).get(name, name)
    call_id = part_of(item.get("call_id")) or part_of(item.get("id")) or f"call_{uuid.uuid4().hex[:24]}"
    return Piece(key, Call(call_id, name, ""))


def _unheard(heard: Heard, key: Any, whole: str) -> str:
    """Return the end of a text that no fragment has brought."""
    already = heard.parts.get(key, 0)
    heard.parts[key] = max(already, len(whole))
    return whole[already:]


# --- fragments --------------------------------------------------------------------------------------------------------
def _fragment(name: str, make: Callable[[str], Part], *, within: str = "") -> Callable[..., Iterator[Piece]]:
    """Return the reader of an event that has a further fragment of a part; `within` is the index of the part in its
    item, where that may have several."""

    def read(data: dict[str, Any], heard: Heard) -> Iterator[Piece]:
        index, fragment = _index(data, {}), part_of(data.get("delta"))
        key = (name, index, count(data.get(within)) or 0) if within else (name, index)
        if name != "call" or key in heard.parts:  # else it has no name yet, and comes whole when it is done
            heard.parts[key] = heard.parts.get(key, 0) + len(fragment)
            yield Piece(key, make(fragment))

    return read


def _next_summary(data: dict[str, Any], heard: Heard) -> Iterator[Piece]:
    key = ("thought", _index(data, {}))
    if heard.parts.get(key):
        heard.parts[key] += len("\n\n")
        yield Piece(key, Thinking("\n\n"))


def _arguments(fragment: str) -> Call:
    return Call("", "", fragment)


def _index(data: dict[str, Any], item: dict[str, Any]) -> Any:
    """Return what tells an item from the others of an answer."""
    index = data.get("output_index")
    return index if isinstance(index, int) else str(data.get("item_id") or item.get("id"))


READERS: Mapping[str, Callable[[dict[str, Any], Heard], Iterator[Piece]]] = {
    "response.output_item.added": _added,
    "response.output_item.done": _done,
    "response.output_text.delta": _fragment("text", Text, within="content_index"),
    "response.refusal.delta": _fragment("refusal", Refusal, within="content_index"),
    "response.function_call_arguments.delta": _fragment("call", _arguments),
    "response.custom_tool_call_input.delta": _fragment("call", _arguments),
    "response.reasoning_summary_part.added": _next_summary,
    "response.reasoning_summary_text.delta": _fragment("thought", Thinking),
    "response.reasoning_text.delta": _fragment("thought", Thinking),
    "response.completed": _closed,
    "response.incomplete": _closed,
}


# --- how it ended, and what it cost -----------------------------------------------------------------------------------
def _status(response: Mapping[str, Any]) -> str:
    return part_of(response.get("status"))


def _reason(response: Mapping[str, Any]) -> str:
    reason = as_object(response.get("incomplete_details")).get("reason")
    return reason if isinstance(reason, str) and reason else _status(response)


def _usage(response: Mapping[str, Any]) -> Usage | None:
    usage = as_object(response.get("usage"))
    read, written = as_object(usage.get("input_tokens_details")), as_object(usage.get("output_tokens_details"))
    counts = [count(usage.get(name)) for name in ("input_tokens", "output_tokens", "total_tokens")]
    details = {name: count(read.get(name)) or 0 for name in ("cached_tokens", "cache_write_tokens")}
    return usage_of(*counts, **details, reasoning_tokens=count(written.get("reasoning_tokens")) or 0)


def _sound(part: Part) -> Part:
    """Return a part of a whole answer with texts that are fit to be kept."""
    if isinstance(part, Text | Refusal | Thinking):
        return part._replace(text=as_text(part.text))
    if isinstance(part, Call):
        return part._replace(id=as_text(part.id), name=as_text(part.name), arguments=as_text(part.arguments))
    return part
