"""The JSON Schemas that OpenAI answers strictly by. Source: OpenAI's guide to structured outputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from chat.protocols.payload import as_list, as_object

LISTS = ("anyOf", "allOf", "oneOf", "prefixItems")
OBJECTS = ("properties", "$defs", "definitions")
ONES = ("items", "not")


def is_strict(schema: Mapping[str, Any] | None) -> bool:
    """Return whether each object in `schema` is closed and requires all of its properties."""
    waiting: list[Any] = [schema or {}]
    while waiting:
        found = waiting.pop()
        if not isinstance(found, Mapping):
            continue
        if found.get("type") == "object" or "properties" in found:
            required = {name for name in as_list(found.get("required")) if isinstance(name, str)}
            open_ended = found.get("additionalProperties") is not False
            if open_ended or any(name not in required for name in as_object(found.get("properties"))):
                return False
        waiting.extend(_within(found))
    return True


def _within(schema: Mapping[str, Any]) -> Iterator[Any]:
    for name in LISTS:
        yield from as_list(schema.get(name))
    for name in OBJECTS:
        yield from as_object(schema.get(name)).values()
    for name in ONES:
        yield schema.get(name)
