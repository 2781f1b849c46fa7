"""What stands in the messages of Anthropic's clients: blocks of many types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chat.protocols import media, turns
from chat.protocols.anthropic.body import NAME, ROLES
from chat.protocols.anthropic.tools import tool_of
from chat.protocols.bodies import LONGEST_ECHO
from chat.protocols.payload import as_string
from chat.protocols.turns import fault, object_at, text_at
from chat.types import (
    STORED,
    UNKNOWN,
    Call,
    Document,
    Image,
    Message,
    Need,
    Opaque,
    Part,
    Result,
    Text,
    Thinking,
    compact,
    parts_of,
)

REDACTED = "redacted_thinking:"
"""Stands before the proof of thoughts whose text the vendor keeps to itself: they are blocks of another type."""
HARMLESS: Mapping[str, Any] = {
    "citations": ([], {"enabled": False}),
    "caller": ({"type": "direct"},),
    "context": ("",),
}
"""Fields of blocks, with the values that ask for nothing."""
OF_A_SOURCE = ("type", "media_type", "data", "url", "file_id", "content")
IN_RESULTS = {"image": "image_in_result", "document": "document_in_result"}

Reader = Callable[[Mapping[str, Any], str, "list[Need]"], Part]


def read_message(item: Any, place: str, needs: list[Need]) -> Message:
    """Return the message at `place`. Raises `InvalidMessageFormatError`."""
    item = object_at(item, place)
    role, content = item.get("role"), item.get("content")
    if role not in ROLES:
        raise fault(f"The role must be one of {', '.join(ROLES)}.", f"{place}.role", role)
    needs += _further(item, place, ("role", "content"))
    if role == "system":
        return Message("system", system_of(content, f"{place}.content", needs))
    parts = _content(content, f"{place}.content", needs, READERS)
    needs += turns.misplaced_in(role, parts, f"{place}.content")
    if role == "user" and not turns.has_words(parts):
        raise fault("The content must not be blank.", f"{place}.content", content)
    return Message(str(role), parts)


def system_of(content: Any, place: str, needs: list[Need]) -> tuple[Part, ...]:
    """Return a system prompt, its texts as one. Raises `InvalidMessageFormatError`."""
    parts = _content(content, place, needs, {"text": _text})
    said = "\n\n".join(part.text for part in parts if isinstance(part, Text) and part.text)
    return (*parts_of(said), *(part for part in parts if isinstance(part, Opaque)))


def _content(content: Any, place: str, needs: list[Need], readers: Mapping[str, Reader]) -> tuple[Part, ...]:
    if isinstance(content, str):
        return parts_of(content)
    if not isinstance(content, list):
        raise fault("This must be a string or a list of blocks.", place, content)
    return tuple(_block(block, f"{place}[{number}]", needs, readers) for number, block in enumerate(content))


def _block(block: Any, place: str, needs: list[Need], readers: Mapping[str, Reader]) -> Part:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise fault('A block is an object with a type, such as {"type": "text", "text": "..."}.', place, block)
    return readers.get(kind, _opaque)(block, place, needs)


def _text(block: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    needs += _further(block, place, ("type", "text"))
    return Text(text_at(block, "text", place))


def _image(block: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    source, where = object_at(block.get("source"), f"{place}.source"), f"{place}.source"
    needs += _further(block, place, ("type", "source"))
    needs += turns.further_in(source, OF_A_SOURCE, where)
    if source.get("type") == "base64":
        needs.append(Need("image_base64", where))
        return Image(text_at(source, "media_type", where), text_at(source, "data", where))
    if source.get("type") == "url":
        needs.append(Need("image_url", where))
        return Image(url=text_at(source, "url", where))
    return _opaque(block, place, needs)


def _document(block: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    source, where = object_at(block.get("source"), f"{place}.source"), f"{place}.source"
    needs += _further(block, place, ("type", "source", "title"))
    needs += turns.further_in(source, OF_A_SOURCE, where)
    kind, name = source.get("type"), as_string(block.get("title"))
    if kind == "base64":
        media_type, data = text_at(source, "media_type", where), text_at(source, "data", where)
        return media.document_of(media_type, data, name, where, needs)
    if kind == "text":
        needs.append(Need("document_text", where))
        return Document("text/plain", text=text_at(source, "data", where), name=name)
    if kind == "url":
        needs.append(Need("document_url", where))
        return Document(url=text_at(source, "url", where), name=name)
    return _opaque(block, place, needs)


def _thinking(block: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    # The vendor's own words about a thought that lacks something are what its clients recover by.
    return Thinking(as_string(block.get("thinking")), as_string(block.get("signature")))


def _redacted(block: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    return Thinking("", f"{REDACTED}{text_at(block, 'data', place)}")


def _call(block: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    needs += _further(block, place, ("type", "id", "name", "input"))
    arguments = block.get("input")
    if not isinstance(arguments, dict):
        raise fault("The input of a call must be an object.", f"{place}.input", arguments)
    return Call(text_at(block, "id", place), text_at(block, "name", place), compact(arguments))


def _result(block: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    needs += _further(block, place, ("type", "tool_use_id", "content", "is_error"))
    content, where = block.get("content"), f"{place}.content"
    parts = () if content is None else _content(content, where, needs, OF_A_RESULT)
    needs += [Need(IN_RESULTS[part.kind], where) for part in parts if part.kind in IN_RESULTS]
    return Result(text_at(block, "tool_use_id", place), parts, block.get("is_error") is True)


def _opaque(block: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    """Return a block that nobody else knows, and note what it has within: stored files, and definitions of tools."""
    part = turns.opaque(NAME, block, f"{place}.type", needs)
    waiting: list[tuple[Any, str]] = [(block, place)]
    while waiting:
        found, where = waiting.pop()
        if isinstance(found, list):
            waiting += [(inner, f"{where}[{number}]") for number, inner in enumerate(found)]
        elif isinstance(found, dict):
            if found.get("type") in ("file", "container_upload") and found.get("file_id"):
                needs.append(Need(STORED, f"{where}.file_id"[:LONGEST_ECHO], "file_id"))
            if found.get("type") == "tool_definition" and isinstance(found.get("definition"), dict):
                tool_of(found["definition"], f"{where}.definition", needs)
            waiting += [(inner, f"{where}.{name}") for name, inner in found.items()]
    return part


def _further(block: Mapping[str, Any], place: str, known: tuple[str, ...]) -> Iterator[Need]:
    """Yield the needs in the fields of a block that are not `known`. Where the vendor is to cache is no need."""
    for name, value in block.items():
        if name in known or name == "cache_control" or value is None or value in HARMLESS.get(name, ()):
            continue
        yield Need(UNKNOWN, f"{place}.{name}"[:LONGEST_ECHO], value=value)
        yield from turns.stored_in({name: value}, place)


OF_A_RESULT: Mapping[str, Reader] = {"text": _text, "image": _image, "document": _document}
READERS: Mapping[str, Reader] = {
    **OF_A_RESULT,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _call,
    "tool_result": _result,
}
