"""The messages of a request: what they have in common in all formats, and what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from chat.exceptions import InvalidMessageFormatError
from chat.protocols.bodies import LONGEST_ECHO
from chat.protocols.payload import parse_object
from chat.types import STORED, UNKNOWN, Call, Message, Need, Opaque, Part, Result

MOST_MESSAGES = 2_000
STORED_BY = (
    *("file_id", "file_ids", "vector_store_ids", "container_id", "comparison_response_id", "skill_id", "tunnel_id"),
)
"""Names of what stands at the vendor under our key."""
READ_APART = ("tools", "parameters", "schema", "input_schema", "output_schema")
"""Names of tools, and of schemas that may give these names to anything."""

Read = Callable[[Any, str, "list[Need]"], Message]
"""Returns the message that an item at a place is, and adds what it needs to the list."""


def messages_of(given: Mapping[str, Any], needs: list[Need], read: Read, name: str = "messages") -> list[Message]:
    """Return the messages, each as `read` makes it of an item and its place. Raises `InvalidMessageFormatError`."""
    value = given.get(name)
    if value is None:
        raise fault("This field is required.", name, None)
    if not isinstance(value, list):
        raise fault("This must be a list of messages.", name, value)
    if not 1 <= len(value) <= MOST_MESSAGES:
        raise fault(f"There must be 1 to {MOST_MESSAGES} messages, not {len(value)}.", name, value)
    messages = [read(item, f"{name}[{number}]", needs) for number, item in enumerate(value)]
    if not any(message.role == "user" for message in messages):
        raise fault("At least one message must have the role user.", name, value)
    check_calls(messages, name)
    return messages


def check_calls(messages: Sequence[Message], name: str) -> None:
    """Raise `InvalidMessageFormatError` where a result has no call, or a call no result: every provider would refuse
    the one, and the model would be told the other is still to come. The results of a turn's calls come right after."""
    open_calls: dict[str, int] = {}
    for number, message in enumerate(messages):
        results = [part for part in message.parts if isinstance(part, Result)]
        for result in results:
            if open_calls.pop(result.call_id, None) is None:
                complaint = "This is the result of a call that the turn before does not make."
                raise fault(complaint, f"{name}[{number}]", result.call_id)
        if open_calls and not (results and message.role == "user"):
            break
        if message.role == "assistant":
            open_calls = {part.id: number for part in message.parts if isinstance(part, Call)}
    if open_calls:
        call, number = next(iter(open_calls.items()))
        raise fault("This turn calls a tool whose result does not come right after it.", f"{name}[{number}]", call)


def results_joined(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Return the messages, with those that hold nothing but results of one turn's calls as one."""
    joined: list[Message] = []
    for message in messages:
        before = joined[-1] if joined else None
        if before and only_results(before) and only_results(message):
            joined[-1] = before._replace(parts=before.parts + message.parts)
        else:
            joined.append(message)
    return tuple(joined)


def only_results(message: Message) -> bool:
    return bool(message.parts) and all(isinstance(part, Result) for part in message.parts)


def object_at(item: Any, place: str) -> dict[str, Any]:
    """Return a message that is still to be read. Raises `InvalidMessageFormatError` where it is no object."""
    if isinstance(item, dict):
        return item
    raise fault("A message is an object with a role and a content.", place, item)


def no_more_than(item: Mapping[str, Any], known: Collection[str], place: str) -> None:
    """Raise `InvalidMessageFormatError` for a message that has further fields."""
    if extra := item.keys() - set(known):
        raise fault("A message has a role and a content, and nothing else.", place, sorted(extra))


def text_at(item: Mapping[str, Any], name: str, place: str) -> str:
    """Return the string `name` of a part at `place`. Raises `InvalidMessageFormatError` where it is none."""
    value = item.get(name)
    if isinstance(value, str):
        return value
    raise fault(f"`{name}` must be a string." if name in item else f"`{name}` is missing.", f"{place}.{name}", item)


def opaque(protocol: str, part: Mapping[str, Any], place: str, needs: list[Need], kind: str = UNKNOWN) -> Opaque:
    """Return a part that only `protocol` knows, and note that a route must speak it."""
    needs.append(Need(kind, place, str(part.get("type", kind))[:LONGEST_ECHO], part))
    return Opaque(protocol, part)


def misplaced_in(role: str, parts: Sequence[Part], place: str) -> Iterator[Need]:
    """Yield the needs in parts that stand in a turn of another side than theirs: only the client's own format may have
    a place for them there."""
    strange = ("call",) if role == "user" else ("image", "document", "result")
    yield from (Need(UNKNOWN, f"{place}[{number}]") for number, part in enumerate(parts) if part.kind in strange)


def further_in(item: Mapping[str, Any], known: Collection[str], place: str) -> Iterator[Need]:
    """Yield the needs in the fields of an object that are not `known`, as far as they say anything."""
    further = {name: value for name, value in item.items() if name not in known and value is not None}
    yield from (Need(UNKNOWN, f"{place}.{name}"[:LONGEST_ECHO], value=value) for name, value in further.items())
    yield from stored_in(further, place)


def stored_in(value: Any, place: str = "") -> Iterator[Need]:
    """Yield the needs in what is passed on unread: names of things that are kept at the vendor."""
    waiting: list[tuple[Any, str]] = [(value, place)]
    while waiting:
        found, where = waiting.pop()
        if isinstance(found, list):
            waiting += [(inner, f"{where}[{number}]") for number, inner in enumerate(found)]
        if not isinstance(found, dict):
            continue
        for name, inner in found.items():
            path = f"{where}.{name}" if where else name
            if inner and (name in STORED_BY or (name == "container" and isinstance(inner, str))):
                yield Need(STORED, path[:LONGEST_ECHO], name)
            elif name not in READ_APART:
                waiting.append((inner, path))


def arguments_of(value: Any, place: str) -> str:
    """Return the arguments of a call in the history as the text of a JSON object; an empty text is an empty object.
    Raises `InvalidMessageFormatError`."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return "{}"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and parse_object(value.encode("utf-8", "surrogatepass")) is not None:
        return value
    raise fault("The arguments of a call must be a JSON object, as a string.", place, value)


def has_words(parts: Sequence[Part]) -> bool:
    """Return whether a message says anything: text that is not blank, or a part of another kind."""
    return any(part.text.strip() if part.kind in ("text", "refusal") else True for part in parts)


def fault(complaint: str, place: str, received: Any) -> InvalidMessageFormatError:
    """Return the error of what was received at a place; it repeats that as JSON, cut short."""
    echo = json.dumps(received, ensure_ascii=False)[:LONGEST_ECHO]
    return InvalidMessageFormatError(complaint, field=place, received=echo)
