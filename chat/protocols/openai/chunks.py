"""OpenAI's answers as chunks, as a provider streams them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chat.protocols.ids import originals
from chat.protocols.openai.body import NAME
from chat.protocols.openai.reply import (
    ABORTED,
    BROKEN_OFF,
    arguments_in,
    new_id,
    text_in,
    thoughts_of,
    usage_in,
)
from chat.protocols.openai.translate import LONGEST_NAME
from chat.protocols.payload import Heard, UnusableReply, as_list, as_object, as_text, part_of
from chat.types import Call, Piece, Refusal, Text, Thinking


def read_event(data: dict[str, Any], heard: Heard) -> tuple[Piece, ...]:
    """See `Protocol.read_event`."""
    # Usage comes in an extra chunk without choices, in the last one with choices, or in every one.
    heard.usage = usage_in(data) or heard.usage
    pieces: list[Piece] = []
    for choice in map(as_object, as_list(data.get("choices"))):
        number = index if isinstance(index := choice.get("index"), int) else 0
        # A server that does not stream may answer the whole message as one event.
        delta, reason = as_object(choice.get("delta") or choice.get("message")), choice.get("finish_reason")
        if reason in ABORTED:
            raise UnusableReply(BROKEN_OFF, heard.usage)
        if isinstance(reason, str) and reason:
            heard.reason = reason
        pieces += _pieces(delta, number, heard)
    return tuple(pieces)


def _pieces(delta: Mapping[str, Any], number: Any, heard: Heard) -> list[Piece]:
    pieces: list[Piece] = []
    if thoughts := thoughts_of(delta):
        pieces.append(Piece((number, "thoughts"), Thinking(thoughts)))
    if text := text_in(delta.get("content"), "text"):
        pieces.append(Piece((number, "content"), Text(text)))
    if refusal := part_of(delta.get("refusal")) or text_in(delta.get("content"), "refusal"):
        heard.refused = True
        pieces.append(Piece((number, "refusal"), Refusal(refusal)))
    calls = as_list(delta.get("tool_calls"))
    return pieces + [_fragment(as_object(call), place, number, heard) for place, call in enumerate(calls)]


def _fragment(call: Mapping[str, Any], place: int, number: Any, heard: Heard) -> Piece:
    """Return a fragment of a call. Some servers leave out the index, give all calls the same one, or repeat the id."""
    index, given = call.get("index"), as_text(call.get("id"))
    key = (number, index if isinstance(index, int) else place)
    function = as_object(call.get("function") or call.get("custom"))
    name, arguments = as_text(function.get("name")), arguments_in(function)
    known = heard.parts.get(key)
    if known and (not given or given == known[1]):
        return Piece(known[0], Call("", "", arguments))
    of = (number, "call", len(heard.parts))
    heard.parts[key] = heard.parts[of] = of, given or new_id()
    name = originals(heard.request, NAME, LONGEST_NAME).get(name, name)
    return Piece(of, Call(heard.parts[key][1], name, arguments))
