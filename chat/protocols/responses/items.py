"""What stands in a request of the Responses API: the items of its input, tools, the choice and the format."""

from __future__ import annotations

import mimetypes
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from chat.exceptions import InvalidMessageFormatError
from chat.protocols import media, turns
from chat.protocols.openai.body import ROLES
from chat.protocols.payload import as_list, as_object, as_string, part_of
from chat.protocols.responses.body import NAME
from chat.protocols.turns import fault, object_at, text_at
from chat.types import (
    STORED,
    UNKNOWN,
    Call,
    Document,
    Message,
    Need,
    Part,
    Refusal,
    Result,
    Text,
    Thinking,
    parts_of,
)

OF_A_MESSAGE = ("type", "role", "content", "id", "status", "phase")
OF_A_CALL = ("type", "call_id", "name", "arguments", "input", "output", "id", "status")
OF_ALL = ("input_text", "output_text", "text", "refusal", "input_image", "input_file")
OF_A_PART = (
    *("type", "text", "refusal", "image_url", "file_id", "file_url", "file_data", "filename", "detail"),
    *("annotations", "logprobs", "parsed", "prompt_cache_breakpoint"),
)
"""The fields of parts that others have, too, and those that tell of an answer or save money."""
DIRECT = {"type": "direct"}
"""The `caller` of a call that no program of the model's makes."""
LONGEST_LABEL = 64


def read_item(item: Any, place: str, needs: list[Need]) -> Message:
    """Return the message that an item of the input is, or is a part of. Raises `InvalidMessageFormatError`."""
    item = object_at(item, place)
    kind = item.get("type")
    if kind is None:
        kind = "message" if "role" in item else "item_reference"
    reader = READERS.get(kind) if isinstance(kind, str) else None
    if reader:
        return reader(item, place, needs)
    needs += turns.stored_in(item, place)
    if kind == "image_generation_call" and not item.get("result"):
        return _reference(item, place, needs)
    return Message("assistant", (turns.opaque(NAME, item, f"{place}.type", needs),))


def _message(item: Mapping[str, Any], place: str, needs: list[Need]) -> Message:
    role, content = item.get("role"), item.get("content")
    if not isinstance(role, str) or role not in ROLES or role == "tool":
        raise fault("The role must be one of system, developer, user, assistant.", f"{place}.role", role)
    needs += turns.further_in({name: value for name, value in item.items() if value}, OF_A_MESSAGE, place)
    parts = _content(content, f"{place}.content", needs)
    needs += turns.misplaced_in(ROLES[role], parts, f"{place}.content")
    if role == "user" and not turns.has_words(parts):
        raise fault("The content must not be blank.", f"{place}.content", content)
    return Message(ROLES[role], parts)


def _content(content: Any, place: str, needs: list[Need]) -> tuple[Part, ...]:
    if isinstance(content, str):
        return parts_of(content)
    if not isinstance(content, list):
        raise fault("This must be a string or a list of parts.", place, content)
    return tuple(_part(part, f"{place}[{number}]", needs) for number, part in enumerate(content))


def _part(part: Any, place: str, needs: list[Need]) -> Part:
    part = object_at(part, place)
    kind = part.get("type")
    if kind in ("input_image", "input_file") and part.get("file_id"):
        return turns.opaque(NAME, part, f"{place}.file_id", needs, STORED)
    needs += turns.stored_in(part, place)
    if kind in OF_ALL:
        needs += turns.further_in(part, OF_A_PART, place)
    if kind in ("input_text", "output_text", "text"):
        return Text(text_at(part, "text", place))
    if kind == "refusal":
        return Refusal(text_at(part, "refusal", place))
    if kind == "input_image":
        url, detail = text_at(part, "image_url", place), as_string(part.get("detail"))
        return media.image_of(url, detail, f"{place}.image_url", needs)
    if kind == "input_file":
        return _file(part, place, needs)
    if not isinstance(kind, str):
        raise fault('A part is an object with a type, such as {"type": "input_text", "text": "..."}.', place, part)
    return turns.opaque(NAME, part, f"{place}.{kind}", needs, "audio" if kind == "input_audio" else UNKNOWN)


def _file(part: Mapping[str, Any], place: str, needs: list[Need]) -> Part:
    name = as_string(part.get("filename"))
    if part.get("file_url"):
        needs.append(Need("document_url", f"{place}.file_url"))
        return Document(url=text_at(part, "file_url", place), name=name)
    data = text_at(part, "file_data", place)
    if data.startswith("data:"):
        media_type, data = media.split_data_url(data, f"{place}.file_data")
    else:  # of plain base64 the name alone says what it is
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return media.document_of(media_type, data, name, f"{place}.file_data", needs)


def _call(item: Mapping[str, Any], place: str, needs: list[Need]) -> Message:
    call_id, name = text_at(item, "call_id", place), text_at(item, "name", place)
    arguments = item.get("arguments")
    try:
        arguments = turns.arguments_of(arguments, f"{place}.arguments")
    except InvalidMessageFormatError:
        if not isinstance(arguments, str):
            raise
        needs.append(Need(UNKNOWN, f"{place}.arguments"))  # cut by a limit, perhaps; the vendor takes any text
    needs += _further(item, place)
    return Message("assistant", (Call(call_id, name, arguments),))


def _custom_call(item: Mapping[str, Any], place: str, needs: list[Need]) -> Message:
    needs.append(Need("custom_tool", place, "custom"))
    needs += _further(item, place)
    call_id, name = text_at(item, "call_id", place), text_at(item, "name", place)
    return Message("assistant", (Call(call_id, name, text_at(item, "input", place)),))


def _output(item: Mapping[str, Any], place: str, needs: list[Need]) -> Message:
    call_id = text_at(item, "call_id", place)
    inner: list[Need] = []
    parts = _content(item.get("output"), f"{place}.output", inner)
    kinds = {"image": "image_in_result", "document": "document_in_result"}
    inner += [Need(kinds[part.kind], f"{place}.output") for part in parts if part.kind in kinds]
    needs += [*inner, *_further(item, place)]
    return Message("user", (Result(call_id, parts),))


def _further(item: Mapping[str, Any], place: str) -> Iterator[Need]:
    """Yield the needs in a call's further fields, such as the namespace of its tool."""
    for name, value in item.items():
        if name not in OF_A_CALL and value and not (name == "caller" and value == DIRECT):
            yield Need(UNKNOWN, f"{place}.{name}")
            yield from turns.stored_in({name: value}, place)


def _reasoning(item: Mapping[str, Any], place: str, needs: list[Need]) -> Message:
    """Return the thoughts. A bare id, or a summary, refers to what the vendor would have to have stored."""
    return Message("assistant", (Thinking(*thought),) if (thought := thought_of(item)) and not is_bare(item) else ())


def thought_of(item: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the text and the encrypted content of a reasoning item, None where it has neither."""
    text = "\n\n".join(_texts(item.get("summary")) or _texts(item.get("content")))
    signature = part_of(item.get("encrypted_content"))
    return (text, signature) if text or signature else None


def is_bare(item: Any) -> bool:
    """Return whether an item is a reasoning whose thoughts only a store would have: it says nothing without one."""
    if not isinstance(item, Mapping) or item.get("type") != "reasoning":
        return False
    return not item.get("encrypted_content") and not item.get("content")


def _texts(parts: Any) -> list[str]:
    return [part["text"] for part in map(as_object, as_list(parts)) if isinstance(part.get("text"), str)]


def _reference(item: Mapping[str, Any], place: str, needs: list[Need]) -> Message:
    return Message("assistant", (turns.opaque(NAME, item, f"{place}.id", needs, STORED),))


READERS: Mapping[str, Callable[[Mapping[str, Any], str, list[Need]], Message]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _output,
    "custom_tool_call": _custom_call,
    "custom_tool_call_output": _output,
    "reasoning": _reasoning,
    "item_reference": _reference,
}


# --- turns ------------------------------------------------------------------------------------------------------------
class Turn:
    """Items of one side that stand together, and the results of the calls among them."""

    def __init__(self, message: Message) -> None:
        self.role, self.parts, self.results = message.role, list[Part](), list[Result]()
        self.calls = self.speaks = False
        self.add(message)

    def takes(self, message: Message) -> bool:
        """Return whether an item belongs to this turn: an assistant's, unless it is a second text without a call
        between them, which would run into the first."""
        if not self.role == message.role == "assistant" or self.results:
            return False
        return self.calls or not (self.speaks and _speaks(message.parts))

    def add(self, message: Message) -> None:
        self.parts += message.parts
        self.calls = self.calls or any(isinstance(part, Call) for part in message.parts)
        self.speaks = self.speaks or _speaks(message.parts)

    def messages(self) -> Iterator[Message]:
        yield Message(self.role, tuple(self.parts))
        if self.results:
            yield Message("user", tuple(self.results))


def _speaks(parts: Iterable[Part]) -> bool:
    return any(isinstance(part, Text | Refusal) for part in parts)


def joined(items: Iterable[tuple[str, Message]], *, continues: bool) -> Iterator[Message]:
    """Yield the messages that items and their places make. A result goes right behind its call, where others look for
    it. Raises `InvalidMessageFormatError` for one without the other, but where a stored conversation `continues`."""
    found: list[Turn] = []
    waiting: dict[str, tuple[str, Turn]] = {}
    for place, message in items:
        result = next((part for part in message.parts if isinstance(part, Result)), None)
        if result and result.call_id in waiting:
            waiting.pop(result.call_id)[1].results.append(result)
            continue
        if result and not continues:
            raise fault("This is the output of a call that no item before makes.", place, result.call_id)
        if found and found[-1].takes(message):
            found[-1].add(message)
        elif message.parts:
            found.append(Turn(message))
        waiting |= {part.id: (place, found[-1]) for part in message.parts if isinstance(part, Call)}
    for call, (place, _) in waiting.items():
        raise fault("The output of this call is missing.", place, call)
    for turn in found:
        yield from turn.messages()
